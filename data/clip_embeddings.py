"""Embedding files as openl3 writes them: per clip a `.npz` with `embedding` [frames, d] and `timestamps` [frames] s."""

from __future__ import annotations

import logging
import os
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path
from l3embedding.utils.parallel import map_ahead
from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)

CLIPS = "clips"
"""Folder of the embedding files, within a stage's."""

MAX_SHIFT_S = 0.001
"""Greatest difference between two models' timestamps of a frame; frames begin at samples of the model's rate."""
MAX_ROUNDING = 0.01
"""Greatest rounding error that float16 may add to a dimension, as a fraction of its standard deviation."""


def embedding_path(folder: str | os.PathLike[str], clip: str | os.PathLike[str]) -> Path:
    """Path of a clip's embedding in a folder."""
    return Path(folder) / f"{Path(clip).stem}.npz"


def write_embedding(path: Path, embedding: NDArray[np.float32], timestamps: NDArray[np.float64]) -> None:
    """Write an embedding file, whole or not at all."""
    with atomic_path(path) as temporary:
        np.savez(temporary, embedding=embedding, timestamps=timestamps)


def read_embedding(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read an embedding file; an `InputError` names one that is missing, damaged or of another kind."""
    embedding, timestamps = _members(path, "embedding", "timestamps")
    return embedding, timestamps


def check_paired(path: Path, other: Path) -> None:
    """Raise an `InputError` unless two files of a clip have the same frames.

    Since the models' rates may differ, one may have one frame more.
    """
    (times,), (others,) = _members(path, "timestamps"), _members(other, "timestamps")
    common = min(len(times), len(others))
    if abs(len(times) - len(others)) > 1 or not np.allclose(times[:common], others[:common], rtol=0, atol=MAX_SHIFT_S):
        raise InputError(
            f"{path} has {len(times)} frames and {other} {len(others)}, or other timestamps. "
            "Embed the clips by both models with the same dataset.hop_size."
        )


@dataclass(frozen=True)
class StackedEmbeddings:
    """Embeddings of clips of one length, and which clips were left out, and why.

    They are float16 `[clips, frames, d]`, or float32 where float16 would cost more than `MAX_ROUNDING`.
    """

    features: NDArray[np.floating]
    clips: list[str]
    skipped: list[dict[str, str]]


def stack_embeddings(folder: Path, clips: Iterable[str]) -> StackedEmbeddings:
    """Read the embeddings of clips into one array.

    Clips whose embedding is missing, damaged, or of another number of frames than most are left out with a warning.

    Raises
    ------
    InputError
        A clip has another number of dimensions than the others, or none is left.
    """
    skipped: list[dict[str, str]] = []
    shapes: dict[str, tuple[int, ...]] = {}
    for clip in clips:
        try:
            shapes[clip] = _shape(embedding_path(folder, clip))
        except InputError as error:
            _skip(clip, str(error), skipped)
    if not shapes:
        raise InputError(f"Not one of {len(skipped)} clips has an embedding in {folder}; embed them by stage 05.")
    (frames, size), count = Counter(shapes.values()).most_common(1)[0]
    for clip, shape in shapes.items():
        if shape[1] != size:
            raise InputError(
                f"{embedding_path(folder, clip)} holds embeddings of {shape[1]} dimensions, {count} other clips of "
                f"{size}: they are from different models. Embed all clips by one."
            )
        if shape[0] != frames:
            _skip(clip, f"{embedding_path(folder, clip)} has {shape[0]} frames, most clips {frames}", skipped)
    kept = [clip for clip, shape in shapes.items() if shape[0] == frames]
    features = np.empty((len(kept), frames, size), np.float16)
    damaged, too_coarse = _read_into(features, folder, kept)
    if too_coarse:
        logger.warning("float16 is too coarse for the embeddings in %s; they are kept in float32", folder)
        features = np.empty((len(kept), frames, size), np.float32)
        damaged, _ = _read_into(features, folder, kept)
    for row, reason in damaged.items():
        _skip(kept[row], reason, skipped)
    if damaged:
        features = np.delete(features, list(damaged), axis=0)
    return StackedEmbeddings(features, [clip for row, clip in enumerate(kept) if row not in damaged], skipped)


def _read_into(array: NDArray[np.floating], folder: Path, clips: list[str]) -> tuple[dict[int, str], bool]:
    """Fill the array; returns why rows could not be read, and whether the array's type is too coarse."""
    size = array.shape[-1]
    damaged: dict[int, str] = {}
    total, squares, errors = np.zeros(size), np.zeros(size), np.zeros(size)
    paths = (embedding_path(folder, clip) for clip in clips)
    with progress("reading embeddings", len(clips), "clips", logger) as bar, np.errstate(over="ignore"):
        for row, embedding in enumerate(map_ahead(_read_finite, paths, 2)):
            bar.update(1)
            if isinstance(embedding, str):
                damaged[row] = embedding
                continue
            array[row] = embedding
            if array.dtype == np.float16:
                error = array[row].astype(np.float32) - embedding
                total += embedding.sum(axis=0, dtype=np.float64)
                squares += np.square(embedding, dtype=np.float64).sum(axis=0)
                errors += np.square(error, dtype=np.float64).sum(axis=0)
    n = max((len(clips) - len(damaged)) * array.shape[1], 1)
    variance = np.maximum(squares / n - np.square(total / n), 0)
    # A constant dimension is no loss, rounded or not; the threshold is the variance that summation leaves.
    varies = variance > 1e-10 * squares / n
    return damaged, bool((errors[varies] / n > MAX_ROUNDING**2 * variance[varies]).any())


def _read_finite(path: Path) -> NDArray[np.float32] | str:
    """Read an embedding, or return why it cannot be used."""
    try:
        embedding, _ = read_embedding(path)
    except InputError as error:
        return str(error)
    return embedding if np.isfinite(embedding).all() else f"{path} holds a value that is not finite"


def _skip(clip: str, reason: str, skipped: list[dict[str, str]]) -> None:
    logger.warning("skipped: %s: %s", clip, reason)
    skipped.append({"recording": clip, "reason": reason})


def _members(path: Path, *names: str) -> list[NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return [file[name] for name in names]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an embedding file: {error}") from None


def _shape(path: Path) -> tuple[int, int]:
    """Frames and dimensions of an embedding file, from its header alone."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("embedding.npy") as file:
            np.lib.format.read_magic(file)  # it is version 1.0, unless the header exceeds 64 kB
            shape, _, _ = np.lib.format.read_array_header_1_0(file)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an embedding file: {error}") from None
    if len(shape) != 2:
        raise InputError(f"{path} holds an array of shape {shape}, not [frames, d].")
    return shape
