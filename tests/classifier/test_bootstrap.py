"""Confidence intervals: a weight counts as that many copies of its clip."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from l3embedding.classifier.bootstrap import confidence_intervals, resampled_scores
from l3embedding.classifier.counts import category_events
from l3embedding.classifier.metrics import evaluate
from l3embedding.data.sonyc_ust import Category, Taxonomy

TAXONOMY = Taxonomy((Category(1, "engine", {"1": "small", "2": "large", "X": "?"}), Category(2, "dog", {"1": "bark"})))
LEVELS = ("fine", "coarse")


def _tables(n: int, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    clips = pd.Index([f"{index:04d}.wav" for index in range(n)], name="audio_filename")
    truth = rng.integers(0, 2, (n, len(TAXONOMY.columns)))
    scores = np.clip(0.3 * truth + rng.random(truth.shape) * 0.7, 0, 1)
    return pd.DataFrame(scores, clips, TAXONOMY.columns), pd.DataFrame(truth, clips, TAXONOMY.columns)


def _row(scores: dict, index: int) -> dict:
    classes = {name: values[index] for name, values in scores["class_auprc"].items()}
    return {name: values[index] for name, values in scores.items() if name != "class_auprc"} | classes


def _flat(results: dict) -> dict:
    return {key: value for key, value in results.items() if key != "class_auprc"} | results["class_auprc"]


@pytest.mark.parametrize("level", LEVELS)
def test_clips_that_count_once_give_the_metrics(rng, level):
    predictions, truth = _tables(40, rng)
    scores = resampled_scores(predictions, truth, TAXONOMY, level, np.ones((1, 40), int))
    assert _row(scores, 0) == pytest.approx(_flat(evaluate(predictions, truth, TAXONOMY, level)), abs=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_a_weight_counts_as_that_many_copies(rng, level):
    predictions, truth = _tables(40, rng)
    weights = rng.integers(0, 4, (3, 40))
    scores = resampled_scores(predictions, truth, TAXONOMY, level, weights)
    events = category_events(predictions, truth, TAXONOMY, level)
    for index, row in enumerate(weights):
        copies = np.repeat(np.arange(40), row)
        names = [f"{copy}.wav" for copy in range(len(copies))]
        tables = [table.iloc[copies].set_axis(names) for table in (predictions, truth)]
        expected = evaluate(*tables, TAXONOMY, level)
        for name in ("micro_f1", "lwlrap"):
            assert scores[name][index] == pytest.approx(expected[name], abs=1e-12)
        # The areas also depend on how points of equal recall are ordered; their counts do not.
        for name, copied in category_events(*tables, TAXONOMY, level).items():
            curve, weighted = copied.curve(), events[name].weighted_curves(row)
            at = np.searchsorted(weighted.thresholds, curve.thresholds)
            for counts in ("true_positives", "false_positives", "false_negatives"):
                np.testing.assert_array_equal(getattr(weighted, counts)[at], getattr(curve, counts))


def test_intervals_contain_the_estimate_narrow_with_clips_and_follow_the_generator(rng):
    wide, narrow = (_tables(n, rng) for n in (40, 640))
    intervals = [
        confidence_intervals(*tables, TAXONOMY, "coarse", np.random.default_rng(0), samples=200)
        for tables in (wide, wide, narrow)
    ]
    assert intervals[0] == intervals[1]
    results = evaluate(*wide, TAXONOMY, "coarse")
    assert set(intervals[0]) == set(results)
    for name in ("micro_auprc", "macro_auprc", "micro_f1", "lwlrap"):
        low, high = intervals[0][name]
        assert low <= results[name] <= high
        assert np.diff(intervals[2][name])[0] < 0.5 * (high - low)


def test_the_interval_of_a_proportion_is_binomial(rng):
    # With one tag that is always predicted, F1 is a function of the proportion of clips that have it.
    taxonomy = Taxonomy((Category(2, "dog", {"1": "bark"}),))
    clips = pd.Index([f"{index}.wav" for index in range(400)], name="audio_filename")
    truth = pd.DataFrame({"2-1_bark": 0, "2_dog": (np.arange(400) < 100).astype(int)}, clips)
    predictions = pd.DataFrame({"2_dog": 0.9}, clips)
    low, high = confidence_intervals(predictions, truth, taxonomy, "coarse", rng, samples=4000)["micro_f1"]
    proportion = np.array([0.25 - 1.96 * np.sqrt(0.25 * 0.75 / 400), 0.25 + 1.96 * np.sqrt(0.25 * 0.75 / 400)])
    np.testing.assert_allclose([low, high], 2 * proportion / (1 + proportion), atol=0.012)
