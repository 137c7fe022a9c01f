"""Embedding the clips of a data set, one file each, so that a run that stops loses one clip at most."""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from l3embedding.data.audio import read_audio, resample
from l3embedding.data.clip_embeddings import embedding_path, read_embedding, write_embedding
from l3embedding.embedding import get_embedding
from l3embedding.models.frontend import InputRepresentation, LogMelSpectrogram
from l3embedding.models.plugged import in_seconds
from l3embedding.models.teachers import EmbeddingModel, KerasEmbeddingModel
from l3embedding.upstream.reduction import Phi
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path
from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)


class LogMelImages:
    """What a student sees, instead of what it makes of it: an `EmbeddingModel` but for the shape of what it gives.

    Parameters
    ----------
    representation
        What the student hears.
    """

    name = "log-mel images"
    size_mb, activation_mb = 0.0, 0.0
    weights_sha256 = hashlib.sha256(b"").hexdigest()
    is_stand_in = False
    licence = "mit"
    batch_size = 256

    def __init__(self, representation: InputRepresentation) -> None:
        self.sample_rate, self.frame_length = representation.sample_rate, representation.frame_length
        self.embedding_size = math.prod(representation.image_shape)
        self._front_end = LogMelSpectrogram(representation)

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float16]:
        """Turn frames float32 `[n, frame_length]` into images float16 `[n, bins, windows, 1]`, dB."""
        return keras.ops.convert_to_numpy(self._front_end(frames)).astype(np.float16)


def embed_clips(clips: list[Path], model: EmbeddingModel, folder: Path, hop_size: float) -> list[dict[str, str]]:
    """Embed audio files; those whose embedding is there already are left alone.

    Parameters
    ----------
    clips
        Audio files, of different stems.
    model
        What embeds them.
    folder
        Where the `.npz` files go.
    hop_size
        Between frames, s. Frames are of a second (see `l3embedding.models.plugged`) and lie wholly within the
        clip, as those do that the student learned from.

    Returns
    -------
    The clips that were skipped, each with the reason.
    """

    model = in_seconds(model)
    short = 0

    def embed(clip: Path) -> None:
        nonlocal short
        audio, sample_rate = read_audio(clip)
        short += len(audio) * model.sample_rate < model.frame_length * sample_rate
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # silence and shortness are no news in a data set
            embedded = get_embedding(audio, sample_rate, model, hop_size=hop_size, center=False)
        write_embedding(embedding_path(folder, clip), *embedded)

    skipped = _each(clips, embed, folder, f"embedding with {model.name}")
    if short:
        logger.info("%d clips are shorter than a frame, and were padded with zeros", short)
    return skipped


def reduce_clips(clips: list[Path], features: Path, reduction: Phi, folder: Path) -> list[dict[str, str]]:
    """Reduce the teacher's embeddings of clips, which lie in `features`; otherwise as `embed_clips`."""

    def reduce(clip: Path) -> None:
        embedding, timestamps = read_embedding(embedding_path(features, clip))
        write_embedding(embedding_path(folder, clip), reduction.transform(embedding), timestamps)

    return _each(clips, reduce, folder, "reducing")


def clip_images(clips: list[Path], features: Path, model: KerasEmbeddingModel, path: Path) -> NDArray[np.float16]:
    """Compute what a student sees of clips, frame by frame, into a file that is mapped into memory.

    Parameters
    ----------
    clips
        Audio files.
    features
        Folder of their embeddings, all of one length: the frames begin at the embeddings' timestamps.
    model
        The student that made these embeddings.
    path
        The `.npy` file; if it is there, it is taken as it is.

    Returns
    -------
    float16 `[clips, frames, bins, windows, 1]`, dB.

    Raises
    ------
    InputError
        A clip cannot be read, or its embedding is not this student's.
    """
    if not path.is_file():
        _, timestamps = read_embedding(embedding_path(features, clips[0]))
        shape = (len(clips), len(timestamps), *model.representation.image_shape)
        with atomic_path(path) as temporary, progress("hearing", len(clips), "clips", logger) as bar:
            images = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
            for row, clip in enumerate(clips):
                images[row] = _images(clip, features, model)
                bar.update(1)
            images.flush()
    images = np.load(path, mmap_mode="r")
    _check_student(clips[0], features, model)
    return images


def _frames(clip: Path, features: Path, model: KerasEmbeddingModel) -> NDArray[np.float32]:
    """The frames that were embedded, float32 `[n, frame_length]`."""
    audio, sample_rate = read_audio(clip)
    _, timestamps = read_embedding(embedding_path(features, clip))
    samples = resample(audio, sample_rate, model.sample_rate)
    begins = np.round(timestamps * model.sample_rate).astype(int)
    samples = np.pad(samples, (0, max(0, begins[-1] + model.frame_length - len(samples))))
    return np.stack([samples[begin : begin + model.frame_length] for begin in begins])


def _images(clip: Path, features: Path, model: KerasEmbeddingModel) -> NDArray[np.float32]:
    return model.images(_frames(clip, features, model))


def _check_student(clip: Path, features: Path, model: KerasEmbeddingModel) -> None:
    """Refuse to fine-tune another student than the one whose embeddings lie there."""
    expected, _ = read_embedding(embedding_path(features, clip))
    embedding = model.embed(_frames(clip, features, model))
    if embedding.shape != expected.shape or not np.allclose(embedding, expected, rtol=1e-2, atol=1e-2):
        raise InputError(
            f"{embedding_path(features, clip)} was not made by the student {model.name}; fine-tuning goes on from the "
            "student whose embeddings were made by stage 05."
        )


def _each(clips: list[Path], work: Callable[[Path], None], folder: Path, title: str) -> list[dict[str, str]]:
    if len({clip.stem for clip in clips}) < len(clips):
        raise InputError("Two clips bear the same name, so their embeddings would bear it too; rename one.")
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
