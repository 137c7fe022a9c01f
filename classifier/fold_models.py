"""The classifiers of data sets with fixed folds, how they represent a clip, and the parameters that are searched.

A classifier takes one vector per clip, or every frame of a clip by itself (`framewise`), and then averages its
predictions over the clip. Either way a *sample* is a clip. So no fold, nor a split of a search within the training
folds, has frames of one clip on both sides.

References
----------
Cramer et al., Look, Listen and Learn More, ICASSP 2019: SVM, random forest and MLP on the embeddings' statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from l3embedding.settings import FoldsSettings
from l3embedding.utils.registry import look_up
from l3embedding.utils.statistics import summary_statistics

Vector = NDArray[np.floating]
Load = Callable[[str], NDArray[np.floating]]

MAX_BYTES = 512_000_000
"""Limit on the training frames of a framewise classifier, which scikit-learn needs in one array."""
_CLIPS_AT_ONCE = 64


@dataclass(frozen=True)
class FoldClassifier:
    """A classifier of clips."""

    build: Callable[[FoldsSettings, int], BaseEstimator]  # makes it, untrained, from the settings and a seed
    grid: Mapping[str, Sequence[Any]]  # the values of each parameter that a search tries
    max_frames: int | None = None  # limit on the training frames of a framewise classifier


FOLD_CLASSIFIERS: Mapping[str, FoldClassifier] = {
    "logistic": FoldClassifier(
        lambda settings, seed: LogisticRegression(C=settings.logistic_c, max_iter=5000),
        {"C": (0.001, 0.01, 0.1, 1.0, 10.0)},
    ),
    # The training time of an SVM grows with the square of the number of samples.
    "svm": FoldClassifier(lambda settings, seed: SVC(), {"C": (0.1, 1.0, 10.0, 100.0)}, max_frames=20_000),
    # No early stopping: scikit-learn would draw its validation split among frames, not clips.
    "mlp": FoldClassifier(
        lambda settings, seed: MLPClassifier((512, 128), random_state=seed),
        {"learning_rate_init": (1e-4, 1e-3), "alpha": (1e-5, 1e-3)},
    ),
    "random_forest": FoldClassifier(
        lambda settings, seed: RandomForestClassifier(500, random_state=seed),
        {"max_features": ("sqrt", 0.1), "min_samples_leaf": (1, 4)},
    ),
}

CLIP_STATISTICS: Mapping[str, Callable[[NDArray[np.floating]], Vector] | None] = {
    "mean": lambda embedding: embedding.mean(axis=0),
    "mean_std": lambda embedding: np.concatenate([embedding.mean(axis=0), embedding.std(axis=0)]),
    "statistics": summary_statistics,
    "framewise": None,
}
"""From a clip's embeddings `[frames, d]` to its vector `[d]`, `[2 d]` or `[11 d]`; None: there is no vector."""


def clip_vectorizer(settings: FoldsSettings) -> Callable[[NDArray[np.floating]], Vector] | None:
    """The function that makes one vector of a clip's embeddings; None if the classifier is framewise."""
    return look_up(CLIP_STATISTICS, settings.clip_statistics, "folds.clip_statistics")


def fold_model(settings: FoldsSettings, seed: int = 0, load: Load | None = None) -> BaseEstimator:
    """Build an untrained classifier, preceded by a scaler.

    Parameters
    ----------
    settings
        The classifier and its parameters.
    seed
        Seed of the MLP and the random forest; the others are deterministic.
    load
        From the name of a clip to its embeddings. If given, the classifier is framewise and takes clips by name.
    """
    kind = look_up(FOLD_CLASSIFIERS, settings.classifier, "folds.classifier")
    scaler = StandardScaler() if settings.standardize else "passthrough"
    pipeline = Pipeline([("scaler", scaler), ("classifier", kind.build(settings, seed))])
    return pipeline if load is None else FramewiseClassifier(pipeline, load, kind.max_frames)


def fold_grid(settings: FoldsSettings) -> dict[str, Sequence[Any]]:
    """The values that a search tries, by the names that the parameters have in `fold_model`'s result."""
    kind = look_up(FOLD_CLASSIFIERS, settings.classifier, "folds.classifier")
    prefix = "classifier__" if clip_vectorizer(settings) else "model__classifier__"
    return {prefix + name: values for name, values in kind.grid.items()}


class FramewiseClassifier(ClassifierMixin, BaseEstimator):
    """Classifies clips by averaging a classifier's predictions for their frames.

    It averages probabilities, or the decision values of an SVM, which has none. Frames are loaded when they
    are needed, so a data set need not fit into memory. `max_frames` and `MAX_BYTES` limit the training frames, which
    are evenly spread over the clips and within each clip.
    """

    def __init__(self, model: BaseEstimator, load: Load, max_frames: int | None = None) -> None:
        self.model, self.load, self.max_frames = model, load, max_frames

    def fit(self, clips: NDArray[np.str_], classes: NDArray[np.str_]) -> FramewiseClassifier:
        """Train on clips, names `[n]`, and their classes `[n]`."""
        most = MAX_BYTES // (4 * self.load(clips[0]).shape[1])
        per_clip = max(1, min(most, self.max_frames or most) // len(clips))
        frames = [_evenly(self.load(clip), per_clip).astype(np.float32) for clip in clips]
        labels = np.repeat(classes, [len(each) for each in frames])
        stacked = np.concatenate(frames)
        del frames  # half of the memory
        self.model_ = clone(self.model).fit(stacked, labels)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, clips: NDArray[np.str_]) -> NDArray[np.str_]:
        """Predict the class of each clip, `[n]`."""
        has_probabilities = hasattr(self.model_, "predict_proba")
        scores_of = self.model_.predict_proba if has_probabilities else self.model_.decision_function
        best: list[int] = []
        for start in range(0, len(clips), _CLIPS_AT_ONCE):
            frames = [self.load(clip) for clip in clips[start : start + _CLIPS_AT_ONCE]]
            ends = np.cumsum([len(each) for each in frames])[:-1]
            scores = scores_of(np.concatenate(frames).astype(np.float32))
            if scores.ndim == 1:  # an SVM of two classes returns the decision values of the second only
                scores = np.column_stack([-scores, scores])
            best += [int(each.mean(axis=0).argmax()) for each in np.split(scores, ends)]
        return self.classes_[best]


def _evenly(frames: NDArray[np.floating], n: int) -> NDArray[np.floating]:
    """Pick at most `n` frames, evenly spaced."""
    if len(frames) <= n:
        return frames
    return frames[((np.arange(n) + 0.5) * len(frames) / n).astype(int)]
