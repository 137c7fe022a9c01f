"""The multi-label classifier: multiple-instance learning on the frames of a clip.

Each frame goes through the same small network, and AutoPool makes one prediction of those of all
frames, so that weak labels, of the clip, suffice.

References
----------
Cartwright et al., SONYC Urban Sound Tagging, DCASE 2019 workshop: the baseline.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from keras import layers
from numpy.typing import NDArray

from classifier.autopool import AutoPool

logger = logging.getLogger(__name__)

_LOG_EPOCHS = 50


@dataclass(frozen=True)
class MilSettings:
    """How the classifier is built and trained.

    Attributes
    ----------
    num_hidden_layers, hidden_layer_size
        Of the network that each frame goes through.
    num_epochs, patience
        Epochs at most, and without improvement before training stops.
    batch_size
        Clips.
    learning_rate
        Adam's.
    l2_reg
        L2 regularisation of the kernels.
    """

    num_hidden_layers: int = 2
    hidden_layer_size: int = 128
    num_epochs: int = 1500
    patience: int = 1500
    batch_size: int = 64
    learning_rate: float = 1e-4
    l2_reg: float = 1e-5


@dataclass(frozen=True)
class Standardizer:
    """Subtracts the mean and divides by the spread of each embedding dimension, float32 `[d]` each."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def fit(cls, features: NDArray[np.float32]) -> Standardizer:
        """Measure features `[clips, frames, d]`; the scale of a constant dimension is 1."""
        spread = features.std(axis=(0, 1), dtype=np.float64)
        scale = np.where(spread > 0, spread, 1)
        return cls(features.mean(axis=(0, 1), dtype=np.float64).astype(np.float32), scale.astype(np.float32))

    def transform(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardise features `[..., d]`."""
        return (features - self.mean) / self.scale


def mil_model(embedding_size: int, n_classes: int, settings: MilSettings) -> keras.Model:
    """Build the classifier: embeddings `[batch, frames, d]` to probabilities `[batch, classes]`."""
    regularizer = keras.regularizers.L2(settings.l2_reg)
    frames = keras.Input((None, embedding_size), name="frames")
    x = frames
    for index in range(1, settings.num_hidden_layers + 1):
        x = layers.Dense(
            settings.hidden_layer_size, activation="relu", kernel_regularizer=regularizer, name=f"hidden_{index}"
        )(x)
    x = layers.Dense(n_classes, activation="sigmoid", kernel_regularizer=regularizer, name="frame_prediction")(x)
    return keras.Model(frames, AutoPool(name="autopool")(x), name="mil")


def train_mil(
    features: NDArray[np.float32],
    targets: NDArray[np.float32],
    settings: MilSettings,
    seed: int,
    held_out: NDArray[np.bool_],
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train the classifier, and keep the epoch of the lowest loss on the clips held out.

    Parameters
    ----------
    features
        float32 `[clips, frames, d]`.
    targets
        0 or 1, float32 `[clips, classes]`.
    settings
        How.
    seed
        Of the initial weights and of the order of the clips.
    held_out
        bool `[clips]`: those that choose the epoch, and are not learned from.
    on_epoch
        Takes each row of the history when its epoch ends.

    Returns
    -------
    The classifier, and its history with a row an epoch.
    """
    keras.utils.set_random_seed(seed)
    model = mil_model(features.shape[-1], targets.shape[-1], settings)
    model.compile(keras.optimizers.Adam(settings.learning_rate), loss="binary_crossentropy", jit_compile=False)
    stop = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=settings.patience, restore_best_weights=True, start_from_epoch=0
    )
    history = model.fit(
        features[~held_out],
        targets[~held_out],
        validation_data=(features[held_out], targets[held_out]),
        epochs=settings.num_epochs,
        batch_size=settings.batch_size,
        verbose=0,
        callbacks=[stop, _EpochLines(settings.num_epochs, on_epoch)],
    ).history
    # Keras restores the best weights only if it stopped early.
    model.set_weights(stop.best_weights)
    table = pd.DataFrame(history).rename(columns={"loss": "train_loss", "val_loss": "valid_loss"})
    table.insert(0, "epoch", np.arange(1, len(table) + 1))
    return model, table


def prior_prediction(targets: NDArray[np.float32], n: int) -> NDArray[np.float64]:
    """Predict each class's frequency for every clip, `[n, classes]`: what any classifier must beat."""
    return np.tile(targets.mean(axis=0, dtype=np.float64), (n, 1))


class _EpochLines(keras.callbacks.Callback):
    """Every epoch told to whom it concerns, and a line in the log now and then."""

    def __init__(self, num_epochs: int, on_epoch: Callable[[dict[str, float]], None]) -> None:
        super().__init__()
        self._num_epochs = num_epochs
        self._on_epoch = on_epoch

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        logs = logs or {}
        self._on_epoch({"epoch": epoch + 1, "train_loss": float(logs["loss"]), "valid_loss": float(logs["val_loss"])})
        if (epoch + 1) % _LOG_EPOCHS == 0:
            logger.info(
                "epoch %d of %d: loss %.4f, held-out loss %.4f",
                epoch + 1,
                self._num_epochs,
                logs["loss"],
                logs["val_loss"],
            )
