"""The multi-label classifier: multiple-instance learning on the frames of a clip.

Each frame goes through the same small network, and AutoPool makes one prediction of those of all
frames, so that weak labels, of the clip, suffice.

References
----------
Cartwright et al., SONYC Urban Sound Tagging, DCASE 2019 workshop: the baseline.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from keras import layers
from numpy.typing import NDArray

from classifier.autopool import AutoPool
from data.files import atomic_path

logger = logging.getLogger(__name__)

_LOG_EPOCHS = 50
_SAVE_S = 60.0


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
    checkpoint: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train the classifier, and keep the epoch of the lowest loss on the clips held out.

    The order of the clips is a function of the seed and the epoch, so that a run which is taken up ends
    where an undisturbed one ends.

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
    checkpoint
        File that keeps, once a minute, where training stands; if it is there, training goes on from it.
    should_stop
        Asked after each epoch; if it says so, training saves where it stands and returns.

    Returns
    -------
    The classifier, and its history with a row for each epoch that is finished.
    """
    keras.utils.set_random_seed(seed)
    model = mil_model(features.shape[-1], targets.shape[-1], settings)
    model.compile(keras.optimizers.Adam(settings.learning_rate), loss="binary_crossentropy", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    stand = _Stand.load(checkpoint, model) if checkpoint and checkpoint.is_file() else _Stand([], model.get_weights())
    train, judged = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    saved = time.monotonic()
    while len(stand.history) < settings.num_epochs and stand.stale < settings.patience:
        epoch = len(stand.history) + 1
        order = train[np.random.default_rng([seed, epoch]).permutation(len(train))]
        row = {
            "epoch": epoch,
            "train_loss": _mean_loss(model.train_on_batch, features, targets, order, settings.batch_size),
            "valid_loss": _mean_loss(model.test_on_batch, features, targets, judged, settings.batch_size),
        }
        stand.add(row, model)
        on_epoch(row)
        if epoch % _LOG_EPOCHS == 0:
            losses = (row["train_loss"], row["valid_loss"])
            logger.info("epoch %d of %d: loss %.4f, held-out loss %.4f", epoch, settings.num_epochs, *losses)
        stop = should_stop()
        if checkpoint and (stop or time.monotonic() - saved > _SAVE_S):
            stand.save(checkpoint, model)
            saved = time.monotonic()
        if stop:
            break
    model.set_weights(stand.best_weights)
    return model, pd.DataFrame(stand.history)


@dataclass
class _Stand:
    """Where training stands.

    Attributes
    ----------
    history
        A row an epoch.
    best_weights
        Of the epoch of the lowest held-out loss.
    """

    history: list[dict[str, float]]
    best_weights: list[NDArray[np.float32]]

    @property
    def stale(self) -> int:
        """Epochs since the best one."""
        losses = [row["valid_loss"] for row in self.history]
        return len(losses) - 1 - int(np.argmin(losses)) if losses else 0

    def add(self, row: dict[str, float], model: keras.Model) -> None:
        """Add an epoch, and keep its weights if it is the best."""
        self.history.append(row)
        if self.stale == 0:
            self.best_weights = model.get_weights()

    def save(self, path: Path, model: keras.Model) -> None:
        """Write all that the next epoch needs, whole or not at all."""
        state = [np.asarray(variable) for variable in model.optimizer.variables]
        groups = {"weights": model.get_weights(), "optimizer": state, "best": self.best_weights}
        arrays = {f"{name}_{index:03}": array for name, group in groups.items() for index, array in enumerate(group)}
        with atomic_path(path) as temporary:
            np.savez(temporary, history=json.dumps(self.history), **arrays)

    @classmethod
    def load(cls, path: Path, model: keras.Model) -> _Stand:
        """Read what `save` wrote, and put the model back to it."""
        with np.load(path, allow_pickle=False) as file:
            weights, state, best = (
                [file[key] for key in sorted(file) if key.startswith(name)] for name in ("weights", "optimizer", "best")
            )
            history = json.loads(str(file["history"]))
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, state, strict=True):
            variable.assign(value)
        logger.info("taking up after epoch %d", len(history))
        return cls(history, best)


def _mean_loss(
    step: Callable[..., float],
    features: NDArray[np.float32],
    targets: NDArray[np.float32],
    clips: NDArray[np.int64],
    batch_size: int,
) -> float:
    """Take a step on each batch of clips; returns the mean loss of a clip."""
    batches = [clips[start : start + batch_size] for start in range(0, len(clips), batch_size)]
    losses = [float(np.squeeze(step(features[batch], targets[batch]))) for batch in batches]
    return float(np.average(losses, weights=[len(batch) for batch in batches]))


def prior_prediction(targets: NDArray[np.float32], n: int) -> NDArray[np.float64]:
    """Predict each class's frequency for every clip, `[n, classes]`: what any classifier must beat."""
    return np.tile(targets.mean(axis=0, dtype=np.float64), (n, 1))
