"""The losses of distillation, by name.

`mse`            mean squared error, the paper's loss; a principal component counts by its variance
`whitened_mse`   mean squared error of targets scaled to unit variance in each dimension: all count alike
`cosine`         one minus the cosine of the angle between prediction and target: lengths do not count
`relational`     mean squared error, plus the error of the distances between the samples of a batch

A new loss is an entry in `LOSSES` and a value of `distillation.loss` in `l3embedding.settings`.

References
----------
Srivastava et al., ICASSP 2021 (`mse`). Ermolov et al., Whitening for Self-Supervised Representation
Learning, ICML 2021 (`whitened_mse`). Sanh et al., DistilBERT, 2019 (`cosine`). Park et al., Relational
Knowledge Distillation, CVPR 2019, equations 3 to 6 (`relational`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

RELATIONAL_WEIGHT = 25.0
"""Weight of the distances beside the mean squared error; Park et al., section 4.2."""

_EPSILON = 1e-12


@keras.saving.register_keras_serializable("l3embedding")
class WhitenedMSE(keras.losses.Loss):
    """Mean squared error, each dimension weighted by `weights`, the inverse of its variance."""

    @classmethod
    def of(cls, targets: NDArray[np.float32]) -> WhitenedMSE:
        """Make the loss for training targets `[n, d]`."""
        variance = targets.var(axis=0, dtype=np.float64)
        # A constant dimension has nothing to learn, and its weight would be infinite.
        return cls(np.where(variance > 0, 1 / np.maximum(variance, _EPSILON), 0).tolist())

    def __init__(self, weights: Sequence[float], name: str = "whitened_mse", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.weights = list(weights)

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """The loss of each sample of `[batch, d]`."""
        return ops.mean(ops.square(y_pred - y_true) * ops.convert_to_tensor(self.weights, y_pred.dtype), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"weights": self.weights}


@keras.saving.register_keras_serializable("l3embedding")
class Cosine(keras.losses.Loss):
    """One minus the cosine of the angle between target and prediction."""

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """The loss of each sample of `[batch, d]`."""
        return 1 - ops.sum(_unit(y_true) * _unit(y_pred), axis=-1)


@keras.saving.register_keras_serializable("l3embedding")
class RelationalLoss(keras.losses.Loss):
    """Mean squared error, and Huber's loss of the batch's pairwise distances, in units of their mean."""

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """The loss of each sample of `[batch, d]`; its distances to all others count."""
        error = ops.abs(_relative_distances(y_pred) - _relative_distances(y_true))
        huber = ops.where(error <= 1, 0.5 * ops.square(error), error - 0.5)
        return ops.mean(ops.square(y_pred - y_true), axis=-1) + RELATIONAL_WEIGHT * ops.mean(huber, axis=-1)


def _unit(x: keras.KerasTensor) -> keras.KerasTensor:
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), _EPSILON))


def _relative_distances(x: keras.KerasTensor) -> keras.KerasTensor:
    """Distances between all rows of `[batch, d]`, over their mean: `[batch, batch]`."""
    squares = ops.sum(ops.square(x[:, None] - x[None, :]), axis=-1)
    # The root has no finite slope at 0, the distance of a row to itself.
    distances = ops.where(squares > 0, ops.sqrt(ops.maximum(squares, _EPSILON)), 0)
    return distances / ops.maximum(ops.mean(distances), _EPSILON)


LOSSES: Mapping[str, Callable[[NDArray[np.float32]], keras.losses.Loss]] = {
    "mse": lambda targets: keras.losses.MeanSquaredError(),
    "whitened_mse": WhitenedMSE.of,
    "cosine": lambda targets: Cosine(),
    "relational": lambda targets: RelationalLoss(),
}
"""Makes a loss of the training targets float32 `[n, d]`, whose variance `whitened_mse` needs."""
