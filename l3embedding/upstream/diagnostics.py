"""Whether a sample is more diverse than random samples of its size.

================  ============================================================================================
`log_volume`      log det(F F^T + r I) per item, F the embeddings at unit length: how different they are
`coverage`        mean cosine similarity of a frame to the nearest sampled one: how well the sample represents it
`mean_relevance`  mean relevance of the sampled frames
================  ============================================================================================
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from l3embedding.data.shards import SensorFrames
from l3embedding.upstream.dpp import log_volume
from l3embedding.upstream.sampling import to_unit_norm

_RIDGE = 1e-3
_MOST_SAMPLED = 4096  # sampled frames that are measured, at most
_COVERED = 2048  # frames whose coverage is measured
_RANDOM_SAMPLES = 8


def diagnose_sample(
    frames: SensorFrames, rows: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    """Compare the sampled `rows` of a sensor, or a random part of them, with random samples; see `diagnose`."""
    rows = np.sort(rng.permutation(rows)[:_MOST_SAMPLED])
    pool = np.sort(rng.permutation(len(frames))[: max(4 * len(rows), 2048)])
    embeddings, relevance = frames.read_embeddings(pool), frames.relevance[pool]
    return diagnose(embeddings, relevance, frames.read_embeddings(rows), frames.relevance[rows], rng)


def diagnose(
    embeddings: NDArray[np.float32],
    relevance: NDArray[np.float32],
    sample: NDArray[np.float32],
    sample_relevance: NDArray[np.float32],
    rng: np.random.Generator,
) -> dict[str, dict[str, float]]:
    """Compare a sample with random samples, which are drawn from n frames that could be sampled.

    Returns
    -------
    For each measure at the top of this module `sample`, and `random_mean` and `random_std` of random samples.
    """
    pool = to_unit_norm(embeddings)
    covered = pool[rng.permutation(len(pool))[:_COVERED]]
    size = min(len(sample), len(pool))
    draws = (rng.choice(len(pool), size, replace=False) for _ in range(_RANDOM_SAMPLES))
    random = [_measure(pool[drawn], relevance[drawn], covered) for drawn in draws]
    diagnosis = {}
    for name, value in _measure(to_unit_norm(sample), sample_relevance, covered).items():
        values = [each[name] for each in random]
        diagnosis[name] = {"sample": value, "random_mean": float(np.mean(values)), "random_std": float(np.std(values))}
    return diagnosis


def _measure(
    sample: NDArray[np.float32], relevance: NDArray[np.float32], covered: NDArray[np.float32]
) -> dict[str, float]:
    # In parts, which bounds the matrix of similarities.
    nearest = [(covered[start : start + 256] @ sample.T).max(axis=1) for start in range(0, len(covered), 256)]
    return {
        "log_volume": log_volume(sample, _RIDGE) / len(sample),
        "coverage": float(np.concatenate(nearest).mean()),
        "mean_relevance": float(relevance.mean()),
    }
