"""Oversampling of rare labels: synthetic clips between a clip and one of its neighbours.

Neighbours are clips whose mean embeddings are near; their whole sequences of frames are mixed. Only the recipe of a
synthetic clip is kept (two clips and a weight), so that the training set does not grow in memory.

`mlsmote`   Charte et al.: for each label that is rarer than the threshold, every clip that has it (a *seed*) is
            mixed with one of its k nearest neighbours among these. A label is present in the synthetic clip if it is
            present in more than half of the seed and these neighbours ("ranking"); it is unknown if it is unknown
            for the seed or the neighbour.
`lssmote`   the authors' label-set SMOTE: here a *set* of labels is too rare. A seed is a clip whose labels are
            a subset of the set. It is mixed with one of the k nearest clips that complete it: together, both have
            exactly the labels of the set, and so has the synthetic clip.

The *imbalance ratio* (IRLbl) of a label (or set) is the count of the most frequent one over its own. The threshold
is the mean of all ratios (MeanIR), or a percentile of them. Seeds are processed in order until the ratio has fallen
to it. There are `iterations` passes, each with its own threshold.

References
----------
Charte, Rivera, del Jesus and Herrera, MLSMOTE: approaching imbalanced multilabel learning through synthetic
instance generation, Knowledge-Based Systems 89, 2015; github.com/ksangeeta2429/embedding-approx, `balancing.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from l3embedding.classifier.clips import Mixtures
from l3embedding.utils.registry import look_up

logger = logging.getLogger(__name__)

Floats = NDArray[np.floating]
Recipe = tuple[int, int, float, NDArray[np.float32]]
"""Seed, the clip it is mixed with, the seed's weight, and targets `[tags]`."""

NEIGHBOURS = 5
"""Charte's k."""


def oversample(
    method: str,
    means: Floats,
    targets: Floats,
    rng: np.random.Generator,
    iterations: int = 1,
    threshold_type: str = "mean",
    k: int = NEIGHBOURS,
) -> Mixtures:
    """Make synthetic clips of rare labels, or of rare sets of labels.

    Parameters
    ----------
    method
        One of `METHODS`; see the top of this module.
    means
        Mean embedding of each clip, `[clips, d]`.
    targets
        0, 1 or -1 (unknown), float32 `[clips, tags]`.
    rng, k
        Draws weights, and a neighbour among the `k` nearest.
    iterations, threshold_type
        Number of passes, and `mean` or `percentile_P`.

    Returns
    -------
    The synthetic clips; empty if nothing is rare.
    """
    work = look_up(METHODS, method, "classifier.oversample")
    recipes = [] if work is None else list(work(means, targets, rng, iterations, threshold_type, k))
    logger.info("%s: %d synthetic clips beside %d", method, len(recipes), len(targets))
    first, second, weight, mixed = zip(*recipes, strict=True) if recipes else ((), (), (), ())
    return Mixtures(
        np.array(first, np.int64),
        np.array(second, np.int64),
        np.array(weight, np.float32),
        np.array(mixed, np.float32).reshape(-1, targets.shape[1]),
    )


def imbalance_threshold(ratios: NDArray[np.float64], threshold_type: str) -> float:
    """The mean of imbalance ratios, or a percentile: `mean` or `percentile_P`."""
    if threshold_type == "mean":
        return float(np.mean(ratios))
    return float(np.percentile(ratios, float(threshold_type.removeprefix("percentile_"))))


def imbalance_ratios(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest count over each; NaN where a count is 0, since there is no clip to start from."""
    counts = np.asarray(counts, np.float64)
    return np.divide(counts.max(), counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def _mlsmote(
    means: Floats, targets: Floats, rng: np.random.Generator, iterations: int, threshold_type: str, k: int
) -> Iterator[Recipe]:
    present = targets == 1
    counts = present.sum(axis=0).astype(np.float64)
    for _ in range(iterations):
        ratios = imbalance_ratios(counts)
        if np.isnan(ratios).all():
            break
        threshold = imbalance_threshold(ratios[~np.isnan(ratios)], threshold_type)
        for label in range(targets.shape[1]):
            bag = np.flatnonzero(present[:, label])
            if len(bag) < 2:
                continue
            # Without query points, scikit-learn does not count a point among its own neighbours.
            search = NearestNeighbors(n_neighbors=min(k, len(bag) - 1)).fit(means[bag])
            for seed, near in zip(bag, bag[search.kneighbors(return_distance=False)], strict=True):
                if imbalance_ratios(counts)[label] <= threshold:
                    break
                other = rng.choice(near)
                ranking = [seed, *near]
                target = (present[ranking].sum(axis=0) > len(ranking) / 2).astype(np.float32)
                target[(targets[[seed, other]] < 0).any(axis=0)] = -1
                yield int(seed), int(other), rng.random(), target
                counts += target == 1


def _lssmote(
    means: Floats, targets: Floats, rng: np.random.Generator, iterations: int, threshold_type: str, k: int
) -> Iterator[Recipe]:
    """Clips with an unknown label are left out, since their label set is unknown."""
    clips_of: dict[frozenset[int], list[int]] = {}
    for clip in np.flatnonzero((targets >= 0).all(axis=1)):
        clips_of.setdefault(frozenset(np.flatnonzero(targets[clip] == 1).tolist()), []).append(int(clip))
    names = sorted(clips_of, key=sorted)
    counts = np.array([len(clips_of[name]) for name in names], np.float64)
    for _ in range(iterations if len(names) > 1 else 0):
        threshold = imbalance_threshold(imbalance_ratios(counts), threshold_type)
        for index, wanted in enumerate(names):
            target = np.isin(np.arange(targets.shape[1]), list(wanted)).astype(np.float32)
            for seed, partners in _completions(wanted, clips_of):
                if imbalance_ratios(counts)[index] <= threshold:
                    break
                distance = np.square(means[partners] - means[seed]).sum(axis=1)
                other = rng.choice(partners[np.argsort(distance, kind="stable")[:k]])
                yield seed, int(other), rng.random(), target
                counts[index] += 1


METHODS: Mapping[str, Callable[..., Iterator[Recipe]] | None] = {"none": None, "mlsmote": _mlsmote, "lssmote": _lssmote}


def _completions(
    wanted: frozenset[int], clips_of: Mapping[frozenset[int], list[int]]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each clip whose labels are a subset of the wanted ones, with the other clips that have the missing labels."""
    subsets = [name for name in clips_of if name <= wanted]
    for name in subsets:
        completing = [clip for other in subsets if name | other == wanted for clip in clips_of[other]]
        for seed in clips_of[name]:
            partners = np.array([clip for clip in completing if clip != seed], np.int64)
            if len(partners):
                yield seed, partners
