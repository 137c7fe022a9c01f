"""Embeddings of audio: load a model by name or path, embed a recording.

Framing is that of openl3 and edgel3, see `l3embedding.data.audio.frame_audio`.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from l3embedding.data.audio import check_audio, frame_audio, resample, to_mono
from l3embedding.models.frontend import Convention, student_representation
from l3embedding.models.model_files import KerasAudioModel, is_full_model, load_keras_file
from l3embedding.models.plugged import PluggedTeacher, is_plugged, load_plugged
from l3embedding.models.teachers import UNKNOWN_LICENCE, EmbeddingModel, KerasEmbeddingModel
from l3embedding.models.tflite import TFLiteEmbeddingModel
from l3embedding.models.vggish import NAMES as VGGISH_NAMES
from l3embedding.models.vggish import VGGISH, is_vggish, load_vggish, locate_vggish
from l3embedding.models.weights import (
    GIT_BLOBS,
    Architecture,
    architecture_of,
    licence_of,
    load_keras2_weights,
    locate_weights,
    official_name,
    read_keras2_weights,
    sha256,
)
from l3embedding.utils.errors import AudioWarning, InputError

BEST_MODEL = "model_best_valid_loss.keras"
INT8_MODEL = "student_int8.tflite"

OPENL3_EMBEDDING_SIZE = 6144
"""What openl3 embeds in where its caller does not say."""

Key = TypeVar("Key")


def model_name(
    input_repr: str | None = None,
    content_type: str | None = None,
    frontend: str | None = None,
    model_type: str | None = None,
    emb_dim: int | None = None,
    retrain_type: str | None = None,
    sparsity: float | None = None,
) -> str:
    """Name an official model as openl3 and edgel3 let one say it.

    Parameters
    ----------
    input_repr, content_type
        openl3's: linear, mel128 or mel256 (default); env or music (default). One of them makes it an
        openl3 model.
    frontend
        Of an openl3 model: kapre (default) or librosa as in openl3 0.4, kapre_v0_1 as before 0.4.
    model_type
        edgel3's: sea (default) or sparse.
    emb_dim
        Of a sea model: 64, 128 (default), 256 or 512.
    retrain_type, sparsity
        Of a sparse model: ft (default) or kd; 53.5, 63.5, 72.3, 87.0 or 95.45 (default).

    Raises
    ------
    InputError
        There is no such model.
    """
    if input_repr is not None or content_type is not None:
        name = f"openl3_audio_{_or(input_repr, 'mel256')}_{_or(content_type, 'music')}"
        name += "" if frontend == "kapre_v0_1" else "-v0_4_0"
    elif model_type == "sparse" or (model_type is None and (retrain_type, sparsity) != (None, None)):
        percent = _or(sparsity, 95.45)
        percent = float(percent) if isinstance(percent, Real) else percent
        name = f"edgel3_{_or(retrain_type, 'ft')}_audio_sparsity_{percent}"
    elif model_type in (None, "sea"):
        name = f"edgel3_sea_ust_audio_emb_{_or(emb_dim, 128)}"
    else:
        raise InputError(f"model_type {model_type!r} is neither 'sea' nor 'sparse'.")
    if name not in GIT_BLOBS:
        raise InputError(f"There is no model {name}; there are {', '.join(GIT_BLOBS)}.")
    return name


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def load_model(
    model: str | os.PathLike[str] | None = None,
    input_repr: str | None = None,
    content_type: str | None = None,
    embedding_size: int | None = None,
    frontend: Convention | None = None,
    *,
    model_type: str | None = None,
    emb_dim: int | None = None,
    retrain_type: str | None = None,
    sparsity: float | None = None,
    search: Sequence[str | os.PathLike[str]] = (),
    download: bool = True,
    batch_size: int = 32,
) -> EmbeddingModel:
    """Load an embedding model.

    Parameters
    ----------
    model
        An official name (`openl3_audio_mel256_env`, `edgel3_sea_ust_audio_emb_64`, `vggish`, ...), a file of
        such weights (`.h5`, `.h5.gz`, VGGish's `.ckpt`), a student's folder, a `.keras`, `.h5` or `.tflite` file (see
        `l3embedding.models.model_files`), or a callable of one's own, `package.module:callable` (see
        `l3embedding.models.plugged`). Without it, the next ones name it.
    input_repr, content_type, model_type, emb_dim, retrain_type, sparsity
        openl3's and edgel3's ways of naming a model, see `model_name`. `input_repr` also says what a file
        of openl3's weights hears whose name does not.
    embedding_size
        For openl3's weights: 512, or 6144 for its 4 x 3 grid. By default 512 for a name or a file, and
        6144 where `input_repr` or `content_type` name the model, as in openl3.
    frontend
        For official weights: the front end's convention, if another than the one that belongs to the name.
    search
        Folders searched for official weights before the cache.
    download
        Whether official weights that are not at hand are fetched.
    batch_size
        Frames that are embedded at once.

    Raises
    ------
    InputError
        There is no such model, or the file is not what its name says.
    """
    if model is None:
        model = model_name(input_repr, content_type, frontend, model_type, emb_dim, retrain_type, sparsity)
        if embedding_size is None and model.startswith("openl3"):
            embedding_size = OPENL3_EMBEDDING_SIZE
    if is_plugged(str(model)):
        return _of_size(load_plugged(str(model), batch_size), embedding_size)
    if str(model) in GIT_BLOBS:
        require_embedding_size(str(model), embedding_size)
        model = locate_weights(str(model), search, download)
    vggish = str(model) if str(model) in VGGISH_NAMES else VGGISH
    if str(model) in VGGISH_NAMES:
        model = locate_vggish(search, download)
    path = Path(model)
    if path.is_dir():
        path = _file_in(path)
    if not path.is_file():
        names = ", ".join([*GIT_BLOBS, *VGGISH_NAMES])
        raise InputError(f"{model} is neither a file nor an official model; those are {names}.")
    if is_vggish(path):
        return _of_size(load_vggish(path, vggish, batch_size), embedding_size)
    if path.suffix == ".tflite":
        return _of_size(_checked(TFLiteEmbeddingModel(path), batch_size), embedding_size)
    if path.suffix == ".keras" or (path.suffix == ".h5" and not official_name(path) and is_full_model(path)):
        return _of_size(_checked(load_keras_file(path, batch_size), batch_size), embedding_size)
    return _from_weights(path, input_repr, embedding_size, frontend, batch_size)


def require_embedding_size(name: str, embedding_size: object) -> None:
    """Refuse an embedding size that an official model does not have, before its weights are fetched."""
    sizes = (512, OPENL3_EMBEDDING_SIZE) if name.startswith("openl3") else (architecture_of(name).filters[-1],)
    if embedding_size is not None and embedding_size not in sizes:
        raise InputError(f"{name} embeds in {' or '.join(map(str, sizes))} dimensions, not {embedding_size!r}.")


def _checked(model: EmbeddingModel | KerasAudioModel, batch_size: int) -> EmbeddingModel:
    """Have what a model gives checked, if it is not of our own architecture."""
    return model if hasattr(model, "representation") else PluggedTeacher(model, model.name, batch_size)


def _of_size(model: EmbeddingModel, embedding_size: int | None) -> EmbeddingModel:
    if embedding_size not in (None, model.embedding_size):
        raise InputError(f"{model.name} embeds in {model.embedding_size} dimensions, not {embedding_size}.")
    return model


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
        `[n]` or `[n, channels]`, in [-1, 1]; channels are mixed by the mean. A list gives lists.
    sr
        Sampling rate, Hz; for a list, one for all or one each.
    model
        A loaded model, anything that is a `l3embedding.models.plugged.Teacher`, or what `load_model` takes.
    hop_size
        Between frames, s.
    center
        Whether a frame's timestamp is its middle (half a frame of zeros goes in front) or its start.
    verbose
        Taken for the packages' sake, 0 or 1; nothing is printed.
    **which
        Without a loaded model: what else `load_model` takes, such as openl3's `input_repr` and
        `content_type` or edgel3's `model_type` and `emb_dim`.

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
    rates = [sr] * len(recordings) if np.ndim(sr) == 0 else list(sr)
    if len(rates) != len(recordings):
        raise InputError(f"There are {len(recordings)} recordings, but {len(rates)} sampling rates.")
    for recording, rate in zip(recordings, rates, strict=True):
        check_audio(recording, "The audio")
        _check_options(rate, hop_size, center, verbose)
    model = as_model(model, **which)
    for recording, rate in zip(recordings, rates, strict=True):
        _warn(recording, len(recording) / rate < model.frame_length / model.sample_rate)
    framed = (cut(*each, model, hop_size, center) for each in zip(recordings, rates, strict=True))
    embeddings = [embedding for _, embedding in embed_stream(enumerate(framed), model)]
    timestamps = [frame_times(len(each), hop_size, model) for each in embeddings]
    return (embeddings, timestamps) if several else (embeddings[0], timestamps[0])


def as_model(model: object, **which: Any) -> EmbeddingModel:
    """Take a model as it is, make one of a teacher of one's own, or load what `load_model` takes."""
    if isinstance(model, EmbeddingModel):
        return model
    if hasattr(model, "embed"):
        return PluggedTeacher(model, type(model).__name__, which.get("batch_size") or 32)
    if not (model is None or isinstance(model, (str, os.PathLike))):
        raise InputError(f"A model is loaded by load_model, or named; this is {type(model).__name__}.")
    return load_model(model, **which)


