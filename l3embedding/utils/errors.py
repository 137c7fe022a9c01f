"""The exception that users read.

Programs print an `InputError` as one sentence, without a traceback. Any other exception that escapes is a defect of the
project, and keeps its traceback.
"""


class InputError(ValueError):
    """Input that the user can fix: the message names the file, the value and the remedy."""


class AudioWarning(UserWarning):
    """Audio that can be embedded but may not be what was meant: silent, or shorter than a frame."""
