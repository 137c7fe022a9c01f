"""PCA of standardised embeddings; with a kernel other than linear, see `l3embedding.upstream.kernel_pca`.

The linear PCA is exact and reads the sample once, in any number of chunks: it keeps only sums and products of the
features, D + D^2 numbers in float64.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields

import h5py
import numpy as np
from numpy.typing import NDArray

from l3embedding.settings import ReductionSettings
from l3embedding.upstream.kernel_pca import fit_kernel_pca, read_kernel_pca
from l3embedding.upstream.reduction import Phi, check_dimension, save_arrays
from l3embedding.utils.errors import InputError
from l3embedding.utils.registry import look_up


@dataclass(frozen=True)
class Pca:
    """phi(x) = (x - mean) / scale, projected onto the principal components."""

    mean: NDArray[np.float64]  # [D]
    scale: NDArray[np.float64]  # [D]; 1 for a constant feature
    components: NDArray[np.float64]  # orthonormal rows [d, D], by decreasing variance; the largest entry is positive
    explained_variance: NDArray[np.float64]  # [d]
    explained_variance_ratio: NDArray[np.float64]
    n_samples: int

    @property
    def embedding_size(self) -> int:
        return len(self.components)

    @property
    def key(self) -> str:
        return f"pca_ndata={self.n_samples}_emb={self.embedding_size}_kernel=linear"

    def transform(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        check_dimension(embeddings, len(self.mean))
        projection = (self.components / self.scale).T
        # Embeddings minus mean loses nothing in float32; the error of the mean's own rounding is the same
        # for all rows, and is added back.
        mean = self.mean.astype(np.float32)
        reduced = (np.asarray(embeddings, np.float32) - mean) @ projection.astype(np.float32)
        return reduced + ((mean - self.mean) @ projection).astype(np.float32)

    def save(self, path: str | os.PathLike[str]) -> None:
        save_arrays(path, "pca", asdict(self))


def fit_pca(sample: Iterable[NDArray[np.floating]], dim: int) -> Pca:
    """Fit standardisation and linear PCA in one pass over chunks `[n_i, D]`."""
    n, shift, total, products = _accumulate(sample)
    if n <= dim:
        raise InputError(f"PCA to {dim} dimensions needs more than {dim} embeddings; it got {n}.")
    if len(shift) < dim:
        raise InputError(f"PCA cannot reduce {len(shift)} dimensions to {dim}; choose a smaller student.")
    offset = total / n
    covariance = products / n - np.outer(offset, offset)
    variance = np.maximum(np.diag(covariance), 0)
    # Summation in float64 leaves a little variance in a constant float32 feature.
    constant = variance <= np.finfo(np.float32).eps ** 2 * np.square(shift + offset)
    scale = np.where(constant, 1.0, np.sqrt(variance))
    correlation = covariance / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(correlation)
    # Descending, and unbiased as scikit-learn's.
    values, vectors = values[::-1] * n / (n - 1), vectors[:, ::-1]
    rank = int(np.sum(values > values[0] * len(values) * np.finfo(np.float64).eps))
    if rank < dim:
        raise InputError(f"The sample varies in {rank} directions only, not in {dim}; sample more, or reduce further.")
    components = vectors[:, :dim].T
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, np.newaxis], axis=1)
    explained = values[:dim]
    return Pca(shift + offset, scale, components * np.sign(largest), explained, explained / values.sum(), n)


def _accumulate(
    chunks: Iterable[NDArray[np.floating]],
) -> tuple[int, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return number of rows, shift, and sum and products of the shifted rows."""
    n = 0
    shift = total = products = np.empty(0)
    for chunk in chunks:
        rows = np.asarray(chunk, np.float64)
        if not len(rows):
            continue
        if not np.isfinite(rows).all():
            raise InputError("The sample holds an embedding that is not finite; draw it anew.")
        if n == 0:
            # Without a shift, the square of the mean would dominate the products, and the variance be lost in rounding.
            shift = rows.mean(axis=0)
            total, products = np.zeros_like(shift), np.zeros((len(shift), len(shift)))
        rows = rows - shift
        n += len(rows)
        total = total + rows.sum(axis=0)
        products += rows.T @ rows
    if n == 0:
        raise InputError("There is no sample to fit PCA on.")
    return n, shift, total, products


KERNELS: dict[str, Callable[[Iterable[NDArray[np.floating]], int, str, int], Phi]] = {
    "linear": lambda sample, dim, kernel, random_state: fit_pca(sample, dim),
    "poly": fit_kernel_pca,
    "rbf": fit_kernel_pca,
}
"""Kernel to the function that fits it."""


def fit(sample: Iterable[NDArray[np.floating]], dim: int, settings: ReductionSettings, random_state: int) -> Phi:
    """Fit phi, with the kernel of the settings."""
    return look_up(KERNELS, settings.kernel, "reduction.kernel")(sample, dim, settings.kernel, random_state)


def read(file: h5py.File, allow_pickle: bool) -> Phi:
    """Read what `save` of any kernel wrote."""
    if "landmarks" in file:
        return read_kernel_pca(file)
    values = {each.name: file[each.name][()] for each in fields(Pca)}
    return Pca(**values | {"n_samples": int(values["n_samples"])})
