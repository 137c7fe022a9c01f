"""Classification by fixed folds: what is judged never taught."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from classifier.folds import clip_vector, evaluate_folds
from data.errors import InputError

FOLDS = np.repeat([1, 2, 3], 12)
CLASSES = np.tile(["dog", "rain", "siren"], 12)


def _vectors(seed: int, spread: float = 1.0) -> np.ndarray:
    centres = {"dog": (2, 0, 0), "rain": (0, 2, 0), "siren": (0, 0, 2)}
    noise = np.random.default_rng(seed).normal(0, spread, (36, 3))
    return (np.array([centres[name] for name in CLASSES]) + noise).astype(np.float32)


def test_the_predictions_are_those_of_leaving_one_group_out():
    vectors = _vectors(0)
    results = evaluate_folds(vectors, CLASSES, FOLDS, c=0.1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000))
    expected = cross_val_predict(model, vectors, CLASSES, groups=FOLDS, cv=LeaveOneGroupOut())
    np.testing.assert_array_equal(results.predictions, expected)
    right = expected == CLASSES
    assert results.fold_accuracy == {str(fold): right[fold == FOLDS].mean() for fold in (1, 2, 3)}
    assert results.class_accuracy == {name: right[name == CLASSES].mean() for name in ("dog", "rain", "siren")}
    assert results.accuracy == pytest.approx(right.reshape(3, 12).mean(axis=1).mean())
    assert 0.5 < results.accuracy < 1


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), fold=st.sampled_from([1, 2, 3]), standardize=st.booleans())
def test_the_labels_of_a_judged_fold_do_not_reach_its_predictions(seed, fold, standardize):
    vectors, judged = _vectors(seed), fold == FOLDS
    permuted = CLASSES.copy()
    permuted[judged] = np.random.default_rng(seed).permutation(CLASSES[judged])
    before = evaluate_folds(vectors, CLASSES, FOLDS, c=0.1, standardize=standardize)
    after = evaluate_folds(vectors, permuted, FOLDS, c=0.1, standardize=standardize)
    np.testing.assert_array_equal(before.predictions[judged], after.predictions[judged])


def test_a_clip_does_not_reach_the_predictions_of_its_own_fold():
    vectors = _vectors(1)
    loud = vectors.copy()
    loud[0] *= 1e6
    before, after = (evaluate_folds(each, CLASSES, FOLDS, c=0.1).predictions for each in (vectors, loud))
    np.testing.assert_array_equal(before[1:12], after[1:12])


def test_well_separated_classes_are_all_right():
    results = evaluate_folds(_vectors(2, spread=0.01), CLASSES, FOLDS, c=1)
    assert results.accuracy == 1
    assert set(results.class_accuracy.values()) == {1}


def test_a_class_of_one_fold_only_is_refused_by_name():
    classes = CLASSES.copy()
    classes[0] = "bells"
    with pytest.raises(InputError, match="Fold 1 has clips of bells, which no other fold has"):
        evaluate_folds(_vectors(0), classes, FOLDS, c=0.1)


def test_a_single_fold_is_refused():
    with pytest.raises(InputError, match="there is only fold 4"):
        evaluate_folds(_vectors(0), CLASSES, np.full(36, 4), c=0.1)


def test_a_clips_vector_is_the_mean_or_mean_and_deviation_of_its_frames():
    embedding = np.array([[1, 2], [3, 2], [5, 2]], np.float32)
    np.testing.assert_allclose(clip_vector(embedding, "mean"), [3, 2])
    np.testing.assert_allclose(clip_vector(embedding, "mean_std"), [3, 2, np.sqrt(8 / 3), 0], rtol=1e-6)
