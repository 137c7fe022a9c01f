"""The metrics of DCASE 2020 task 5, implemented as slowly and directly as their rules are written.

Clip by clip, threshold by threshold, in sets: the reference that `l3embedding.classifier.metrics` is held against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from l3embedding.data.sonyc_ust import Category, Taxonomy


@dataclass
class Row:
    """Counts at one threshold."""

    threshold: float
    hits: int = 0
    false_alarms: int = 0
    misses: int = 0

    @property
    def precision(self) -> float:
        """True positives over predicted positives."""
        return self.hits / max(self.hits + self.false_alarms, 0.5)

    @property
    def recall(self) -> float:
        """True positives over all positives."""
        return self.hits / max(self.hits + self.misses, 0.5)


def reference_evaluate(
    predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy, level: str
) -> dict[str, Any]:
    """Evaluate as `l3embedding.classifier.metrics` does; every clip and tag has a prediction and a truth."""
    scores, facts = predictions.to_dict("index"), truth.to_dict("index")
    count = _count_fine if level == "fine" else _count_coarse
    tables = {}
    for category in taxonomy.categories:
        tags = category.fine_columns if level == "fine" else [category.column]
        values = {scores[clip][tag] for clip in facts for tag in tags}
        table = [Row(threshold) for threshold in sorted({*values, 1.0}, reverse=True) if threshold >= 0.01]
        for row in table:
            for clip in facts:
                count(row, category, scores[clip], facts[clip])
        tables[category.name] = table
    areas = {name: _area(table) for name, table in tables.items()}
    pooled = _pool(list(tables.values()))
    return {
        "micro_auprc": _area(pooled),
        "micro_f1": _f1(next(row for row in pooled if row.threshold >= 0.5)),
        "macro_auprc": sum(areas.values()) / len(areas),
        "class_auprc": areas,
    }


def _count_coarse(row: Row, category: Category, scores: dict[str, float], facts: dict[str, int]) -> None:
    predicted, true = scores[category.column] >= row.threshold, facts[category.column] == 1
    row.hits += predicted and true
    row.false_alarms += predicted and not true
    row.misses += true and not predicted


def _count_fine(row: Row, category: Category, scores: dict[str, float], facts: dict[str, int]) -> None:
    tags, unsure = set(category.fine_columns), category.uncertain_column
    predicted = {tag for tag in tags if scores[tag] >= row.threshold}
    true = {tag for tag in tags if facts[tag] == 1}
    predicts_unsure = unsure is not None and scores[unsure] >= row.threshold
    row.hits += len(predicted & true)
    row.misses += len(true - predicted)
    if unsure is not None and facts[unsure] == 1:
        # The truth is incomplete: one comparison of anything with anything, and no false alarms.
        row.hits += bool(predicted or predicts_unsure) and not predicted & true
        row.misses += not (true or predicted or predicts_unsure)
    else:
        row.false_alarms += len(predicted - true)
        row.false_alarms += predicts_unsure and not true and predicted != tags


def _pool(tables: list[list[Row]]) -> list[Row]:
    """Add, at every threshold of any table and rising, each table's last row that is not below it."""
    pooled = []
    for threshold in sorted({row.threshold for table in tables for row in table}):
        last = [[row for row in table if row.threshold >= threshold][-1] for table in tables]
        pooled.append(
            Row(
                threshold,
                sum(row.hits for row in last),
                sum(row.false_alarms for row in last),
                sum(row.misses for row in last),
            )
        )
    return pooled


def _area(table: list[Row]) -> float:
    recall = [row.recall for row in table]
    # The rules leave the order of equal recalls to NumPy's default sort.
    order = np.argsort(recall)
    points = [(0.0, 1.0), *((table[index].recall, table[index].precision) for index in order), (1.0, 0.0)]
    return float(sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False)))


def _f1(row: Row) -> float:
    return 2 * row.hits / max(2 * row.hits + row.false_alarms + row.misses, 0.5)