def cut(
    audio: NDArray[np.floating], sr: int, model: EmbeddingModel, hop_size: float, center: bool
) -> NDArray[np.float32]:
    """Mix and resample a recording, and cut it into a model's frames, float32 `[T, frame_length]`."""
    samples = resample(to_mono(audio), sr, model.sample_rate)
    return frame_audio(samples, model.frame_length, round(hop_size * model.sample_rate), center=center)


def frame_times(count: int, hop_size: float, model: EmbeddingModel) -> NDArray[np.float64]:
    """Timestamps of `count` frames, s."""
    return np.arange(count) * round(hop_size * model.sample_rate) / model.sample_rate


def embed_stream(
    recordings: Iterable[tuple[Key, NDArray[np.float32]]], model: EmbeddingModel
) -> Iterator[tuple[Key, NDArray[np.float32]]]:
    """Embed the frames of many recordings in full batches, so that short ones do not cost a batch each.

    Parameters
    ----------
    recordings
        Of each, what the caller calls it and its frames float32 `[n, frame_length]`. One is taken at a
        time, and only as many as fill a batch.
    model
        What embeds.

    Returns
    -------
    The same keys in the same order, each with its embeddings float32 `[n, embedding_size]`.
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
    """Take the recordings of which all frames are embedded off both lists."""
    there = sum(map(len, embedded))
    while waiting and waiting[0][1] <= there:
        key, count = waiting.popleft()
        rows = np.concatenate(embedded)
        embedded[:] = [rows[count:]]
        there -= count
        yield key, rows[:count].copy()


def _warn(audio: NDArray[np.floating], is_short: bool) -> None:
    if not audio.any():
        warnings.warn("The audio is silent: every sample is zero.", AudioWarning, stacklevel=3)
    if is_short:
        warnings.warn("The audio is shorter than a frame; it is padded with zeros.", AudioWarning, stacklevel=3)


def _check_options(sr: object, hop_size: object, center: object, verbose: object) -> None:
    """Refuse what openl3 and edgel3 refuse."""
    for name, value, unit in (("hop_size", hop_size, "s"), ("sr", sr, "Hz")):
        if not isinstance(value, Real) or not value > 0:
            raise InputError(f"{name} must be positive, and is {value!r} {unit}.")
    if not isinstance(center, (bool, np.bool_)) and center not in (0, 1):
        raise InputError(f"center is True or False, not {center!r}.")
    if verbose not in (None, 0, 1):
        raise InputError(f"verbose is 0 or 1, not {verbose!r}.")


def _file_in(folder: Path) -> Path:
    """The model file in a student's folder, or in that of its export."""
    for name in (BEST_MODEL, INT8_MODEL):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder} holds no student: neither {BEST_MODEL} nor {INT8_MODEL} is there.")


