"""Front ends: from one second of audio to the log-mel image that is a network's input."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import keras
import numpy as np
from keras import ops

from l3embedding.models.representation import (
    OPENL3_REPRESENTATIONS,
    Convention,
    InputRepresentation,
    student_representation,
)

__all__ = ["OPENL3_REPRESENTATIONS", "Convention", "InputRepresentation", "LogMelSpectrogram", "student_representation"]

_AMIN = 1e-10
_DYNAMIC_RANGE_DB = 80.0


@keras.saving.register_keras_serializable("l3embedding")
class LogMelSpectrogram(keras.layers.Layer):
    """Audio float32 `[batch, sample_rate]` to log-mel images float32 `[batch, bins, windows, 1]`, dB.

    Parameters
    ----------
    representation
        An `InputRepresentation`, or a dictionary of its fields, as Keras saves it.
    """

    def __init__(self, representation: InputRepresentation | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**{"trainable": False} | kwargs)
        if isinstance(representation, dict):
            representation = InputRepresentation(**representation)
        self.representation = representation
        n_fft = representation.n_fft
        # Periodic, as scipy's `get_window(fftbins=True)`.
        self._window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)
        self._mel = representation.mel_filter_bank()

    def call(self, audio: keras.KerasTensor) -> keras.KerasTensor:
        """Compute the images."""
        representation = self.representation
        audio = ops.pad(audio, ((0, 0), representation.padding))
        # Of Keras' operations `stft` is the fastest on every backend. The window spans the whole DFT.
        real, imaginary = ops.stft(
            audio, representation.n_fft, representation.hop_length, representation.n_fft, self._window, center=False
        )
        power = ops.square(real) + ops.square(imaginary)
        if representation.convention == "kapre_v0_1":
            # kapre 0.1.4 applies the filter bank to the power, later releases to the magnitude.
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
        """Arguments of the layer, with which Keras saves it."""
        return super().get_config() | {"representation": asdict(self.representation)}
