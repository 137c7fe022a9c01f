"""Confidence intervals of the metrics: percentile bootstrap over clips.

A resampling of the clips is a row of weights: how often each clip was drawn. Many rows are counted at once.

References
----------
Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.classifier.counts import Level, category_events, pool
from l3embedding.classifier.metrics import checked, evaluate, evaluate_proximity, label_ranking
from l3embedding.data.sonyc_ust import Taxonomy

_CELLS_AT_ONCE = 1_000_000
"""Counts per block of resamplings: those of all resamplings would not fit into memory."""


def evaluate_level(
    predictions: pd.DataFrame,
    truth: pd.DataFrame,
    taxonomy: Taxonomy,
    level: Level,
    *,
    samples: int,
    seed: int,
    proximity: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Evaluate predictions at one level, with confidence intervals and near and far sources separately.

    Returns
    -------
    `LEVEL`, as `evaluate` returns it; `LEVEL_interval` from `samples` resamplings, unless this is 0; and
    `LEVEL_by_proximity`, if the proximity is given.
    """
    results: dict[str, Any] = {level: evaluate(predictions, truth, taxonomy, level)}
    if samples:
        rng = np.random.default_rng(seed)
        results[f"{level}_interval"] = confidence_intervals(predictions, truth, taxonomy, level, rng, samples)
    if proximity is not None:
        results[f"{level}_by_proximity"] = evaluate_proximity(predictions, truth, taxonomy, level, proximity)
    return results


def confidence_intervals(
    predictions: pd.DataFrame,
    truth: pd.DataFrame,
    taxonomy: Taxonomy,
    level: Level,
    rng: np.random.Generator,
    samples: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Compute confidence intervals of the scores that `l3embedding.classifier.metrics.evaluate` returns.

    Parameters
    ----------
    predictions, truth, taxonomy, level
        As in `evaluate`.
    rng, samples
        Draws the resamplings, and their number.
    confidence
        Fraction of the resamplings within an interval.

    Returns
    -------
    The keys of `evaluate`, each with `[low, high]`.
    """
    predictions = checked(predictions, truth, taxonomy, level)
    n = len(truth)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=samples)
    scores = resampled_scores(predictions, truth, taxonomy, level, weights)
    tail = 50 * (1 - confidence)

    def interval(values: NDArray[np.float64]) -> list[float]:
        return np.percentile(values, [tail, 100 - tail]).tolist()

    classes = {name: interval(values) for name, values in scores.pop("class_auprc").items()}
    return {name: interval(values) for name, values in scores.items()} | {"class_auprc": classes}


def resampled_scores(
    predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy, level: Level, weights: NDArray[np.int64]
) -> dict[str, Any]:
    """Compute the scores of `l3embedding.classifier.metrics.evaluate` for clips that count with weights.

    Parameters
    ----------
    predictions, truth, taxonomy, level
        As in `evaluate`; the predictions in the order of the truth.
    weights
        int64 `[samples, clips]`.

    Returns
    -------
    The keys of `evaluate`, each with float64 `[samples]`.
    """
    events = category_events(predictions, truth, taxonomy, level)
    pooled = pool(list(events.values()))
    at_once = max(1, _CELLS_AT_ONCE // len(pooled.thresholds))
    blocks = [weights[start : start + at_once] for start in range(0, len(weights), at_once)]
    classes = {
        name: np.concatenate([each.weighted_curves(block).area() for block in blocks]) for name, each in events.items()
    }
    micro = [(curve.area(pooled=True), curve.f1_at(0.5)) for curve in map(pooled.weighted_curves, blocks)]
    precision, labels = label_ranking(predictions, truth, taxonomy, level)
    return {
        "micro_auprc": np.concatenate([area for area, _ in micro]),
        "micro_f1": np.concatenate([f1 for _, f1 in micro]),
        "macro_auprc": np.mean(list(classes.values()), axis=0),
        "lwlrap": weights @ precision / np.maximum(weights @ labels, 1),
        "class_auprc": classes,
    }
