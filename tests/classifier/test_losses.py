"""The losses of the classifier, against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from l3embedding.classifier.losses import (
    CooccurrenceLoss,
    cooccurrence_laplacian,
    masked_binary_crossentropy,
    masked_crossentropy,
)


def _entropy(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    return -(target * np.log(probability) + (1 - target) * np.log(1 - probability))


def test_an_unknown_tag_contributes_nothing(rng):
    target = np.array([[1, 0, -1], [-1, -1, -1]], np.float32)
    probability = rng.uniform(0.1, 0.9, (2, 3)).astype(np.float32)
    loss = ops.convert_to_numpy(masked_binary_crossentropy(target, ops.convert_to_tensor(probability)))
    expected = _entropy(target[0, :2], probability[0, :2]).sum() / 3
    np.testing.assert_allclose(loss, [expected, 0], rtol=1e-5, atol=1e-7)


def test_each_frame_of_a_framewise_model_has_its_clips_target(rng):
    target = np.array([[[1, 0, -1]]], np.float32)
    probability = rng.uniform(0.1, 0.9, (1, 4, 3)).astype(np.float32)
    loss = ops.convert_to_numpy(masked_binary_crossentropy(target, ops.convert_to_tensor(probability)))
    expected = _entropy(np.array([1, 0]), probability[0, :, :2]).sum(axis=-1) / 3
    np.testing.assert_allclose(loss[0], expected, rtol=1e-5)


def test_an_unknown_choice_contributes_nothing():
    target = np.array([[[1, 0], [0, 0]]], np.float32)
    probability = np.array([[[0.25, 0.75], [0.1, 0.9]]], np.float32)
    loss = ops.convert_to_numpy(masked_crossentropy(target, ops.convert_to_tensor(probability)))
    np.testing.assert_allclose(loss, [[-np.log(0.25), 0]], rtol=1e-5)


def test_the_laplacian_is_of_the_graph_of_cooccurring_tags():
    targets = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1], [1, -1, 0]], np.float32)
    expected = np.array([[3, -2, -1], [-2, 3, -1], [-1, -1, 2]]) / 4
    np.testing.assert_allclose(cooccurrence_laplacian(targets), expected)


@pytest.mark.parametrize("frames", [0, 6])
def test_cooccurrence_costs_the_quadratic_form_of_the_batchs_sums(rng, frames):
    targets = rng.integers(0, 2, (8, 3)).astype(np.float32)
    laplacian = cooccurrence_laplacian(targets)
    clip = rng.uniform(0.1, 0.9, (8, 3)).astype(np.float32)
    y_true, y_pred = (targets[:, None], np.repeat(clip[:, None], frames, axis=1)) if frames else (targets, clip)
    loss = float(CooccurrenceLoss(laplacian, 0.1)(y_true, ops.convert_to_tensor(y_pred)))
    total = clip.sum(axis=0)
    assert loss == pytest.approx(_entropy(targets, clip).mean() + 0.1 * total @ laplacian @ total, rel=1e-5)
