"""Whether one row of a table is better than another, on the same clips or over the same seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from l3embedding.report.collect import Judged

RESAMPLES = 2000
NOTE = (
    "Where each clip has one class, clip by clip (the mean over seeds): a bootstrap's interval, and the p value of "
    "a sign-flipping permutation test. They take clips for independent, which those of one recording are not. "
    "Otherwise a paired t test over the seeds that both rows have. No p value is corrected for their number."
)
_BATCH = 100
_SEED = 20180216


@dataclass(frozen=True)
class Difference:
    """How much more one row scores than another.

    Attributes
    ----------
    mean
        The difference.
    interval
        Its 95 % confidence interval; None where there are too few pairs for one.
    p
        Probability of such a difference, either way, if there were none; None as before.
    n
        How many pairs, and of what.
    """

    mean: float
    interval: tuple[float, float] | None
    p: float | None
    n: str

    def cells(self) -> tuple[str, str, str, str]:
        """As a table shows it."""
        if self.interval is None or self.p is None:
            return f"{self.mean:+.3f}", "-", "-", f"{self.n}: too few to tell"
        low, high = self.interval
        return f"{self.mean:+.3f}", f"{low:+.3f} to {high:+.3f}", _p_value(self.p), self.n


def compare(one: Sequence[Judged], other: Sequence[Judged], score: Callable[[Judged], float]) -> Difference:
    """Compare two rows, by their clips where they were kept, else by their seeds.

    Parameters
    ----------
    one, other
        The runs of each row, one a seed.
    score
        What a row's cell shows.
    """
    right = [[_right(each) for each in row] for row in (one, other)]
    if all(each is not None for row in right for each in row):
        clips = [pd.concat(row, axis=1).mean(axis=1) for row in right]
        common = clips[0].index.intersection(clips[1].index)
        return by_clips((clips[0][common] - clips[1][common]).to_numpy(float))
    seeds = [{_seeds(each): score(each) for each in row} for row in (one, other)]
    common = sorted(seeds[0].keys() & seeds[1].keys())
    if not common:
        mean = float(np.mean(list(seeds[0].values())) - np.mean(list(seeds[1].values())))
        return Difference(mean, None, None, "no seed in common")
    return by_seeds(np.array([seeds[0][seed] - seeds[1][seed] for seed in common]))


def by_clips(differences: NDArray[np.float64]) -> Difference:
    """Judge the differences of clips, float64 `[n]`, each in [-1, 1]."""
    n = f"{len(differences)} clips"
    if len(differences) < 2:
        return Difference(float(differences.mean()), None, None, n)
    rng = np.random.default_rng(_SEED)
    options = {"n_resamples": RESAMPLES, "batch": _BATCH, "vectorized": True, "rng": rng}
    drawn = stats.bootstrap((differences,), np.mean, method="percentile", **options)
    flipped = stats.permutation_test((differences,), np.mean, permutation_type="samples", **options)
    return Difference(float(differences.mean()), tuple(map(float, drawn.confidence_interval)), float(flipped.pvalue), n)


def by_seeds(differences: NDArray[np.float64]) -> Difference:
    """Judge the differences of seeds, float64 `[n]`."""
    n = f"{len(differences)} seed{'s' if len(differences) > 1 else ''}"
    mean = float(differences.mean())
    if len(differences) < 2 or not differences.std():
        return Difference(mean, None, None, n)
    tested = stats.ttest_1samp(differences, 0.0)
    return Difference(mean, tuple(map(float, tested.confidence_interval())), float(tested.pvalue), n)


def _seeds(each: Judged) -> tuple[int, int]:
    """The classifier's seed, and that of all before it."""
    return each.run.parameters.get("seed", 0), each.parameter("random_state") or 0


def _right(each: Judged) -> pd.Series | None:
    """Clip to whether it was judged rightly, float64; None where a clip has no one class."""
    path = each.run.folder / "predictions.csv"
    if "accuracy" not in each.run.results or not path.is_file():
        return None
    table = pd.read_csv(path, dtype=str).set_index("filename")
    return (table["prediction"] == table["category"]).astype(float)


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
