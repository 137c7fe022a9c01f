"""Was diversity bought? A sample beside random ones of its size.

================  ==================================================================================
`log_volume`      log det(F F^T + r I) an item, F the embeddings at unit length: how different they are
`coverage`        mean cosine similarity of a frame to the nearest in the sample: how well it is stood for
`mean_relevance`  of the sampled frames
================  ==================================================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l3embedding.upstream.dpp import log_volume

_RIDGE = 1e-3
_FRAMES = 2048
"""Frames on which coverage is judged."""
_RANDOM_SAMPLES = 8


def diagnose(
    embeddings: NDArray[np.float32],
    relevance: NDArray[np.float32],
    sample: NDArray[np.float32],
    sample_relevance: NDArray[np.float32],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Judge a sample beside random ones.

    Parameters
    ----------
    embeddings, relevance
        Of frames drawn uniformly from those that could be sampled, float32 `[n, D]` and `[n]`; as many as the
        sample has, or more.
    sample, sample_relevance
        Of the sampled frames.
    rng
        Draws the random samples.

    Returns
    -------
    For each measure at the top of this module `sample`, and `random_mean` and `random_std` of random samples.
    """
    pool = _unit(embeddings)
    judged = pool[rng.permutation(len(pool))[:_FRAMES]]
    size = min(len(sample), len(pool))
    measured = {name: [] for name in ("log_volume", "coverage", "mean_relevance")}
    for _ in range(_RANDOM_SAMPLES):
        drawn = rng.choice(len(pool), size, replace=False)
        for name, value in _measure(pool[drawn], relevance[drawn], judged).items():
            measured[name].append(value)
    ours = _measure(_unit(sample), sample_relevance, judged)
    return {
        name: {"sample": ours[name], "random_mean": float(np.mean(values)), "random_std": float(np.std(values))}
        for name, values in measured.items()
    }


def _measure(
    sample: NDArray[np.float32], relevance: NDArray[np.float32], judged: NDArray[np.float32]
) -> dict[str, float]:
    nearest = np.concatenate(
        [(judged[start : start + 256] @ sample.T).max(axis=1) for start in range(0, len(judged), 256)]
    )
    return {
        "log_volume": log_volume(sample, _RIDGE) / len(sample),
        "coverage": float(nearest.mean()),
        "mean_relevance": float(relevance.mean()),
    }


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.where(norms > 0, norms, 1).astype(np.float32)
