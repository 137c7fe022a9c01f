"""Whether one row of a table scores higher than another, on the same clips or over the same seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from l3embedding.report.collect import POOLED

RESAMPLES = 2000
NOTE = (
    "Where each clip has one class, clips are compared (each by its mean over seeds): the interval is a bootstrap's, "
    "the p-value a sign-flipping permutation test's. Both assume that clips are independent; clips of one recording "
    "are not. Otherwise, a paired t-test over the seeds that both rows have. The p-values are not corrected for "
    "multiple comparisons."
)
# Resamples held in memory at a time.
_BATCH = 100
_SEED = 20180216


@dataclass(frozen=True)
class Difference:
    """How much higher one row scores than another; without interval and p-value where there are too few pairs."""

    mean: float
    n: str
    """How many pairs, and of what."""
    interval: tuple[float, float] | None = None
    """The 95 % confidence interval."""
    p: float | None = None
    """Two-sided p-value."""

    def cells(self) -> tuple[str, str, str, str]:
        """As a table shows it."""
        if self.interval is None or self.p is None:
            return f"{self.mean:+.3f}", "-", "-", f"{self.n}: too few"
        low, high = self.interval
        p = "< 0.001" if self.p < 0.001 else f"{self.p:.3f}"
        return f"{self.mean:+.3f}", f"{low:+.3f} to {high:+.3f}", p, self.n


def compare(one: pd.DataFrame, other: pd.DataFrame) -> Difference:
    """Compare two rows of a table: by clip where there are predictions of one class per clip, else by seed.

    Each is given by the runs behind it: rows of the tidy table, of the same metric.
    """
    correct = [[_correct(*each) for each in zip(row["folder"], row["metric"], strict=True)] for row in (one, other)]
    if all(each is not None for row in correct for each in row):
        clips = [pd.concat(row, axis=1).mean(axis=1) for row in correct]
        common = clips[0].index.intersection(clips[1].index)
        return by_clips((clips[0][common] - clips[1][common]).to_numpy(float))
    first, second = (row.groupby(POOLED, dropna=False)["value"].mean() for row in (one, other))
    paired = pd.merge(first, second, on=POOLED)
    if paired.empty:
        return Difference(float(one["value"].mean() - other["value"].mean()), "no seed in common")
    return by_seeds((paired["value_x"] - paired["value_y"]).to_numpy(float))


def by_clips(differences: NDArray[np.float64]) -> Difference:
    """Evaluate the differences of clips, float64 `[n]`, each in [-1, 1]."""
    mean, n = float(differences.mean()), f"{len(differences)} clips"
    if len(differences) < 2:
        return Difference(mean, n)
    rng = np.random.default_rng(_SEED)
    options = {"n_resamples": RESAMPLES, "batch": _BATCH, "vectorized": True, "rng": rng}
    low, high = stats.bootstrap((differences,), np.mean, method="percentile", **options).confidence_interval
    flipped = stats.permutation_test((differences,), np.mean, permutation_type="samples", **options)
    return Difference(mean, n, (float(low), float(high)), float(flipped.pvalue))


def by_seeds(differences: NDArray[np.float64]) -> Difference:
    """Evaluate the differences of seeds, float64 `[n]`."""
    mean, n = float(differences.mean()), f"{len(differences)} seed{'s' if len(differences) > 1 else ''}"
    # Equal differences, too, are those of seeds that changed nothing: they tell nothing of other seeds.
    if len(differences) < 2 or not differences.std():
        return Difference(mean, n)
    tested = stats.ttest_1samp(differences, 0.0)
    low, high = tested.confidence_interval()
    return Difference(mean, n, (float(low), float(high)), float(tested.pvalue))


def _correct(folder: str, metric: str) -> pd.Series | None:
    """Clip to whether it was classified correctly, float64; None where a clip has no single class."""
    path = Path(folder) / "predictions.csv"
    if metric != "accuracy" or not path.is_file():
        return None
    table = pd.read_csv(path, dtype=str).set_index("filename")
    return (table["prediction"] == table["category"]).astype(float)
