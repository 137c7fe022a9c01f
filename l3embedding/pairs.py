"""What the student learns from: log-mel images of audio frames, each paired with its target embedding.

Audio shards and embedding shards lie in two folders under the same file names. The images are
computed once and kept, with the targets, as two `.npy` files that are memory-mapped, so that a
training step reads nothing but its rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from data.audio import from_int16, resample
from data.errors import InputError
from data.files import atomic_path
from data.progress import Progress, progress
from data.shards import (
    TEACHER_KEY,
    dataset_shape,
    embedding_keys,
    iterate_dataset,
    list_shards,
    read_attributes,
    read_dataset,
    require_shards,
)
from l3embedding.frontend import InputRepresentation, LogMelSpectrogram

logger = logging.getLogger(__name__)

_ROWS = 256
"""Frames whose images are computed at once."""


@dataclass(frozen=True)
class ShardPair:
    """An audio shard and where its targets are.

    Attributes
    ----------
    audio, embedding
        Files; the same one if the target is the teacher's own embedding.
    key
        Name of the target's dataset.
    rows
        How many frames.
    embedding_size
        Dimension of the target.
    """

    audio: Path
    embedding: Path
    key: str
    rows: int
    embedding_size: int


@dataclass(frozen=True)
class Pairs:
    """Images float32 `[n, mels, windows, 1]` and targets float32 `[n, d]`, memory-mapped."""

    images: NDArray[np.float32]
    targets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)


def match_shards(audio_dir: Path, embedding_dir: Path | None) -> list[ShardPair]:
    """Pair the audio shards of one split with the shards that hold the targets.

    Parameters
    ----------
    audio_dir
        Upstream shards.
    embedding_dir
        Reduced shards of the same names; None takes the teacher's embeddings in the audio shards.

    Raises
    ------
    InputError
        A shard is missing on either side, or two of one name differ in length, or keys differ.
    """
    audio = {path.name: path for path in require_shards(audio_dir)}
    if embedding_dir is None:
        return [_pair(path, path, TEACHER_KEY) for path in audio.values()]
    embeddings = {path.name: path for path in list_shards(embedding_dir)}
    if unmatched := sorted(audio.keys() ^ embeddings.keys()):
        lacking = embedding_dir if unmatched[0] in audio else audio_dir
        raise InputError(f"{unmatched[0]} is not in {lacking}; both folders need a shard of each name.")
    pairs = [_pair(path, embeddings[name], _only_key(embeddings[name])) for name, path in audio.items()]
    for pair in pairs:
        if pair.key != pairs[0].key:
            raise InputError(f"{pair.embedding} holds {pair.key}, but {pairs[0].embedding} holds {pairs[0].key}.")
    return pairs


def load_pairs(shards: list[ShardPair], representation: InputRepresentation, cache: Path) -> Pairs:
    """Compute the images of all shards once, and map them into memory.

    Parameters
    ----------
    shards
        As `match_shards` returns them.
    representation
        The student's input representation. Audio of another rate is resampled.
    cache
        Folder for `images.npy` and `targets.npy`; what is there already is used as it is.

    Raises
    ------
    InputError
        A target is not a finite number; the shard and the row are named.
    """
    images, targets = cache / "images.npy", cache / "targets.npy"
    n = sum(shard.rows for shard in shards)
    if not targets.is_file():
        _write_array(targets, (n, shards[0].embedding_size), _targets(shards))
    if not images.is_file():
        with progress(f"{cache.name}: log-mel images", n, "frames", logger) as bar:
            _write_array(images, (n, *representation.image_shape), _images(shards, representation, bar))
    return Pairs(np.load(images, mmap_mode="r"), np.load(targets, mmap_mode="r"))


def _pair(audio: Path, embedding: Path, key: str) -> ShardPair:
    rows, size = dataset_shape(embedding, key)
    if (audio_rows := dataset_shape(audio, "audio")[0]) != rows:
        raise InputError(f"{audio} has {audio_rows} frames, but {embedding} has {rows} embeddings.")
    return ShardPair(audio, embedding, key, rows, size)


def _only_key(path: Path) -> str:
    keys = embedding_keys(path)
    if len(keys) != 1:
        raise InputError(f"{path} should hold one dataset of embeddings, but holds {', '.join(keys) or 'none'}.")
    return keys[0]


def _targets(shards: list[ShardPair]) -> Iterator[NDArray[np.float32]]:
    for shard in shards:
        values = read_dataset(shard.embedding, shard.key)
        if not (finite := np.isfinite(values).all(axis=1)).all():
            raise InputError(f"{shard.embedding}, {shard.key}: row {int(np.argmin(finite))} is not finite.")
        yield values


def _images(
    shards: list[ShardPair], representation: InputRepresentation, bar: Progress
) -> Iterator[NDArray[np.float32]]:
    front_end = LogMelSpectrogram(representation)
    for shard in shards:
        rate = int(read_attributes(shard.audio).get("sample_rate", dataset_shape(shard.audio, "audio")[1]))
        for chunk in iterate_dataset(shard.audio, "audio", _ROWS):
            audio = from_int16(chunk)
            if rate != representation.sample_rate:
                # soxr takes channels in the second dimension: all frames of the chunk at once.
                audio = resample(np.ascontiguousarray(audio.T), rate, representation.sample_rate).T
            yield keras.ops.convert_to_numpy(front_end(np.ascontiguousarray(audio)))
            bar.update(len(chunk))


def _write_array(path: Path, shape: tuple[int, ...], chunks: Iterator[NDArray[np.float32]]) -> None:
    with atomic_path(path) as temporary:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        start = 0
        for chunk in chunks:
            array[start : start + len(chunk)] = chunk
            start += len(chunk)
        array.flush()
        del array


class PairBatches:
    """Batches of one epoch, in an order that is a function of the seed and the epoch alone.

    Training takes passes over a permutation of the rows, a fresh one for each pass, and an epoch is a
    stretch of that endless sequence; so a run that is taken up at an epoch sees what an undisturbed
    one sees. What does not fill a batch at the end of a pass is left for the next.

    Parameters
    ----------
    pairs
        Images and targets.
    batch_size
        Rows in a batch.
    epoch_size
        Batches in an epoch; at most one pass.
    random_state
        Seed of the permutations.
    epoch
        Counted from 0.

    Attributes
    ----------
    batch_size
        As given, or all rows if there are fewer.
    """

    def __init__(self, pairs: Pairs, batch_size: int, epoch_size: int, random_state: int, epoch: int) -> None:
        self._pairs = pairs
        self.batch_size = min(batch_size, len(pairs))
        self._per_pass = len(pairs) // self.batch_size
        self._epoch_size = min(epoch_size, self._per_pass)
        self._random_state = random_state
        self._epoch = epoch
        self._permutations: dict[int, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return self._epoch_size

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # Sorted rows are read from the disk in one direction.
        rows = np.sort(self.rows(index))
        return self._pairs.images[rows], self._pairs.targets[rows]

    def rows(self, index: int) -> NDArray[np.int64]:
        """Rows of batch `index` of this epoch, int64 `[batch_size]`."""
        number, position = divmod(self._epoch * self._epoch_size + index, self._per_pass)
        if number not in self._permutations:
            rng = np.random.default_rng([self._random_state, number])
            self._permutations[number] = rng.permutation(len(self._pairs))
        return self._permutations[number][position * self.batch_size : (position + 1) * self.batch_size]
