"""The reduction phi: from the teacher's R^D to the student's R^d, by standardising and PCA or UMAP.

PCA is exact and takes one pass in any number of chunks: it keeps the sums and the products of the
features, D + D^2 numbers in float64, and nothing else. With another kernel (`l3embedding.upstream.kernel_reduction`),
and as UMAP (`l3embedding.upstream.umap_reduction`), phi keeps the sample itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path


class Reduction(Protocol):
    """What every phi can do.

    Attributes
    ----------
    embedding_size
        The student's dimension d.
    key
        Name of the dataset of reduced embeddings, as the authors' files have it.
    n_samples
        Embeddings it was fitted on.
    """

    n_samples: int

    @property
    def embedding_size(self) -> int: ...

    @property
    def key(self) -> str: ...

    def transform(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Reduce embeddings `[n, D]` to float32 `[n, d]`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to an HDF5 file, whole or not at all."""


@dataclass(frozen=True)
class PcaReduction:
    """phi(x) = (x - mean) / scale, projected onto the principal components.

    Attributes
    ----------
    mean, scale
        Of the sample, float64 `[D]`; the scale of a constant feature is 1.
    components
        Orthonormal rows, float64 `[d, D]`, by decreasing variance; the entry of the largest magnitude
        in each is positive.
    explained_variance
        Along each component, float64 `[d]`.
    explained_variance_ratio
        The same over the variance of all standardised features.
    n_samples
        Embeddings it was fitted on.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    components: NDArray[np.float64]
    explained_variance: NDArray[np.float64]
    explained_variance_ratio: NDArray[np.float64]
    n_samples: int

    def transform(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Reduce embeddings `[n, D]` to float32 `[n, d]`.

        Raises
        ------
        InputError
            They have another dimension than the sample had.
        """
        if embeddings.shape[1] != len(self.mean):
            raise InputError(f"phi takes embeddings of {len(self.mean)} dimensions, not {embeddings.shape[1]}.")
        projection = (self.components / self.scale).T
        # The difference from the mean is taken in float32 without loss, and what the mean's own rounding
        # costs is the same for all rows.
        mean = self.mean.astype(np.float32)
        reduced = (np.asarray(embeddings, np.float32) - mean) @ projection.astype(np.float32)
        return reduced + ((mean - self.mean) @ projection).astype(np.float32)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the arrays to an HDF5 file, whole or not at all."""
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            for each in fields(self):
                file[each.name] = getattr(self, each.name)

    @property
    def embedding_size(self) -> int:
        """The student's dimension d."""
        return len(self.components)

    @property
    def key(self) -> str:
        """Name of the dataset of reduced embeddings, as the authors' files have it."""
        return f"pca_ndata={self.n_samples}_emb={self.embedding_size}_kernel=linear"


def load_reduction(path: str | os.PathLike[str], allow_pickle: bool = False) -> Reduction:
    """Read a reduction that `save` wrote.

    Parameters
    ----------
    path
        HDF5 file.
    allow_pickle
        Load a UMAP, which is a pickled object: whoever wrote the file can make it run any code.

    Raises
    ------
    InputError
        The file is missing or no reduction, or a UMAP and not allowed.
    """
    try:
        with h5py.File(path, "r") as file:
            if "estimator" in file:
                from l3embedding.upstream.umap_reduction import read_umap

                return read_umap(file, allow_pickle)
            if "landmarks" in file:
                from l3embedding.upstream.kernel_reduction import read_kernel_pca

                return read_kernel_pca(file)
            values = {each.name: file[each.name][()] for each in fields(PcaReduction)}
    except (OSError, KeyError) as error:
        raise InputError(f"{path} cannot be read as a reduction: {error}") from None
    return PcaReduction(**values | {"n_samples": int(values["n_samples"])})


def fit_pca(chunks: Iterable[NDArray[np.floating]], n_components: int) -> PcaReduction:
    """Fit standardisation and PCA in one pass.

    Parameters
    ----------
    chunks
        Embeddings `[n_i, D]`, any number of them.
    n_components
        The student's dimension d.

    Raises
    ------
    InputError
        There are fewer samples or features than components, or the features do not vary in that many
        directions, or an embedding is not finite.
    """
    n, shift, total, products = _accumulate(chunks)
    if n <= n_components:
        raise InputError(f"PCA to {n_components} dimensions needs more than {n_components} embeddings; it got {n}.")
    if len(shift) < n_components:
        raise InputError(f"PCA cannot take {len(shift)} dimensions to {n_components}; choose a smaller student.")
    offset = total / n
    covariance = products / n - np.outer(offset, offset)
    variance = np.maximum(np.diag(covariance), 0)
    constant = variance <= np.finfo(np.float32).eps ** 2 * np.square(shift + offset)
    scale = np.where(constant, 1.0, np.sqrt(variance))
    correlation = covariance / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(correlation)
    # Descending, and unbiased as scikit-learn's.
    values, vectors = values[::-1] * n / (n - 1), vectors[:, ::-1]
    rank = int(np.sum(values > values[0] * len(values) * np.finfo(np.float64).eps))
    if rank < n_components:
        raise InputError(
            f"The sample varies in {rank} directions only, not in {n_components}; sample more, or reduce further."
        )
    components = vectors[:, :n_components].T
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, np.newaxis], axis=1)
    explained = values[:n_components]
    return PcaReduction(
        mean=shift + offset,
        scale=scale,
        components=components * np.sign(largest),
        explained_variance=explained,
        explained_variance_ratio=explained / values.sum(),
        n_samples=n,
    )


def _accumulate(
    chunks: Iterable[NDArray[np.floating]],
) -> tuple[int, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Count, shift, sum and products of the shifted rows.

    The shift, the first chunk's mean, keeps the products from drowning in the square of the mean.
    """
    n = 0
    shift = total = products = np.empty(0)
    for chunk in chunks:
        rows = np.asarray(chunk, np.float64)
        if not np.isfinite(rows).all():
            raise InputError("The sample holds an embedding that is not finite; draw it anew.")
        if n == 0:
            shift = rows.mean(axis=0)
            total, products = np.zeros_like(shift), np.zeros((len(shift), len(shift)))
        rows = rows - shift
        n += len(rows)
        total = total + rows.sum(axis=0)
        products += rows.T @ rows
    if n == 0:
        raise InputError("There is no sample to fit PCA on.")
    return n, shift, total, products
