"""Reading recordings, mixing, resampling and framing.

Conventions: audio is float32 in [-1, 1]; one channel is `[n]`, several are `[n, channels]`
(the order of soundfile); rates are in Hz; frames are `[n_frames, frame_length]`.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError

if typing.TYPE_CHECKING:
    import soundfile

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg"})
"""Files that a folder is searched for; a file given by its path may have any format that libsndfile reads."""
_TRUNCATED = "{} is truncated: it is shorter than its header states."


def read_audio(path: str | os.PathLike[str]) -> tuple[NDArray[np.float32], int]:
    """Read any file that libsndfile reads, mixed to one channel: audio float32 `[n]` in [-1, 1], and its rate in Hz.

    Raises
    ------
    InputError
        The file is missing, is no audio, is truncated, has no samples, or holds NaN or infinite samples.
    """
    with _opened(path) as file:
        audio, sample_rate = file.read(dtype="float32", always_2d=True), file.samplerate
        if len(audio) < file.frames:
            raise InputError(_TRUNCATED.format(path))
    check_audio(audio, str(path))
    return to_mono(audio), sample_rate


def probe_audio(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read the length of a recording, in samples per channel, and its rate, in Hz, from its header.

    Raises
    ------
    InputError
        The file is missing, is no audio, has no samples, or is a truncated WAV file.
    """
    with _opened(path) as file:
        return file.frames, file.samplerate


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[soundfile.SoundFile]:
    import soundfile

    if not Path(path).is_file():
        raise InputError(f"{path} is not a file.")
    try:
        with soundfile.SoundFile(path) as file:
            if not file.frames:
                raise InputError(f"{path} is empty: it has no samples.")
            if _is_truncated_wav(Path(path)):
                raise InputError(_TRUNCATED.format(path))
            yield file
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read as audio: {error}") from None


def check_audio(audio: NDArray[np.floating], name: str) -> None:
    """Raise an `InputError` for audio that is empty or not finite, with its `name` and the first bad sample."""
    if np.ndim(audio) not in (1, 2):
        raise InputError(f"{name} has {np.ndim(audio)} dimensions; audio is [n] or [n, channels].")
    if np.size(audio) == 0:
        raise InputError(f"{name} is empty: it has no samples.")
    finite = np.isfinite(audio)
    if not finite.all():
        position = int(np.argmin(finite.reshape(len(audio), -1).all(axis=1)))
        raise InputError(f"{name} holds a sample that is not a finite number (the first at sample {position}).")


def to_mono(audio: NDArray[np.floating]) -> NDArray[np.float32]:
    """Mix `[n]` or `[n, channels]` to one channel by the mean, float32 `[n]`."""
    audio = np.asarray(audio)
    if audio.ndim == 2:
        audio = audio.mean(axis=1)
    return audio.astype(np.float32, copy=False)


def resample(audio: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Resample `[n]` or `[n, channels]` to `round(n * to_rate / from_rate)` samples with soxr, at very high quality."""
    import soxr

    if from_rate == to_rate:
        return audio
    return soxr.resample(audio, from_rate, to_rate, quality="VHQ").astype(np.float32, copy=False)


def frame_audio(
    audio: NDArray[np.float32], frame_length: int, hop_length: int, *, center: bool = False, pad_end: bool = True
) -> NDArray[np.float32]:
    """Cut one channel into overlapping frames; lengths are in samples.

    Parameters
    ----------
    center
        Prepend half a frame of zeros, so that frame `i` is centred on sample `i * hop_length`.
    pad_end
        Pad the end with zeros so that no sample is lost. Otherwise only frames that are wholly within the audio
        are cut; audio shorter than a frame gives one padded frame.

    Returns
    -------
    float32 `[n_frames, frame_length]`, with `n_frames = 1 + (n - frame_length) / hop_length`
    after padding. A read-only view where nothing had to be padded.

    References
    ----------
    openl3 and edgel3, `core.py`.
    """
    if hop_length <= 0 or frame_length <= 0:
        raise InputError(f"Frame ({frame_length}) and hop ({hop_length}) must be at least one sample long.")
    left = frame_length // 2 if center else 0
    length = max(left + len(audio), frame_length)
    remainder = (length - frame_length) % hop_length
    if pad_end and remainder:
        length += hop_length - remainder
    right = length - left - len(audio)
    if left or right:
        audio = np.pad(audio, (left, right))
    return np.lib.stride_tricks.sliding_window_view(audio, frame_length)[::hop_length]


def to_int16(audio: NDArray[np.floating]) -> NDArray[np.int16]:
    """Quantise audio in [-1, 1] to 16 bits, full scale 32768, and clip the rest."""
    return np.clip(np.rint(audio * 32768.0), -32768, 32767).astype(np.int16)


def from_int16(audio: NDArray[np.int16]) -> NDArray[np.float32]:
    """Convert the result of `to_int16` back to float32 in [-1, 1)."""
    return audio.astype(np.float32) / np.float32(32768.0)


def _is_truncated_wav(path: Path) -> bool:
    """Whether a RIFF file is shorter than its data chunk, as a recorder that lost power leaves it."""
    # libsndfile reads such a file without a warning.
    with open(path, "rb") as file:
        if file.read(4) != b"RIFF":
            return False
        size = path.stat().st_size
        file.seek(12)
        while len(header := file.read(8)) == 8:
            chunk_size = int.from_bytes(header[4:], "little")
            if header[:4] == b"data":
                # 0 and 0xFFFFFFFF are what streaming writers leave for "unknown".
                return chunk_size not in (0, 0xFFFFFFFF) and file.tell() + chunk_size > size
            file.seek(chunk_size + chunk_size % 2, os.SEEK_CUR)
    return False
