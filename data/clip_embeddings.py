"""Embedding files: one `.npz` a clip with `embedding` [frames, d] and `timestamps` [frames] s, as openl3 writes."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.files import atomic_path

CLIPS = "clips"
"""Folder of the embedding files, within a stage's."""


def embedding_path(folder: str | os.PathLike[str], clip: str | os.PathLike[str]) -> Path:
    """Where the embedding of a clip lies in a folder."""
    return Path(folder) / f"{Path(clip).stem}.npz"


def write_embedding(path: Path, embedding: NDArray[np.float32], timestamps: NDArray[np.float64]) -> None:
    """Write an embedding file, whole or not at all."""
    with atomic_path(path) as temporary:
        np.savez(temporary, embedding=embedding, timestamps=timestamps)


def read_embedding(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read an embedding file.

    Raises
    ------
    InputError
        The file is missing, damaged, or no embedding file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["embedding"], file["timestamps"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an embedding file: {error}") from None


def stack_embeddings(folder: Path, clips: Iterable[str]) -> NDArray[np.float32]:
    """Read the embeddings of clips of one length, float32 `[clips, frames, d]`.

    Raises
    ------
    InputError
        One is missing, or has another shape than the first.
    """
    stacked: list[NDArray[np.float32]] = []
    for clip in clips:
        path = embedding_path(folder, clip)
        embedding, _ = read_embedding(path)
        if stacked and embedding.shape != stacked[0].shape:
            raise InputError(f"{path} holds {embedding.shape} (frames, dimensions), others {stacked[0].shape}.")
        stacked.append(embedding)
    return np.stack(stacked)
