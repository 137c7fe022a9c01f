"""The loop that trains every Keras model of the project: resumable, with early stopping and plateaus.

An interrupted training ends bit for bit where an undisturbed one ends, as long as the order of its batches is a
function of the epoch alone. All that the next batch needs is one `.npz` file, written whole or not at all: the
model's weights, its optimizer, the generators of its dropout layers, and the history.

This is not Keras' `fit`, which waits up to five seconds at the end of an epoch for the thread that feeds it, and
cannot be stopped and resumed between two batches.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path
from l3embedding.utils.parallel import map_ahead

logger = logging.getLogger(__name__)

PLATEAU_FACTOR = 0.1
"""Factor of the learning rate on a plateau."""
SAVE_S = 60.0
"""Least time between two saved states, where epochs are short."""

Arrays = NDArray[np.floating] | Mapping[str, NDArray[np.floating]]
Row = dict[str, float]
"""Losses and metrics, by name."""
Step = Callable[[Arrays, Arrays], Row]
"""Maps the inputs and targets of a batch to its loss and metrics."""


@dataclass(frozen=True)
class Callbacks:
    """Functions that a training calls, and the file of its state."""

    on_epoch: Callable[[Row], None] = lambda row: None  # called with each row of the history
    checkpoint: Path | None = None  # if it exists, training resumes from it
    should_stop: Callable[[], bool] = lambda: False  # asked before each batch; if true, training saves and returns


@dataclass(frozen=True)
class Pass:
    """One pass over batches, in their order."""

    rows: Sequence[NDArray[np.int64]]  # the samples of each batch
    gather: Callable[[NDArray[np.int64]], tuple[Arrays, Arrays]]  # from samples to inputs and targets
    step: Step  # trains or evaluates on a batch
    threads: int = 1  # gather batches while the step computes

    def ahead(self, first: int = 0) -> Iterator[tuple[Arrays, Arrays]]:
        """Gather batches from number `first` on, a few ahead of the step."""
        return map_ahead(self.gather, self.rows[first:], self.threads)


def split_batches(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Split an order of samples into batches; the last may be smaller."""
    return [order[start : start + size] for start in range(0, len(order), size)]


def on_batch(step: Callable[..., Any]) -> Step:
    """Make a step of Keras' `train_on_batch` or `test_on_batch`."""
    return lambda x, y: {name: float(value) for name, value in step(x, y, return_dict=True).items()}


@dataclass
class TrainingState:
    """How far a training has come, apart from the variables of its model."""

    learning_rate: float  # of the next epoch, unless the optimizer has a schedule of its own
    reference_loss: float = math.inf  # of the last epoch that improved by more than `EarlyStopping.min_delta`
    stale: int = 0  # epochs since then
    plateau: int = 0  # epochs since then, or since the learning rate was last lowered
    history: list[Row] = field(default_factory=list)  # one row per finished epoch
    logs: list[Row] = field(default_factory=list)  # one row per finished batch of the current epoch
    best_weights: list[NDArray[np.float32]] = field(default_factory=list)  # if the training keeps them in memory

    def is_best(self, name: str) -> bool:
        """Whether a column of the history is lowest in the last epoch, for the first time."""
        *earlier, last = (row[name] for row in self.history)
        return all(last < each for each in earlier)

    def save(self, path: Path, model: keras.Model) -> None:
        """Write the state and the variables of the model, whole or not at all."""
        groups = {"variable": map(keras.ops.convert_to_numpy, _variables(model)), "best": self.best_weights}
        arrays = {f"{name}_{index:04}": array for name, group in groups.items() for index, array in enumerate(group)}
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "best_weights"}
        with atomic_path(path) as temporary:
            np.savez(temporary, state=json.dumps(plain), **arrays)

    @classmethod
    def restore(cls, path: Path | None, model: keras.Model, learning_rate: float) -> TrainingState:
        """Read a saved state and a compiled model's variables; without a file, return the state of a new training."""
        # Otherwise its variables would only be made at the first step.
        model.optimizer.build(model.trainable_variables)
        if path is None or not path.is_file():
            return cls(learning_rate)
        with np.load(path, allow_pickle=False) as file:
            values, best = (
                [file[key] for key in sorted(file) if key.startswith(f"{name}_")] for name in ("variable", "best")
            )
            state = cls(**json.loads(str(file["state"])), best_weights=best)
        assign_all(_variables(model), values, f"the training in {path.parent}")
        logger.info("resuming after epoch %d and %d batches", len(state.history), len(state.logs))
        return state


