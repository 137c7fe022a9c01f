"""Shards: the HDF5 files that pass frames from stage to stage.

An *upstream shard* holds the frames of some recordings of one sensor, under the names of the authors' files:

==================  ==========================  ====================================================
`audio`             int16 [n, sample_rate]      one second each, full scale 32768; may be missing
`l3_embedding`      float32 [n, D]              the teacher's embedding
`timestamp`         float64 [n]                 Unix seconds of the first sample; NaN if undated
`spl`               float32 [n]                 level, dBA
`recording`         int32 [n]                   row of `recording_path`
`recording_path`    str [m]                     the recordings
`skipped`           str [k, 2]                  recordings that could not be decoded, and why
==================  ==========================  ====================================================

Attributes: the sensor, rate, hop, the teacher's name and the hash of its weights. Stage 01 needs `timestamp` and
`spl`; a file without `spl` may hold `relevance` instead, float32 [n] in (0, 1].

A *reduced shard* has the same file name and one dataset, phi(teacher(x)) for the same rows. The dataset is
named by the embedding key, e.g. `pca_ndata=500000_emb=128_kernel=linear`.

A *sample* is the file of a sensor, SENSOR.h5: `l3_embedding`, `timestamp` and `relevance` of the sampled frames,
and `row` int64 [m], which of the sensor's training frames they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from l3embedding.data.loudness import relevance
from l3embedding.data.tables import read_columns
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
    recording: NDArray[np.int32]
    recording_path: list[str]
    skipped: list[tuple[str, str]] = field(default_factory=list)


def write_upstream_shard(path: str | os.PathLike[str], frames: Frames, attributes: Mapping[str, Any]) -> None:
    """Write an upstream shard, whole or not at all."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        if frames.audio is not None:
            file["audio"] = frames.audio
        file[TEACHER_KEY] = frames.embedding
        for name in ("timestamp", "spl", "recording"):
            file[name] = getattr(frames, name)
        file.create_dataset("recording_path", data=frames.recording_path, dtype=h5py.string_dtype())
        if frames.skipped:
            # A dataset, since HDF5 limits an attribute to 64 kB.
            file.create_dataset("skipped", data=frames.skipped, dtype=h5py.string_dtype())
        file.attrs.update(attributes)


