"""Distillation: a student learns to produce phi(teacher(x)) from x.

Training is a sequence of epochs, and all that a run needs to go on after any of them lies in its
folder:

================================  ====================================================================
`model_latest.keras`              the student after the last epoch, audio in, embedding out
`model_best_valid_loss.keras`     after the epoch of the lowest validation loss
`model_best_valid_mae.keras`      after the epoch of the lowest validation mean absolute error
`model_epoch_NNNN.keras`          every `checkpoint_interval` epochs
`history.csv`                     a row an epoch
`resume/`                         the network with its optimizer, and the state of the schedule
================================  ====================================================================

Since the order of the data is a function of the seed and the epoch (`l3embedding.distillation.pairs`), a run that
was killed ends where an undisturbed one ends. One that is asked to stop saves within the epoch. The
training in one folder can go on in another (`continue_training`), with more epochs or patience.

References
----------
Srivastava et al., Specialized Embedding Approximation for Edge Intelligence, ICASSP 2021.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from l3embedding.distillation.devices import ONE_DEVICE, Devices, Step
from l3embedding.distillation.losses import Distance, distillation_loss
from l3embedding.distillation.pairs import PairBatches, Pairs
from l3embedding.models.frontend import InputRepresentation
from l3embedding.models.networks import Precision, embedding_model, l3_audio_network, with_precision
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path, make_folder, read_json, write_json

logger = logging.getLogger(__name__)

PLATEAU_FACTOR = 0.1
"""The learning rate is multiplied by it on a plateau."""

_RESUME = "resume"
_STATISTICS_ROWS = 65_536
"""Targets whose spread stands for that of all."""

Logs = list[dict[str, float]]
"""Loss and metrics, a batch each."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a student is trained; the names are those of `l3embedding.jobs.experiment.Experiment`."""

    num_epochs: int
    train_epoch_size: int
    validation_epoch_size: int
    batch_size: int
    learning_rate: float
    patience: int
    min_delta: float
    plateau_patience: int
    checkpoint_interval: int
    random_state: int
    distillation_loss: Distance = "mse"
    precision: Precision = "float32"


@dataclass(frozen=True)
class Schedule:
    """Where training stands: early stopping and the learning rate, as pure data.

    Attributes
    ----------
    epoch
        Epochs that are finished.
    learning_rate
        For the next epoch.
    best_loss, best_mae
        Lowest validation loss and mean absolute error so far.
    reference_loss
        Validation loss of the last epoch that improved by more than `min_delta`.
    stale
        Epochs since then.
    plateau
        Epochs since then, or since the learning rate was last lowered.
    """

    epoch: int
    learning_rate: float
    best_loss: float = math.inf
    best_mae: float = math.inf
    reference_loss: float = math.inf
    stale: int = 0
    plateau: int = 0

    def after_epoch(self, valid_loss: float, valid_mae: float, settings: TrainingSettings) -> Schedule:
        """Return the schedule after an epoch with these validation results.

        Early stopping and the plateau rule are those of Keras' `EarlyStopping` and
        `ReduceLROnPlateau`, but survive a restart.
        """
        advanced = replace(
            self,
            epoch=self.epoch + 1,
            best_loss=min(self.best_loss, valid_loss),
            best_mae=min(self.best_mae, valid_mae),
        )
        if valid_loss < self.reference_loss - settings.min_delta:
            return replace(advanced, reference_loss=valid_loss, stale=0, plateau=0)
        if self.plateau + 1 < settings.plateau_patience:
            return replace(advanced, stale=self.stale + 1, plateau=self.plateau + 1)
        lowered = self.learning_rate * PLATEAU_FACTOR
        return replace(advanced, stale=self.stale + 1, plateau=0, learning_rate=lowered)

    def is_over(self, settings: TrainingSettings) -> bool:
        """Say whether training ends here."""
        return self.epoch >= settings.num_epochs or self.stale >= settings.patience