def _from_weights(
    path: Path, input_repr: str | None, embedding_size: int | None, frontend: Convention | None, batch_size: int
) -> KerasEmbeddingModel:
    name = official_name(path)
    said = name or (input_repr and model_name(input_repr))
    architecture = architecture_of(said) if said else _guess_architecture(path)
    if embedding_size is not None:
        architecture = replace(architecture, embedding_size=embedding_size)
    if frontend:
        architecture = replace(architecture, representation=replace(architecture.representation, convention=frontend))
    network = architecture.build()
    load_keras2_weights(network, path)
    licence = licence_of(name) if name else UNKNOWN_LICENCE
    return KerasEmbeddingModel(
        name or path.name, architecture.representation, network, sha256(path), batch_size=batch_size, licence=licence
    )


def _guess_architecture(path: Path) -> Architecture:
    """Tell a SEA student by what its file holds: normalisation after the last convolution."""
    layers = [arrays for _, arrays in read_keras2_weights(path)]
    kernels = [arrays[0] for arrays in layers if arrays[0].ndim == 4]
    if not kernels or len(layers[-1]) != 4:
        raise InputError(
            f"{path}: what this network hears cannot be told from its weights. "
            "Give the file its official name, such as openl3_audio_mel256_env.h5.gz, or say input_repr."
        )
    return Architecture(student_representation(), tuple(kernel.shape[-1] for kernel in kernels[1::2]), "relu")
