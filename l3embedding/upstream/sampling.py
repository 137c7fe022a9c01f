"""Small, representative samples of a sensor's embeddings, to fit the reduction phi on.

`random`    uniform
`spl`       without replacement, with probability proportional to relevance
`dpp_div`   a k-DPP on the directions of the embeddings: diversity
`dpp`       the same, with relevance as each item's quality: diversity and relevance

The kernel of the k-DPP is L = B B^T, where B holds the embeddings scaled to unit length, and the sample is drawn
exactly. `kernel: paper` and `draw: mcmc` follow the authors. Their kernel is dominated by its ridge, and their
chain stays near its random start. `draw: map` searches for the most probable set, without randomness.

Frames are grouped by local day, week or month, and every group contributes equally. The authors draw
ceil(size / groups) from each group and nothing from a group that has fewer. Here a small group contributes all it
has, and the others make up for it, so that the sample has the requested size.

References
----------
Srivastava et al., ICASSP 2021, section 3.1.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from l3embedding.data.loudness import local_time
from l3embedding.settings import SampleSettings
from l3embedding.upstream.dpp import LowRankKernel, greedy_map, sample_k_dpp, sample_k_dpp_mcmc
from l3embedding.utils.registry import look_up

logger = logging.getLogger(__name__)

PAPER_RIDGE = 0.1
RIDGE = 1e-3
"""Added to the diagonal, whose entries are at most 1, where more items are drawn than the embeddings' rank."""

Rng = np.random.Generator
Rows = NDArray[np.int64]
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """The frames of a calendar period: a function that reads their embeddings, and their relevance `[n]`."""

    read_embeddings: Callable[[], Features]
    relevance: NDArray[np.float32]


Sampling = Callable[[Group, int, SampleSettings, Rng], Rows]
"""Draws k positions within a group of more than k frames."""


def draw_sample(
    read_embeddings: Callable[[Rows], Features],
    relevance: NDArray[np.float32],
    groups: list[Rows],
    settings: SampleSettings,
    size: int,
    rng: Rng,
) -> Rows:
    """Draw a sample of one sensor's frames.

    Parameters
    ----------
    read_embeddings
        Reads the embeddings float32 `[m, D]` of sorted frames int64 `[m]`; called once per group.
    relevance
        float32 `[n]` in (0, 1].
    groups
        As `calendar_groups` returns them.
    size
        Frames to draw from this sensor; all of them if there are fewer.

    Returns
    -------
    Sorted frames, int64 `[min(size, n)]`.

    Raises
    ------
    InputError
        The method or the draw is not known.
    """
    draw = look_up(SAMPLINGS, settings.method, "sample.method")
    drawn = [np.empty(0, np.int64)]
    for frames, share in zip(groups, share_out(size, [len(frames) for frames in groups]), strict=True):
        if share < len(frames):
            group = Group(partial(read_embeddings, frames), relevance[frames])
            frames = frames[draw(group, share, settings, rng)]
        drawn.append(frames)
    return np.sort(np.concatenate(drawn))


def calendar_groups(timestamps: NDArray[np.float64], timescale: str, time_zone: str = "UTC") -> list[Rows]:
    """Group frames by local `day`, ISO `week` or `month`, in order of time.

    The timestamps are Unix seconds, float64 `[n]`; undated frames (NaN) form a group of their own.
    """
    period = look_up({"day": "D", "week": "W", "month": "M"}, timescale, "sample.timescale")
    # Undated frames are NaT, whose ordinal is the smallest integer.
    ordinals = local_time(timestamps, time_zone).tz_localize(None).to_period(period).asi8
    return [np.flatnonzero(ordinals == label) for label in np.unique(ordinals)]


def share_out(total: int, sizes: Sequence[int]) -> list[int]:
    """Share `total` among groups as equally as their sizes allow.

    Every group contributes the same number, or all it has; a division's remainder goes to the first groups that
    have more. The shares add up to `min(total, sum(sizes))`.
    """
    shares = [0] * len(sizes)
    left = min(total, sum(sizes))
    while left:
        open_groups = [index for index, size in enumerate(sizes) if shares[index] < size]
        each = left // len(open_groups)
        # Fewer are left than groups: one each from the first ones.
        for index in open_groups if each else open_groups[:left]:
            given = min(max(each, 1), sizes[index] - shares[index])
            shares[index] += given
            left -= given
    return shares


def to_unit_norm(embeddings: Features, order: int = 2) -> Features:
    """Scale embeddings to unit l2 or l1 norm; zeros stay zeros, which a k-DPP never draws without a ridge."""
    norms = np.linalg.norm(embeddings, ord=order, axis=1, keepdims=True)
    return (embeddings / np.where(norms > 0, norms, 1)).astype(np.float32, copy=False)


def _uniform(group: Group, k: int, settings: SampleSettings, rng: Rng) -> Rows:
    return rng.choice(len(group.relevance), k, replace=False)


def _by_relevance(group: Group, k: int, settings: SampleSettings, rng: Rng) -> Rows:
    weight = group.relevance.astype(np.float64)
    return rng.choice(len(weight), k, replace=False, p=weight / weight.sum())


def _by_k_dpp(group: Group, k: int, settings: SampleSettings, rng: Rng, weighted: bool) -> Rows:
    draw = look_up(DRAWS, settings.draw, "sample.draw")
    order = look_up({"unit": 2, "paper": 1}, settings.kernel, "sample.kernel")
    features = to_unit_norm(group.read_embeddings(), order)
    if weighted:
        features *= group.relevance[:, np.newaxis]
    return draw(features, k, settings, rng)


SAMPLINGS: dict[str, Sampling] = {
    "random": _uniform,
    "spl": _by_relevance,
    "dpp_div": partial(_by_k_dpp, weighted=False),
    "dpp": partial(_by_k_dpp, weighted=True),
}


def _exact(features: Features, k: int, settings: SampleSettings, rng: Rng) -> Rows:
    kernel = LowRankKernel.from_features(features)
    return sample_k_dpp(kernel, k, rng, ridge=_ridge(kernel, k, settings))


def _mcmc(features: Features, k: int, settings: SampleSettings, rng: Rng) -> Rows:
    ridge = PAPER_RIDGE if settings.kernel == "paper" else RIDGE
    return sample_k_dpp_mcmc(features, k, rng, ridge=ridge, steps=settings.steps)


def _map(features: Features, k: int, settings: SampleSettings, rng: Rng) -> Rows:
    return greedy_map(features, k, ridge=_ridge(LowRankKernel.from_features(features), k, settings))


DRAWS = {"exact": _exact, "mcmc": _mcmc, "map": _map}


def _ridge(kernel: LowRankKernel, k: int, settings: SampleSettings) -> float:
    if settings.kernel == "paper":
        return PAPER_RIDGE
    if k <= kernel.rank:
        return 0.0
    logger.info("drawing %d, more than the rank of the embeddings, %d: ridge %g", k, kernel.rank, RIDGE)
    return RIDGE
