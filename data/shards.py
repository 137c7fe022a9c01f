"""Shards: the HDF5 files in which frames travel from stage to stage.

An *upstream shard* holds the frames of some recordings of one sensor, under the names that the
authors' own files use:

==================  ==========================  ====================================================
`audio`             int16 [n, sample_rate]      one second each, full scale 32768; may be missing
`l3_embedding`      float32 [n, D]              the teacher's embedding
`timestamp`         float64 [n]                 Unix seconds of the first sample; NaN if undated
`spl`               float32 [n]                 level, dBA
`relevance`         float32 [n]                 in (0, 1], see `l3embedding.data.loudness.relevance`
`recording`         int32 [n]                   row of `recording_path`
`recording_path`    str [m]                     the recordings
==================  ==========================  ====================================================

Its attributes say the sensor, the rate, the hop, which teacher and the hash of its weights.

A *reduced shard* has the same file name, and one dataset, named by the embedding key, with
phi(teacher(x)) for the same rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path

SPLITS = ("train", "validate")
TEACHER_KEY = "l3_embedding"


@dataclass(frozen=True)
class Frames:
    """Rows of an upstream shard; the arrays are described at the top of this module."""

    audio: NDArray[np.int16] | None
    embedding: NDArray[np.float32]
    timestamp: NDArray[np.float64]
    spl: NDArray[np.float32]
    relevance: NDArray[np.float32]
    recording: NDArray[np.int32]
    recording_path: list[str]


def write_upstream_shard(path: str | os.PathLike[str], frames: Frames, attributes: Mapping[str, Any]) -> None:
    """Write an upstream shard, whole or not at all."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        if frames.audio is not None:
            file["audio"] = frames.audio
        file[TEACHER_KEY] = frames.embedding
        file["timestamp"] = frames.timestamp
        file["spl"] = frames.spl
        file["relevance"] = frames.relevance
        file["recording"] = frames.recording
        file.create_dataset("recording_path", data=frames.recording_path, dtype=h5py.string_dtype())
        file.attrs.update(attributes)


def write_reduced_shard(
    path: str | os.PathLike[str], key: str, embedding: NDArray[np.float32], attributes: Mapping[str, Any]
) -> None:
    """Write a reduced shard, whole or not at all.

    Parameters
    ----------
    key
        The embedding key, e.g. `pca_ndata=500000_emb=128_kernel=linear`.
    embedding
        float32 `[n, d]`.
    attributes
        Kept with the file.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file[key] = embedding
        file.attrs.update(attributes)


def list_shards(folder: str | os.PathLike[str]) -> list[Path]:
    """List the shards directly in `folder`, sorted by name; those being written are not among them."""
    return sorted(path for path in Path(folder).glob("*.h5") if not path.name.startswith("."))


def require_shards(folder: str | os.PathLike[str]) -> list[Path]:
    """List the shards in `folder`, and refuse an empty or missing folder.

    Raises
    ------
    InputError
        There are none.
    """
    shards = list_shards(folder)
    if not shards:
        raise InputError(f"{folder} holds no shards (*.h5). Is it the folder that an earlier stage wrote?")
    return shards


def read_attributes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a shard's attributes."""
    with open_shard(path) as file:
        return {name: value.item() if isinstance(value, np.generic) else value for name, value in file.attrs.items()}


def read_dataset(path: str | os.PathLike[str], name: str) -> NDArray:
    """Read one dataset of a shard.

    Raises
    ------
    InputError
        The file is no HDF5 file, or has no such dataset; the message lists those it has.
    """
    with open_shard(path) as file:
        return _dataset(file, name)[:]


def iterate_dataset(path: str | os.PathLike[str], name: str, rows: int = 8192) -> Iterator[NDArray]:
    """Read one dataset of a shard in chunks of at most `rows` rows."""
    with open_shard(path) as file:
        dataset = _dataset(file, name)
        for start in range(0, len(dataset), rows):
            yield dataset[start : start + rows]


def dataset_shape(path: str | os.PathLike[str], name: str) -> tuple[int, ...]:
    """Shape of one dataset of a shard, without reading it."""
    with open_shard(path) as file:
        return _dataset(file, name).shape


def map_dataset(path: str | os.PathLike[str], name: str) -> NDArray:
    """Map one dataset of a shard into memory, so that its rows are read when they are asked for.

    A dataset in chunks or compressed, which ours are not, is read as a whole.
    """
    with open_shard(path) as file:
        dataset = _dataset(file, name)
        offset = dataset.id.get_offset()
        if offset is None:
            return dataset[:]
        return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)


def embedding_keys(path: str | os.PathLike[str]) -> list[str]:
    """Names of the datasets in a reduced shard."""
    with open_shard(path) as file:
        return sorted(file)


def open_shard(path: str | os.PathLike[str]) -> h5py.File:
    """Open a shard for reading, with an error that names it.

    Raises
    ------
    InputError
        The file is missing, truncated or no HDF5 file.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} cannot be read as a shard: {error}") from None


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    if name not in file:
        raise InputError(f"{file.filename} has no dataset {name!r}; it has {', '.join(sorted(file)) or 'none'}.")
    return file[name]


class SensorFrames:
    """All frames of one sensor, over its shards, without their audio.

    Attributes
    ----------
    timestamp
        float64 `[n]`.
    relevance
        float32 `[n]`.
    """

    def __init__(self, shards: list[Path]) -> None:
        self._shards = shards
        self.timestamp: NDArray[np.float64] = np.concatenate([read_dataset(path, "timestamp") for path in shards])
        self.relevance: NDArray[np.float32] = np.concatenate([read_dataset(path, "relevance") for path in shards])
        self._ends = np.cumsum([dataset_shape(path, TEACHER_KEY)[0] for path in shards])

    def __len__(self) -> int:
        return len(self.timestamp)

    def read_embeddings(self, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the embeddings float32 `[m, D]` of sorted frames int64 `[m]`.

        Raises
        ------
        InputError
            One is not finite; the shard and the row are named.
        """
        parts = []
        start = 0
        for path, end in zip(self._shards, self._ends, strict=True):
            rows = frames[(frames >= start) & (frames < end)] - start
            if len(rows):
                part = _read_rows(path, rows)
                if not (finite := np.isfinite(part).all(axis=1)).all():
                    raise InputError(f"{path}, {TEACHER_KEY}: row {rows[int(np.argmin(finite))]} is not finite.")
                parts.append(part)
            start = end
        return np.concatenate(parts)


def sensors_in(folder: str | os.PathLike[str]) -> dict[str, list[Path]]:
    """Group the upstream shards in `folder` by sensor."""
    sensors: dict[str, list[Path]] = {}
    for path in require_shards(folder):
        sensors.setdefault(str(read_attributes(path)["sensor"]), []).append(path)
    return sensors


def write_sample(path: str | os.PathLike[str], frames: SensorFrames, rows: NDArray[np.int64]) -> None:
    """Write the sampled `rows` of a sensor: their embeddings, and which they are."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file[TEACHER_KEY] = frames.read_embeddings(rows)
        file["row"] = rows
        file["timestamp"] = frames.timestamp[rows]
        file["relevance"] = frames.relevance[rows]


def _read_rows(path: Path, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    with open_shard(path) as file:
        # One contiguous read, then a choice in memory: far faster than HDF5's own row selection.
        first, last = rows[0], rows[-1] + 1
        return _dataset(file, TEACHER_KEY)[first:last][rows - first]
