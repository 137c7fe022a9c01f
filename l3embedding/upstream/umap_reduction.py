"""UMAP as the reduction phi: it keeps neighbourhoods where PCA keeps variance, and needs far more time.

References
----------
McInnes, Healy and Melville, UMAP: Uniform Manifold Approximation and Projection, 2018; umap-learn.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import typing
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path

if typing.TYPE_CHECKING:
    from umap import UMAP

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UmapSettings:
    """umap-learn's parameters of the same names."""

    n_neighbors: int
    min_dist: float
    metric: str


@dataclass(frozen=True)
class UmapReduction:
    """phi(x) = UMAP((x - mean) / scale).

    Attributes
    ----------
    mean, scale
        Of the sample, float64 `[D]`; the scale of a constant feature is 1.
    estimator
        umap-learn's, fitted.
    n_samples
        Embeddings it was fitted on.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    estimator: UMAP
    n_samples: int

    @property
    def embedding_size(self) -> int:
        """The student's dimension d."""
        return int(self.estimator.n_components)

    @property
    def key(self) -> str:
        """Name of the dataset of reduced embeddings, in the manner of the authors' files."""
        of = self.estimator
        shape = f"umap_ndata={self.n_samples}_emb={self.embedding_size}"
        return f"{shape}_k={of.n_neighbors}_metric={of.metric}_dist={of.min_dist:g}"

    def transform(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Reduce embeddings `[n, D]` to float32 `[n, d]`.

        Raises
        ------
        InputError
            They have another dimension than the sample had.
        """
        if embeddings.shape[1] != len(self.mean):
            raise InputError(f"phi takes embeddings of {len(self.mean)} dimensions, not {embeddings.shape[1]}.")
        return np.asarray(self.estimator.transform(_standardized(embeddings, self.mean, self.scale)), np.float32)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to an HDF5 file, whole or not at all; the estimator is pickled, and its hash beside it."""
        content = io.BytesIO()
        pickle.dump(self.estimator, content)
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file["mean"], file["scale"], file["n_samples"] = self.mean, self.scale, self.n_samples
            file["estimator"] = np.frombuffer(content.getvalue(), np.uint8)
            file.attrs["estimator_sha256"] = hashlib.sha256(content.getvalue()).hexdigest()


def fit_umap(
    chunks: Iterable[NDArray[np.floating]], n_components: int, settings: UmapSettings, random_state: int
) -> UmapReduction:
    """Fit standardisation and UMAP.

    Parameters
    ----------
    chunks
        Embeddings `[n_i, D]`.
    n_components
        The student's dimension d.
    settings
        Of UMAP.
    random_state
        Seed; umap-learn is deterministic with one, and works in one thread then.

    Raises
    ------
    InputError
        There are too few embeddings for the dimension or the neighbours, or one is not finite.
    """
    sample = np.concatenate(list(chunks))
    needed = max(n_components + 2, settings.n_neighbors + 1)
    if len(sample) < needed:
        raise InputError(
            f"UMAP to {n_components} dimensions with {settings.n_neighbors} neighbours needs {needed} embeddings "
            f"at least; it got {len(sample)}."
        )
    if not np.isfinite(sample).all():
        raise InputError("The sample holds an embedding that is not finite; draw it anew.")
    mean, spread = sample.mean(axis=0, dtype=np.float64), sample.std(axis=0, dtype=np.float64)
    scale = np.where(spread > 0, spread, 1.0)
    logger.info("fitting UMAP to %d embeddings; the first minute goes into compiling it", len(sample))
    # Slow to import, and nobody else needs it.
    from umap import UMAP

    estimator = UMAP(
        n_components=n_components,
        n_neighbors=settings.n_neighbors,
        min_dist=settings.min_dist,
        metric=settings.metric,
        random_state=random_state,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of its own defaults
        estimator.fit(_standardized(sample, mean, scale))
    return UmapReduction(mean, scale, estimator, len(sample))


def read_umap(file: h5py.File, allow_pickle: bool) -> UmapReduction:
    """Read what `UmapReduction.save` wrote; see `l3embedding.upstream.reduction.load_reduction`."""
    content = file["estimator"][:].tobytes()
    if not allow_pickle:
        raise InputError(
            f"{file.filename} holds a pickled UMAP, which can run any code when it is loaded. "
            "If you made it yourself, say so: allow_pickle."
        )
    if hashlib.sha256(content).hexdigest() != file.attrs["estimator_sha256"]:
        raise InputError(f"{file.filename} is damaged: its estimator is not what was saved.")
    estimator = pickle.loads(content)  # allowed by the user
    return UmapReduction(file["mean"][:], file["scale"][:], estimator, int(file["n_samples"][()]))


def _standardized(
    embeddings: NDArray[np.floating], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float32]:
    return ((embeddings - mean) / scale).astype(np.float32)
