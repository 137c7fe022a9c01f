"""Differences between rows, and what cannot be told from few pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from l3embedding.report.differences import by_clips, by_seeds, compare


def _run(folder, predictions, seed=0):
    folder.mkdir(parents=True)
    truth = ["dog", "rain"] * (len(predictions) // 2)
    table = {"filename": [f"{i}.wav" for i in range(len(truth))], "category": truth, "prediction": predictions}
    pd.DataFrame(table).to_csv(folder / "predictions.csv", index=False)
    return _row(seed, 0.5, str(folder))


def _row(seed, value, folder="/nowhere"):
    return {"folder": folder, "metric": "accuracy", "seed": seed, "random_state": 1, "value": value}


def test_of_one_seed_each_the_p_value_is_mcnemars(rng):
    gained, lost, same = 20, 8, 72
    found = by_clips(rng.permutation(np.repeat([1.0, -1.0, 0.0], [gained, lost, same])))
    assert found.mean == pytest.approx(0.12)
    assert found.n == "100 clips"
    # 2000 random signs against all 2^28.
    assert found.p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue, abs=0.02)
    low, high = found.interval
    assert low == pytest.approx(0.12 - 1.96 * np.sqrt((0.28 - 0.12**2) / 100), abs=0.02)
    assert high == pytest.approx(0.12 + 1.96 * np.sqrt((0.28 - 0.12**2) / 100), abs=0.02)


def test_rows_that_are_alike_do_not_differ():
    found = by_clips(np.zeros(50))
    assert (found.mean, found.interval, found.p) == (0, (0, 0), 1)


def test_over_seeds_it_is_the_paired_t_test(rng):
    one, other = rng.normal(0.8, 0.01, 5), rng.normal(0.78, 0.01, 5)
    found, expected = by_seeds(one - other), stats.ttest_rel(one, other)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert found.cells()[-1] == "5 seeds"


@pytest.mark.parametrize("differences", [[0.1], [0.1, 0.1]])
def test_too_few_pairs_have_neither_interval_nor_p_value(differences):
    cells = by_seeds(np.array(differences)).cells()
    assert cells[:3] == ("+0.100", "-", "-")
    assert cells[3].endswith("too few")


def test_clips_are_paired_by_name_and_averaged_over_seeds(tmp_path):
    one = [_run(tmp_path / f"one-{seed}", ["dog", "rain", "dog", "dog"], seed) for seed in (0, 1)]
    other = [
        _run(tmp_path / "other-0", ["rain", "rain", "dog", "rain"]),
        _run(tmp_path / "other-1", ["dog", "dog", "dog", "rain"], 1),
    ]
    found = compare(pd.DataFrame(one), pd.DataFrame(other))
    # Correct: 1 1 1 0 and 1/2 1/2 1 1.
    assert found.mean == pytest.approx(0.0)
    assert found.n == "4 clips"


def test_without_predictions_of_clips_seeds_are_paired_by_their_number():
    one, other = (
        pd.DataFrame([_row(seed, value) for seed, value in row.items()])
        for row in ({0: 0.8, 1: 0.7, 2: 0.9}, {1: 0.6, 2: 0.7, 3: 0.1})
    )
    found = compare(one, other)
    assert found.mean == pytest.approx(0.15)
    assert found.n == "2 seeds"
    assert compare(one[:1], other[2:]).n == "no seed in common"
