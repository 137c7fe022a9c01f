"""Kernel PCA as the reduction phi: the principal components of the feature space that a kernel implies.

Unlike linear PCA, phi keeps the whole sample.

References
----------
Scholkopf, Smola and Muller, Nonlinear component analysis as a kernel eigenvalue problem, 1998;
scikit-learn's `KernelPCA`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import KernelPCA
from sklearn.metrics.pairwise import pairwise_kernels

from l3embedding.upstream.reduction import check_dimension, save_arrays, standardization
from l3embedding.utils.errors import InputError

_ROWS = 4096
"""Embeddings that are transformed at once, which bounds the matrix of their similarities to the sample."""
_ARRAYS = ("mean", "scale", "landmarks", "projection", "kernel_means")
_MATRICES = 3
"""Copies of the kernel matrix that scikit-learn holds while it fits."""


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


def read_kernel_pca(file: h5py.File) -> KernelPhi:
    """Read what `KernelPhi.save` wrote."""
    return KernelPhi(str(file.attrs["kernel"]), **{name: file[name][:] for name in _ARRAYS})