def build_student(
    representation: InputRepresentation, filters: tuple[int, ...], head: str, train: Pairs, random_state: int
) -> keras.Model:
    """Build an untrained student's network.

    Parameters
    ----------
    representation
        What it hears.
    filters
        Of each block; the last is the embedding's dimension.
    head
        `linear` or `relu`, see `l3embedding.models.networks`.
    train
        Their images set the statistics of the batch normalisation on the image: its moving averages
        would need hundreds of steps to travel from 0 to a typical -40 dB, and until then validation
        would judge a network that sees another image than training does.
    random_state
        Seed of the initial weights.
    """
    keras.utils.set_random_seed(random_state)
    network = l3_audio_network(representation.image_shape, filters=filters, head=head)
    images = train.images[:: max(1, len(train) // 1024)]
    normalization = next(layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
    normalization.moving_mean.assign(images.mean(axis=(0, 1, 2)))
    normalization.moving_variance.assign(images.var(axis=(0, 1, 2)))
    return network


def set_weights(network: keras.Model, of: keras.Model, name: str) -> None:
    """Give a network the weights of another of its shape; `name` is how an error calls that one.

    Raises
    ------
    InputError
        They differ in shape; the first weight that does is named.
    """
    ours, theirs = network.get_weights(), of.get_weights()
    for variable, mine, other in zip(network.weights, ours, theirs, strict=False):
        if mine.shape != other.shape:
            raise InputError(f"{name} is of another shape: {variable.path} is {other.shape} there, {mine.shape} here.")
    if len(ours) != len(theirs):
        raise InputError(f"{name} is of another shape: it has {len(theirs)} weights, not {len(ours)}.")
    network.set_weights(theirs)


def train_student(
    network: keras.Model,
    representation: InputRepresentation,
    train: Pairs,
    validate: Pairs,
    settings: TrainingSettings,
    output_dir: Path,
    should_stop: Callable[[], bool] = lambda: False,
    devices: Devices = ONE_DEVICE,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> pd.DataFrame:
    """Train a student's network, or go on where an earlier run in the same folder stopped.

    Parameters
    ----------
    network
        From `build_student`. Its weights are replaced by those of the earlier run, if there is one.
    representation
        What it hears; saved with it.
    train, validate
        What it learns from, and is judged on after each epoch.
    settings
        How.
    output_dir
        The folder described at the top of this module.
    should_stop
        Asked before each batch; if it says so, training saves where it stands and returns.
    devices
        What trains; `network` was built in their scope.
    on_epoch
        Takes each new row of the history, once it is saved.

    Returns
    -------
    The history, a row for each epoch that is finished.

    Raises
    ------
    InputError
        The loss is no longer a finite number, or the disk is full; the models of the epochs before it
        are kept. Or the folder holds the training of another network.
    """
    loss = distillation_loss(settings.distillation_loss, train.targets[:: max(1, len(train) // _STATISTICS_ROWS)])
    with devices.scope():
        if settings.precision != "float32":
            network = with_precision(network, settings.precision)
        schedule, history, logs = _take_up(network, loss, settings, output_dir)
    train_step, test_step = devices.steps(network)
    check = PairBatches(validate, settings.batch_size, settings.validation_epoch_size, settings.random_state, epoch=0)
    while not schedule.is_over(settings):
        batches = PairBatches(
            train, settings.batch_size, settings.train_epoch_size, settings.random_state, schedule.epoch
        )
        row = _run_epoch(train_step, test_step, batches, check, schedule, logs, should_stop)
        if row is None:
            if devices.is_chief:
                _save_state(network, schedule, history, logs, output_dir)
            logger.info("stopped in epoch %d, after %d of %d batches", schedule.epoch + 1, len(logs), len(batches))
            break
        if not math.isfinite(row["train_loss"] + row["valid_loss"]):
            raise InputError(
                f"The loss diverged in epoch {row['epoch']}; the models of earlier epochs are kept in {output_dir}. "
                f"Try a learning rate below {schedule.learning_rate:g}."
            )
        history.append(row)
        advanced = schedule.after_epoch(row["valid_loss"], row["valid_mae"], settings)
        logs = []
        if devices.is_chief:
            _save_models(network, representation, schedule, advanced, settings, output_dir)
            _save_state(network, advanced, history, logs, output_dir)
            on_epoch(row)
        schedule = advanced
        network.optimizer.learning_rate = schedule.learning_rate
        _say(row, schedule, settings)
    return pd.DataFrame(history)


def continue_training(earlier: Path, output_dir: Path) -> None:
    """Let the training in an earlier folder go on in another: optimizer, schedule, best models and history.

    Where `output_dir` holds training of its own already, that is what goes on.

    Raises
    ------
    InputError
        The earlier folder holds no training.
    """
    if not (earlier / _RESUME / "state.json").is_file():
        raise InputError(f"{earlier} holds no training that could go on: {_RESUME}/state.json is not there.")
    if (output_dir / _RESUME / "state.json").is_file():
        return
    for model in earlier.glob("model_*.keras"):
        with atomic_path(output_dir / model.name) as temporary:
            shutil.copyfile(model, temporary)
    # The state, which names the network, comes last.
    for path in sorted((earlier / _RESUME).glob("[!.]*"), reverse=True):
        with atomic_path(output_dir / _RESUME / path.name) as temporary:
            shutil.copyfile(path, temporary)


def mean_prediction_loss(train: Pairs, validate: Pairs) -> float:
    """Mean squared error of always predicting the mean training target: what any student must beat."""
    return float(np.mean(np.square(validate.targets - train.targets.mean(axis=0, dtype=np.float64))))


def _compile(network: keras.Model, loss: keras.losses.Loss, learning_rate: float) -> None:
    # XLA slows these small networks down on CPUs, by a third for Student 2; torch has none, and no list of devices.
    devices = [] if keras.backend.backend() == "torch" else keras.distribution.list_devices()
    on_gpu = any(device.startswith(("gpu", "cuda")) for device in devices)
    network.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=loss,
        metrics=["mse", "mae"],
        jit_compile="auto" if on_gpu else False,
    )


def _run_epoch(
    train_step: Step,
    test_step: Step,
    batches: PairBatches,
    check: PairBatches,
    schedule: Schedule,
    logs: Logs,
    should_stop: Callable[[], bool],
) -> dict[str, float] | None:
    """Go on with an epoch whose first batches gave `logs`; returns its row of the history, or None if stopped."""
    started = time.monotonic()
    taken_up = len(logs)
    _go_through(batches, train_step, f"epoch {schedule.epoch + 1}", logs, should_stop)
    seconds = time.monotonic() - started
    judged: Logs = []
    _go_through(check, test_step, "validation", judged, should_stop)
    if len(judged) < len(check):
        return None
    return {
        "epoch": schedule.epoch + 1,
        **{f"train_{name}": value for name, value in _mean(logs).items()},
        **{f"valid_{name}": value for name, value in _mean(judged).items()},
        "learning_rate": schedule.learning_rate,
        "samples_per_s": round((len(batches) - taken_up) * batches.batch_size / seconds, 1),
        "elapsed_s": round(time.monotonic() - started, 2),
    }


def _go_through(batches: PairBatches, step: Step, title: str, logs: Logs, should_stop: Callable[[], bool]) -> None:
    """Take a step on each batch that has no log yet, and add its own.

    Not Keras' `fit`, which waits up to five seconds at the end of an epoch for the thread that feeds it,
    and cannot be stopped and taken up between two batches.
    """
    # With `disable=None` there is a bar on a terminal only.
    with tqdm(total=len(batches), initial=len(logs), desc=title, unit=" batches", leave=False, disable=None) as bar:
        for batch in batches.ahead(len(logs)):
            if should_stop():
                return
            logs.append(step(*batch))
            bar.update()


def _mean(logs: Logs) -> dict[str, float]:
    """Average over batches, which are all of one size."""
    return {name: float(np.mean([log[name] for log in logs], dtype=np.float64)) for name in logs[0]}


def _save_models(
    network: keras.Model,
    representation: InputRepresentation,
    before: Schedule,
    after: Schedule,
    settings: TrainingSettings,
    output_dir: Path,
) -> None:
    names = ["model_latest"]
    if after.best_loss < before.best_loss:
        names.append("model_best_valid_loss")
    if after.best_mae < before.best_mae:
        names.append("model_best_valid_mae")
    if after.epoch % settings.checkpoint_interval == 0:
        names.append(f"model_epoch_{after.epoch:04d}")
    # A student is float32 whatever it was trained in: it is read, exported and quantised as such.
    student = embedding_model(representation, with_precision(network, "float32"))
    for name in names:
        with atomic_path(output_dir / f"{name}.keras") as temporary:
            student.save(temporary)


def _save_state(
    network: keras.Model, schedule: Schedule, history: list[dict[str, float]], logs: Logs, output_dir: Path
) -> None:
    """Save what the next batch needs; `state.json`, written last, names the network that belongs to it."""
    folder = make_folder(output_dir / _RESUME)
    checkpoint = folder / f"network-{schedule.epoch:04d}-{len(logs):05d}.keras"
    with atomic_path(checkpoint) as temporary:
        network.save(temporary)
    if history:
        with atomic_path(output_dir / "history.csv") as temporary:
            pd.DataFrame(history).to_csv(temporary, index=False)
    state = {"network": checkpoint.name, "schedule": asdict(schedule), "history": history, "logs": logs}
    write_json(folder / "state.json", state)
    for older in folder.glob("network-*.keras"):
        if older != checkpoint:
            older.unlink()


def _take_up(
    network: keras.Model, loss: keras.losses.Loss, settings: TrainingSettings, output_dir: Path
) -> tuple[Schedule, list[dict[str, float]], Logs]:
    """Compile a network, and put it where an earlier run in the folder stopped."""
    state_file = output_dir / _RESUME / "state.json"
    if not state_file.is_file():
        _compile(network, loss, settings.learning_rate)
        return Schedule(epoch=0, learning_rate=settings.learning_rate), [], []
    state = read_json(state_file)
    schedule = Schedule(**state["schedule"])
    logger.info("taking up after epoch %d and %d batches", schedule.epoch, len(state["logs"]))
    saved = keras.models.load_model(state_file.with_name(state["network"]))
    # Compiled afresh, since how to compile is this machine's choice; then the optimizer is put back.
    _compile(network, loss, schedule.learning_rate)
    set_weights(network, saved, f"the training in {output_dir}")
    network.optimizer.build(network.trainable_variables)
    saved.optimizer.learning_rate = schedule.learning_rate
    for variable, value in zip(network.optimizer.variables, saved.optimizer.variables, strict=True):
        variable.assign(value)
    return schedule, state["history"], state["logs"]


def _say(row: dict[str, float], schedule: Schedule, settings: TrainingSettings) -> None:
    left = tqdm.format_interval((settings.num_epochs - schedule.epoch) * row["elapsed_s"])
    best = " *" if row["valid_loss"] <= schedule.best_loss else ""
    logger.info(
        "epoch %d of %d: loss %.4f, validation loss %.4f, MAE %.4f%s; %.0f samples/s, at most %s left",
        row["epoch"],
        settings.num_epochs,
        row["train_loss"],
        row["valid_loss"],
        row["valid_mae"],
        best,
        row["samples_per_s"],
        left,
    )
