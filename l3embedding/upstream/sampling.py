"""Samples of a sensor's embeddings, small and representative, for fitting the reduction.

`random`    uniform
`spl`       without replacement, with probability proportional to relevance
`dpp_div`   a k-DPP on the directions of the embeddings: diversity
`dpp`       the same, with relevance as each item's quality: diversity and relevance

The k-DPP's kernel is the product of the embeddings scaled to unit length, and the sample is drawn
exactly. `kernel: paper` and `method: mcmc` do as the authors do, whose kernel a ridge dominates and
whose chain stays near its random start; `method: map` takes the likeliest set, without randomness.

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
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from l3embedding.data.local_time import local_time
from l3embedding.upstream.dpp import LowRankKernel, greedy_map, sample_k_dpp, sample_k_dpp_mcmc

logger = logging.getLogger(__name__)

Sampling = Literal["random", "spl", "dpp_div", "dpp"]
Timescale = Literal["day", "week", "month"]


@dataclass(frozen=True)
class DppSettings:
    """How a k-DPP is set up and drawn.

    Attributes
    ----------
    kernel
        `unit`: rows of unit length, and a ridge only where a share exceeds the rank. `paper`: rows of
        unit l1 norm, and a ridge of 0.1.
    method
        `exact`, `mcmc` or `map`.
    steps
        Of the chain, for `mcmc`.
    """

    kernel: Literal["unit", "paper"] = "unit"
    method: Literal["exact", "mcmc", "map"] = "exact"
    steps: int = 3


EXACT = DppSettings()

PAPER_RIDGE = 0.1
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
    dpp: DppSettings = EXACT,
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
    dpp
        For `dpp_div` and `dpp`.

    Returns
    -------
    Frames, int64 `[min(size, n)]`, sorted.
    """
    shares = share_out(size, [len(group) for group in groups])
    drawn = [
        group[_draw(read_embeddings, relevance, group, sampling, share, rng, dpp)]
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
    dpp: DppSettings,
) -> NDArray[np.int64]:
    """Draw `share` positions within a group."""
    if share == len(group):
        return np.arange(share)
    if sampling == "random":
        return rng.choice(len(group), share, replace=False)
    quality = relevance[group].astype(np.float64)
    if sampling == "spl":
        return rng.choice(len(group), share, replace=False, p=quality / quality.sum())
    features = _scaled_rows(read_embeddings(group), order=1 if dpp.kernel == "paper" else 2)
    if sampling == "dpp":
        features *= quality.astype(np.float32)[:, np.newaxis]
    if dpp.method == "mcmc":
        ridge = PAPER_RIDGE if dpp.kernel == "paper" else RIDGE
        return sample_k_dpp_mcmc(features, share, rng, ridge=ridge, steps=dpp.steps)
    kernel = LowRankKernel.from_features(features)
    ridge = PAPER_RIDGE if dpp.kernel == "paper" else RIDGE if share > kernel.rank else 0.0
    if ridge == RIDGE:
        logger.info("a share of %d exceeds the rank of the embeddings, %d: ridge %g", share, kernel.rank, ridge)
    if dpp.method == "map":
        return greedy_map(features, share, ridge=ridge)
    return sample_k_dpp(kernel, share, rng, ridge=ridge)


def _scaled_rows(embeddings: NDArray[np.float32], order: int) -> NDArray[np.float32]:
    """Scale rows to unit l1 or l2 norm; an embedding of zeros stays, and is never drawn without a ridge."""
    norms = np.linalg.norm(embeddings, ord=order, axis=1, keepdims=True)
    return embeddings / np.where(norms > 0, norms, 1).astype(np.float32)
