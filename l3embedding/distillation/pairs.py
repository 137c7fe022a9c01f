"""The student's training data: log-mel images of audio frames, each paired with its target embedding.

Audio shards and embedding shards are two folders of the same file names. The images are computed once and kept,
with the targets, as two `.npy` files that are memory-mapped, so that a training step reads only its rows. If the
disk has no room for them, they are computed from the audio in every epoch.

Batches take the rows in blocks: a *window* of blocks from all over the shards is read in long stretches, and its
rows are shuffled. So the disk reads forward, however many rows there are.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from l3embedding.data.audio import from_int16, resample
from l3embedding.data.shards import (
    TEACHER_KEY,
    dataset_shape,
    embedding_keys,
    list_shards,
    map_dataset,
    read_attributes,
    read_dataset,
    require_shards,
)
from l3embedding.models.frontend import InputRepresentation, LogMelSpectrogram
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path, make_folder
from l3embedding.utils.progress import Progress, progress

logger = logging.getLogger(__name__)

_ROWS = 256
"""Frames whose images are computed at once."""
_BLOCK = 128
"""Rows side by side that are read together: 1.6 MB of a paper student's images."""
_WINDOW = 65_536
"""Rows that are shuffled together: 0.8 GB, which the system's cache can hold."""
_SPARE_BYTES = 2_000_000_000
"""Left free on the disk, for checkpoints."""


@dataclass(frozen=True)
class ShardPair:
    """An audio shard and the shard of its targets: the same file, if the target is the teacher's own embedding."""

    audio: Path
    embedding: Path
    key: str  #: name of the targets' dataset
    rows: int
    embedding_size: int


