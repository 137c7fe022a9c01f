"""The metrics of DCASE 2020 task 5: urban sound tagging with a two-level taxonomy.

Conventions
-----------
- *Predictions* are a table with a row a clip, indexed by file name, and a column in [0, 1] for each tag;
  *truth* is one of the same shape with 0 and 1.
- Each coarse category is a *curve* of counts: for every predicted value of at least 0.01, and 1, as
  threshold, how many true positives, false positives and false negatives there are.
- `coarse` compares the coarse tag. `fine` compares tag by tag where the truth is complete; where the
  uncertain tag X is present in the truth, any tag of the category in the prediction is right.
- Precision and recall divide by max(count, 0.5). Points are sorted by recall, (0, 1) is put in front and
  (1, 0) behind, and the area is the trapezoids'. It is not average precision.
- *Micro* pools the counts of all categories at each threshold of any category; *macro* is the mean of the
  categories' areas.
- A category without a single positive has an area of 0 and counts in the macro mean: that is what the
  formulas give, and what the official program does in fine mode (in coarse mode it crashes). It is named
  in a warning, since 0 says nothing about the predictions then.

The results equal those of the official program, which loops over thresholds, to rounding.

References
----------
Cartwright et al., SONYC Urban Sound Tagging, DCASE 2019 workshop;
github.com/sonyc-project/dcase2020task5-uststc-baseline, `metrics.py`.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import InputError
from data.sonyc_ust import Category, Taxonomy

logger = logging.getLogger(__name__)

Level = Literal["fine", "coarse"]

MIN_THRESHOLD = 0.01
_LEAST_COUNT = 0.5


@dataclass(frozen=True)
class Curve:
    """Counts by threshold.

    Attributes
    ----------
    thresholds
        float64 `[n]`, increasing; the last is 1.
    true_positives, false_positives, false_negatives
        int64 `[n]`.
    """

    thresholds: NDArray[np.float64]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    false_negatives: NDArray[np.int64]

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of what was predicted that is true, float64 `[n]`."""
        return self.true_positives / np.maximum(self.true_positives + self.false_positives, _LEAST_COUNT)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of what is true that was predicted, float64 `[n]`."""
        return self.true_positives / np.maximum(self.true_positives + self.false_negatives, _LEAST_COUNT)

    def area(self, *, pooled: bool = False) -> float:
        """Area under the precision-recall curve.

        Points of equal recall but other precision make the area depend on their order. The official
        program leaves it to NumPy's default sort, which is not stable, of the points by falling
        threshold for a category and by rising threshold for the pooled counts; so does this.
        """
        points = slice(None) if pooled else slice(None, None, -1)
        recall, precision = self.recall[points], self.precision[points]
        order = np.argsort(recall)
        recall = np.concatenate([[0.0], recall[order], [1.0]])
        precision = np.concatenate([[1.0], precision[order], [0.0]])
        return float(np.trapezoid(precision, recall))

    def f1_at(self, threshold: float) -> float:
        """Harmonic mean of precision and recall at the first threshold not below `threshold`."""
        index = np.searchsorted(self.thresholds, threshold)
        doubled = 2.0 * self.true_positives[index]
        wrong = self.false_positives[index] + self.false_negatives[index]
        return float(doubled / max(doubled + wrong, _LEAST_COUNT))


def evaluate(predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy, level: Level) -> dict[str, Any]:
    """Judge predictions at one level of the taxonomy.

    Parameters
    ----------
    predictions
        A row a clip, indexed by file name; a column for each tag, in [0, 1]. Columns that are not tags
        are ignored, tags without a column count as 0 with a warning.
    truth
        A row a clip, as `data.sonyc_ust.ground_truth` returns it.
    taxonomy
        The tags.
    level
        `fine` or `coarse`.

    Returns
    -------
    `micro_auprc`, `micro_f1` (at 0.5), `macro_auprc`, and `class_auprc`, a mapping by category.

    Raises
    ------
    InputError
        The clips differ, or a prediction is no number in [0, 1].
    """
    predictions = _checked(predictions, truth, taxonomy, level)
    curves = category_curves(predictions, truth, taxonomy, level)
    areas = {name: curve.area() for name, curve in curves.items()}
    for name, curve in curves.items():
        if curve.true_positives[0] + curve.false_negatives[0] == 0:
            logger.warning("%s: no clip has %s, so its AUPRC of 0 says nothing", level, name)
    pooled = pool(list(curves.values()))
    return {
        "micro_auprc": pooled.area(pooled=True),
        "micro_f1": pooled.f1_at(0.5),
        "macro_auprc": float(np.mean(list(areas.values()))),
        "class_auprc": areas,
    }


def category_curves(
    predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy, level: Level
) -> dict[str, Curve]:
    """The curve of counts of each coarse category; both tables have the same rows."""
    count = _count_fine if level == "fine" else _count_coarse
    return {category.name: count(category, predictions, truth) for category in taxonomy.categories}


def pool(curves: list[Curve]) -> Curve:
    """Add up the counts of all curves at every threshold of any.

    A curve's counts at a threshold that it has not are those at its next higher one.
    """
    thresholds = np.unique(np.concatenate([curve.thresholds for curve in curves]))
    rows = [np.searchsorted(curve.thresholds, thresholds) for curve in curves]
    return Curve(
        thresholds,
        sum(curve.true_positives[row] for curve, row in zip(curves, rows, strict=True)),
        sum(curve.false_positives[row] for curve, row in zip(curves, rows, strict=True)),
        sum(curve.false_negatives[row] for curve, row in zip(curves, rows, strict=True)),
    )


def read_predictions(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table of predictions, indexed by file name.

    Raises
    ------
    InputError
        The file is missing, is no table, has no `audio_filename`, or names a clip twice.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"The predictions {path} cannot be read: {error}") from None
    if "audio_filename" not in table:
        raise InputError(f"{path} lacks the column audio_filename.")
    table = table.set_index("audio_filename")
    if table.index.has_duplicates:
        raise InputError(f"{path} names {table.index[table.index.duplicated()][0]} twice.")
    return table


def has_level(predictions: pd.DataFrame, taxonomy: Taxonomy, level: Level) -> bool:
    """Say whether predictions have any tag of a level."""
    return any(column in predictions for column in _columns(taxonomy, level))


def _columns(taxonomy: Taxonomy, level: Level) -> list[str]:
    if level == "coarse":
        return taxonomy.coarse_columns
    return [column for column in taxonomy.columns if column not in taxonomy.coarse_columns]


def _checked(predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy, level: Level) -> pd.DataFrame:
    """Bring the predictions into the truth's order, and refuse what cannot be judged."""
    if missing := sorted(set(truth.index) - set(predictions.index)):
        raise InputError(f"{len(missing)} clips have no prediction: {', '.join(missing[:5])} ...")
    if extra := sorted(set(predictions.index) - set(truth.index)):
        raise InputError(f"{len(extra)} predicted clips are not in the ground truth: {', '.join(extra[:5])} ...")
    columns = _columns(taxonomy, level)
    if absent := [column for column in columns if column not in predictions]:
        logger.warning("%s: no prediction of %s; it counts as 0", level, ", ".join(absent))
    predictions = predictions.reindex(index=truth.index, columns=columns, fill_value=0.0)
    try:
        values = predictions.to_numpy(np.float64)
    except ValueError as error:
        raise InputError(f"A prediction is not a number: {error}.") from None
    wrong = ~((values >= 0) & (values <= 1))  # also true of NaN
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(f"{truth.index[row]}, {columns[column]}: {values[row, column]} is not in [0, 1].")
    return predictions.astype(np.float64)


