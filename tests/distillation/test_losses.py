"""The losses of distillation against their formulas in float64."""

from __future__ import annotations

from typing import get_args

import keras
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from l3embedding.distillation.losses import LOSSES, RELATIONAL_WEIGHT
from l3embedding.settings import DistillationSettings


def _whitened(targets, truth, predicted):
    return np.mean(((predicted - truth) / targets.std(axis=0)) ** 2)


def _cosine(targets, truth, predicted):
    return np.mean([cdist([a], [b], "cosine")[0, 0] for a, b in zip(truth, predicted, strict=True)])


def _relational(targets, truth, predicted):
    """Park et al. 2019, equations 3 to 6; every pair twice and the diagonal, as in their own code."""
    relative = [cdist(each, each) / cdist(each, each).mean() for each in (truth, predicted)]
    error = np.abs(relative[0] - relative[1])
    huber = np.where(error <= 1, error**2 / 2, error - 0.5)
    return np.mean((predicted - truth) ** 2) + RELATIONAL_WEIGHT * huber.mean()


REFERENCES = {
    "mse": lambda targets, truth, predicted: np.mean((predicted - truth) ** 2),
    "whitened_mse": _whitened,
    "cosine": _cosine,
    "relational": _relational,
}


def test_every_loss_of_the_settings_is_registered_and_has_a_reference():
    vocabulary = set(get_args(DistillationSettings.model_fields["loss"].annotation))
    assert LOSSES.keys() == REFERENCES.keys() == vocabulary


@pytest.mark.parametrize("name", REFERENCES)
def test_a_loss_is_its_formula(name, rng):
    targets = rng.normal(0, [0.1, 1, 5, 20, 3], (200, 5)).astype(np.float32)
    truth = targets[:16]
    predicted = truth + rng.normal(0, 2, truth.shape).astype(np.float32)
    expected = REFERENCES[name](*(each.astype(np.float64) for each in (targets, truth, predicted)))
    assert float(LOSSES[name](targets)(truth, predicted)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_perfect_student_has_no_loss_and_a_finite_gradient(name, rng):
    targets = rng.normal(0, 1, (8, 4)).astype(np.float32)
    assert float(LOSSES[name](targets)(targets, targets)) == pytest.approx(0, abs=1e-6)
    frames = keras.Input((4,))
    identity = keras.Model(frames, keras.layers.Dense(4, kernel_initializer="identity")(frames))
    identity.compile("sgd", LOSSES[name](targets), jit_compile=False)
    identity.train_on_batch(targets, targets)
    assert all(np.isfinite(array).all() for array in identity.get_weights())


def test_a_constant_dimension_has_no_weight(rng):
    targets = np.column_stack([rng.normal(0, 1, 50), np.full(50, 3.0)]).astype(np.float32)
    loss = LOSSES["whitened_mse"](targets)
    assert float(loss(targets[:4], targets[:4] + [[0, 5]])) == 0


@pytest.mark.parametrize("name", REFERENCES)
def test_a_loss_is_saved_with_the_network_that_it_trains(name, rng, tmp_path):
    targets = rng.normal(0, 1, (8, 4)).astype(np.float32)
    frames = keras.Input((4,))
    model = keras.Model(frames, keras.layers.Dense(4)(frames))
    model.compile("sgd", LOSSES[name](targets))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(targets, targets, verbose=0) == pytest.approx(model.evaluate(targets, targets, verbose=0))
