"""The losses of the classifier, which ignore unknown labels.

Targets are 0 and 1, and -1 where the label is not known. Predictions of frames have one axis more than those of clips;
their targets have an axis of length one in its place.

References
----------
github.com/sonyc-project/dcase2020task5-uststc-baseline: the masked loss of fine tags;
github.com/ksangeeta2429/embedding-approx: sensor, proximity and co-occurrence.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

UNKNOWN = -1.0
"""Target of a tag whose label is unknown."""


@keras.saving.register_keras_serializable("classifier")
def masked_binary_crossentropy(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """Binary cross-entropy, averaged over all tags; an unknown one contributes 0."""
    known = ops.cast(y_true >= 0, y_pred.dtype)
    target = ops.broadcast_to(ops.maximum(y_true, 0.0), ops.shape(y_pred))
    return ops.mean(known * ops.binary_crossentropy(target, y_pred), axis=-1)


@keras.saving.register_keras_serializable("classifier")
def masked_crossentropy(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """Cross-entropy over classes `[..., classes]`; targets are one-hot, or all 0 where unknown."""
    return -ops.sum(y_true * ops.log(ops.maximum(y_pred, keras.config.epsilon())), axis=-1)


class CooccurrenceLoss(keras.losses.Loss):
    """Masked binary cross-entropy, plus a cost for predicting co-occurring tags differently.

    With s the sum of a batch's predictions and L the result of `cooccurrence_laplacian`, the cost is
    `factor * s' L s`: the sum over pairs of tags of their frequency of co-occurrence times the squared difference
    of their sums. Predictions of frames are averaged over the clip first.
    """

    def __init__(self, laplacian: NDArray[np.float32], factor: float) -> None:
        super().__init__(name="cooccurrence_loss")
        self.laplacian, self.factor = laplacian, factor

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """The loss of each clip (or frame)."""
        clips = y_pred if len(y_pred.shape) == 2 else ops.mean(y_pred, axis=1)
        total = ops.sum(clips, axis=0)
        cost = ops.sum(total * ops.matmul(self.laplacian, ops.expand_dims(total, -1))[:, 0])
        return masked_binary_crossentropy(y_true, y_pred) + self.factor * cost


def cooccurrence_laplacian(targets: NDArray[np.floating]) -> NDArray[np.float32]:
    """The Laplacian D - A of the graph of co-occurring tags, float32 `[tags, tags]`.

    A is the fraction of clips that have both tags, and D the diagonal matrix of its column sums. The targets are 0, 1
    or -1, `[clips, tags]`.
    """
    present = (targets == 1).astype(np.float64)
    adjacency = present.T @ present / len(present)
    np.fill_diagonal(adjacency, 0)
    return (np.diag(adjacency.sum(axis=0)) - adjacency).astype(np.float32)
