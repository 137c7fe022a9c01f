"""L-BFGS on all clips at once, by SciPy; Keras computes the gradient, with any backend.

SciPy's memory of the last steps cannot be saved. So it is dropped every few iterations, and only there the state is
saved: a training that is resumed repeats the iterations since then, and ends as an undisturbed one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize

from l3embedding.training import Pass, Training

logger = logging.getLogger(__name__)

_ITERATIONS_OF_MEMORY = 50


class GradientRecorder(keras.optimizers.Optimizer):
    """An optimizer that changes nothing, but adds up the gradients of the batches, weighted by `learning_rate`.

    Keras has no function for the gradient of a model that works with every backend; its optimizers do.
    """

    def __init__(self) -> None:
        super().__init__(learning_rate=1.0, name="gradient_recorder")

    def build(self, variables: list[Any]) -> None:
        if not self.built:
            super().build(variables)
            self.sums = [self.add_variable_from_reference(variable, name="sum") for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        self.assign_add(self.sums[self._get_variable_index(variable)], gradient * learning_rate)


def minimize_lbfgs(training: Training, batches: Pass) -> None:
    """Train by L-BFGS; an epoch is an iteration, the loss that of all batches."""
    variables = training.model.trainable_variables
    bounds = [
        (0 if isinstance(variable.constraint, keras.constraints.NonNeg) else None, None)
        for variable in variables
        for _ in range(int(np.prod(variable.shape)))
    ]

    def objective(vector: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The means over all samples; the order of the batches is always the same, so that they are deterministic."""
        _assign(variables, vector)
        recorder, total, n = training.model.optimizer, 0.0, sum(map(len, batches.rows))
        for sum_ in recorder.sums:
            sum_.assign(keras.ops.zeros_like(sum_))
        for rows, (inputs, targets) in zip(batches.rows, batches.ahead(), strict=True):
            recorder.learning_rate = len(rows) / n
            total += len(rows) / n * batches.step(inputs, targets)["loss"]
        return total, _flatten(recorder.sums)

    # SciPy passes both loss and parameters only to a callback whose argument has this name.
    def record(intermediate_result: OptimizeResult) -> None:
        _assign(variables, intermediate_result.x)
        valid = training.validate()
        if valid is not None:
            training.end_epoch({"loss": float(intermediate_result.fun)}, valid, {})
        if valid is None or training.callbacks.should_stop() or training.stopping.is_over(training.state):
            raise StopIteration

    limits = {"maxiter": _ITERATIONS_OF_MEMORY, "maxfun": 20 * _ITERATIONS_OF_MEMORY}
    while not training.stopping.is_over(training.state):
        start = _flatten(variables)
        found = minimize(objective, start, method="L-BFGS-B", jac=True, bounds=bounds, callback=record, options=limits)
        if found.status != 1:  # 1: the iterations of this memory are used up
            logger.info("L-BFGS ended: %s", found.message)
            return
        _assign(variables, found.x)
        training.save()


def _flatten(variables: Sequence[Any]) -> NDArray[np.float64]:
    return np.concatenate([keras.ops.convert_to_numpy(variable).ravel().astype(np.float64) for variable in variables])


def _assign(variables: Sequence[Any], vector: NDArray[np.float64]) -> None:
    ends = np.cumsum([int(np.prod(variable.shape)) for variable in variables])
    for variable, values in zip(variables, np.split(vector, ends[:-1]), strict=True):
        variable.assign(values.reshape(variable.shape).astype(np.float32))
