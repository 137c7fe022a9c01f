"""Oversampling of rare labels: synthetic clips between a clip and one of its neighbours.

Neighbours are near in the mean embedding; what is mixed is the whole sequence of frames. Only the recipe of
a synthetic clip is kept (two clips and a weight), so that the training set does not grow in memory.

`mlsmote`   Charte et al.: for each label that is rarer than the threshold, every clip that has it (a *seed*) is
            mixed with one of its k nearest neighbours among them. A label is present in the synthetic clip if it is
            in more than half of the seed and these neighbours ("ranking"); it is unknown if seed or neighbour do
            not know it.
`lssmote`   the authors' label-set SMOTE: what is too rare is a *set* of labels. A seed is a clip whose labels are
            a subset of the set; it is mixed with one of the k nearest clips that complete it, so that both
            together have exactly the set, which is what the synthetic clip is labelled with.

A label's (or set's) *imbalance ratio* (IRLbl) is the count of the most frequent one over its own. The threshold
is the mean of all ratios (MeanIR), or a percentile of them. Seeds are taken in order until the ratio has come
down to it; there are as many passes as `iterations`, each with a threshold of its own.

References
----------
Charte, Rivera, del Jesus and Herrera, MLSMOTE: approaching imbalanced multilabel learning through synthetic
instance generation, Knowledge-Based Systems 89, 2015; github.com/ksangeeta2429/embedding-approx, `balancing.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from l3embedding.classifier.clips import Mixtures
from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)

Oversampling = Literal["none", "mlsmote", "lssmote"]

NEIGHBOURS = 5
"""Charte's k."""


class _Recipes:
    """Collects synthetic clips."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, float]] = []
        self.targets: list[NDArray[np.float32]] = []

    def add(self, seed: int, other: int, weight: float, target: NDArray[np.float32]) -> None:
        self.rows.append((seed, other, weight))
        self.targets.append(target)

    def mixtures(self, n_tags: int) -> Mixtures:
        first, second, weight = zip(*self.rows, strict=True) if self.rows else ((), (), ())
        return Mixtures(
            np.array(first, np.int64),
            np.array(second, np.int64),
            np.array(weight, np.float32),
            np.array(self.targets, np.float32).reshape(-1, n_tags),
        )


def threshold_function(threshold_type: str) -> Callable[[NDArray[np.float64]], float]:
    """What `mean` or `percentile_P` makes of imbalance ratios.

    Raises
    ------
    InputError
        It is neither.
    """
    if threshold_type == "mean":
        return lambda ratios: float(np.mean(ratios))
    word, _, number = threshold_type.partition("_")
    try:
        percentile = float(number)
    except ValueError:
        percentile = -1.0
    if word != "percentile" or not 0 <= percentile <= 100:
        raise InputError(f"threshold_type {threshold_type!r} is neither mean nor percentile_P with P from 0 to 100.")
    return lambda ratios: float(np.percentile(ratios, percentile))


def imbalance_ratios(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest count over each one; NaN where there is none, since nothing can be made of nothing."""
    counts = np.asarray(counts, np.float64)
    return np.divide(counts.max(), counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def mlsmote(
    means: NDArray[np.floating],
    targets: NDArray[np.float32],
    rng: np.random.Generator,
    iterations: int = 1,
    threshold_type: str = "mean",
    k: int = NEIGHBOURS,
) -> Mixtures:
    """Oversample the clips of rare labels; see the top of this module.

    Parameters
    ----------
    means
        Mean embedding of each clip, `[clips, d]`.
    targets
        0, 1 or -1, float32 `[clips, tags]`.
    rng
        Chooses neighbours and weights.
    iterations
        Passes.
    threshold_type
        `mean` or `percentile_P`.
    k
        Neighbours among which one is chosen.

    Returns
    -------
    The synthetic clips; empty if no label is rare.
    """
    threshold_of = threshold_function(threshold_type)
    present = targets == 1
    counts = present.sum(axis=0).astype(np.float64)
    recipes = _Recipes()
    for _ in range(iterations):
        ratios = imbalance_ratios(counts)
        if np.isnan(ratios).all():
            break
        threshold = threshold_of(ratios[~np.isnan(ratios)])
        for label in range(targets.shape[1]):
            bag = np.flatnonzero(present[:, label])
            if len(bag) < 2:
                continue
            neighbours = _neighbours(means[bag], k)
            for seed, near in zip(bag, bag[neighbours], strict=True):
                if imbalance_ratios(counts)[label] <= threshold:
                    break
                other = rng.choice(near)
                target = _ranked(targets[[seed, *near]])
                target[(targets[[seed, other]] < 0).any(axis=0)] = -1
                recipes.add(seed, other, rng.random(), target)
                counts += target == 1
    logger.info("MLSMOTE: %d synthetic clips beside %d", len(recipes.rows), len(targets))
    return recipes.mixtures(targets.shape[1])


def lssmote(
    means: NDArray[np.floating],
    targets: NDArray[np.float32],
    rng: np.random.Generator,
    iterations: int = 1,
    threshold_type: str = "mean",
    k: int = NEIGHBOURS,
) -> Mixtures:
    """Oversample rare sets of labels; parameters as of `mlsmote`, see the top of this module.

    A clip of which a label is not known takes no part.
    """
    threshold_of = threshold_function(threshold_type)
    clips_of: dict[frozenset[int], list[int]] = {}
    for clip in np.flatnonzero((targets >= 0).all(axis=1)):
        clips_of.setdefault(frozenset(np.flatnonzero(targets[clip] == 1).tolist()), []).append(int(clip))
    names = sorted(clips_of, key=sorted)
    counts = np.array([len(clips_of[name]) for name in names], np.float64)
    recipes = _Recipes()
    for _ in range(iterations if len(names) > 1 else 0):
        threshold = threshold_of(imbalance_ratios(counts))
        for index, wanted in enumerate(names):
            target = np.isin(np.arange(targets.shape[1]), list(wanted)).astype(np.float32)
            for seed, partners in _completions(wanted, clips_of):
                if imbalance_ratios(counts)[index] <= threshold:
                    break
                distance = np.square(means[partners] - means[seed]).sum(axis=1)
                other = rng.choice(partners[np.argsort(distance, kind="stable")[:k]])
                recipes.add(seed, other, rng.random(), target)
                counts[index] += 1
    logger.info("LSSMOTE: %d synthetic clips beside %d", len(recipes.rows), len(targets))
    return recipes.mixtures(targets.shape[1])


def _completions(
    wanted: frozenset[int], clips_of: Mapping[frozenset[int], list[int]]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each clip whose labels are a subset of those wanted, with the other clips that complete it to them."""
    subsets = [name for name in clips_of if name <= wanted]
    for name in subsets:
        completing = [clip for other in subsets if name | other == wanted for clip in clips_of[other]]
        for seed in clips_of[name]:
            partners = np.array([clip for clip in completing if clip != seed], np.int64)
            if len(partners):
                yield seed, partners


def _neighbours(means: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """The nearest others of each clip, `[clips, at most k]`."""
    k = min(k, len(means) - 1)
    # Asked without points, it does not count a point among its own neighbours.
    return NearestNeighbors(n_neighbors=k).fit(means).kneighbors(return_distance=False)


def _ranked(targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """The labels that more than half of some clips have."""
    return ((targets == 1).sum(axis=0) > len(targets) / 2).astype(np.float32)
