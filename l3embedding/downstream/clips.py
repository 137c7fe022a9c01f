"""Embedding the clips of a data set, one file each, so that an interrupted run loses one clip at most."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l3embedding.data.audio import read_audio, resample
from l3embedding.data.clip_embeddings import embedding_path, read_embedding, write_embedding
from l3embedding.embedding import get_embedding
from l3embedding.models.interface import in_seconds
from l3embedding.models.teachers import EmbeddingModel, KerasEmbeddingModel
from l3embedding.upstream.reduction import Phi
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path
from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)

Skipped = list[dict[str, str]]
"""Clips that were skipped: `recording` and `reason` of each."""


def embed_clips(clips: list[Path], model: EmbeddingModel, folder: Path, hop_size: float) -> Skipped:
    """Embed audio files, except those that are embedded already.

    Parameters
    ----------
    clips
        Audio files, of different stems.
    model
        The embedding model.
    folder
        Output folder of the `.npz` files.
    hop_size
        Hop between frames, s. Frames are one second long (see `l3embedding.models.interface`) and lie wholly within
        the clip, like the student's training frames.
    """
    model = in_seconds(model)
    short = 0

    def embed(clip: Path) -> None:
        nonlocal short
        audio, sample_rate = read_audio(clip)
        short += len(audio) * model.sample_rate < model.frame_length * sample_rate
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # silent and short clips are common in data sets
            embedding, timestamps = get_embedding(audio, sample_rate, model, hop_size=hop_size, center=False)
        write_embedding(embedding_path(folder, clip), embedding, timestamps)

    skipped = _each(clips, embed, folder, f"embedding with {model.name}")
    if short:
        logger.info("%d clips are shorter than a frame, and were padded with zeros", short)
    return skipped


def reduce_clips(clips: list[Path], features: Path, phi: Phi, folder: Path) -> Skipped:
    """Reduce the teacher's embeddings of clips, which are in `features`; otherwise like `embed_clips`."""

    def reduce(clip: Path) -> None:
        embedding, timestamps = read_embedding(embedding_path(features, clip))
        write_embedding(embedding_path(folder, clip), phi.transform(embedding), timestamps)

    return _each(clips, reduce, folder, "reducing")


def clip_images(clips: list[Path], features: Path, model: KerasEmbeddingModel, path: Path) -> NDArray[np.float16]:
    """Compute the log-mel images that are a student's input, frame by frame, into a memory-mapped file.

    Parameters
    ----------
    clips
        Audio files.
    features
        Folder of their embeddings, all of one length: the frames start at the embeddings' timestamps.
    model
        The student that made these embeddings.
    path
        The `.npy` file; if it exists, it is not computed again.

    Returns
    -------
    float16 `[clips, frames, bins, windows, 1]`, dB.

    Raises
    ------
    InputError
        A clip cannot be read, or its embedding was not made by this student.
    """
    if not path.is_file():
        _, timestamps = read_embedding(embedding_path(features, clips[0]))
        shape = (len(clips), len(timestamps), *model.representation.image_shape)
        with atomic_path(path) as temporary, progress("computing images", len(clips), "clips", logger) as bar:
            images = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
            for row, clip in enumerate(clips):
                images[row] = model.images(_frames(clip, features, model))
                bar.update(1)
            images.flush()
    # Training would start from another encoder than the embeddings' if the features were another student's.
    first = embedding_path(features, clips[0])
    expected, _ = read_embedding(first)
    embedding = model.embed(_frames(clips[0], features, model))
    if embedding.shape != expected.shape or not np.allclose(embedding, expected, rtol=1e-2, atol=1e-2):
        raise InputError(
            f"{first} was not made by the student {model.name}; fine-tuning starts from the student whose embeddings "
            "were made by stage 05."
        )
    return np.load(path, mmap_mode="r")


def _frames(clip: Path, features: Path, model: KerasEmbeddingModel) -> NDArray[np.float32]:
    """The frames that were embedded, float32 `[n, frame_length]`."""
    audio, sample_rate = read_audio(clip)
    _, timestamps = read_embedding(embedding_path(features, clip))
    samples = resample(audio, sample_rate, model.sample_rate)
    starts = np.round(timestamps * model.sample_rate).astype(int)
    samples = np.pad(samples, (0, max(0, starts[-1] + model.frame_length - len(samples))))
    return np.stack([samples[start : start + model.frame_length] for start in starts])


def _each(clips: list[Path], work: Callable[[Path], None], folder: Path, title: str) -> Skipped:
    if len({clip.stem for clip in clips}) < len(clips):
        raise InputError("Two clips have the same name, so their embeddings would have it too; rename one.")
    skipped = []
    todo = [clip for clip in clips if not embedding_path(folder, clip).is_file()]
    with progress(title, len(todo), "clips", logger) as bar:
        for clip in todo:
            try:
                work(clip)
            except InputError as error:
                logger.warning("skipped: %s", error)
                skipped.append({"recording": str(clip), "reason": str(error)})
            bar.update(1)
    return skipped
