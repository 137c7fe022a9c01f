"""Distillation: training the student to produce phi(teacher(x)) from x.

phi is the reduction from the teacher's embedding to the student's dimension. A training's folder holds:

================================  ====================================================================
`model_latest.keras`              the student after the last epoch, audio in, embedding out
`model_best_valid_loss.keras`     after the epoch of the lowest validation loss
`model_best_valid_mae.keras`      after the epoch of the lowest validation mean absolute error
`model_epoch_NNNN.keras`          every `checkpoint_interval` epochs
`history.csv`                     one row per epoch
`resume.npz`                      the state that training resumes from (`l3embedding.training`)
================================  ====================================================================

The order of the data is a function of the seed and the epoch (`l3embedding.distillation.pairs`), so an interrupted
run ends where an undisturbed one ends, even if it was stopped within an epoch. A training can be continued in another
folder (`continue_training`), with more epochs or patience.

References
----------
Srivastava et al., Specialized Embedding Approximation for Edge Intelligence, ICASSP 2021.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from l3embedding.distillation.devices import ONE_DEVICE, Devices
from l3embedding.distillation.losses import LOSSES
from l3embedding.distillation.pairs import Pairs, epoch_rows
from l3embedding.models.frontend import InputRepresentation, student_representation
from l3embedding.models.networks import embedding_model, l3_audio_network, with_precision
from l3embedding.settings import DistillationSettings, StudentSettings
from l3embedding.training import Callbacks, EarlyStopping, Pass, Row, Step, Training, TrainingState
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path, write_text
from l3embedding.utils.registry import look_up

logger = logging.getLogger(__name__)

RESUME = "resume.npz"

_STATISTICS_ROWS = 65_536
"""Number of targets from which the variance of all is estimated."""


def build_student(student: StudentSettings, train: Pairs, random_state: int) -> keras.Model:
    """Build an untrained student's network, image to embedding; the images of `train` set its normalisation.

    Raises
    ------
    InputError
        The dimension is none of the paper's, and no filters are set.
    """
    keras.utils.set_random_seed(random_state)
    network = l3_audio_network(student_representation(student).image_shape, filters=student.blocks, head=student.head)
    # The moving averages would need hundreds of steps to get from 0 to a typical -40 dB; until then, the network that
    # is validated would differ from the one that is trained.
    images = train.images[:: max(1, len(train) // 1024)]
    normalization = next(layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
    normalization.moving_mean.assign(images.mean(axis=(0, 1, 2)))
    normalization.moving_variance.assign(images.var(axis=(0, 1, 2)))
    return network


def train_student(
    network: keras.Model,
    representation: InputRepresentation,
    train: Pairs,
    validate: Pairs,
    settings: DistillationSettings,
    random_state: int,
    output_dir: Path,
    callbacks: Callbacks | None = None,
    devices: Devices = ONE_DEVICE,
) -> pd.DataFrame:
    """Train a student's network, or resume an earlier run in the same folder.

    Parameters
    ----------
    network
        From `build_student`, in the scope of `devices`. If there is an earlier run, its weights replace the network's.
    representation
        The network's input representation, which is saved with it.
    train, validate
        Training data, and data to evaluate on after each epoch.
    settings
        Loss, schedule and precision.
    random_state
        Seed of the order of the batches.
    output_dir
        The folder described at the top of this module.
    callbacks
        Their checkpoint is ignored: the state is saved in `output_dir` after each epoch.
    devices
        The devices to train on.

    Returns
    -------
    The history, one row per finished epoch.

    Raises
    ------
    InputError
        The loss diverged, or the disk is full; the models of earlier epochs are kept. Or the folder holds the
        training of another network.
    """
    loss = look_up(LOSSES, settings.loss, "distillation.loss")(train.targets[:: max(1, len(train) // _STATISTICS_ROWS)])
    with devices.scope():
        if settings.precision != "float32":
            network = with_precision(network, settings.precision)
        _compile(network, loss, settings.learning_rate)
        state = TrainingState.restore(output_dir / RESUME, network, settings.learning_rate)
    train_step, test_step = devices.steps(network)

    def batches(pairs: Pairs, step: Step, epoch_size: int, epoch: int) -> Pass:
        rows = epoch_rows(len(pairs), settings.batch_size, epoch_size, random_state, epoch)
        return Pass(rows, pairs.batch, step, threads=2)

    def keep(row: Row) -> None:
        if devices.is_chief:
            _save_models(network, representation, state, settings.checkpoint_interval, output_dir)
        left = tqdm.format_interval((settings.epochs - row["epoch"]) * row["elapsed_s"])
        star = " *" if state.is_best("valid_loss") else ""
        logger.info(
            "epoch %(epoch)d of %(epochs)d: loss %(train_loss).4f, validation loss %(valid_loss).4f, "
            "MAE %(valid_mae).4f%(star)s; %(samples_per_s).0f samples/s, at most %(left)s left",
            row | {"epochs": settings.epochs, "star": star, "left": left},
        )

    callbacks = callbacks or Callbacks()
    if devices.is_chief:
        callbacks = replace(callbacks, checkpoint=output_dir / RESUME)
    else:
        callbacks = Callbacks(should_stop=callbacks.should_stop)
    stopping = EarlyStopping(settings.epochs, settings.patience, settings.min_delta, settings.plateau_patience)
    # The student is validated on the same batches after every epoch.
    validation = batches(validate, test_step, settings.validation_epoch_size, 0)
    training = Training(network, state, stopping, callbacks, validation, keep, save_s=0, timed=True)
    training.run(lambda epoch: batches(train, train_step, settings.train_epoch_size, epoch))
    return pd.DataFrame(state.history)


def continue_training(earlier: Path, output_dir: Path) -> None:
    """Continue the training of an earlier folder in another: optimizer, schedule, best models and history.

    If `output_dir` holds a training of its own already, that one is resumed.

    Raises
    ------
    InputError
        The earlier folder holds no training.
    """
    if not (earlier / RESUME).is_file():
        raise InputError(f"{earlier} holds no training to continue: {RESUME} is missing.")
    if (output_dir / RESUME).is_file():
        return
    # The state comes last: with it, the copy is complete.
    for path in [*earlier.glob("model_*.keras"), *earlier.glob("history.csv"), earlier / RESUME]:
        with atomic_path(output_dir / path.name) as temporary:
            shutil.copyfile(path, temporary)


def mean_prediction_loss(train: Pairs, validate: Pairs) -> float:
    """Mean squared error of always predicting the mean training target, which a student must beat."""
    return float(np.mean(np.square(validate.targets - train.targets.mean(axis=0, dtype=np.float64))))


def _compile(network: keras.Model, loss: keras.losses.Loss, learning_rate: float) -> None:
    # XLA slows these small networks down on CPUs, by a third for Student 2; torch has none, and no list of devices.
    devices = [] if keras.backend.backend() == "torch" else keras.distribution.list_devices()
    on_gpu = any(device.startswith(("gpu", "cuda")) for device in devices)
    optimizer = keras.optimizers.Adam(learning_rate)
    network.compile(optimizer, loss, metrics=["mse", "mae"], jit_compile="auto" if on_gpu else False)


def _save_models(
    network: keras.Model, representation: InputRepresentation, state: TrainingState, interval: int, output_dir: Path
) -> None:
    epoch = len(state.history)
    names = ["model_latest", *(f"model_best_{name}" for name in ("valid_loss", "valid_mae") if state.is_best(name))]
    if epoch % interval == 0:
        names.append(f"model_epoch_{epoch:04d}")
    # A student is float32 whatever it was trained in: it is read, exported and quantised as such.
    student = embedding_model(representation, with_precision(network, "float32"))
    for name in names:
        with atomic_path(output_dir / f"{name}.keras") as temporary:
            student.save(temporary)
    write_text(output_dir / "history.csv", pd.DataFrame(state.history).to_csv(index=False))
