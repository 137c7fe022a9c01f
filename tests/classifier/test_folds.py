"""Cross-validation over folds: nothing of the test fold reaches the training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut, PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from l3embedding.classifier.fold_models import fold_grid, fold_model
from l3embedding.classifier.folds import evaluate_folds
from l3embedding.settings import FoldsSettings
from l3embedding.utils.errors import InputError

FOLDS = np.repeat([1, 2, 3], 12)
CLASSES = np.tile(["dog", "rain", "siren"], 12)


def _vectors(seed: int, spread: float = 1.0) -> np.ndarray:
    centres = {"dog": (2, 0, 0), "rain": (0, 2, 0), "siren": (0, 0, 2)}
    noise = np.random.default_rng(seed).normal(0, spread, (36, 3))
    return (np.array([centres[name] for name in CLASSES]) + noise).astype(np.float32)


def _logistic(**settings):
    return fold_model(FoldsSettings(**settings))


class Recorder(ClassifierMixin, BaseEstimator):
    """Remembers, in `seen`, the samples that each classifier was trained on and those that it predicted."""

    seen: list[tuple[set, set]] = []

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def fit(self, samples, classes):
        self.classes_, self.train_ = np.unique(classes), set(samples)
        return self

    def predict(self, samples):
        self.seen.append((self.train_, set(samples)))
        return np.repeat(self.classes_[:1], len(samples))


def test_the_predictions_equal_those_of_scikit_learns_leave_one_group_out():
    vectors = _vectors(0)
    results = evaluate_folds(vectors, CLASSES, FOLDS, _logistic())
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000))
    expected = cross_val_predict(model, vectors, CLASSES, groups=FOLDS, cv=LeaveOneGroupOut())
    np.testing.assert_array_equal(results.predictions, expected)
    right = expected == CLASSES
    assert results.fold_accuracy == {str(fold): right[fold == FOLDS].mean() for fold in (1, 2, 3)}
    assert results.class_accuracy == {name: right[name == CLASSES].mean() for name in ("dog", "rain", "siren")}
    assert results.accuracy == pytest.approx(right.reshape(3, 12).mean(axis=1).mean())
    assert 0.5 < results.accuracy < 1
    assert results.confusion.sum(axis=1).tolist() == [12, 12, 12]
    assert np.diag(results.confusion).sum() == right.sum()


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), fold=st.sampled_from([1, 2, 3]), standardize=st.booleans())
def test_the_labels_of_the_test_fold_do_not_reach_its_predictions(seed, fold, standardize):
    vectors, test = _vectors(seed), fold == FOLDS
    permuted = CLASSES.copy()
    permuted[test] = np.random.default_rng(seed).permutation(CLASSES[test])
    grid = {"classifier__C": (0.01, 1.0)} if standardize else None
    before, after = (
        evaluate_folds(vectors, each, FOLDS, _logistic(standardize=standardize), grid) for each in (CLASSES, permuted)
    )
    np.testing.assert_array_equal(before.predictions[test], after.predictions[test])


def test_a_clip_does_not_reach_the_predictions_of_its_own_fold():
    vectors = _vectors(1)
    loud = vectors.copy()
    loud[0] *= 1e6
    before, after = (evaluate_folds(each, CLASSES, FOLDS, _logistic()).predictions for each in (vectors, loud))
    np.testing.assert_array_equal(before[1:12], after[1:12])


def test_a_search_leaves_out_whole_folds_of_the_training_folds():
    folds, names = np.repeat(np.arange(1, 6), 6), np.array([f"clip-{index}" for index in range(30)])
    fold_of = dict(zip(names, folds, strict=True))
    Recorder.seen.clear()
    evaluate_folds(names, np.tile(["dog", "rain"], 15), folds, Recorder(), {"value": (1, 2)})
    assert len(Recorder.seen) == 5 * (2 * 3 + 1)
    for train, test in Recorder.seen:
        assert not {fold_of[name] for name in train} & {fold_of[name] for name in test}
    # Within the search for a fold, its clips are on neither side.
    for index, fold in enumerate(range(1, 6)):
        *inner, outer = Recorder.seen[7 * index : 7 * index + 7]
        assert {fold_of[name] for name in outer[1]} == {fold}
        assert all(fold not in {fold_of[name] for name in train | test} for train, test in inner)


def test_a_search_chooses_the_parameters_that_scikit_learn_chooses():
    vectors = _vectors(3, spread=2.0)
    svm = FoldsSettings(classifier="svm")
    results = evaluate_folds(vectors, CLASSES, FOLDS, fold_model(svm), fold_grid(svm))
    for fold in (1, 2, 3):
        train = fold != FOLDS
        splits = PredefinedSplit(FOLDS[train])
        own = GridSearchCV(fold_model(svm), {"classifier__C": (0.1, 1.0, 10.0, 100.0)}, cv=splits, scoring="accuracy")
        own.fit(vectors[train], CLASSES[train])
        assert results.parameters[str(fold)] == {"C": own.best_params_["classifier__C"]}
        np.testing.assert_array_equal(results.predictions[~train], own.predict(vectors[~train]))


def test_an_interrupted_run_resumes_with_the_next_fold(tmp_path):
    names = np.array([f"clip-{index}" for index in range(36)])
    whole = evaluate_folds(names, CLASSES, FOLDS, Recorder(), checkpoints=tmp_path)
    (tmp_path / "fold-2.json").unlink()
    Recorder.seen.clear()
    again = evaluate_folds(names, CLASSES, FOLDS, Recorder(), checkpoints=tmp_path)
    assert [len(test) for _, test in Recorder.seen] == [12]
    np.testing.assert_array_equal(again.predictions, whole.predictions)


def test_well_separated_classes_have_an_accuracy_of_1():
    results = evaluate_folds(_vectors(2, spread=0.01), CLASSES, FOLDS, _logistic(logistic_c=1))
    assert results.accuracy == 1
    assert set(results.class_accuracy.values()) == {1}


def test_a_class_that_only_one_fold_has_is_an_error():
    classes = CLASSES.copy()
    classes[0] = "bells"
    with pytest.raises(InputError, match="Fold 1 has clips of bells, which no other fold has"):
        evaluate_folds(_vectors(0), classes, FOLDS, _logistic())


def test_too_few_folds_are_an_error():
    with pytest.raises(InputError, match="there is only fold 4"):
        evaluate_folds(_vectors(0), CLASSES, np.full(36, 4), _logistic())
    with pytest.raises(InputError, match="needs three folds; there are 2"):
        evaluate_folds(_vectors(0), CLASSES, np.minimum(FOLDS, 2), _logistic(), {"classifier__C": (1,)})
