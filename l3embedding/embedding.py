"""Embeddings of audio: embed a recording by a model's name, its path, or a loaded model.

Recordings are framed as in openl3 and edgel3, see `l3embedding.data.audio.frame_audio`.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from l3embedding.data.audio import check_audio, frame_audio, resample, to_mono
from l3embedding.models.interface import EmbeddingModel, PluggedTeacher, Teacher
from l3embedding.models.loading import BEST_MODEL, INT8_MODEL, load_model
from l3embedding.utils.errors import AudioWarning, InputError

__all__ = ["BEST_MODEL", "INT8_MODEL", "as_model", "cut", "embed_stream", "frame_times", "get_embedding", "load_model"]

Key = TypeVar("Key")


def get_embedding(
    audio: NDArray[np.floating] | Sequence[NDArray[np.floating]],
    sr: int | Sequence[int],
    model: EmbeddingModel | str | os.PathLike[str] | None = None,
    *,
    hop_size: float = 0.1,
    center: bool = True,
    verbose: object = None,
    **which: Any,
) -> tuple[Any, Any]:
    """Embed a recording, or several.

    Parameters
    ----------
    audio
        `[n]` or `[n, channels]`, in [-1, 1]; channels are averaged. For a list the results are lists.
    sr
        Sampling rate, Hz; for a list, one for all or one each.
    model
        A loaded model, any `l3embedding.models.interface.Teacher`, or a name or path for `load_model`.
    hop_size
        Hop between frames, s.
    center
        Whether a frame's timestamp is its middle (half a frame of zeros is prepended) or its start.
    verbose
        0 or 1, as in openl3 and edgel3; nothing is printed.
    **which
        Without a loaded model: other arguments of `load_model`, such as openl3's `input_repr` and `content_type`
        or edgel3's `model_type` and `emb_dim`.

    Returns
    -------
    embedding
        float32 `[T, D]`.
    timestamps
        float64 `[T]`, s.

    Raises
    ------
    InputError
        The audio is empty or not finite, or the hop or the rate is not positive.
    """
    several = isinstance(audio, (list, tuple))
    recordings = [np.asarray(each) for each in (audio if several else [audio])]
    rates = [cast(int, sr)] * len(recordings) if np.ndim(sr) == 0 else list(cast(Sequence[int], sr))
    if len(rates) != len(recordings):
        raise InputError(f"There are {len(recordings)} recordings, but {len(rates)} sampling rates.")
    for recording, rate in zip(recordings, rates, strict=True):
        check_audio(recording, "The audio")
        _check_options(rate, hop_size, center, verbose)
    model = as_model(model, **which)
    for recording, rate in zip(recordings, rates, strict=True):
        if not recording.any():
            warnings.warn("The audio is silent: every sample is zero.", AudioWarning, stacklevel=2)
        if len(recording) / rate < model.frame_length / model.sample_rate:
            warnings.warn("The audio is shorter than a frame; it is padded with zeros.", AudioWarning, stacklevel=2)
    framed = (cut(*each, model, hop_size, center) for each in zip(recordings, rates, strict=True))
    embeddings = [embedding for _, embedding in embed_stream(enumerate(framed), model)]
    timestamps = [frame_times(len(each), hop_size, model) for each in embeddings]
    return (embeddings, timestamps) if several else (embeddings[0], timestamps[0])


def as_model(model: object, **which: Any) -> EmbeddingModel:
    """Return a loaded model as it is, wrap a teacher of your own, or load a model by its name or path."""
    if isinstance(model, EmbeddingModel):
        return model
    if hasattr(model, "embed"):
        # PluggedTeacher checks for the rest, and names what is missing.
        return PluggedTeacher(cast(Teacher, model), type(model).__name__, which.get("batch_size") or 32)
    if not (model is None or isinstance(model, (str, os.PathLike))):
        raise InputError(f"A model is one from load_model, a name or a path, not of type {type(model).__name__}.")
    return load_model(model, **which)


def cut(
    audio: NDArray[np.floating], sr: int, model: EmbeddingModel, hop_size: float, center: bool
) -> NDArray[np.float32]:
    """Mix a recording to mono, resample it, and cut it into a model's frames, float32 `[T, frame_length]`."""
    samples = resample(to_mono(audio), sr, model.sample_rate)
    return frame_audio(samples, model.frame_length, round(hop_size * model.sample_rate), center=center)


def frame_times(count: int, hop_size: float, model: EmbeddingModel) -> NDArray[np.float64]:
    """Timestamps of `count` frames, s."""
    return np.arange(count) * round(hop_size * model.sample_rate) / model.sample_rate


def embed_stream(
    recordings: Iterable[tuple[Key, NDArray[np.float32]]], model: EmbeddingModel
) -> Iterator[tuple[Key, NDArray[np.float32]]]:
    """Embed the frames of many recordings in full batches, so that short ones do not cost a batch each.

    A recording is a key of the caller's choice and frames float32 `[n, frame_length]`; they are read lazily, only as
    many as fill a batch. Yields the keys in the same order, each with its embeddings float32 `[n, embedding_size]`.
    """
    waiting: deque[tuple[Key, int]] = deque()
    batch: list[NDArray[np.float32]] = []
    embedded: list[NDArray[np.float32]] = []
    filled = 0
    for key, frames in recordings:
        waiting.append((key, len(frames)))
        start = 0
        while start < len(frames):
            part = frames[start : start + model.batch_size - filled]
            start, filled = start + len(part), filled + len(part)
            batch.append(part)
            if filled == model.batch_size:
                embedded.append(model.embed(np.concatenate(batch)))
                batch, filled = [], 0
        yield from _complete(waiting, embedded)
    if batch:
        embedded.append(model.embed(np.concatenate(batch)))
    yield from _complete(waiting, embedded)


def _complete(
    waiting: deque[tuple[Key, int]], embedded: list[NDArray[np.float32]]
) -> Iterator[tuple[Key, NDArray[np.float32]]]:
    """Yield the recordings all of whose frames are embedded, and remove them from both lists."""
    there = sum(map(len, embedded))
    while waiting and waiting[0][1] <= there:
        key, count = waiting.popleft()
        rows = np.concatenate(embedded)
        embedded[:] = [rows[count:]]
        there -= count
        yield key, rows[:count].copy()


def _check_options(sr: object, hop_size: object, center: object, verbose: object) -> None:
    """Refuse what openl3 and edgel3 refuse."""
    for name, value, unit in (("hop_size", hop_size, "s"), ("sr", sr, "Hz")):
        if not isinstance(value, Real) or not float(value) > 0:
            raise InputError(f"{name} must be positive, and is {value!r} {unit}.")
    if not isinstance(center, (bool, np.bool_)) and center not in (0, 1):
        raise InputError(f"center is True or False, not {center!r}.")
    if verbose not in (None, 0, 1):
        raise InputError(f"verbose is 0 or 1, not {verbose!r}.")
