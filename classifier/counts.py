"""Counts of true positives, false positives and false negatives by threshold, which all metrics are computed from.

A count changes only where the threshold passes a predicted value. So a category is a list of such *events*: at
which threshold, for which clip, and by how much. Counts are sums of events, over all clips or weighted clips,
without a loop over thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.data.sonyc_ust import Category, Taxonomy

Level = Literal["fine", "coarse"]
Counts = NDArray[np.integer]
Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]
Columns = Mapping[str, NDArray[Any]]

MIN_THRESHOLD = 0.01
_LEAST_COUNT = 0.5
"""Counts are divided by at least this, in the official program as here: 0 / 0 becomes 0."""


@dataclass(frozen=True)
class Curve:
    """Counts by threshold, of one set of clips or, with a leading axis, of several."""

    thresholds: NDArray[np.float64]  # [n], increasing; the last is 1
    true_positives: Counts  # [..., n]
    false_positives: Counts
    false_negatives: Counts

    @property
    def precision(self) -> NDArray[np.float64]:
        """True positives over all predicted positives, `[..., n]`."""
        return self.true_positives / np.maximum(self.true_positives + self.false_positives, _LEAST_COUNT)

    @property
    def recall(self) -> NDArray[np.float64]:
        """True positives over all positives, `[..., n]`."""
        return self.true_positives / np.maximum(self.true_positives + self.false_negatives, _LEAST_COUNT)

    def area(self, *, pooled: bool = False) -> NDArray[np.float64]:
        """Area under the precision-recall curve, `[...]`.

        The area depends on the order of points that have the same recall but not the same precision. The
        official program sorts by recall with NumPy's default sort, which is not stable, starting from falling
        thresholds for a category and from rising ones for the pooled counts; so does this.
        """
        points = slice(None) if pooled else slice(None, None, -1)
        recall, precision = self.recall[..., points], self.precision[..., points]
        order = np.argsort(recall)
        ends = [(0, 0)] * (recall.ndim - 1) + [(1, 1)]
        recall = np.pad(np.take_along_axis(recall, order, -1), ends, constant_values=(0.0, 1.0))
        precision = np.pad(np.take_along_axis(precision, order, -1), ends, constant_values=(1.0, 0.0))
        return np.asarray(np.trapezoid(precision, recall, axis=-1))

    def f1_at(self, threshold: float) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall at the first threshold not below `threshold`, `[...]`."""
        index = np.searchsorted(self.thresholds, threshold)
        doubled = 2.0 * self.true_positives[..., index]
        wrong = self.false_positives[..., index] + self.false_negatives[..., index]
        return doubled / np.maximum(doubled + wrong, _LEAST_COUNT)


@dataclass(frozen=True)
class Events:
    """The changes of the counts of a category."""

    thresholds: NDArray[np.float64]  # [n], increasing
    row: NDArray[np.int64]  # index of the highest threshold at which the event counts, [m]; it counts at lower ones too
    clip: NDArray[np.int64]  # row of its clip, [m]
    change: NDArray[np.int64]  # of the true positives, false positives and false negatives, [3, m]
    misses: Counts  # false negatives of each clip if nothing is predicted, [clips]

    def curve(self) -> Curve:
        """Count every clip once."""
        n = len(self.thresholds)
        at = [np.bincount(self.row, change, n).astype(np.int64) for change in self.change]
        hits, alarms, misses = (np.cumsum(each[::-1])[::-1] for each in at)
        return Curve(self.thresholds, hits, alarms, misses + self.misses.sum())

    def weighted_curves(self, weights: Counts) -> Curve:
        """Count each clip by its weight, for each row of the weights `[..., clips]`."""
        weights = np.asarray(weights, np.int32)  # half the memory of int64
        hits, alarms, misses = (self._weighted_counts(change, weights) for change in self.change)
        return Curve(self.thresholds, hits, alarms, misses + (weights @ self.misses)[..., np.newaxis])

    def _weighted_counts(self, change: Counts, weights: Counts) -> Counts:
        """Sum one kind of change over the events at each threshold and above, `[..., n]`."""
        events = self._by_falling_threshold[change[self._by_falling_threshold] != 0]
        sums = np.cumsum(weights[..., self.clip[events]] * change[events].astype(np.int32), axis=-1, dtype=np.int32)
        # How many of the events have happened at each threshold.
        happened = np.searchsorted(-self.row[events], -np.arange(len(self.thresholds)), side="right")
        return np.take(np.pad(sums, [(0, 0)] * (sums.ndim - 1) + [(1, 0)]), happened, axis=-1)

    @cached_property
    def _by_falling_threshold(self) -> NDArray[np.int64]:
        return np.argsort(-self.row, kind="stable")