class ShardImages:
    """The images of all shards, computed from the audio on access."""

    def __init__(self, shards: list[ShardPair], representation: InputRepresentation) -> None:
        self._shards = shards
        self._representation = representation
        self._front_end = LogMelSpectrogram(representation)
        self._ends = np.cumsum([shard.rows for shard in shards])
        self.shape = (int(self._ends[-1]), *representation.image_shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Images float32 `[rows, mels, windows, 1]` of a slice or of sorted row numbers."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        shard_of = np.searchsorted(self._ends, rows, side="right")
        parts = [self._audio_of(index, rows[shard_of == index]) for index in np.unique(shard_of)]
        return keras.ops.convert_to_numpy(self._front_end(np.ascontiguousarray(np.concatenate(parts))))

    @cached_property
    def _audio(self) -> list[tuple[NDArray[np.int16], int]]:
        """Audio and rate of each shard; without an attribute, a frame of one second gives the rate."""
        maps = [map_dataset(shard.audio, "audio") for shard in self._shards]
        rates = [read_attributes(shard.audio).get("sample_rate") for shard in self._shards]
        return [(audio, int(rate or audio.shape[1])) for audio, rate in zip(maps, rates, strict=True)]

    def _audio_of(self, index: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        (stored, rate), wanted = self._audio[index], self._representation.sample_rate
        audio = from_int16(stored[rows - (self._ends[index] - self._shards[index].rows)])
        # soxr takes channels in the second dimension: all frames at once.
        return audio if rate == wanted else resample(np.ascontiguousarray(audio.T), rate, wanted).T


@dataclass(frozen=True)
class Pairs:
    """Images float32 `[n, mels, windows, 1]`, memory-mapped or computed, and targets float32 `[n, d]`."""

    images: NDArray[np.float32] | ShardImages
    targets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read images and targets of some rows, in ascending order: the disk is read in one direction."""
        rows = np.sort(rows)
        return self.images[rows], self.targets[rows]


def match_shards(audio_dir: Path, embedding_dir: Path | None) -> list[ShardPair]:
    """Pair the audio shards of one split with the reduced shards of the same names.

    Without reduced shards, the targets are the teacher's embeddings in the audio shards.

    Raises
    ------
    InputError
        A shard is missing on either side, or two shards of one name differ in length, or keys or dimensions differ.
    """
    audio = {path.name: path for path in require_shards(audio_dir)}
    if embedding_dir is None:
        return [_pair(path, path, TEACHER_KEY) for path in audio.values()]
    embeddings = {path.name: path for path in list_shards(embedding_dir)}
    if unmatched := sorted(audio.keys() ^ embeddings.keys()):
        lacking = embedding_dir if unmatched[0] in audio else audio_dir
        raise InputError(f"{unmatched[0]} is missing in {lacking}; both folders need a shard of each name.")
    pairs = [_pair(path, embeddings[name], _only_key(embeddings[name])) for name, path in audio.items()]
    for pair in pairs:
        one, other = (f"{each.key} of {each.embedding_size} dimensions" for each in (pair, pairs[0]))
        if one != other:
            raise InputError(f"{pair.embedding} holds {one}, but {pairs[0].embedding} holds {other}.")
    return pairs


def load_pairs(shards: list[ShardPair], representation: InputRepresentation, cache: Path) -> Pairs:
    """Compute the images of all shards once, and memory-map them.

    Parameters
    ----------
    shards
        As `match_shards` returns them.
    representation
        The student's; audio of another rate is resampled.
    cache
        Folder for `images.npy` and `targets.npy`; existing files are used as they are.

    Raises
    ------
    InputError
        A target is not a finite number.
    """
    images, targets = cache / "images.npy", cache / "targets.npy"
    computed = ShardImages(shards, representation)
    if not targets.is_file():
        _write_array(targets, (len(computed), shards[0].embedding_size), _targets(shards))
    pairs = Pairs(computed, np.load(targets, mmap_mode="r"))
    if not images.is_file():
        needed, free = 4 * int(np.prod(computed.shape)), shutil.disk_usage(make_folder(cache)).free
        if needed + _SPARE_BYTES > free:
            sizes = (cache.name, needed / 1e9, free / 1e9)
            logger.warning("%s: %.1f GB of images do not fit (%.1f GB free), so each epoch computes them", *sizes)
            return pairs
        with progress(f"{cache.name}: log-mel images", len(computed), "frames", logger) as bar:
            _write_array(images, computed.shape, _chunks(computed, bar))
    return Pairs(np.load(images, mmap_mode="r"), pairs.targets)


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


def _chunks(images: ShardImages, bar: Progress) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(images), _ROWS):
        chunk = images[start : start + _ROWS]
        yield chunk
        bar.update(len(chunk))


def _write_array(path: Path, shape: tuple[int, ...], chunks: Iterator[NDArray[np.float32]]) -> None:
    """Write a `.npy` file in chunks; not through a memory map, which crashes on a full disk instead of raising."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            file.write(np.ascontiguousarray(chunk, np.float32).data)


def epoch_rows(n: int, batch_size: int, epoch_size: int, random_state: int, epoch: int) -> list[NDArray[np.int64]]:
    """Choose the rows of each batch of an epoch, as a function of the seed and the epoch alone.

    Training makes passes over a permutation of the rows, a new one for each pass, and an epoch is a stretch of that
    endless sequence; so a run that is resumed at an epoch has the batches of an undisturbed one. A pass leaves out
    the rows at its end that do not fill a batch.

    Parameters
    ----------
    n, batch_size
        Number of rows, and rows per batch; all of them, if there are fewer.
    epoch_size
        Batches per epoch, at most one pass.
    random_state
        Seed of the permutations.
    epoch
        Counted from 0.
    """
    batch_size = min(batch_size, n)
    per_pass = n // batch_size
    epoch_size = min(epoch_size, per_pass)
    batches: list[NDArray[np.int64]] = []
    for index in range(epoch * epoch_size, (epoch + 1) * epoch_size):
        number, position = divmod(index, per_pass)
        if not batches or position == 0:
            order = shuffled_rows(n, np.random.default_rng([random_state, number]))
        batches.append(order[position * batch_size : (position + 1) * batch_size])
    return batches


def shuffled_rows(n: int, rng: np.random.Generator, block: int = _BLOCK, window: int = _WINDOW) -> NDArray[np.int64]:
    """Shuffle rows 0 to n - 1 so that they are read in long stretches; int64 `[n]`.

    Blocks of adjacent rows are drawn into windows, whose rows are shuffled. Up to the size of a window, every order is
    equally likely.
    """
    if n <= window:
        return rng.permutation(n)
    starts = block * rng.permutation(-(-n // block))
    windows = np.array_split(starts, -(-n // window))
    rows = [(each[:, np.newaxis] + np.arange(block)).ravel() for each in windows]
    return np.concatenate([rng.permutation(each[each < n]) for each in rows])
