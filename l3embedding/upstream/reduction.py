"""phi, the reduction from the teacher's R^D to the student's R^d.

Each mode of `ReductionSettings.mode` is a module of that name in `l3embedding.upstream.reductions`, with two functions:

    fit(sample, dim, settings, random_state) -> Phi      the sample in chunks, each `[n_i, D]`
    read(file, allow_pickle) -> Phi                      from the HDF5 file that `Phi.save` wrote
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Protocol, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from l3embedding.settings import ReductionSettings
from l3embedding.upstream import reductions
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path
from l3embedding.utils.registry import look_up


class Phi(Protocol):
    """A fitted reduction."""

    @property
    def n_samples(self) -> int:
        """Embeddings it was fitted on."""

    @property
    def embedding_size(self) -> int:
        """The student's dimension d."""

    @property
    def key(self) -> str:
        """Name of the dataset of reduced embeddings, as in the authors' files."""

    @property
    def explained_variance_ratio(self) -> NDArray[np.float64] | None:
        """Fraction of the sample's variance that each dimension explains, `[d]`; None where it is not defined."""

    def transform(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Reduce embeddings `[n, D]` to float32 `[n, d]`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to an HDF5 file, whole or not at all."""


class _Mode(Protocol):
    def fit(
        self, sample: Iterable[NDArray[np.floating]], dim: int, settings: ReductionSettings, random_state: int
    ) -> Phi: ...

    def read(self, file: h5py.File, allow_pickle: bool) -> Phi: ...


MODES = {each.name: f"{reductions.__name__}.{each.name}" for each in pkgutil.iter_modules(reductions.__path__)}
"""Mode to module; each is imported when it is first used, since umap-learn takes seconds."""


def fit_reduction(
    sample: Iterable[NDArray[np.floating]], dim: int, settings: ReductionSettings, random_state: int
) -> Phi:
    """Fit phi to embeddings in chunks `[n_i, D]`; `dim` is the student's dimension d.

    Raises
    ------
    InputError
        The mode is not known, the sample is too small for it, or an embedding is not finite.
    """
    return _mode(settings.mode).fit(sample, dim, settings, random_state)


def load_reduction(path: str | os.PathLike[str], allow_pickle: bool = False) -> Phi:
    """Read what `Phi.save` wrote.

    Parameters
    ----------
    allow_pickle
        Load a UMAP, which is a pickled object: whoever wrote the file can make it execute any code.

    Raises
    ------
    InputError
        The file is missing or holds no reduction, or it holds a UMAP and that is not allowed.
    """
    try:
        with h5py.File(path, "r") as file:
            # The first versions did not write the attribute.
            mode = file.attrs.get("mode") or ("umap" if "estimator" in file else "pca")
            return _mode(str(mode)).read(file, allow_pickle)
    except (OSError, KeyError) as error:
        raise InputError(f"{path} cannot be read as a reduction: {error}") from None


def save_arrays(
    path: str | os.PathLike[str], mode: str, arrays: Mapping[str, NDArray[Any] | int], **attributes: str
) -> None:
    """Write the file of a phi, whole or not at all."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"mode": mode, **attributes})
        for name, array in arrays.items():
            file[name] = array


def standardization(sample: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and scale of each feature, float64 `[D]`; the scale of a constant feature is 1."""
    if not np.isfinite(sample).all():
        raise InputError("The sample holds an embedding that is not finite; draw it again.")
    deviation = sample.std(axis=0, dtype=np.float64)
    return sample.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0)


def check_dimension(embeddings: NDArray[np.floating], expected: int) -> None:
    """Raise an `InputError` for embeddings of another teacher."""
    if embeddings.shape[1] != expected:
        raise InputError(f"phi expects embeddings of {expected} dimensions, not {embeddings.shape[1]}.")


def _mode(name: str) -> _Mode:
    return cast(_Mode, import_module(look_up(MODES, name, "reduction.mode")))
