"""Samples of a sensor's embeddings, small and representative, for fitting the reduction.

`random`    uniform
`spl`       without replacement, with probability proportional to relevance
`dpp_div`   a k-DPP on the directions of the embeddings: diversity
`dpp`       the same, with relevance as each item's quality: diversity and relevance

Frames are grouped by local day, week or month, and each group gives its share. The authors give each
group ceil(size / groups) and take nothing from one that has fewer; here a small group gives all it has,
and the others make up for it, so that the sample has the size that was asked for.

References
----------
Srivastava et al., ICASSP 2021, section 3.1.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.local_time import local_time
from l3embedding.dpp import LowRankKernel, sample_k_dpp

logger = logging.getLogger(__name__)

Sampling = Literal["random", "spl", "dpp_div", "dpp"]
Timescale = Literal["day", "week", "month"]

RIDGE = 1e-3
"""Added to the diagonal, whose entries are at most 1, where a share exceeds the embeddings' rank."""

ReadRows = Callable[[NDArray[np.int64]], NDArray[np.float32]]


def draw_sample(
    read_embeddings: ReadRows,
    relevance: NDArray[np.float32],
    groups: list[NDArray[np.int64]],
    sampling: Sampling,
    size: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw a sample of one sensor's frames.

    Parameters
    ----------
    read_embeddings
        Reads the embeddings float32 `[m, D]` of sorted frames int64 `[m]`; asked for a group at a time.
    relevance
        float32 `[n]` in (0, 1].
    groups
        As `calendar_groups` returns them.
    sampling
        See the top of this module.
    size
        Frames to draw; all of them if there are fewer.
    rng
        Where the randomness comes from.

    Returns
    -------
    Frames, int64 `[min(size, n)]`, sorted.
    """
    shares = share_out(size, [len(group) for group in groups])
    drawn = [
        group[_draw(read_embeddings, relevance, group, sampling, share, rng)]
        for group, share in zip(groups, shares, strict=True)
    ]
    return np.sort(np.concatenate(drawn)) if drawn else np.empty(0, np.int64)


def calendar_groups(
    timestamps: NDArray[np.float64], timescale: Timescale, time_zone: str = "UTC"
) -> list[NDArray[np.int64]]:
    """Group frames by local day, ISO week or month.

    Parameters
    ----------
    timestamps
        float64 `[n]`, Unix seconds; undated frames (NaN) form a group of their own.
    timescale
        Length of a group.
    time_zone
        IANA name.

    Returns
    -------
    Frames of each group, int64, in order of time.
    """
    local = local_time(timestamps, time_zone)
    labels = local.tz_localize(None).to_period({"day": "D", "week": "W", "month": "M"}[timescale])
    # Undated frames are NaT, whose ordinal is the smallest integer.
    ordinals = labels.asi8
    return [np.flatnonzero(ordinals == label) for label in np.unique(ordinals)]


def share_out(total: int, sizes: list[int]) -> list[int]:
    """Share `total` among groups as equally as their sizes allow.

    Every group gives the same number, or all it has; what a division leaves over goes to the first
    groups that have more. The shares add up to `min(total, sum(sizes))`.
    """
    shares = [0] * len(sizes)
    left = min(total, sum(sizes))
    while left:
        open_groups = [index for index, size in enumerate(sizes) if shares[index] < size]
        each = left // len(open_groups)
        # What is left over when all have given the same goes round once more, one by one.
        for index in open_groups if each else open_groups[:left]:
            given = min(max(each, 1), sizes[index] - shares[index])
            shares[index] += given
            left -= given
    return shares


def _draw(
    read_embeddings: ReadRows,
    relevance: NDArray[np.float32],
    group: NDArray[np.int64],
    sampling: Sampling,
    share: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw `share` positions within a group."""
    if share == len(group):
        return np.arange(share)
    if sampling == "random":
        return rng.choice(len(group), share, replace=False)
    quality = relevance[group].astype(np.float64)
    if sampling == "spl":
        return rng.choice(len(group), share, replace=False, p=quality / quality.sum())
    features = _unit_rows(read_embeddings(group))
    if sampling == "dpp":
        features *= quality.astype(np.float32)[:, np.newaxis]
    kernel = LowRankKernel.from_features(features)
    ridge = RIDGE if share > kernel.rank else 0.0
    if ridge:
        logger.info("a share of %d exceeds the rank of the embeddings, %d: ridge %g", share, kernel.rank, ridge)
    return sample_k_dpp(kernel, share, rng, ridge=ridge)


def _unit_rows(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to unit length; an embedding of zeros stays, and is never drawn without a ridge."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.where(norms > 0, norms, 1).astype(np.float32)
