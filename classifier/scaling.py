"""Standardising and whitening of embeddings before the classifier.

Both are layers of the network, fitted on the frames of the training clips. The features themselves are never
copied, so they are held in memory once, in float16.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from l3embedding.settings import ClassifierSettings
from l3embedding.utils.errors import InputError

_CHUNK_CLIPS = 256


@keras.saving.register_keras_serializable("classifier")
class Standardizer(keras.layers.Layer):
    """Subtracts the mean of each embedding dimension and divides by its standard deviation, `[d]`; not trained."""

    def __init__(self, mean: Any, scale: Any, **kwargs: Any) -> None:
        super().__init__(**{"trainable": False, "name": "standardization"} | kwargs)
        self.mean, self.scale = np.asarray(mean, np.float32), np.asarray(scale, np.float32)

    @classmethod
    def fit(cls, features: NDArray[np.floating]) -> Standardizer:
        """Fit to the frames of features `[clips, frames, d]`; the scale of a constant dimension is 1."""
        n, mean = _count_and_mean(features)
        spread = np.sqrt(sum(np.square(chunk - mean).sum(axis=0) for chunk in _chunks(features)) / n)
        # The mean of a constant is rounded, so its deviation is not quite 0.
        return cls(mean, np.where(spread > 1e-7 * np.abs(mean), spread, 1))

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Standardise `[..., d]`."""
        return (x - self.mean) * (1 / self.scale)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"mean": self.mean.tolist(), "scale": self.scale.tolist()}


@keras.saving.register_keras_serializable("classifier")
class Whitener(keras.layers.Layer):
    """Projects on principal components, and scales each to unit variance; not trained.

    The mean is `[d]`, the kernel `[d, components]`.
    """

    def __init__(self, mean: Any, kernel: Any, **kwargs: Any) -> None:
        super().__init__(**{"trainable": False, "name": "whitening"} | kwargs)
        self.mean, self.kernel = np.asarray(mean, np.float32), np.asarray(kernel, np.float32)

    @classmethod
    def fit(cls, features: NDArray[np.floating], components: int | None, standardizer: Standardizer | None) -> Whitener:
        """Fit to the frames of features `[clips, frames, d]`.

        By default there are as many components as dimensions that the frames span. A standardizer, fitted to the same
        features, is applied first.
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
                f"pca_components: {components} is more than the {spanned} of {size} dimensions that embeddings span."
            )
        kept = components or spanned
        # The sign of a direction is arbitrary and varies between LAPACK builds; its largest entry becomes positive.
        largest = directions[np.abs(directions).argmax(axis=0), np.arange(size)]
        kernel = directions * np.sign(largest) / scale[:, np.newaxis]
        return cls(mean, kernel[:, :kept] / np.sqrt(variances[:kept]))

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Project `[..., d]` to `[..., components]`."""
        return ops.matmul(x - self.mean, self.kernel)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"mean": self.mean.tolist(), "kernel": self.kernel.tolist()}


def fit_scaling(features: NDArray[np.floating], settings: ClassifierSettings) -> Standardizer | Whitener | None:
    """Fit the scaling that the settings ask for; whitening includes the standardising that precedes it."""
    standardizer = Standardizer.fit(features) if settings.standardize else None
    return Whitener.fit(features, settings.pca_components, standardizer) if settings.pca else standardizer


def _count_and_mean(features: NDArray[np.floating]) -> tuple[int, NDArray[np.float64]]:
    n = features.shape[0] * features.shape[1]
    return n, np.asarray(sum(chunk.sum(axis=0) for chunk in _chunks(features)) / n)


def _chunks(features: NDArray[np.floating]) -> Iterator[NDArray[np.float64]]:
    """Frames in float64 `[n, d]`, a few clips at a time, since all of them would not fit."""
    for start in range(0, len(features), _CHUNK_CLIPS):
        yield features[start : start + _CHUNK_CLIPS].reshape(-1, features.shape[-1]).astype(np.float64)
