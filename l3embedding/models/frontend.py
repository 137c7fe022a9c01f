"""Front ends: from one second of audio to the log-mel image that a network sees.

Three conventions are in use, and a network gives nonsense with another's images:

`kapre_v0_1`
    kapre 0.1.4, which openl3 up to 0.3 and all edgel3 models were trained with: power spectrum, HTK mel,
    square root, zeros on both sides ("same")
`kapre`
    kapre 0.3, openl3 0.4's default: magnitude, Slaney mel, zeros at the end only
`librosa`
    openl3 0.4's second: magnitude, centred windows

All end alike: 10 log10, minus the frame's own maximum, not below -80 dB.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from l3embedding.settings import StudentSettings

Convention = Literal["kapre_v0_1", "kapre", "librosa"]

_AMIN = 1e-10
_DYNAMIC_RANGE_DB = 80.0


@dataclass(frozen=True)
class InputRepresentation:
    """What a network hears: frames of one second, as (log-mel) spectrograms.

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
    """

    sample_rate: int
    n_fft: int
    hop_length: int
    n_mels: int | None
    fmax: float | None = None
    convention: Convention = "kapre_v0_1"

    @property
    def frame_length(self) -> int:
        """Length of a frame, samples."""
        return self.sample_rate

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros in front of a frame and behind it, samples."""
        windows = -(-self.sample_rate // self.hop_length)
        missing = max(0, (windows - 1) * self.hop_length + self.n_fft - self.sample_rate)
        if self.convention == "kapre_v0_1":
            return missing // 2, missing - missing // 2
        if self.n_mels is None:
            return 0, 0
        return (self.n_fft // 2, self.n_fft // 2) if self.convention == "librosa" else (0, missing)

    @property
    def n_windows(self) -> int:
        """Columns of the image."""
        return 1 + (self.sample_rate + sum(self.padding) - self.n_fft) // self.hop_length

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of the image: (bins, windows, 1)."""
        return self.n_mels or self.n_fft // 2 + 1, self.n_windows, 1

    def mel_filter_bank(self) -> NDArray[np.float32]:
        """The mel filter bank, float32 `[n_fft / 2 + 1, n_mels]`."""
        from librosa.filters import mel

        htk = self.convention == "kapre_v0_1"
        return mel(sr=self.sample_rate, n_fft=self.n_fft, n_mels=self.n_mels, fmax=self.fmax, htk=htk).T


OPENL3_REPRESENTATIONS = {
    "linear": InputRepresentation(48000, n_fft=512, hop_length=242, n_mels=None),
    "mel128": InputRepresentation(48000, n_fft=2048, hop_length=242, n_mels=128),
    "mel256": InputRepresentation(48000, n_fft=2048, hop_length=242, n_mels=256),
}
"""The input representations of L3-Audio, as the paper's teacher heard them (`kapre_v0_1`)."""


_PAPER = StudentSettings()


def student_representation(student: StudentSettings = _PAPER) -> InputRepresentation:
    """The input representation of a SEA student; the defaults are the paper's."""
    return InputRepresentation(
        student.asr, n_fft=student.num_dft, hop_length=student.hop_len, n_mels=student.num_mels, fmax=student.fmax
    )


@keras.saving.register_keras_serializable("l3embedding")
class LogMelSpectrogram(keras.layers.Layer):
    """Audio float32 `[batch, sample_rate]` to log-mel images float32 `[batch, bins, windows, 1]`, dB.

    Parameters
    ----------
    representation
        An `InputRepresentation`, or a mapping of its fields.
    """

    def __init__(self, representation: InputRepresentation | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**{"trainable": False} | kwargs)
        if isinstance(representation, dict):
            representation = InputRepresentation(**representation)
        self.representation = representation
        n_fft = representation.n_fft
        # Periodic, as scipy's `get_window(fftbins=True)`.
        self._window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)
        self._mel = None if representation.n_mels is None else representation.mel_filter_bank()

    def call(self, audio: keras.KerasTensor) -> keras.KerasTensor:
        """Compute the images."""
        representation = self.representation
        audio = ops.pad(audio, ((0, 0), representation.padding))
        # `stft` is the fastest way on every backend; the window spans the whole DFT.
        real, imaginary = ops.stft(
            audio, representation.n_fft, representation.hop_length, representation.n_fft, self._window, center=False
        )
        power = ops.square(real) + ops.square(imaginary)
        if representation.convention == "kapre_v0_1":
            # kapre 0.1.4 takes the root after the filter bank.
            magnitude = ops.sqrt(power if self._mel is None else ops.matmul(power, self._mel))
        else:
            magnitude = ops.sqrt(power)
            magnitude = magnitude if self._mel is None else ops.matmul(magnitude, self._mel)
        decibel = 10.0 * ops.log10(ops.maximum(magnitude, _AMIN))
        decibel = decibel - ops.max(decibel, axis=(1, 2), keepdims=True)
        image = ops.transpose(ops.maximum(decibel, -_DYNAMIC_RANGE_DB), (0, 2, 1))
        return ops.expand_dims(image, -1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shape of the images."""
        return (input_shape[0], *self.representation.image_shape)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return super().get_config() | {"representation": asdict(self.representation)}
