"""Classification by fixed folds, on one vector a clip: each fold is judged by what the others taught."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data.errors import InputError

logger = logging.getLogger(__name__)

ClipStatistics = Literal["mean", "mean_std"]


@dataclass(frozen=True)
class FoldResults:
    """What came of the folds.

    Attributes
    ----------
    accuracy
        Mean over folds.
    fold_accuracy
        Fold to share of its clips that were right.
    class_accuracy
        Class to share of its clips that were right, over all folds.
    predictions
        The class predicted for each clip, `[n]`.
    """

    accuracy: float
    fold_accuracy: dict[str, float]
    class_accuracy: dict[str, float]
    predictions: NDArray


def clip_vector(embedding: NDArray[np.float32], statistics: ClipStatistics) -> NDArray[np.float32]:
    """Make one vector of a clip's embeddings `[frames, d]`: their mean, or mean and standard deviation."""
    mean = embedding.mean(axis=0)
    return mean if statistics == "mean" else np.concatenate([mean, embedding.std(axis=0)])


def evaluate_folds(
    vectors: NDArray[np.float32], classes: NDArray, folds: NDArray[np.int64], *, c: float, standardize: bool = True
) -> FoldResults:
    """Judge each fold by a logistic regression on the others.

    Parameters
    ----------
    vectors
        A row a clip, float32 `[n, d]`.
    classes
        Name of each clip's class, `[n]`.
    folds
        Fold of each clip, `[n]`.
    c
        Inverse regularisation.
    standardize
        Whether dimensions are standardised by the training folds.

    Raises
    ------
    InputError
        There is but one fold, or a class of one fold is in no other.
    """
    names = np.unique(folds)
    if len(names) < 2:
        raise InputError(f"Leaving one fold out needs two folds; there is only fold {names[0]}.")
    predictions = np.empty(len(classes), classes.dtype)
    for fold in names:
        judged = folds == fold
        if unseen := sorted(set(classes[judged]) - set(classes[~judged])):
            raise InputError(f"Fold {fold} has clips of {', '.join(unseen)}, which no other fold has.")
        regression = LogisticRegression(C=c, max_iter=5000)
        model = make_pipeline(StandardScaler(), regression) if standardize else regression
        predictions[judged] = model.fit(vectors[~judged], classes[~judged]).predict(vectors[judged])
    right = predictions == classes
    by_fold = {str(fold): float(right[folds == fold].mean()) for fold in names}
    return FoldResults(
        accuracy=float(np.mean(list(by_fold.values()))),
        fold_accuracy=by_fold,
        class_accuracy={str(name): float(right[classes == name].mean()) for name in np.unique(classes)},
        predictions=predictions,
    )
