"""AutoPool: pooling over time that learns, class by class, where between mean and maximum to lie."""

from __future__ import annotations

import keras
from keras import ops


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
