"""L-BFGS on all clips at once, by SciPy; the gradient comes from Keras, whatever its backend.

SciPy's memory of the last steps cannot be saved. So it is dropped every few iterations, where the state is
saved too: what is taken up there goes on exactly as what was never stopped.
"""

from __future__ import annotations

import logging
import typing
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

if typing.TYPE_CHECKING:
    from l3embedding.classifier.training import Training

logger = logging.getLogger(__name__)

_ITERATIONS_OF_MEMORY = 50


class GradientRecorder(keras.optimizers.Optimizer):
    """An optimizer that changes nothing, but adds up the gradients of the batches it sees.

    `learning_rate` is the weight of the next batch. This is how a gradient is had of a Keras model without
    naming its backend.
    """

    def __init__(self) -> None:
        super().__init__(learning_rate=1.0, name="gradient_recorder")

    def build(self, variables: list[Any]) -> None:
        """Make a sum for each variable."""
        if not self.built:
            super().build(variables)
            self.sums = [self.add_variable_from_reference(variable, name="sum") for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Add a gradient."""
        self.assign_add(self.sums[self._get_variable_index(variable)], gradient * learning_rate)

    def take(self) -> NDArray[np.float64]:
        """The sum as one vector; starts again at 0."""
        vector = _flatten(self.sums)
        for each in self.sums:
            each.assign(keras.ops.zeros_like(each))
        return vector


class _Interrupted(Exception):
    """Leaves SciPy's loop."""


def run_lbfgs(work: Training) -> None:
    """Go through with a training by L-BFGS; see `l3embedding.classifier.training.train`."""
    model, stand = work.classifier.trained, work.stand
    variables = model.trainable_variables
    bounds = [
        (0, None) if isinstance(variable.constraint, keras.constraints.NonNeg) else (None, None)
        for variable in variables
        for _ in range(int(np.prod(variable.shape)))
    ]
    while not stand.is_over(work.settings):
        before, best, epochs = _flatten(variables), stand.best_weights, len(stand.history)
        ended = _memory_span(work, variables, bounds)
        if ended is None:
            # Back to where the memory began: whoever takes this up drops nothing that he has not.
            del stand.history[epochs:]
            stand.best_weights = best
            _assign(variables, before)
        if work.watch.checkpoint:
            stand.save(work.watch.checkpoint, model)
        if ended is not False:
            break


def _memory_span(work: Training, variables: list[Any], bounds: list[tuple]) -> bool | None:
    """Iterate until the memory is dropped.

    Returns
    -------
    Whether the minimum has been found; None if it was told to stop within the span.
    """
    losses: dict[bytes, float] = {}
    begun = len(work.stand.history)

    def objective(vector: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        _assign(variables, vector)
        loss, gradient = _loss_and_gradient(work)
        losses[vector.tobytes()] = loss
        return loss, gradient

    def callback(vector: NDArray[np.float64]) -> None:
        _assign(variables, vector)
        known = losses.get(vector.tobytes())
        work.end_epoch(objective(vector)[0] if known is None else known)
        losses.clear()
        full = len(work.stand.history) - begun == _ITERATIONS_OF_MEMORY
        if work.watch.should_stop() and not full:
            raise _Interrupted
        if work.stand.is_over(work.settings):
            raise StopIteration

    try:
        found = minimize(
            objective,
            _flatten(variables),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            callback=callback,
            options={"maxiter": _ITERATIONS_OF_MEMORY, "maxfun": 20 * _ITERATIONS_OF_MEMORY},
        )
    except _Interrupted:
        return None
    _assign(variables, found.x)
    if found.status == 1:
        return False
    if not work.stand.is_over(work.settings):
        logger.info("L-BFGS ended: %s", found.message)
    return True


def _loss_and_gradient(work: Training) -> tuple[float, NDArray[np.float64]]:
    """Of all clips that are learned from, whose batches are always the same."""
    recorder = work.classifier.trained.optimizer
    order = work.learned
    total = 0.0
    for batch in work.batches(order):
        weight = len(batch) / len(order)
        recorder.learning_rate = weight
        total += weight * work.train_loss(batch)
    return total, recorder.take()


def _flatten(variables: list[Any]) -> NDArray[np.float64]:
    return np.concatenate([keras.ops.convert_to_numpy(variable).ravel().astype(np.float64) for variable in variables])


def _assign(variables: list[Any], vector: NDArray[np.float64]) -> None:
    start = 0
    for variable in variables:
        size = int(np.prod(variable.shape))
        variable.assign(vector[start : start + size].reshape(variable.shape).astype(np.float32))
        start += size
