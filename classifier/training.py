"""Training a classifier: by Adam, batch by batch, or by L-BFGS, all clips at once.

Either way the epoch of the lowest loss on the clips held out is kept, training can be stopped after any
epoch, and one that is taken up ends bit for bit where an undisturbed one ends.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.classifier.clips import Clips
from l3embedding.classifier.losses import (
    CooccurrenceLoss,
    cooccurrence_laplacian,
    masked_binary_crossentropy,
    masked_crossentropy,
)
from l3embedding.classifier.network import PROXIMITY, SENSOR, TAGS, Classifier
from l3embedding.settings import ClassifierSettings
from l3embedding.utils.files import atomic_path
from l3embedding.utils.parallel import map_ahead

logger = logging.getLogger(__name__)

Row = dict[str, float]

_LOG_EPOCHS = 50
_SAVE_S = 60.0
_PREDICT_CLIPS = 256


@dataclass(frozen=True)
class Callbacks:
    """Who looks on while a classifier is trained.

    Attributes
    ----------
    on_epoch
        Takes each row of the history when its epoch ends.
    checkpoint
        File that keeps, once a minute, where training stands; if it is there, training goes on from it.
    should_stop
        Asked after each epoch; if it says so, training saves where it stands and returns.
    """

    on_epoch: Callable[[Row], None] = lambda row: None
    checkpoint: Path | None = None
    should_stop: Callable[[], bool] = lambda: False


def train(
    build: Callable[[], Classifier],
    clips: Clips,
    held_out: NDArray[np.bool_],
    settings: ClassifierSettings,
    seed: int,
    callbacks: Callbacks | None = None,
) -> tuple[Classifier, pd.DataFrame]:
    """Train a classifier, and keep the epoch of the lowest loss on the clips held out.

    The order of the clips is a function of the seed and the epoch.

    Parameters
    ----------
    build
        Builds it, untrained.
    clips
        With targets for each of its outputs.
    held_out
        bool, of the real clips: those that choose the epoch, and are not learned from.
    settings
        How.
    seed
        Of the initial weights, of the order of the clips and of dropout.
    callbacks
        Called while training goes on.

    Returns
    -------
    The classifier, and its history with a row for each epoch that is finished.
    """
    watch = callbacks or Callbacks()
    keras.utils.set_random_seed(seed)
    classifier = build()
    learned = np.flatnonzero(~np.pad(held_out, (0, len(clips) - len(held_out))))
    _compile(classifier, clips.targets[TAGS][learned], settings)
    stand = Stand.load(watch.checkpoint, classifier.trained) if watch.checkpoint else None
    if stand is None:
        stand = Stand([], classifier.trained.get_weights())
    work = Training(classifier, clips, learned, np.flatnonzero(held_out), settings, seed, watch, stand)
    if settings.optimizer == "lbfgs":
        from l3embedding.classifier.lbfgs import run_lbfgs

        run_lbfgs(work)
    else:
        _run_adam(work)
    classifier.trained.set_weights(stand.best_weights)
    return classifier, pd.DataFrame(stand.history)


def predict(classifier: Classifier, clips: Clips) -> NDArray[np.float32]:
    """Predict each clip's tags, float32 `[clips, tags]`."""
    index = np.arange(len(clips))
    batches = [index[start : start + _PREDICT_CLIPS] for start in range(0, len(index), _PREDICT_CLIPS)]
    return np.concatenate([np.asarray(classifier.clips.predict_on_batch(clips.inputs(batch))) for batch in batches])


@dataclass
class Stand:
    """Where training stands.

    Attributes
    ----------
    history
        A row an epoch.
    best_weights
        Of the epoch of the lowest held-out loss.
    """

    history: list[Row]
    best_weights: list[NDArray[np.float32]]

    @property
    def stale(self) -> int:
        """Epochs since the best one."""
        losses = [row["valid_loss"] for row in self.history]
        return len(losses) - 1 - int(np.argmin(losses)) if losses else 0

    def is_over(self, settings: ClassifierSettings) -> bool:
        """Say whether training ends here."""
        return len(self.history) >= settings.epochs or self.stale >= settings.patience

    def add(self, row: Row, model: keras.Model) -> None:
        """Add an epoch, and keep its weights if it is the best."""
        self.history.append(row)
        if self.stale == 0:
            self.best_weights = model.get_weights()

    def save(self, path: Path, model: keras.Model) -> None:
        """Write all that the next epoch needs, whole or not at all."""
        state = [keras.ops.convert_to_numpy(variable) for variable in _unseen_state(model)]
        groups = {"weights": model.get_weights(), "optimizer": state, "best": self.best_weights}
        arrays = {f"{name}_{index:03}": array for name, group in groups.items() for index, array in enumerate(group)}
        with atomic_path(path) as temporary:
            np.savez(temporary, history=json.dumps(self.history), **arrays)

    @classmethod
    def load(cls, path: Path, model: keras.Model) -> Stand | None:
        """Read what `save` wrote, and put the model back to it; None if there is nothing."""
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as file:
            weights, state, best = (
                [file[key] for key in sorted(file) if key.startswith(name)] for name in ("weights", "optimizer", "best")
            )
            history = json.loads(str(file["history"]))
        model.set_weights(weights)
        for variable, value in zip(_unseen_state(model), state, strict=True):
            variable.assign(value)
        logger.info("taking up after epoch %d", len(history))
        return cls(history, best)


