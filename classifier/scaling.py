"""Standardising and whitening of embeddings before the classifier.

Both are fitted on the frames of the training clips and become a layer of the network. The features
themselves are never copied, so they are held in memory once, in float16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from l3embedding.settings import ClassifierSettings
from l3embedding.utils.errors import InputError

_CHUNK_CLIPS = 256


@dataclass(frozen=True)
class Standardizer:
    """Subtracts the mean of each embedding dimension and divides by its standard deviation, float32 `[d]` each."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def fit(cls, features: NDArray[np.floating]) -> Standardizer:
        """Fit to the frames of features `[clips, frames, d]`; the scale of a constant dimension is 1."""
        n, mean = _count_and_mean(features)
        spread = np.sqrt(sum(np.square(chunk - mean).sum(axis=0) for chunk in _chunks(features)) / n)
        # The mean of a constant is rounded, so its deviation is not quite 0.
        scale = np.where(spread > 1e-7 * np.abs(mean), spread, 1)
        return cls(mean.astype(np.float32), scale.astype(np.float32))

    def layer(self) -> keras.layers.Layer:
        """The layer that does this."""
        return FixedScaling(self.mean, self.scale, name="standardization")


@dataclass(frozen=True)
class Whitener:
    """Projects on principal components, and scales each to unit variance.

    Attributes
    ----------
    mean
        float32 `[d]`.
    kernel
        float32 `[d, components]`.
    """

    mean: NDArray[np.float32]
    kernel: NDArray[np.float32]

    @classmethod
    def fit(cls, features: NDArray[np.floating], components: int | None, standardizer: Standardizer | None) -> Whitener:
        """Fit to the frames of features `[clips, frames, d]`.

        Parameters
        ----------
        features
            Features of the training clips.
        components
            Number of components; by default the number of dimensions that the frames span.
        standardizer
            Fitted to the same features; if given, the frames are standardised first.

        Raises
        ------
        InputError
            The frames span fewer dimensions than `components`.
        """
        size = features.shape[-1]
        scale = np.ones(size) if standardizer is None else standardizer.scale.astype(np.float64)
        n, mean = _count_and_mean(features)
        covariance = np.zeros((size, size))
        for chunk in _chunks(features):
            centred = (chunk - mean) / scale
            covariance += centred.T @ centred
        variances, directions = np.linalg.eigh(covariance / max(n - 1, 1))
        variances, directions = variances[::-1], directions[:, ::-1]
        spanned = int((variances > 1e-6 * variances[0]).sum())
        if components is not None and components > spanned:
            raise InputError(
                f"pca_components: {components} is more than the {spanned} dimensions that the embeddings span "
                f"(of {size})."
            )
        kept = components or spanned
        # The sign of a direction is arbitrary and varies between LAPACK builds; its largest entry becomes positive.
        largest = directions[np.abs(directions).argmax(axis=0), np.arange(size)]
        kernel = directions * np.sign(largest) / scale[:, np.newaxis]
        kernel = kernel[:, :kept] / np.sqrt(variances[:kept])
        return cls(mean.astype(np.float32), kernel.astype(np.float32))

    def layer(self) -> keras.layers.Layer:
        """The layer that does this."""
        return FixedProjection(self.mean, self.kernel, name="whitening")


def fit_scaling(features: NDArray[np.floating], settings: ClassifierSettings) -> Standardizer | Whitener | None:
    """Fit the scaling that the settings ask for; whitening includes the standardising that precedes it."""
    standardizer = Standardizer.fit(features) if settings.standardize else None
    return Whitener.fit(features, settings.pca_components, standardizer) if settings.pca else standardizer


@keras.saving.register_keras_serializable("classifier")
class FixedScaling(keras.layers.Layer):
    """`(x - mean) / scale`, not trained."""

    def __init__(self, mean: Any, scale: Any, **kwargs: Any) -> None:
        super().__init__(**{"trainable": False} | kwargs)
        self._mean, self._scale = np.asarray(mean, np.float32), np.asarray(scale, np.float32)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Scale."""
        return (x - self._mean) * (1 / self._scale)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments for `from_config`."""
        return super().get_config() | {"mean": self._mean.tolist(), "scale": self._scale.tolist()}


@keras.saving.register_keras_serializable("classifier")
class FixedProjection(keras.layers.Layer):
    """`(x - mean) @ kernel`, not trained."""

    def __init__(self, mean: Any, kernel: Any, **kwargs: Any) -> None:
        super().__init__(**{"trainable": False} | kwargs)
        self._mean, self._kernel = np.asarray(mean, np.float32), np.asarray(kernel, np.float32)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Project."""
        return ops.matmul(x - self._mean, self._kernel)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """As many dimensions as the kernel has columns."""
        return (*input_shape[:-1], self._kernel.shape[1])

    def get_config(self) -> dict[str, Any]:
        """Arguments for `from_config`."""
        return super().get_config() | {"mean": self._mean.tolist(), "kernel": self._kernel.tolist()}


def _count_and_mean(features: NDArray[np.floating]) -> tuple[int, NDArray[np.float64]]:
    n = features.shape[0] * features.shape[1]
    return n, np.asarray(sum(chunk.sum(axis=0) for chunk in _chunks(features)) / n)


def _chunks(features: NDArray[np.floating]) -> Iterator[NDArray[np.float64]]:
    """Frames in float64 `[n, d]`, a few clips at a time, since all of them would not fit."""
    for start in range(0, len(features), _CHUNK_CLIPS):
        yield features[start : start + _CHUNK_CLIPS].reshape(-1, features.shape[-1]).astype(np.float64)
