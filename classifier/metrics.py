"""The metrics of DCASE 2020 task 5: urban sound tagging with a two-level taxonomy.

Conventions
-----------
- *Predictions* are a table with one row per clip, indexed by file name, and one column in [0, 1] per tag;
  *truth* is a table of the same shape with 0 and 1.
- Each coarse category is a *curve*: the numbers of true positives, false positives and false negatives at each
  threshold, which are the predicted values of at least 0.01, and 1.
- `coarse` compares the coarse tag. `fine` compares tag by tag where the truth is complete; where the
  uncertain tag X is present in the truth, any predicted tag of the category is a true positive.
- Precision and recall divide by max(count, 0.5). Points are sorted by recall, (0, 1) is prepended and
  (1, 0) appended, and the area is that of the trapezoids. This is not average precision.
- *Micro* pools the counts of all categories at each threshold of any category; *macro* is the mean of the
  categories' areas.
- A category without a single positive has an area of 0, whatever is predicted, and counts in the macro mean. This
  follows from the formulas, and the official program does the same in fine mode (in coarse mode it crashes). A
  warning names the category.
- *lwlrap* is not among the official scores; see `lwlrap`. Confidence intervals are in
  `l3embedding.classifier.bootstrap`.

The results equal those of the official program, which loops over thresholds, up to rounding.

References
----------
Cartwright et al., SONYC Urban Sound Tagging, DCASE 2019 workshop;
github.com/sonyc-project/dcase2020task5-uststc-baseline, `metrics.py`.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.classifier.counts import Level, category_events, pool
from l3embedding.data.sonyc_ust import Taxonomy
from l3embedding.data.tables import read_table
from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)


def evaluate(predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy, level: Level) -> dict[str, Any]:
    """Evaluate predictions at one level of the taxonomy.

    Parameters
    ----------
    predictions
        One row per clip, indexed by file name; one column per tag, in [0, 1]. Columns that are not tags are
        ignored; tags without a column count as 0, with a warning.
    truth
        One row per clip, as `l3embedding.data.sonyc_ust.ground_truth` returns it.
    taxonomy, level
        The tags, and `fine` or `coarse`.

    Returns
    -------
    `micro_auprc`, `micro_f1` (at 0.5), `macro_auprc`, `class_auprc` (by category) and `lwlrap`.

    Raises
    ------
    InputError
        A clip occurs twice, the clips differ, or a prediction is not a number in [0, 1].
    """
    predictions = checked(predictions, truth, taxonomy, level)
    events = category_events(predictions, truth, taxonomy, level)
    curves = {name: each.curve() for name, each in events.items()}
    areas = {name: float(curve.area()) for name, curve in curves.items()}
    for name, curve in curves.items():
        if curve.true_positives[0] + curve.false_negatives[0] == 0:
            logger.warning("%s: no clip has %s, so its AUPRC is 0 whatever is predicted", level, name)
    pooled = pool(list(events.values())).curve()
    return {
        "micro_auprc": float(pooled.area(pooled=True)),
        "micro_f1": float(pooled.f1_at(0.5)),
        "macro_auprc": float(np.mean(list(areas.values()))),
        "class_auprc": areas,
        "lwlrap": lwlrap(predictions, truth, taxonomy, level),
    }


def evaluate_proximity(
    predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy, level: Level, proximity: pd.DataFrame
) -> dict[str, dict[str, Any]]:
    """Evaluate near and far sources separately.

    A category that is present in a clip is `near` if any of its tags is near, and `far` if any is far. The near
    scores leave out clips in which the category is present but not near. Clips in which it is absent count in both,
    or there would be no false positives; the authors' program leaves these out too.

    Parameters
    ----------
    predictions, truth, taxonomy, level
        As in `evaluate`.
    proximity
        As `l3embedding.data.sonyc_ust.proximities` returns it.

    Returns
    -------
    `near` and `far`, each with the scores of `evaluate`.
    """
    predictions = checked(predictions, truth, taxonomy, level)
    results = {}
    for word in ("near", "far"):
        kept_truth, kept = truth.copy(), predictions.copy()
        for category in taxonomy.categories:
            tags = [column for column in (*category.fine_columns, category.uncertain_column) if column]
            # A true negative changes no count, so this leaves the clip out of the category.
            out = truth[[*tags, category.column]].any(axis=1) & ~(proximity.loc[truth.index, tags] == word).any(axis=1)
            kept_truth.loc[out, [*tags, category.column]] = 0
            kept.loc[out, [column for column in (*tags, category.column) if column in kept]] = 0.0
        results[word] = evaluate(kept, kept_truth, taxonomy, level)
    return results


def lwlrap(predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy, level: Level) -> float:
    """Label-weighted label-ranking average precision; 0 if no clip has any label.

    For each true label, it computes the fraction of true labels among those ranked at least as high; lwlrap is the
    mean over all true labels. X is ignored. Labels of equal score share the lowest of their ranks.

    References
    ----------
    DCASE 2019 task 2; scikit-learn's `label_ranking_average_precision_score`, clips weighted by their labels.
    """
    precision, labels = label_ranking(predictions, truth, taxonomy, level)
    # `fsum` rounds once, so the result does not depend on the order of the clips.
    return math.fsum(precision) / max(int(labels.sum()), 1)


def label_ranking(
    predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy, level: Level
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each clip, the sum of the precisions at its true labels and the number of these, `[clips]` each."""
    uncertain = {category.uncertain_column for category in taxonomy.categories}
    columns = [column for column in _columns(taxonomy, level) if column not in uncertain]
    scores, present = predictions[columns].to_numpy(np.float64), truth[columns].to_numpy(bool)
    as_high = scores[:, np.newaxis, :] >= scores[:, :, np.newaxis]
    true_as_high = (as_high & present[:, np.newaxis, :]).sum(axis=2)
    return (present * true_as_high / as_high.sum(axis=2)).sum(axis=1), present.sum(axis=1)


