"""The one exception a user is meant to read.

Programs print an `InputError` as a sentence, without a traceback; anything else that
escapes is a defect of ours and keeps its traceback.
"""


class InputError(ValueError):
    """Input that a user can mend: the message names the file, the value and the remedy."""


class AudioWarning(UserWarning):
    """Audio that can be embedded, but may not be what was meant: silent, or shorter than a frame."""
