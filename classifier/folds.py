"""Cross-validation over the fixed folds of a data set: each is the test fold once."""

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
"""Splits of the training folds in a search; each leaves out whole folds."""


@dataclass(frozen=True)
class FoldResults:
    """Results of a cross-validation over folds."""

    accuracy: float  #: mean over the folds
    fold_accuracy: dict[str, float]  #: by test fold
    class_accuracy: dict[str, float]  #: recall by class, over all folds
    predictions: NDArray[np.str_]  #: the predicted class of each clip, [n]
    confusion: NDArray[np.int64]  #: number of clips, [true class, predicted class], in the order of class_accuracy
    parameters: dict[str, dict[str, Any]]  #: those that the search chose, by test fold


def evaluate_folds(
    samples: NDArray[Any],
    classes: NDArray[np.str_],
    folds: NDArray[np.int64],
    model: BaseEstimator,
    grid: Mapping[str, Sequence[Any]] | None = None,
    n_jobs: int = 1,
    checkpoints: Path | None = None,
) -> FoldResults:
    """Evaluate a classifier on each fold after training it on the others.

    Parameters
    ----------
    samples
        The classifier's input for each clip, `[n, ...]`: a vector, or the clip's name.
    classes
        Class of each clip, `[n]`.
    folds
        Fold of each clip, `[n]`.
    model
        An untrained classifier, which is cloned for each fold.
    grid
        The values of each parameter that a search tries, for each test fold by cross-validation within its training
        folds; None: no search.
    n_jobs
        Processes of a search.
    checkpoints
        Folder for the results of each finished fold, from which an interrupted run resumes.

    Raises
    ------
    InputError
        There are too few folds, or a class occurs in one fold only.
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
        test, checkpoint = folds == fold, checkpoints / f"fold-{fold}.json" if checkpoints else None
        if checkpoint and checkpoint.is_file():
            found = read_json(checkpoint)
        else:
            found = _evaluate_fold(model, grid, samples, classes, folds, fold, n_jobs)
            if checkpoint:
                write_json(checkpoint, found)
        predictions[test] = found["predictions"]
        if grid:
            parameters[str(fold)] = found["parameters"]
        accuracy = float((predictions[test] == classes[test]).mean())
        logger.info("fold %s: accuracy %.3f %s", fold, accuracy, found["parameters"] or "")
    right, labels = predictions == classes, np.unique(classes)
    by_fold = {str(fold): float(right[folds == fold].mean()) for fold in names}
    return FoldResults(
        accuracy=float(np.mean(list(by_fold.values()))),
        fold_accuracy=by_fold,
        class_accuracy={str(label): float(right[classes == label].mean()) for label in labels},
        predictions=predictions,
        confusion=confusion_matrix(classes, predictions, labels=labels),
        parameters=parameters,
    )


def _evaluate_fold(
    model: BaseEstimator,
    grid: Mapping[str, Sequence[Any]] | None,
    samples: NDArray[Any],
    classes: NDArray[np.str_],
    folds: NDArray[np.int64],
    fold: int,
    n_jobs: int,
) -> dict[str, Any]:
    """Train on all folds but one; return the predictions for that one and the chosen parameters, ready for JSON."""
    train = folds != fold
    parameters = {}
    with warnings.catch_warnings():
        # An MLP's number of epochs is fixed; it need not converge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if grid:
            splits = GroupKFold(min(INNER_SPLITS, len(np.unique(folds[train]))))
            search = GridSearchCV(model, dict(grid), scoring="accuracy", cv=splits, n_jobs=n_jobs, error_score="raise")
            fitted = search.fit(samples[train], classes[train], groups=folds[train])
            parameters = {name.rpartition("__")[2]: value for name, value in fitted.best_params_.items()}
        else:
            fitted = clone(model).fit(samples[train], classes[train])
    return {"predictions": fitted.predict(samples[~train]).tolist(), "parameters": parameters}