def curve_table(
    predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy, levels: Sequence[Level], points: int = 500
) -> pd.DataFrame:
    """The precision-recall curves as a table.

    Returns
    -------
    Columns `level`, `category` (`micro`: pooled), `threshold`, `precision`, `recall`; at most `points` rows per
    curve, evenly spaced among its thresholds.
    """
    rows = []
    for level in levels:
        events = category_events(checked(predictions, truth, taxonomy, level), truth, taxonomy, level)
        for name, each in (events | {"micro": pool(list(events.values()))}).items():
            curve = each.curve()
            chosen = np.unique(np.linspace(0, len(curve.thresholds) - 1, points).astype(int))
            columns = {"threshold": curve.thresholds, "precision": curve.precision, "recall": curve.recall}
            table = pd.DataFrame({column: values[chosen] for column, values in columns.items()})
            rows.append(table.assign(level=level, category=name))
    return pd.concat(rows)[["level", "category", "threshold", "precision", "recall"]]


def read_predictions(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table of predictions, indexed by file name.

    Raises
    ------
    InputError
        The file is missing, is not a table, has no column `audio_filename`, or lists a clip twice.
    """
    table = read_table(path, ["audio_filename"]).set_index("audio_filename")
    if table.index.has_duplicates:
        raise InputError(f"{path} lists {table.index[table.index.duplicated()][0]} twice.")
    return table


def has_level(predictions: pd.DataFrame, taxonomy: Taxonomy, level: Level) -> bool:
    """Whether predictions have any tag of a level."""
    return any(column in predictions for column in _columns(taxonomy, level))


def _columns(taxonomy: Taxonomy, level: Level) -> list[str]:
    if level == "coarse":
        return taxonomy.coarse_columns
    return [column for column in taxonomy.columns if column not in taxonomy.coarse_columns]


def checked(predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy, level: Level) -> pd.DataFrame:
    """Bring the predictions into the order of the truth; raises as `evaluate` does."""
    for name, table in (("predictions", predictions), ("ground truth", truth)):
        if table.index.has_duplicates:
            raise InputError(f"{table.index[table.index.duplicated()][0]} is in the {name} twice.")
    if missing := sorted(truth.index[~truth.index.isin(predictions.index)]):
        raise InputError(f"{len(missing)} clips have no prediction: {', '.join(missing[:5])} ...")
    if extra := sorted(predictions.index[~predictions.index.isin(truth.index)]):
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
    return pd.DataFrame(values, truth.index, columns)