def category_events(
    predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy, level: Level
) -> dict[str, Events]:
    """The events of each coarse category; both tables have the same rows."""
    events = {"fine": _fine_events, "coarse": _coarse_events}[level]
    scores, present = _columns(predictions, np.float64), _columns(truth, bool)
    return {category.name: events(category, scores, present) for category in taxonomy.categories}


def pool(events: Sequence[Events]) -> Events:
    """Combine the events of all categories, at the thresholds of any.

    At a threshold that a category does not have, its counts are those at its next higher one.
    """
    thresholds = np.unique(np.concatenate([each.thresholds for each in events]))
    return Events(
        thresholds,
        np.concatenate([np.searchsorted(thresholds, each.thresholds)[each.row] for each in events]),
        np.concatenate([each.clip for each in events]),
        np.concatenate([each.change for each in events], axis=1),
        np.sum([each.misses for each in events], axis=0),
    )


def _events(scores: Scores, misses: Counts, *changes: tuple[Scores, Mask, tuple[int, int, int]]) -> Events:
    """Make the events of a category, whose thresholds are its scores.

    A change is an event at each of its scores, `[clips]` or `[clips, tags]`, where its mask is true; its numbers
    are what it adds to the true positives, false positives and false negatives.
    """
    thresholds = np.unique(np.append(scores[scores >= MIN_THRESHOLD], 1.0))
    rows = [np.searchsorted(thresholds, values[where], side="right") - 1 for values, where, _ in changes]
    clips = [np.nonzero(where)[0] for _, where, _ in changes]
    change = [np.tile(np.array(each)[:, np.newaxis], len(row)) for row, (*_, each) in zip(rows, changes, strict=True)]
    row = np.concatenate(rows)
    counted = row >= 0  # the others are below the least threshold
    return Events(
        thresholds, row[counted], np.concatenate(clips)[counted], np.concatenate(change, axis=1)[:, counted], misses
    )


def _columns(table: pd.DataFrame, dtype: type) -> Columns:
    """Each column as an array: pandas takes longer to look one up than it takes to count it."""
    values = table.to_numpy(dtype)
    return {column: values[:, index] for index, column in enumerate(table.columns)}


def _coarse_events(category: Category, predictions: Columns, truth: Columns) -> Events:
    scores, present = predictions[category.column], truth[category.column]
    return _events(scores, present.astype(np.int64), (scores, present, (1, 0, -1)), (scores, ~present, (0, 1, 0)))


def _fine_events(category: Category, predictions: Columns, truth: Columns) -> Events:
    """Count tag by tag where the truth is complete, and once per clip where it is not."""
    scores, present = (np.stack([table[tag] for tag in category.fine_columns], 1) for table in (predictions, truth))
    if category.uncertain_column:
        uncertain_score, uncertain = predictions[category.uncertain_column], truth[category.uncertain_column]
    else:
        uncertain_score, uncertain = np.zeros(len(scores)), np.zeros(len(scores), bool)
    any_present, any_score = present.any(axis=1), np.maximum(scores.max(axis=1), uncertain_score)
    empty = ~uncertain & ~any_present
    return _events(
        scores,
        present.sum(axis=1) + (uncertain & ~any_present),
        (scores, present, (1, 0, -1)),
        (scores, ~present & ~uncertain[:, np.newaxis], (0, 1, 0)),
        # Uncertain truth: any tag is a true positive, unless a fine tag that is present has been counted already.
        (any_score, uncertain & any_present, (1, 0, 0)),
        (np.where(present, scores, 0).max(axis=1), uncertain & any_present, (-1, 0, 0)),
        (any_score, uncertain & ~any_present, (1, 0, -1)),
        # Truth without any tag: X is one more false positive, unless all the fine tags are predicted too.
        (uncertain_score, empty, (0, 1, 0)),
        (np.minimum(scores.min(axis=1), uncertain_score), empty, (0, -1, 0)),
    )
