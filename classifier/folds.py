"""Classification by fixed folds: each fold is judged by what the others taught."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import GridSearchCV, GroupKFold

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json, write_json

logger = logging.getLogger(__name__)

INNER_SPLITS = 3
"""Parts that a search makes of the training folds, each of whole folds."""


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
    confusion
        Clips of each class, in the order of `class_accuracy`, by the class they were taken for, int64
        `[classes, classes]`.
    parameters
        Fold to the values that a search chose for it.
    """

    accuracy: float
    fold_accuracy: dict[str, float]
    class_accuracy: dict[str, float]
    predictions: NDArray
    confusion: NDArray[np.int64]
    parameters: dict[str, dict[str, Any]]


def evaluate_folds(
    samples: NDArray,
    classes: NDArray,
    folds: NDArray[np.int64],
    model: BaseEstimator,
    grid: Mapping[str, Sequence[Any]] | None = None,
    n_jobs: int = 1,
    checkpoints: Path | None = None,
) -> FoldResults:
    """Judge each fold by a classifier that learned from the others.

    Parameters
    ----------
    samples
        What the classifier takes of each clip, `[n, ...]`: a vector, or its name.
    classes
        Name of each clip's class, `[n]`.
    folds
        Fold of each clip, `[n]`.
    model
        An untrained classifier, which is cloned for each fold.
    grid
        Parameter to the values among which the training folds choose for each judged fold; None: no search.
        The search leaves out whole folds, too.
    n_jobs
        Processes of a search.
    checkpoints
        Folder that keeps what came of each fold, and from which a run that was stopped is taken up.

    Raises
    ------
    InputError
        There are too few folds, or a class of one fold is in no other.
    """
    names = np.unique(folds)
    if len(names) < 2:
        raise InputError(f"Leaving one fold out needs two folds; there is only fold {names[0]}.")
    if grid and len(names) < 3:
        raise InputError(f"A search within the training folds needs three folds; there are {len(names)}.")
    for fold in names:
        if unseen := sorted(set(classes[folds == fold]) - set(classes[folds != fold])):
            raise InputError(f"Fold {fold} has clips of {', '.join(unseen)}, which no other fold has.")
    predictions, parameters = np.empty(len(classes), classes.dtype), {}
    for fold in names:
        judged, kept = folds == fold, checkpoints / f"fold-{fold}.json" if checkpoints else None
        if kept and kept.is_file():
            found = read_json(kept)
        else:
            found = _judge(model, grid, samples, classes, folds, fold, n_jobs)
            if kept:
                write_json(kept, found)
        predictions[judged] = found["predictions"]
        if grid:
            parameters[str(fold)] = found["parameters"]
        accuracy = float((predictions[judged] == classes[judged]).mean())
        logger.info("fold %s: accuracy %.3f %s", fold, accuracy, found["parameters"] or "")
    return _results(predictions, classes, folds, parameters)


def _judge(
    model: BaseEstimator,
    grid: Mapping[str, Sequence[Any]] | None,
    samples: NDArray,
    classes: NDArray,
    folds: NDArray[np.int64],
    fold: int,
    n_jobs: int,
) -> dict[str, Any]:
    """Learn from all folds but one, and say what its clips are; both as JSON takes it."""
    taught = folds != fold
    with warnings.catch_warnings():
        # An MLP's epochs are a budget.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if grid:
            fitted = _search(model, grid, samples[taught], classes[taught], folds[taught], n_jobs)
            parameters = {name.rpartition("__")[2]: value for name, value in fitted.best_params_.items()}
        else:
            fitted, parameters = clone(model).fit(samples[taught], classes[taught]), {}
    return {"predictions": fitted.predict(samples[~taught]).tolist(), "parameters": parameters}


def _search(
    model: BaseEstimator,
    grid: Mapping[str, Sequence[Any]],
    samples: NDArray,
    classes: NDArray,
    folds: NDArray[np.int64],
    n_jobs: int,
) -> GridSearchCV:
    """Choose parameters by leaving out whole folds, and learn with them from all."""
    splits = GroupKFold(min(INNER_SPLITS, len(np.unique(folds))))
    search = GridSearchCV(model, dict(grid), scoring="accuracy", cv=splits, n_jobs=n_jobs, error_score="raise")
    return search.fit(samples, classes, groups=folds)


def _results(
    predictions: NDArray, classes: NDArray, folds: NDArray[np.int64], parameters: dict[str, dict[str, Any]]
) -> FoldResults:
    right, names = predictions == classes, np.unique(classes)
    by_fold = {str(fold): float(right[folds == fold].mean()) for fold in np.unique(folds)}
    return FoldResults(
        accuracy=float(np.mean(list(by_fold.values()))),
        fold_accuracy=by_fold,
        class_accuracy={str(name): float(right[classes == name].mean()) for name in names},
        predictions=predictions,
        confusion=confusion_matrix(classes, predictions, labels=names),
        parameters=parameters,
    )