def _unseen_state(model: keras.Model) -> list[Any]:
    """What training changes beside the weights: the optimizer's variables, and dropout's generators."""
    weights = {id(variable) for variable in model.weights}
    # The means that Keras keeps for its own log are reset at each step.
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    others = [each for each in model.variables if id(each) not in weights | metrics]
    optimizer = {id(variable) for variable in model.optimizer.variables}
    return [*model.optimizer.variables, *(each for each in others if id(each) not in optimizer)]


@dataclass(frozen=True)
class Training:
    """A training that is under way.

    Attributes
    ----------
    classifier, clips, settings, seed, watch
        As `train` takes them, or makes them.
    learned
        The clips that are learned from, int64; the synthetic ones, behind the real, are among them.
    held_out
        Those that choose the epoch, int64.
    stand
        How far it is.
    """

    classifier: Classifier
    clips: Clips
    learned: NDArray[np.int64]
    held_out: NDArray[np.int64]
    settings: ClassifierSettings
    seed: int
    watch: Callbacks
    stand: Stand

    def train_loss(self, order: NDArray[np.int64]) -> float:
        """Take a step on each batch of clips; returns the mean loss of a clip."""
        model = self.classifier.trained
        return self._mean(model.train_on_batch, order, single=not isinstance(model.output, Mapping))

    def valid_loss(self) -> float:
        """The mean loss of the tags of a clip held out."""
        return self._mean(self.classifier.tags.test_on_batch, self.held_out, single=True)

    def _mean(self, step: Callable[..., Row], order: NDArray[np.int64], single: bool) -> float:
        batches = self.batches(order)
        # The next batches are gathered while the network computes.
        losses = [
            float(step(inputs, targets[TAGS] if single else targets, return_dict=True)["loss"])
            for inputs, targets in map_ahead(self.clips.batch, batches, 1)
        ]
        return float(np.average(losses, weights=[len(batch) for batch in batches]))

    def batches(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut an order of clips into batches."""
        size = self.settings.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def end_epoch(self, train_loss: float) -> None:
        """Write down an epoch."""
        epoch = len(self.stand.history) + 1
        row = {"epoch": epoch, "train_loss": train_loss, "valid_loss": self.valid_loss()}
        self.stand.add(row, self.classifier.trained)
        self.watch.on_epoch(row)
        if epoch % _LOG_EPOCHS == 0:
            losses = (row["train_loss"], row["valid_loss"])
            logger.info("epoch %d of %d: loss %.4f, held-out loss %.4f", epoch, self.settings.epochs, *losses)


def _run_adam(work: Training) -> None:
    stand, watch = work.stand, work.watch
    saved = time.monotonic()
    while not stand.is_over(work.settings):
        rng = np.random.default_rng([work.seed, len(stand.history) + 1])
        work.end_epoch(work.train_loss(rng.permutation(work.learned)))
        stop = watch.should_stop()
        if watch.checkpoint and (stop or time.monotonic() - saved > _SAVE_S):
            stand.save(watch.checkpoint, work.classifier.trained)
            saved = time.monotonic()
        if stop:
            break


def _compile(classifier: Classifier, targets: NDArray[np.float32], settings: ClassifierSettings) -> None:
    """Say what is minimised: the loss of the tags, and those of the auxiliary tasks by their factors."""
    loss = masked_binary_crossentropy
    if settings.cooccurrence_loss:
        laplacian = cooccurrence_laplacian(targets.reshape(-1, targets.shape[-1]))
        loss = CooccurrenceLoss(laplacian, settings.cooccurrence_loss_factor)
    optimizer = keras.optimizers.Adam(settings.learning_rate)
    if settings.optimizer == "lbfgs":
        from l3embedding.classifier.lbfgs import GradientRecorder

        optimizer = GradientRecorder()
    factors = {SENSOR: settings.sensor_factor, PROXIMITY: settings.proximity_factor}
    factors = {name: factor for name, factor in factors.items() if factor}
    if factors:
        losses = {TAGS: loss} | dict.fromkeys(factors, masked_crossentropy)
        classifier.trained.compile(optimizer, losses, loss_weights={TAGS: 1.0} | factors, jit_compile=False)
        classifier.tags.compile(loss=loss, jit_compile=False)
    else:
        classifier.trained.compile(optimizer, loss, jit_compile=False)
    classifier.trained.optimizer.build(classifier.trained.trainable_variables)
    if classifier.clips is not classifier.trained:
        classifier.clips.compile(jit_compile=False)
