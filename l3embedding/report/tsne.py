"""A t-SNE picture of sampled embeddings: an illustration only, since distances in it mean little."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from l3embedding.data.shards import TEACHER_KEY, read_dataset

logger = logging.getLogger(__name__)


def tsne_layout(samples: list[Path], points: int, random_state: int) -> dict[str, list[list[float]]]:
    """Lay sampled embeddings out on a plane.

    Parameters
    ----------
    samples
        The files that stage 01 wrote, one per sensor.
    points
        About how many embeddings to show; every sensor contributes the same number, if it has so many.

    Returns
    -------
    Sensor to its points `[n, 2]`.
    """
    rng = np.random.default_rng(random_state)
    each = -(-points // len(samples))
    embeddings = [read_dataset(path, TEACHER_KEY) for path in samples]
    embeddings = [rows[np.sort(rng.permutation(len(rows))[:each])] for rows in embeddings]
    stacked = StandardScaler().fit_transform(np.concatenate(embeddings))
    logger.info("t-SNE of %d embeddings", len(stacked))
    # scikit-learn requires fewer neighbours than points; 30 is its default.
    tsne = TSNE(perplexity=min(30, (len(stacked) - 1) / 3), init="pca", random_state=random_state)
    parts = np.split(tsne.fit_transform(stacked), np.cumsum([len(rows) for rows in embeddings])[:-1])
    return {path.stem: part.round(3).tolist() for path, part in zip(samples, parts, strict=True)}