def assign_all(variables: Sequence[Any], values: Sequence[NDArray[Any]], name: str) -> None:
    """Assign values to a network's variables; errors call their origin `name`.

    Raises
    ------
    InputError
        The values are of another network.
    """
    for variable, value in zip(variables, values, strict=False):
        if (shape := tuple(variable.shape)) != value.shape:
            raise InputError(f"{name} has another shape: {variable.path} is {value.shape} there, {shape} here.")
    if len(variables) != len(values):
        raise InputError(f"{name} has another shape: it has {len(values)} weights, not {len(variables)}.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _variables(model: keras.Model) -> list[Any]:
    """Weights, generators of dropout layers, and the optimizer's variables."""
    every = {id(variable): variable for variable in (*model.variables, *model.optimizer.variables)}
    # The running means that Keras keeps for its own log are reset at each step.
    running = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [variable for key, variable in every.items() if key not in running]


@dataclass(frozen=True)
class EarlyStopping:
    """When training ends and when the learning rate is lowered, by the rules of Keras' own callbacks.

    Those, `EarlyStopping` and `ReduceLROnPlateau`, forget their counts when a program ends.
    """

    epochs: int  # at most
    patience: int  # epochs without improvement before training ends
    min_delta: float = 0.0  # the least decrease of the loss that counts as improvement
    plateau_patience: int | None = None  # epochs without improvement before the learning rate is lowered; None: never

    def is_over(self, state: TrainingState) -> bool:
        """Whether training ends after the epochs so far."""
        return len(state.history) >= self.epochs or state.stale >= self.patience

    def count(self, state: TrainingState, loss: float) -> bool:
        """Count an epoch of this loss; return whether the learning rate was lowered."""
        if loss < state.reference_loss - self.min_delta:
            state.reference_loss, state.stale, state.plateau = loss, 0, 0
            return False
        state.stale, state.plateau = state.stale + 1, state.plateau + 1
        if self.plateau_patience is None or state.plateau < self.plateau_patience:
            return False
        state.learning_rate, state.plateau = state.learning_rate * PLATEAU_FACTOR, 0
        return True


@dataclass
class Training:
    """The training of a compiled model, whose state is from `TrainingState.restore`."""

    model: keras.Model
    state: TrainingState
    stopping: EarlyStopping
    callbacks: Callbacks
    validation: Pass | None = None  # after each epoch; without it, early stopping uses the training loss
    keep: Callable[[Row], None] = lambda row: None  # called with each row of the history before the state is saved
    save_s: float = SAVE_S
    timed: bool = False  # whether the history also has the learning rate, samples per second and seconds

    def run(self, batches: Callable[[int], Pass]) -> None:
        """Train until the end or a request to stop; `batches` makes the pass of an epoch, counted from 0."""
        state, saved = self.state, time.monotonic()
        while not self.stopping.is_over(state):
            epoch, started, resumed = len(state.history), time.monotonic(), len(state.logs)
            todo = batches(epoch)
            train = self._go_through(todo, state.logs, f"epoch {epoch + 1}")
            seconds = time.monotonic() - started
            valid = None if train is None else self.validate()
            if train is None or valid is None:
                logger.info("stopped in epoch %d, after %d of %d batches", epoch + 1, len(state.logs), len(todo.rows))
                self.save()
                return
            timing = {
                "learning_rate": state.learning_rate,
                "samples_per_s": round(sum(map(len, todo.rows[resumed:])) / seconds, 1),
                "elapsed_s": round(time.monotonic() - started, 2),
            }
            self.end_epoch(train, valid, timing if self.timed else {})
            if time.monotonic() - saved >= self.save_s:
                self.save()
                saved = time.monotonic()

    def save(self) -> None:
        """Save the state, if there is a file for it."""
        if self.callbacks.checkpoint:
            self.state.save(self.callbacks.checkpoint, self.model)

    def validate(self) -> Row | None:
        """Evaluate the model; return None after a request to stop."""
        return self._go_through(self.validation, [], "validation") if self.validation else {}

    def end_epoch(self, train: Row, valid: Row, timing: Row) -> None:
        """Add an epoch to the history; raise an `InputError` if its loss is not finite."""
        state, loss = self.state, valid.get("loss", train["loss"])
        epoch = len(state.history) + 1
        if not math.isfinite(train["loss"] + loss):
            raise InputError(
                f"The loss diverged in epoch {epoch}; what earlier epochs saved is kept. "
                f"Try a learning rate below {state.learning_rate:g}."
            )
        named = [{f"{split}_{name}": row[name] for name in row} for split, row in (("train", train), ("valid", valid))]
        state.history.append({"epoch": epoch, **named[0], **named[1], **timing})
        state.logs = []
        if self.stopping.count(state, loss):
            self.model.optimizer.learning_rate = state.learning_rate
        self.keep(state.history[-1])
        self.callbacks.on_epoch(state.history[-1])

    def _go_through(self, batches: Pass, logs: list[Row], title: str) -> Row | None:
        """Run the step on the batches without a log; return the mean over samples, or None after a request to stop."""
        # `disable=None` shows a bar on a terminal only, and `delay` none for short epochs.
        options: dict[str, Any] = {"unit": " batches", "leave": False, "disable": None, "delay": 1}
        with tqdm(total=len(batches.rows), initial=len(logs), desc=title, **options) as bar:
            for inputs, targets in batches.ahead(len(logs)):
                if self.callbacks.should_stop():
                    return None
                logs.append(batches.step(inputs, targets))
                bar.update()
        sizes = list(map(len, batches.rows))
        return {name: float(np.average([log[name] for log in logs], weights=sizes)) for name in logs[0]}
