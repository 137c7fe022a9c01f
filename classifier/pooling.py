"""Pooling of frame predictions into one prediction per clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from l3embedding.utils.registry import look_up


def _softmax_mean(predictions: keras.KerasTensor, axis: int) -> keras.KerasTensor:
    """The mean, weighted by the softmax of the predictions themselves."""
    return ops.sum(ops.softmax(predictions, axis=axis) * predictions, axis=axis)


AGGREGATIONS: Mapping[str, Callable[..., keras.KerasTensor]] = {
    "max": ops.max,
    "mean": ops.mean,
    "softmax": _softmax_mean,
}


@keras.saving.register_keras_serializable("classifier")
class AutoPool(keras.layers.Layer):
    """Pool `[batch, frames, classes]` over frames with softmax weights of trainable sharpness.

    A class's alpha is 0 for the mean and grows towards the maximum. It starts at 1 and is constrained to be
    non-negative, since below 0 pooling would tend to the minimum.

    References
    ----------
    McFee, Salamon and Bello, Adaptive pooling operators for weakly labeled sound event detection,
    IEEE/ACM TASLP 26(11), 2018.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make alpha `[classes]`."""
        self.alpha = self.add_weight(
            shape=(input_shape[-1],), initializer="ones", constraint=keras.constraints.NonNeg(), name="alpha"
        )

    def call(self, predictions: keras.KerasTensor) -> keras.KerasTensor:
        """Pool."""
        weights = ops.softmax(self.alpha * predictions, axis=1)
        return ops.sum(weights * predictions, axis=1)


@keras.saving.register_keras_serializable("classifier")
class AggregateFrames(keras.layers.Layer):
    """Pool `[batch, frames, ...]` over frames in a fixed way, one of `AGGREGATIONS`.

    Raises
    ------
    InputError
        The way is unknown.
    """

    def __init__(self, how: str = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.how, self._aggregate = how, look_up(AGGREGATIONS, how, "classifier.frame_aggregation")

    def call(self, predictions: keras.KerasTensor) -> keras.KerasTensor:
        """Pool."""
        return self._aggregate(predictions, axis=1)

    def get_config(self) -> dict[str, Any]:
        """Arguments for `from_config`."""
        return super().get_config() | {"how": self.how}
