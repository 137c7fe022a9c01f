"""The metrics of DCASE 2020 task 5 at 300 clips, beside their rules taken literally, threshold by threshold.

The peer loops over thresholds and clips in plain Python; the official program loops over thresholds in pandas and
scikit-learn, and took 20 s for 120 clips. Both evaluate both levels. Also: confidence intervals of 4,308 clips, the
size of SONYC-UST's validation split.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from benchmarks.timing import seconds
from l3embedding.classifier.bootstrap import confidence_intervals
from l3embedding.classifier.metrics import evaluate
from l3embedding.data.sonyc_ust import Category, Taxonomy
from tests.support.reference_metrics import reference_evaluate

LEVELS = ("coarse", "fine")


def category(number: int, fine: int) -> Category:
    """A coarse tag with some fine ones, and an uncertain one if there are several."""
    tags = {str(key): "tag" for key in range(1, fine + 1)}
    return Category(number, f"category-{number}", tags | ({"X": "?"} if fine > 1 else {}))


TAXONOMY = Taxonomy(tuple(category(number, n) for number, n in enumerate((3, 4, 1, 3, 4, 3, 4, 1), start=1)))
"""Of the size of SONYC-UST's: 8 coarse, 23 fine and 6 uncertain tags."""


def tables(n: int, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions better than chance, and the truth."""
    clips = pd.Index([f"{index:05d}.wav" for index in range(n)], name="audio_filename")
    truth = (rng.random((n, len(TAXONOMY.columns))) < 0.2).astype(int)
    scores = 1 / (1 + np.exp(-rng.normal(3 * truth - 2.5)))
    return pd.DataFrame(scores, clips, TAXONOMY.columns), pd.DataFrame(truth, clips, TAXONOMY.columns)


def main() -> None:
    """Print times and their ratio."""
    rng = np.random.default_rng(0)
    predictions, truth = tables(300, rng)
    ours, peer = 0.0, 0.0
    for level in LEVELS:
        ours += seconds(partial(evaluate, predictions, truth, TAXONOMY, level), repetitions=20)
        peer += seconds(partial(reference_evaluate, predictions, truth, TAXONOMY, level), repetitions=1)
    print(f"300 clips: {1000 * ours:.1f} ms; rules taken literally {peer:.1f} s: {peer / ours:.0f} times")
    predictions, truth = tables(4308, rng)
    for level in LEVELS:
        ours = seconds(partial(evaluate, predictions, truth, TAXONOMY, level))
        bounds = partial(confidence_intervals, predictions, truth, TAXONOMY, level, rng)
        interval = seconds(bounds, repetitions=1)
        print(f"{level}, 4308 clips: {1000 * ours:.0f} ms; intervals of 1000 resamplings {interval:.1f} s")


if __name__ == "__main__":
    main()
