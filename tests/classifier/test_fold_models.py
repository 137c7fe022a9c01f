"""The classifiers of data sets with folds: by vector per clip, or frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from l3embedding.classifier import fold_models
from l3embedding.classifier.fold_models import (
    CLIP_STATISTICS,
    FOLD_CLASSIFIERS,
    FramewiseClassifier,
    clip_vectorizer,
    fold_grid,
    fold_model,
)
from l3embedding.settings import FoldsSettings
from l3embedding.utils.errors import InputError
from tests.support.settings import values_of

KINDS = list(FOLD_CLASSIFIERS)
CENTRES = {"dog": (2, 0, 0), "rain": (0, 2, 0), "siren": (0, 0, 2)}


@pytest.fixture
def clips(rng):
    """Name to frames: four clips per class, of different lengths."""
    return {
        f"{name}-{index}": (np.array(centre) + rng.normal(0, 0.5, (1 + 3 * index, 3))).astype(np.float32)
        for name, centre in CENTRES.items()
        for index in range(4)
    }


def _classes(clips) -> np.ndarray:
    return np.array([name.partition("-")[0] for name in clips])


def test_each_value_of_the_settings_is_implemented_and_no_other():
    assert set(FOLD_CLASSIFIERS) == values_of(FoldsSettings, "classifier")
    assert set(CLIP_STATISTICS) == values_of(FoldsSettings, "clip_statistics")
    with pytest.raises(InputError, match="folds.classifier 'knn' is not one of logistic, svm, mlp, random_forest"):
        fold_model(FoldsSettings.model_construct(classifier="knn"))
    with pytest.raises(InputError, match="folds.clip_statistics 'max' is not one of mean, mean_std"):
        clip_vectorizer(FoldsSettings.model_construct(clip_statistics="max"))


def test_a_clips_vector_is_the_mean_or_mean_and_deviation_of_its_frames():
    embedding = np.array([[1, 2], [3, 2], [5, 2]], np.float32)
    np.testing.assert_allclose(CLIP_STATISTICS["mean"](embedding), [3, 2])
    np.testing.assert_allclose(CLIP_STATISTICS["mean_std"](embedding), [3, 2, np.sqrt(8 / 3), 0], rtol=1e-6)
    assert CLIP_STATISTICS["statistics"](embedding).shape == (22,)


@pytest.mark.parametrize("kind", KINDS)
def test_each_classifier_separates_classes_by_vector_and_by_frame(kind, clips):
    names, classes = np.array(list(clips)), _classes(clips)
    vectors, settings = np.stack([clips[name].mean(axis=0) for name in names]), FoldsSettings(classifier=kind)
    assert (fold_model(settings).fit(vectors, classes).predict(vectors) == classes).all()
    framewise = fold_model(settings, load=clips.__getitem__).fit(names, classes)
    assert (framewise.predict(names) == classes).all()


@pytest.mark.parametrize("kind", ["mlp", "random_forest"])
def test_the_seed_determines_the_classifier(kind, rng):
    vectors, classes = rng.normal(size=(12, 2)), np.tile(["a", "b"], 6)
    settings = FoldsSettings(classifier=kind)
    models = (fold_model(settings, seed).fit(vectors, classes) for seed in (0, 0, 1))
    one, same, other = (model.predict_proba(vectors) for model in models)
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("framewise", [False, True])
def test_a_grid_names_parameters_that_the_classifier_has(kind, framewise):
    settings = FoldsSettings(classifier=kind, clip_statistics="framewise" if framewise else "mean")
    model = fold_model(settings, load=dict().__getitem__ if framewise else None)
    assert set(fold_grid(settings)) <= set(model.get_params())


def test_framewise_is_the_mean_of_the_probabilities_of_a_clips_frames(clips):
    names, classes = np.array(list(clips)), _classes(clips)
    ours = fold_model(FoldsSettings(), load=clips.__getitem__).fit(names, classes)
    frames = np.concatenate([clips[name] for name in names])
    labels = np.repeat(classes, [len(clips[name]) for name in names])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000)).fit(frames, labels)
    expected = [model.classes_[model.predict_proba(clips[name]).mean(axis=0).argmax()] for name in names]
    np.testing.assert_array_equal(ours.predict(names), expected)


def test_an_svm_separates_two_classes_frame_by_frame(clips):
    names = np.array([name for name in clips if not name.startswith("dog")])
    classes = np.array([name.partition("-")[0] for name in names])
    assert (
        fold_model(FoldsSettings(classifier="svm"), load=clips.__getitem__).fit(names, classes).predict(names)
        == classes
    ).all()


class Counter(LogisticRegression):
    """Remembers how many samples it was trained on."""

    def fit(self, samples, classes):
        self.n_samples_ = len(samples)
        return super().fit(samples, classes)


def test_the_training_frames_of_a_framewise_classifier_are_limited(clips, monkeypatch):
    names, classes = np.array(list(clips)), _classes(clips)
    assert FramewiseClassifier(Counter(), clips.__getitem__).fit(names, classes).model_.n_samples_ == 66
    limited = FramewiseClassifier(Counter(), clips.__getitem__, max_frames=40).fit(names, classes)
    assert limited.model_.n_samples_ == 3 * (1 + 3 + 3 + 3)
    monkeypatch.setattr(fold_models, "MAX_BYTES", 24 * 3 * 4)
    small = FramewiseClassifier(Counter(), clips.__getitem__).fit(names, classes)
    assert small.model_.n_samples_ == 3 * (1 + 2 + 2 + 2)
