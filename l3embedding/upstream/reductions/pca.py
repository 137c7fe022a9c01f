"""PCA of standardised embeddings, linear or with a kernel.

The linear PCA is exact and reads the sample once, in any number of chunks: it keeps only sums and products of the
features, D + D^2 numbers in float64. With another kernel, phi projects onto the principal components of the feature
space that the kernel implies, and keeps the whole sample.

References
----------
Scholkopf, Smola and Muller, Nonlinear component analysis as a kernel eigenvalue problem, 1998;
scikit-learn's `KernelPCA`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import KernelPCA
from sklearn.metrics.pairwise import pairwise_kernels

from l3embedding.settings import ReductionSettings
from l3embedding.upstream.reduction import Phi, check_dimension, save_arrays, standardization
from l3embedding.utils.errors import InputError
from l3embedding.utils.registry import look_up

_ROWS = 4096
"""Embeddings that are transformed at once, which bounds the matrix of their similarities to the sample."""
_ARRAYS = ("mean", "scale", "landmarks", "projection", "kernel_means")
_MATRICES = 3
"""Copies of the kernel matrix that scikit-learn holds while it fits."""


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
            raise InputError("The sample holds an embedding that is not finite; draw it again.")
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


@dataclass(frozen=True)
class KernelPhi:
    """phi(x) = (k(z, landmarks), centred) projected onto the components, z = (x - mean) / scale."""

    kernel: str  # poly (degree 3, offset 1) or rbf, with gamma 1 / D
    mean: NDArray[np.float64]  # [D]
    scale: NDArray[np.float64]  # [D]; 1 for a constant feature
    landmarks: NDArray[np.float32]  # the standardised sample, [N, D]
    projection: NDArray[np.float64]  # eigenvectors over the roots of their eigenvalues, [N, d]
    kernel_means: NDArray[np.float64]  # of the columns of the sample's kernel matrix, [N]

    # Not defined: the kernel's feature space may have infinitely many dimensions.
    explained_variance_ratio: ClassVar[None] = None

    @property
    def n_samples(self) -> int:
        return len(self.landmarks)

    @property
    def embedding_size(self) -> int:
        return self.projection.shape[1]

    @property
    def key(self) -> str:
        return f"pca_ndata={self.n_samples}_emb={self.embedding_size}_kernel={self.kernel}"

    def transform(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        check_dimension(embeddings, len(self.mean))
        landmarks = self.landmarks.astype(np.float64)
        reduced = np.empty((len(embeddings), self.embedding_size), np.float32)
        for start in range(0, len(embeddings), _ROWS):
            standardized = (embeddings[start : start + _ROWS] - self.mean) / self.scale
            similarity = pairwise_kernels(standardized, landmarks, metric=self.kernel)
            centred = similarity - self.kernel_means - similarity.mean(axis=1, keepdims=True) + self.kernel_means.mean()
            reduced[start : start + _ROWS] = centred @ self.projection
        return reduced

    def save(self, path: str | os.PathLike[str]) -> None:
        save_arrays(path, "pca", {name: getattr(self, name) for name in _ARRAYS}, kernel=self.kernel)


def fit_kernel_pca(chunks: Iterable[NDArray[np.floating]], dim: int, kernel: str, random_state: int) -> KernelPhi:
    """Fit standardisation and kernel PCA to chunks `[n_i, D]`; the seed is for the eigensolver's start."""
    sample = np.concatenate(list(chunks))
    n = len(sample)
    needed = _MATRICES * 8 * n**2
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    if needed > available:
        fitting = int((available / (_MATRICES * 8)) ** 0.5)
        raise InputError(
            f"Kernel PCA of {n} embeddings needs {needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB are free: "
            f"set sample.size to at most {fitting}, or reduction.kernel: linear, which has no limit."
        )
    if n <= dim:
        raise InputError(f"PCA to {dim} dimensions needs more than {dim} embeddings; it got {n}.")
    mean, scale = standardization(sample)
    landmarks = ((sample - mean) / scale).astype(np.float32)
    fitted = KernelPCA(dim, kernel=kernel, eigen_solver="auto", random_state=random_state)
    fitted.fit(landmarks.astype(np.float64))
    if (rank := int((fitted.eigenvalues_ > fitted.eigenvalues_[0] * 1e-12).sum())) < dim:
        raise InputError(f"The sample varies in {rank} directions only, not in {dim}; sample more.")
    projection = fitted.eigenvectors_ / np.sqrt(fitted.eigenvalues_)
    return KernelPhi(kernel, mean, scale, landmarks, projection, fitted._centerer.K_fit_rows_)


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
        return KernelPhi(str(file.attrs["kernel"]), **{name: file[name][:] for name in _ARRAYS})
    values = {each.name: file[each.name][()] for each in fields(Pca)}
    return Pca(**values | {"n_samples": int(values["n_samples"])})
