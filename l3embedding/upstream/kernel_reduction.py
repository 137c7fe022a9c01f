"""Kernel PCA as the reduction phi: the principal components of a feature space that the kernel implies.

References
----------
Scholkopf, Smola and Muller, Nonlinear component analysis as a kernel eigenvalue problem, 1998;
scikit-learn's `KernelPCA`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import h5py
import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import KernelPCA
from sklearn.metrics.pairwise import pairwise_kernels

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path

_ROWS = 4096
"""Embeddings that are compared with the sample at once."""
_MATRICES = 3
"""Copies of the kernel matrix that the fit holds."""


@dataclass(frozen=True)
class KernelReduction:
    """phi(x) = (k(z, landmarks) - centring) projected onto the components, z = (x - mean) / scale.

    Attributes
    ----------
    kernel
        poly (degree 3, offset 1) or rbf, with gamma 1 / D.
    mean, scale
        Of the sample, float64 `[D]`; the scale of a constant feature is 1.
    landmarks
        The standardised sample, float32 `[N, D]`.
    projection
        Eigenvectors over the roots of their eigenvalues, float64 `[N, d]`.
    kernel_means
        Mean of each column of the sample's kernel matrix, float64 `[N]`.
    """

    kernel: str
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    projection: NDArray[np.float64]
    kernel_means: NDArray[np.float64]

    @property
    def n_samples(self) -> int:
        """Embeddings it was fitted on."""
        return len(self.landmarks)

    @property
    def embedding_size(self) -> int:
        """The student's dimension d."""
        return self.projection.shape[1]

    @property
    def key(self) -> str:
        """Name of the dataset of reduced embeddings, as the authors' files have it."""
        return f"pca_ndata={self.n_samples}_emb={self.embedding_size}_kernel={self.kernel}"

    def transform(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Reduce embeddings `[n, D]` to float32 `[n, d]`.

        Raises
        ------
        InputError
            They have another dimension than the sample had.
        """
        if embeddings.shape[1] != len(self.mean):
            raise InputError(f"phi takes embeddings of {len(self.mean)} dimensions, not {embeddings.shape[1]}.")
        parts = [self._reduce(embeddings[start : start + _ROWS]) for start in range(0, len(embeddings), _ROWS)]
        return np.concatenate(parts) if parts else np.empty((0, self.embedding_size), np.float32)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the arrays to an HDF5 file, whole or not at all."""
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["kernel"] = self.kernel
            for name in ("mean", "scale", "landmarks", "projection", "kernel_means"):
                file[name] = getattr(self, name)

    def _reduce(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        standardized = (embeddings - self.mean) / self.scale
        similarity = pairwise_kernels(standardized, self.landmarks.astype(np.float64), metric=self.kernel)
        centred = similarity - self.kernel_means - similarity.mean(axis=1, keepdims=True) + self.kernel_means.mean()
        return (centred @ self.projection).astype(np.float32)


def fit_kernel_pca(
    chunks: Iterable[NDArray[np.floating]], n_components: int, kernel: Literal["poly", "rbf"], random_state: int
) -> KernelReduction:
    """Fit standardisation and kernel PCA.

    Parameters
    ----------
    chunks
        Embeddings `[n_i, D]`.
    n_components
        The student's dimension d.
    kernel
        See `KernelReduction`.
    random_state
        Seed of the eigensolver's start.

    Raises
    ------
    InputError
        The kernel matrix does not fit into memory, there are too few embeddings, or one is not finite.
    """
    sample = np.concatenate(list(chunks))
    n = len(sample)
    needed = _MATRICES * 8 * n**2
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    if needed > available:
        fitting = int((available / (_MATRICES * 8)) ** 0.5)
        raise InputError(
            f"Kernel PCA of {n} embeddings needs {needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB are free: "
            f"take a sample_size of {fitting} at most, or pca_kernel: linear, which takes any number."
        )
    if n <= n_components:
        raise InputError(f"PCA to {n_components} dimensions needs more than {n_components} embeddings; it got {n}.")
    if not np.isfinite(sample).all():
        raise InputError("The sample holds an embedding that is not finite; draw it anew.")
    mean, spread = sample.mean(axis=0, dtype=np.float64), sample.std(axis=0, dtype=np.float64)
    scale = np.where(spread > 0, spread, 1.0)
    landmarks = ((sample - mean) / scale).astype(np.float32)
    fitted = KernelPCA(n_components, kernel=kernel, eigen_solver="auto", random_state=random_state)
    fitted.fit(landmarks.astype(np.float64))
    if (rank := int((fitted.eigenvalues_ > fitted.eigenvalues_[0] * 1e-12).sum())) < n_components:
        raise InputError(f"The sample varies in {rank} directions only, not in {n_components}; sample more.")
    return KernelReduction(
        kernel=kernel,
        mean=mean,
        scale=scale,
        landmarks=landmarks,
        projection=fitted.eigenvectors_ / np.sqrt(fitted.eigenvalues_),
        kernel_means=fitted._centerer.K_fit_rows_,
    )


def read_kernel_pca(file: h5py.File) -> KernelReduction:
    """Read what `KernelReduction.save` wrote."""
    arrays = {name: file[name][:] for name in ("mean", "scale", "landmarks", "projection", "kernel_means")}
    return KernelReduction(kernel=str(file.attrs["kernel"]), **arrays)
