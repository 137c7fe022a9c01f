"""Oversampling: rare labels become less rare, by clips between neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from l3embedding.classifier.oversampling import METHODS, imbalance_ratios, imbalance_threshold, oversample
from l3embedding.settings import ClassifierSettings
from l3embedding.utils.errors import InputError
from tests.support.settings import values_of

SMOTES = ["mlsmote", "lssmote"]


def _counts(targets: np.ndarray) -> np.ndarray:
    return (targets == 1).sum(axis=0)


@pytest.fixture
def rare(rng) -> tuple[np.ndarray, np.ndarray]:
    """200 clips: tag 0 in half of them, tag 1 in a quarter, tag 2 in 8, half of these with tag 0."""
    targets = np.zeros((200, 3), np.float32)
    targets[:100, 0] = targets[50:100, 1] = targets[96:104, 2] = 1
    return targets @ np.eye(3) * 5 + rng.normal(0, 0.5, (200, 3)), targets


def test_imbalance_ratios_follow_charte_et_al(rare):
    _, targets = rare
    np.testing.assert_allclose(imbalance_ratios(_counts(targets)), [1, 2, 12.5])
    assert np.isnan(imbalance_ratios(np.array([4, 0]))[1])
    assert imbalance_threshold(np.array([1, 2, 12.5]), "mean") == pytest.approx(15.5 / 3)
    assert imbalance_threshold(np.array([1, 2, 12.5]), "percentile_50") == 2


@pytest.mark.parametrize("threshold_type", ["median", "percentile", "percentile_101", "percentile_x", "mean_3"])
def test_an_unknown_threshold_type_is_an_error(threshold_type):
    with pytest.raises(ValidationError, match="threshold_type"):
        ClassifierSettings(threshold_type=threshold_type)
    with pytest.raises(ValueError):
        imbalance_threshold(np.ones(3), threshold_type)


def test_each_value_of_the_settings_is_implemented_and_no_other(rare, rng):
    assert set(METHODS) == values_of(ClassifierSettings, "oversample")
    assert len(oversample("none", *rare, rng)) == 0
    with pytest.raises(InputError, match="classifier.oversample 'smote' is not one of none, mlsmote, lssmote"):
        oversample("smote", *rare, rng)


def test_mlsmote_brings_the_rare_label_down_to_the_mean_ratio(rare):
    means, targets = rare
    # Its ratio is 12.5 and the mean 5.2, at which 20 clips would have it; a pass makes one of each of the 8.
    mixtures = oversample("mlsmote", means, targets, np.random.default_rng(0))
    assert len(mixtures) == 8
    assert (targets[mixtures.first] * targets[mixtures.second])[:, 2].all()
    assert mixtures.targets[:, 2].all()
    more = oversample("mlsmote", means, targets, np.random.default_rng(0), iterations=3)
    largest = [imbalance_ratios(_counts(np.concatenate([targets, each.targets]))).max() for each in (mixtures, more)]
    assert largest[1] < largest[0] < 7


def test_a_mixed_clip_is_a_neighbour_of_its_seed(rare):
    means, targets = rare
    mixtures = oversample("mlsmote", means, targets, np.random.default_rng(0), k=2)
    bag = np.flatnonzero(targets[:, 2])
    for seed, other in zip(mixtures.first, mixtures.second, strict=True):
        distance = np.linalg.norm(means[bag] - means[seed], axis=1)
        assert other in bag[np.argsort(distance)[1:3]]
    assert ((mixtures.weight >= 0) & (mixtures.weight < 1)).all()


def test_labels_are_those_of_more_than_half_of_the_seed_and_its_neighbours():
    # Around the seed (0), two of three neighbours have tag 1: with it, two of four are not more than half.
    targets = np.array([[0, 0, 1], [0, 1, 1], [0, 1, 1], [0, 0, 1], *[[1, 0, 0]] * 40], np.float32)
    means = np.arange(44, dtype=float)[:, np.newaxis]
    mixtures = oversample("mlsmote", means, targets, np.random.default_rng(0), k=3, threshold_type="percentile_0")
    of_first = mixtures.targets[(mixtures.first == 0) & (mixtures.targets[:, 2] == 1)]
    np.testing.assert_array_equal(of_first, [[0, 0, 1]])
    near = oversample("mlsmote", means[:3], targets[:3], np.random.default_rng(0), k=2, threshold_type="percentile_0")
    assert len(near) == 0 or near.targets[:, 1].all()


def test_a_label_that_seed_or_neighbour_lacks_stays_unknown(rare):
    means, targets = rare
    targets[97, 1] = -1
    mixtures = oversample("mlsmote", means, targets, np.random.default_rng(0))
    unknown = (mixtures.first == 97) | (mixtures.second == 97)
    assert unknown.any()
    assert (mixtures.targets[unknown, 1] == -1).all()
    assert (mixtures.targets[~unknown] >= 0).all()


def test_lssmote_completes_rare_sets_of_labels(rare):
    means, targets = rare
    mixtures = oversample("lssmote", means, targets, np.random.default_rng(0))
    assert len(mixtures)
    union = np.maximum(targets[mixtures.first], targets[mixtures.second])
    np.testing.assert_array_equal(mixtures.targets, union)
    assert (mixtures.first != mixtures.second).all()

    def ratio(rows: np.ndarray) -> float:
        _, counts = np.unique(rows, axis=0, return_counts=True)
        return counts.max() / counts.min()

    assert ratio(np.concatenate([targets, mixtures.targets])) < ratio(targets)


@settings(max_examples=15, deadline=None)
@given(arrays(np.float32, (20, 4), elements=st.sampled_from([-1.0, 0.0, 1.0])), st.sampled_from(SMOTES))
def test_any_labels_can_be_oversampled_and_the_seed_determines_how(targets, method):
    means = np.random.default_rng(0).normal(size=(20, 3))
    one, same = (oversample(method, means, targets, np.random.default_rng(1), 2, "percentile_20") for _ in range(2))
    for name in ("first", "second", "weight", "targets"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert one.targets.shape == (len(one), 4)
    assert len(one) <= 2 * 4 * 20


@pytest.mark.parametrize("method", SMOTES)
def test_balanced_labels_are_left_alone(method, rng):
    targets = np.tile(np.eye(2, dtype=np.float32), (10, 1))
    assert len(oversample(method, rng.normal(size=(20, 3)), targets, rng)) == 0