def read_skipped(path: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """Read which recordings of an upstream shard could not be decoded, and why."""
    with open_shard(path) as file:
        rows = file["skipped"].asstr()[:] if "skipped" in file else []
        return [(str(recording), str(reason)) for recording, reason in rows]


def write_reduced_shard(
    path: str | os.PathLike[str], key: str, embedding: NDArray[np.float32], attributes: Mapping[str, Any]
) -> None:
    """Write a reduced shard, whole or not at all: the embedding float32 `[n, d]` under its key."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file[key] = embedding
        file.attrs.update(attributes)


def list_shards(folder: str | os.PathLike[str]) -> list[Path]:
    """List the shards directly in `folder`, sorted by name, without those that are being written."""
    return sorted(path for path in Path(folder).glob("*.h5") if not path.name.startswith("."))


def require_shards(folder: str | os.PathLike[str]) -> list[Path]:
    """List the shards in `folder`; an `InputError` if there are none."""
    if shards := list_shards(folder):
        return shards
    raise InputError(f"{folder} holds no shards (*.h5). Is it the folder that an earlier stage wrote?")


def read_attributes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a shard's attributes."""
    with open_shard(path) as file:
        return {name: value.item() if isinstance(value, np.generic) else value for name, value in file.attrs.items()}


def read_dataset(path: str | os.PathLike[str], name: str) -> NDArray[Any]:
    """Read one dataset of a shard; if it is missing, an `InputError` lists the others."""
    with open_shard(path) as file:
        return _dataset(file, name)[:]


def iterate_dataset(path: str | os.PathLike[str], name: str, rows: int = 8192) -> Iterator[NDArray[Any]]:
    """Read one dataset of a shard in chunks of at most `rows` rows."""
    with open_shard(path) as file:
        dataset = _dataset(file, name)
        for start in range(0, len(dataset), rows):
            yield dataset[start : start + rows]


def dataset_shape(path: str | os.PathLike[str], name: str) -> tuple[int, ...]:
    """Shape of one dataset of a shard, without reading it."""
    with open_shard(path) as file:
        return _dataset(file, name).shape


def map_dataset(path: str | os.PathLike[str], name: str) -> NDArray[Any]:
    """Map one dataset of a shard into memory, so that rows are read when they are needed.

    A chunked or compressed dataset, such as other programs may write, is read as a whole.
    """
    with open_shard(path) as file:
        dataset = _dataset(file, name)
        offset = dataset.id.get_offset()
        return dataset[:] if offset is None else np.memmap(path, dataset.dtype, "r", offset, dataset.shape)


def embedding_keys(path: str | os.PathLike[str]) -> list[str]:
    """Names of the datasets in a shard, sorted."""
    with open_shard(path) as file:
        return sorted(file)


def open_shard(path: str | os.PathLike[str]) -> h5py.File:
    """Open a shard for reading; an `InputError` names a file that is missing, truncated or no HDF5 file."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} cannot be read as a shard: {error}") from None


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    if name not in file:
        raise InputError(f"{file.filename} has no dataset {name!r}; it has {', '.join(sorted(file)) or 'none'}.")
    return file[name]


def shards_by_sensor(audio_dir: str | os.PathLike[str]) -> dict[str, dict[str, list[Path]]]:
    """Group the upstream shards in `audio_dir` by sensor and split; sensors without training shards are left out.

    Raises
    ------
    InputError
        There are no training shards.
    """
    sensors: dict[str, dict[str, list[Path]]] = {}
    for path in (*require_shards(Path(audio_dir) / "train"), *list_shards(Path(audio_dir) / "validate")):
        split, sensor = path.parent.name, str(read_attributes(path)["sensor"])
        if split == "train" or sensor in sensors:
            sensors.setdefault(sensor, {each: [] for each in SPLITS})[split].append(path)
    return sensors


class SensorFrames:
    """The training frames of one sensor, over its shards, without their audio.

    The timestamps are float64 `[n]`, the relevance float32 `[n]`. It ranks a frame among all frames of its sensor,
    those of the validation split included; see `l3embedding.data.loudness.relevance`.
    """

    def __init__(self, train: list[Path], validate: Sequence[Path] = (), time_zone: str = "UTC") -> None:
        self._shards = train
        shapes = [dataset_shape(path, TEACHER_KEY) for path in train]
        self._ends, self._size = np.cumsum([shape[0] for shape in shapes]), shapes[0][1]
        every = [*train, *validate]
        timestamp: NDArray[np.float64] = np.concatenate([read_dataset(path, "timestamp") for path in every])
        self.timestamp = timestamp[: len(self)]
        self.relevance: NDArray[np.float32]
        if all("spl" in embedding_keys(path) for path in every):
            spl = np.concatenate([read_dataset(path, "spl") for path in every])
            self.relevance = relevance(spl, timestamp, time_zone)[: len(self)]
        else:
            self.relevance = np.concatenate([read_dataset(path, "relevance") for path in train])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read_embeddings(self, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the embeddings float32 `[m, D]` of sorted frames int64 `[m]`; an `InputError` if one is not finite."""
        parts = [np.empty((0, self._size), np.float32)]
        start = 0
        for path, end in zip(self._shards, self._ends, strict=True):
            rows = frames[(frames >= start) & (frames < end)] - start
            if len(rows):
                with open_shard(path) as file:
                    # One contiguous read, then a selection in memory: far faster than HDF5's selection of rows.
                    part = _dataset(file, TEACHER_KEY)[rows[0] : rows[-1] + 1][rows - rows[0]]
                if not (finite := np.isfinite(part).all(axis=1)).all():
                    raise InputError(f"{path}, {TEACHER_KEY}: row {rows[int(np.argmin(finite))]} is not finite.")
                parts.append(part)
            start = end
        return np.concatenate(parts)


def write_sample(path: str | os.PathLike[str], frames: SensorFrames, rows: NDArray[np.int64]) -> None:
    """Write the sampled `rows` of a sensor, whole or not at all."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file[TEACHER_KEY] = frames.read_embeddings(rows)
        file["row"], file["timestamp"], file["relevance"] = rows, frames.timestamp[rows], frames.relevance[rows]


def read_features(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read the authors' features of a sensor: `openl3`, float32 `[n, D]`, and `timestamp`, float64 `[n]` s.

    Their audio shards need no conversion: stages 02 and 03 read them as they are.

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
