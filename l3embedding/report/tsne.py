"""A picture of the sampled embeddings: t-SNE, which is no reduction for new points."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from l3embedding.data.shards import TEACHER_KEY, read_dataset

logger = logging.getLogger(__name__)

Layout = dict[str, list[list[float]]]
"""Sensor to its points on the plane, `[n, 2]`."""


def tsne_layout(samples: list[Path], points: int, random_state: int) -> Layout:
    """Lay sampled embeddings out on a plane by t-SNE.

    Parameters
    ----------
    samples
        The sample files of stage 01, one per sensor.
    points
        Embeddings to show, in equal parts of all sensors.
    random_state
        Seed.
    """
    rng = np.random.default_rng(random_state)
    each = -(-points // len(samples))
    embeddings = [read_dataset(path, TEACHER_KEY) for path in samples]
    embeddings = [rows[np.sort(rng.permutation(len(rows))[:each])] for rows in embeddings]
    stacked = StandardScaler().fit_transform(np.concatenate(embeddings))
    # scikit-learn demands a perplexity below the number of points; a third of them is the usual bound.
    perplexity = min(30, (len(stacked) - 1) / 3)
    logger.info("t-SNE of %d embeddings", len(stacked))
    plane = TSNE(perplexity=perplexity, init="pca", random_state=random_state).fit_transform(stacked)
    parts = np.split(plane, np.cumsum([len(rows) for rows in embeddings])[:-1])
    return {path.stem: part.round(3).tolist() for path, part in zip(samples, parts, strict=True)}
