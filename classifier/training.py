"""Training a classifier: by Adam in batches, or by L-BFGS on all clips at once.

Both keep the weights of the epoch with the lowest loss on the held-out clips. A training that is interrupted and
resumed ends bit for bit where an undisturbed one ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.classifier.clips import Clips
from l3embedding.classifier.lbfgs import GradientRecorder, minimize_lbfgs
from l3embedding.classifier.losses import (
    CooccurrenceLoss,
    cooccurrence_laplacian,
    masked_binary_crossentropy,
    masked_crossentropy,
)
from l3embedding.classifier.network import PROXIMITY, SENSOR, TAGS, Classifier
from l3embedding.settings import ClassifierSettings
from l3embedding.training import Callbacks, EarlyStopping, Pass, Row, Training, TrainingState, on_batch, split_batches
from l3embedding.utils.registry import look_up

logger = logging.getLogger(__name__)

_LOG_EPOCHS = 50
_PREDICT_CLIPS = 256

Batches = Callable[[NDArray[np.int64]], Pass]
"""Makes the training pass over clips in some order."""


def _run_adam(training: Training, batches: Batches, clips: NDArray[np.int64], seed: int) -> None:
    training.run(lambda epoch: batches(np.random.default_rng([seed, epoch + 1]).permutation(clips)))


def _run_lbfgs(training: Training, batches: Batches, clips: NDArray[np.int64], seed: int) -> None:
    minimize_lbfgs(training, batches(clips))


OPTIMIZERS: Mapping[str, tuple[Callable[[float], keras.optimizers.Optimizer], Callable[..., None]]] = {
    "adam": (keras.optimizers.Adam, _run_adam),
    "lbfgs": (lambda learning_rate: GradientRecorder(), _run_lbfgs),
}
"""Makes Keras' optimizer, and trains with it."""


def train(
    build: Callable[[], Classifier],
    clips: Clips,
    held_out: NDArray[np.bool_],
    settings: ClassifierSettings,
    seed: int,
    callbacks: Callbacks | None = None,
) -> tuple[Classifier, pd.DataFrame]:
    """Train a classifier, and keep the epoch of the lowest loss on the held-out clips.

    Parameters
    ----------
    build
        Builds the untrained classifier.
    clips
        With targets for each of its outputs.
    held_out
        bool, one per real clip: the clips that choose the epoch, and are not trained on.
    settings
        Optimizer, schedule and losses.
    seed
        Seed of the initial weights, of dropout and, with the epoch, of the order of the clips.
    callbacks
        The first epoch is never stopped, so that there is a history.

    Returns
    -------
    The classifier, and its history with one row per finished epoch.
    """
    callbacks = callbacks or Callbacks()
    keras.utils.set_random_seed(seed)
    classifier = build()
    model = classifier.trained
    # Synthetic clips follow the real ones, and none of them is held out.
    chosen = np.flatnonzero(~np.pad(held_out, (0, len(clips) - len(held_out))))
    _compile(classifier, clips.targets[TAGS][chosen], settings)
    state = TrainingState.restore(callbacks.checkpoint, model, settings.learning_rate)

    def batches(order: NDArray[np.int64], network: keras.Model, step: Callable[..., Row]) -> Pass:
        gather = partial(clips.batch, output=None if isinstance(network.output, Mapping) else TAGS)
        return Pass(split_batches(order, settings.batch_size), gather, on_batch(step))

    def keep(row: Row) -> None:
        if state.is_best("valid_loss"):
            state.best_weights = model.get_weights()
        if row["epoch"] % _LOG_EPOCHS == 0:
            losses = (row["train_loss"], row["valid_loss"])
            logger.info("epoch %d of %d: loss %.4f, held-out loss %.4f", row["epoch"], settings.epochs, *losses)

    after_an_epoch = replace(callbacks, should_stop=lambda: bool(state.history) and callbacks.should_stop())
    validation = batches(np.flatnonzero(held_out), classifier.tags, classifier.tags.test_on_batch)
    stopping = EarlyStopping(settings.epochs, settings.patience)
    training = Training(model, state, stopping, after_an_epoch, validation, keep)
    _, run = look_up(OPTIMIZERS, settings.optimizer, "classifier.optimizer")
    run(training, lambda order: batches(order, model, model.train_on_batch), chosen, seed)
    model.set_weights(state.best_weights)
    return classifier, pd.DataFrame(state.history)


def predict(classifier: Classifier, clips: Clips) -> NDArray[np.float32]:
    """Predict each clip's tags, float32 `[clips, tags]`."""
    batches = split_batches(np.arange(len(clips)), _PREDICT_CLIPS)
    return np.concatenate([np.asarray(classifier.clips.predict_on_batch(clips.inputs(batch))) for batch in batches])


def _compile(classifier: Classifier, targets: NDArray[np.float32], settings: ClassifierSettings) -> None:
    """Set the optimizer, the loss of the tags, and those of the auxiliary tasks by their factors."""
    loss = masked_binary_crossentropy
    if settings.cooccurrence_loss:
        laplacian = cooccurrence_laplacian(targets.reshape(-1, targets.shape[-1]))
        loss = CooccurrenceLoss(laplacian, settings.cooccurrence_loss_factor)
    make_optimizer, _ = look_up(OPTIMIZERS, settings.optimizer, "classifier.optimizer")
    optimizer = make_optimizer(settings.learning_rate)
    auxiliary = ((SENSOR, settings.sensor_factor), (PROXIMITY, settings.proximity_factor))
    if factors := {name: factor for name, factor in auxiliary if factor}:
        losses = {TAGS: loss} | dict.fromkeys(factors, masked_crossentropy)
        classifier.trained.compile(optimizer, losses, loss_weights={TAGS: 1.0} | factors, jit_compile=False)
        # The held-out clips choose the epoch by their tags alone.
        classifier.tags.compile(loss=loss, jit_compile=False)
    else:
        classifier.trained.compile(optimizer, loss, jit_compile=False)
    if classifier.clips is not classifier.trained:
        classifier.clips.compile(jit_compile=False)
