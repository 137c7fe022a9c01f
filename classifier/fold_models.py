"""The classifiers of data sets with fixed folds: what a clip is to them, and which parameters are searched.

A classifier takes one vector a clip, or each frame of a clip by itself (`framewise`); then what it says of
the frames is averaged over the clip. Either way a *sample* is a clip, so that no fold, and no part of one
within a search, has frames of a clip on both sides.

References
----------
Cramer et al., Look, Listen and Learn More, ICASSP 2019: SVM, random forest and MLP on the embeddings' statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from l3embedding.utils.statistics import summary_statistics

FoldClassifier = Literal["logistic", "svm", "mlp", "random_forest"]
ClipStatistics = Literal["mean", "mean_std", "statistics"]
Load = Callable[[str], NDArray[np.floating]]

GRIDS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "logistic": {"C": (0.001, 0.01, 0.1, 1.0, 10.0)},
    "svm": {"C": (0.1, 1.0, 10.0, 100.0)},
    "mlp": {"learning_rate_init": (1e-4, 1e-3), "alpha": (1e-5, 1e-3)},
    "random_forest": {"max_features": ("sqrt", 0.1), "min_samples_leaf": (1, 4)},
}
"""Values that a search chooses among."""

MAX_FRAMES = {"svm": 20_000}
"""Frames at most that a framewise classifier learns from: an SVM's time grows with the square of them."""
MAX_BYTES = 512_000_000
"""Of the frames that any framewise classifier learns from."""
_CLIPS_AT_ONCE = 64


def clip_vector(embedding: NDArray[np.floating], statistics: ClipStatistics) -> NDArray[np.float32]:
    """Make one vector of a clip's embeddings `[frames, d]`.

    Parameters
    ----------
    embedding
        float `[frames, d]`.
    statistics
        `mean` [d]; `mean_std`, also the standard deviation [2 d]; or `statistics` [11 d], see
        `l3embedding.utils.statistics.summary_statistics`.
    """
    if statistics == "statistics":
        return summary_statistics(embedding)
    mean = embedding.mean(axis=0)
    return mean if statistics == "mean" else np.concatenate([mean, embedding.std(axis=0)])


def fold_model(
    kind: FoldClassifier,
    *,
    standardize: bool = True,
    logistic_c: float = 0.1,
    seed: int = 0,
    load: Load | None = None,
) -> BaseEstimator:
    """Build an untrained classifier, with a scaler before it.

    Parameters
    ----------
    kind
        Logistic regression; an SVM with a radial kernel; an MLP of 512 and 128 units; or 500 random trees.
    standardize
        Whether dimensions are standardised by what it learns from.
    logistic_c
        Inverse regularisation of the logistic regression.
    seed
        Of the MLP and the trees; the others have nothing random.
    load
        Name of a clip to its embedding: then it is framewise, and takes clips by their names.
    """
    model = {
        "logistic": lambda: LogisticRegression(C=logistic_c, max_iter=5000),
        "svm": lambda: SVC(),
        # No early stopping: its validation part would be drawn among frames, not clips.
        "mlp": lambda: MLPClassifier((512, 128), random_state=seed),
        "random_forest": lambda: RandomForestClassifier(500, random_state=seed),
    }[kind]()
    pipeline = Pipeline([("scaler", StandardScaler() if standardize else "passthrough"), ("classifier", model)])
    return pipeline if load is None else FramewiseClassifier(pipeline, load, MAX_FRAMES.get(kind))


def fold_grid(kind: FoldClassifier, framewise: bool) -> dict[str, Sequence[Any]]:
    """What a search chooses among, by the names that `fold_model`'s result has for it."""
    prefix = "model__classifier__" if framewise else "classifier__"
    return {prefix + name: values for name, values in GRIDS[kind].items()}


class FramewiseClassifier(ClassifierMixin, BaseEstimator):
    """Classifies clips by averaging what a classifier says of their frames.

    It averages probabilities, or the decision values of an SVM, which has none. Frames are loaded when they
    are needed, so that a data set need not fit into memory.

    Parameters
    ----------
    model
        Classifies frames.
    load
        Name of a clip to its embedding, float `[frames, d]`.
    max_frames
        Frames at most that the model learns from, evenly spread over the clips and over each clip; None:
        as many as there are. They take no more than `MAX_BYTES` either way.
    """

    def __init__(self, model: BaseEstimator, load: Load, max_frames: int | None = None) -> None:
        self.model = model
        self.load = load
        self.max_frames = max_frames

    def fit(self, clips: NDArray, classes: NDArray) -> FramewiseClassifier:
        """Learn from clips, names `[n]`, and their classes `[n]`."""
        most = MAX_BYTES // (4 * self.load(clips[0]).shape[1])
        share = max(1, min(most, self.max_frames or most) // len(clips))
        frames = [_evenly(self.load(clip), share).astype(np.float32) for clip in clips]
        labels = np.repeat(classes, [len(each) for each in frames])
        stacked = np.concatenate(frames)
        del frames  # half of the memory
        self.model_ = clone(self.model).fit(stacked, labels)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, clips: NDArray) -> NDArray:
        """Say the class of each clip, `[n]`."""
        best: list[int] = []
        for start in range(0, len(clips), _CLIPS_AT_ONCE):
            frames = [self.load(clip) for clip in clips[start : start + _CLIPS_AT_ONCE]]
            ends = np.cumsum([len(each) for each in frames])[:-1]
            scores = self._scores(np.concatenate(frames).astype(np.float32))
            best += [int(each.mean(axis=0).argmax()) for each in np.split(scores, ends)]
        return self.classes_[best]

    def _scores(self, frames: NDArray[np.float32]) -> NDArray[np.floating]:
        if hasattr(self.model_, "predict_proba"):
            return self.model_.predict_proba(frames)
        scores = self.model_.decision_function(frames)
        return scores if scores.ndim == 2 else np.column_stack([-scores, scores])


def _evenly(frames: NDArray, n: int) -> NDArray:
    """Pick at most `n` frames, evenly spaced."""
    if len(frames) <= n:
        return frames
    return frames[((np.arange(n) + 0.5) * len(frames) / n).astype(int)]
