"""The authors' HDF5 files: features of a sensor, `openl3` [n, D] and `timestamp` [n] s.

The index files with the levels are read by `l3embedding.data.spl_series`. The audio shards (`audio`,
`l3_embedding`) need no conversion: stages 02 and 03 read them as they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l3embedding.data.tables import read_columns
from l3embedding.utils.errors import InputError


def read_features(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read the embeddings of a sensor, float32 `[n, D]`, and their times, float64 `[n]` s.

    Raises
    ------
    InputError
        The file is no features file, or its columns differ in length.
    """
    openl3, timestamp = read_columns(path, ("openl3", "timestamp"))
    embedding, times = openl3.astype(np.float32), timestamp.astype(np.float64).ravel()
    if embedding.size % max(len(times), 1) == 0:
        embedding = embedding.reshape(len(times), -1)
    if len(embedding) != len(times):
        raise InputError(f"{path} has {len(embedding)} embeddings, but {len(times)} times.")
    return embedding, times