def _thresholds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.unique(np.append(scores[scores >= MIN_THRESHOLD], 1.0))


def _count_at(thresholds: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many scores reach each threshold, int64 `[n]`."""
    return scores.size - np.searchsorted(np.sort(scores, axis=None), thresholds)


def _count_coarse(category: Category, predictions: pd.DataFrame, truth: pd.DataFrame) -> Curve:
    scores = predictions[category.column].to_numpy()
    present = truth[category.column].to_numpy(bool)
    thresholds = _thresholds(scores)
    hits = _count_at(thresholds, scores[present])
    return Curve(thresholds, hits, _count_at(thresholds, scores[~present]), present.sum() - hits)


def _count_fine(category: Category, predictions: pd.DataFrame, truth: pd.DataFrame) -> Curve:
    """Count tag by tag where the truth is complete, and once a clip where it is not.

    Every count of the official program is a number of scores that reach the threshold, or a difference
    of two such numbers; so none needs a loop over thresholds.
    """
    scores = predictions[category.fine_columns].to_numpy()
    present = truth[category.fine_columns].to_numpy(bool)
    thresholds = _thresholds(scores)
    if category.uncertain_column:
        uncertain_score = predictions[category.uncertain_column].to_numpy()
        uncertain = truth[category.uncertain_column].to_numpy(bool)
    else:
        uncertain_score, uncertain = np.zeros(len(scores)), np.zeros(len(scores), bool)

    hits = _count_at(thresholds, scores[present])
    misses = present.sum() - hits
    false_alarms = _count_at(thresholds, scores[~present & ~uncertain[:, np.newaxis]])

    # Of uncertain truth: any tag is right, unless a true fine tag has been counted as a hit already.
    any_score = np.maximum(scores.max(axis=1), uncertain_score)
    best_hit = np.where(present, scores, -np.inf).max(axis=1)
    uncertain_hits = _count_at(thresholds, any_score[uncertain]) - _count_at(thresholds, best_hit[uncertain])
    only_uncertain = uncertain & ~present.any(axis=1)
    uncertain_misses = only_uncertain.sum() - _count_at(thresholds, any_score[only_uncertain])

    # Of a truth without any tag: X is one more false alarm, unless all the fine tags are predicted too.
    empty = ~uncertain & ~present.any(axis=1)
    all_score = np.minimum(scores.min(axis=1), uncertain_score)
    uncertain_alarms = _count_at(thresholds, uncertain_score[empty]) - _count_at(thresholds, all_score[empty])
    return Curve(thresholds, hits + uncertain_hits, false_alarms + uncertain_alarms, misses + uncertain_misses)
