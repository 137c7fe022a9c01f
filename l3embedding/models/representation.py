"""Input representations: the log-mel images that networks were trained on, described without Keras.

The images are computed by `l3embedding.models.frontend`. Three conventions are in use, and a network's embeddings
are meaningless on images of another:

`kapre_v0_1`
    kapre 0.1.4, which openl3 up to 0.3 and all edgel3 models were trained with: power spectrum, HTK mel,
    square root, zeros on both sides ("same")
`kapre`
    kapre 0.3, openl3 0.4's default: magnitude, Slaney mel, zeros at the end only
`librosa`
    openl3 0.4's alternative: magnitude, centred windows

All three end with the same steps: 10 log10, minus the frame's own maximum, clipped at -80 dB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from l3embedding.settings import StudentSettings
from l3embedding.utils.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Convention = Literal["kapre_v0_1", "kapre", "librosa"]


@dataclass(frozen=True)
class InputRepresentation:
    """The input of a network: frames of one second, as (log-mel) spectrograms.

    Attributes
    ----------
    sample_rate
        Hz; also the length of a frame in samples.
    n_fft, hop_length
        DFT size and hop, samples.
    n_mels
        Mel bins; None leaves the linear spectrogram of `n_fft / 2 + 1` bins.
    fmax
        Upper edge of the mel filter bank, Hz; half the sample rate by default.
    convention
        See the top of this module.

    Raises
    ------
    InputError
        The convention is unknown.
    """

    sample_rate: int
    n_fft: int
    hop_length: int
    n_mels: int | None
    fmax: float | None = None
    convention: Convention = "kapre_v0_1"

    def __post_init__(self) -> None:
        if self.convention not in get_args(Convention):
            raise InputError(f"The convention is one of {', '.join(get_args(Convention))}, not {self.convention!r}.")

    @property
    def frame_length(self) -> int:
        """Length of a frame, samples."""
        return self.sample_rate

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and after a frame, samples."""
        windows = -(-self.sample_rate // self.hop_length)
        missing = max(0, (windows - 1) * self.hop_length + self.n_fft - self.sample_rate)
        if self.convention == "kapre_v0_1":
            return missing // 2, missing - missing // 2
        # openl3 0.4 computes its linear spectrograms without padding, under both of its conventions.
        if self.n_mels is None:
            return 0, 0
        return (self.n_fft // 2, self.n_fft // 2) if self.convention == "librosa" else (0, missing)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of the image: (bins, windows, 1)."""
        windows = 1 + (self.sample_rate + sum(self.padding) - self.n_fft) // self.hop_length
        return self.n_mels or self.n_fft // 2 + 1, windows, 1

    def mel_filter_bank(self) -> NDArray[np.float32] | None:
        """The mel filter bank, float32 `[n_fft / 2 + 1, n_mels]`; None for a linear spectrogram."""
        from librosa.filters import mel

        if self.n_mels is None:
            return None
        options: dict[str, Any] = {"fmax": self.fmax, "htk": self.convention == "kapre_v0_1"}
        return mel(sr=self.sample_rate, n_fft=self.n_fft, n_mels=self.n_mels, **options).T


OPENL3_REPRESENTATIONS = {
    "linear": InputRepresentation(48000, n_fft=512, hop_length=242, n_mels=None),
    "mel128": InputRepresentation(48000, n_fft=2048, hop_length=242, n_mels=128),
    "mel256": InputRepresentation(48000, n_fft=2048, hop_length=242, n_mels=256),
}
"""The input representations of L3-Audio, in the convention that the paper's teacher was trained with."""

_PAPERS = StudentSettings()


def student_representation(student: StudentSettings = _PAPERS) -> InputRepresentation:
    """The input representation of a student; the default is the paper's."""
    return InputRepresentation(
        student.asr, n_fft=student.num_dft, hop_length=student.hop_len, n_mels=student.num_mels, fmax=student.fmax
    )
