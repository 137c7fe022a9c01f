"""Embeddings of audio: load a model by name or path, embed a recording.

Framing is that of openl3 and edgel3, see `data.audio.frame_audio`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from data.audio import check_audio, frame_audio, resample, to_mono
from data.errors import InputError
from l3embedding.frontend import Convention, student_representation
from l3embedding.networks import split_embedding_model
from l3embedding.teachers import EmbeddingModel, KerasEmbeddingModel, TFLiteEmbeddingModel
from l3embedding.weights import (
    GIT_BLOBS,
    Architecture,
    architecture_of,
    load_keras2_weights,
    locate_weights,
    official_name,
    read_keras2_weights,
    sha256,
)

BEST_MODEL = "model_best_valid_loss.keras"
INT8_MODEL = "student_int8.tflite"


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
        name = f"openl3_audio_{input_repr or 'mel256'}_{content_type or 'music'}"
        name += "" if frontend == "kapre_v0_1" else "-v0_4_0"
    elif model_type == "sparse" or (model_type is None and (retrain_type or sparsity)):
        name = f"edgel3_{retrain_type or 'ft'}_audio_sparsity_{sparsity or 95.45}"
    elif model_type in (None, "sea"):
        name = f"edgel3_sea_ust_audio_emb_{emb_dim or 128}"
    else:
        raise InputError(f"model_type {model_type!r} is neither 'sea' nor 'sparse'.")
    if name not in GIT_BLOBS:
        raise InputError(f"There is no model {name}; there are {', '.join(GIT_BLOBS)}.")
    return name


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
        An official name (`openl3_audio_mel256_env`, `edgel3_sea_ust_audio_emb_64`, ...), a file of
        such weights (`.h5`, `.h5.gz`), a student's folder, or a `.keras` or `.tflite` file of a student.
        Without it, the next ones name it.
    input_repr, content_type, model_type, emb_dim, retrain_type, sparsity
        openl3's and edgel3's ways of naming a model, see `model_name`.
    embedding_size
        For openl3's weights: 512, or 6144 for its 4 x 3 grid.
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
    if str(model) in GIT_BLOBS:
        model = locate_weights(str(model), search, download)
    path = Path(model)
    if path.is_dir():
        path = _file_in(path)
    if not path.is_file():
        raise InputError(f"{model} is neither a file nor an official model; those are {', '.join(GIT_BLOBS)}.")
    if path.suffix == ".tflite":
        return TFLiteEmbeddingModel(path)
    if path.suffix == ".keras":
        return _from_keras(path, batch_size)
    return _from_weights(path, embedding_size, frontend, batch_size)


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
        A loaded model, or what `load_model` takes.
    hop_size
        Between frames, s.
    center
        Whether a frame's timestamp is its middle (half a frame of zeros goes in front) or its start.
    verbose
        Taken for the packages' sake; nothing is printed.
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
    if not isinstance(model, EmbeddingModel):
        model = load_model(model, **which)
    if isinstance(audio, (list, tuple)):
        rates = [sr] * len(audio) if isinstance(sr, (int, float, np.number)) else list(sr)
        if len(rates) != len(audio):
            raise InputError(f"There are {len(audio)} recordings, but {len(rates)} sampling rates.")
        pairs = [_embed_one(*each, model, hop_size, center) for each in zip(audio, rates, strict=True)]
        return [embedding for embedding, _ in pairs], [timestamps for _, timestamps in pairs]
    return _embed_one(audio, sr, model, hop_size, center)


def _embed_one(
    audio: NDArray[np.floating], sr: int, model: EmbeddingModel, hop_size: float, center: bool
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    audio = np.asarray(audio)
    check_audio(audio, "The audio")
    if not hop_size > 0 or sr <= 0:
        raise InputError(f"hop_size ({hop_size} s) and sr ({sr} Hz) must be positive.")
    if not audio.any():
        warnings.warn("The audio is silent: every sample is zero.", stacklevel=3)
    samples = resample(to_mono(audio), sr, model.sample_rate)
    if len(samples) < model.frame_length:
        warnings.warn("The audio is shorter than a frame; it is padded with zeros.", stacklevel=3)
    hop_length = round(hop_size * model.sample_rate)
    frames = frame_audio(samples, model.frame_length, hop_length, center=center)
    return model.embed(frames), np.arange(len(frames)) * hop_length / model.sample_rate


def _file_in(folder: Path) -> Path:
    """The model file in a student's folder, or in that of its export."""
    for name in (BEST_MODEL, INT8_MODEL):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder} holds no student: neither {BEST_MODEL} nor {INT8_MODEL} is there.")


def _from_keras(path: Path, batch_size: int) -> KerasEmbeddingModel:
    try:
        representation, network = split_embedding_model(keras.models.load_model(path, compile=False))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be loaded as a student: {error}") from None
    return KerasEmbeddingModel(path.stem, representation, network, sha256(path), batch_size=batch_size)


def _from_weights(
    path: Path, embedding_size: int | None, frontend: Convention | None, batch_size: int
) -> KerasEmbeddingModel:
    name = official_name(path)
    architecture = architecture_of(name) if name else _guess_architecture(path)
    if embedding_size is not None:
        architecture = replace(architecture, embedding_size=embedding_size)
    if frontend:
        architecture = replace(architecture, representation=replace(architecture.representation, convention=frontend))
    network = architecture.build()
    load_keras2_weights(network, path)
    return KerasEmbeddingModel(
        name or path.name, architecture.representation, network, sha256(path), batch_size=batch_size
    )


def _guess_architecture(path: Path) -> Architecture:
    """Tell a SEA student by what its file holds: normalisation after the last convolution."""
    layers = [arrays for _, arrays in read_keras2_weights(path)]
    kernels = [arrays[0] for arrays in layers if arrays[0].ndim == 4]
    if not kernels or len(layers[-1]) != 4:
        raise InputError(
            f"{path}: what this network hears cannot be told from its weights. "
            "Give the file its official name, such as openl3_audio_mel256_env.h5.gz."
        )
    return Architecture(student_representation(), tuple(kernel.shape[-1] for kernel in kernels[1::2]), "relu")
