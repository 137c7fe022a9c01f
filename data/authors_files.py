"""The authors' own HDF5 files: features of a sensor, and the index with its levels.

A features file holds `openl3` [n, D] and `timestamp` [n] s, an index file `spl_vector` and
`spl_timestamp`; each as datasets, or as fields of one compound dataset. Their audio shards (`audio`,
`l3_embedding`) need no conversion: stages 02 and 03 read them as they are.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError


def read_features(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read the embeddings of a sensor, float32 `[n, D]`, and their times, float64 `[n]` s.

    Raises
    ------
    InputError
        The file is no features file, or its columns differ in length.
    """
    with _open(path) as file:
        embedding = np.asarray(_column(file, "openl3"), np.float32)
        timestamp = np.asarray(_column(file, "timestamp"), np.float64).ravel()
    embedding = embedding.reshape(len(timestamp), -1) if embedding.size % max(len(timestamp), 1) == 0 else embedding
    if len(embedding) != len(timestamp):
        raise InputError(f"{path} has {len(embedding)} embeddings, but {len(timestamp)} times.")
    return embedding, timestamp


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} cannot be read as HDF5: {error}") from None


def _column(file: h5py.File, name: str) -> NDArray:
    """A dataset of this name, or the field of this name of a compound dataset."""
    if name in file:
        return file[name][:]
    for dataset in file.values():
        if isinstance(dataset, h5py.Dataset) and name in (dataset.dtype.names or ()):
            return dataset[name]
    raise InputError(f"{file.filename} has no {name!r}; it has {', '.join(sorted(file)) or 'nothing'}.")
