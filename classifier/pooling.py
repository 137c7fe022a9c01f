"""Pooling the predictions of frames into one of their clip."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

FrameAggregation = Literal["max", "mean", "softmax"]


@keras.saving.register_keras_serializable("classifier")
class AutoPool(keras.layers.Layer):
    """Pool `[batch, frames, classes]` over frames with softmax weights of learned sharpness.

    A class's alpha is 0 for the mean and grows towards the maximum; it starts at 1 and stays
    non-negative, so that it never turns to the minimum.

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

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """`[batch, classes]`."""
        return (input_shape[0], input_shape[-1])


@keras.saving.register_keras_serializable("classifier")
class AggregateFrames(keras.layers.Layer):
    """Pool `[batch, frames, ...]` over frames without learning how.

    Parameters
    ----------
    how
        `mean`, `max`, or `softmax`: the mean weighted by the softmax of the predictions themselves.
    """

    def __init__(self, how: FrameAggregation = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.how = how

    def call(self, predictions: keras.KerasTensor) -> keras.KerasTensor:
        """Pool."""
        if self.how == "softmax":
            return ops.sum(ops.softmax(predictions, axis=1) * predictions, axis=1)
        return (ops.max if self.how == "max" else ops.mean)(predictions, axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """`[batch, classes]`."""
        return (input_shape[0], *input_shape[2:])

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return super().get_config() | {"how": self.how}
