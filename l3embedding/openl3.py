"""openl3's functions for audio, with the same names, arguments and defaults.

    from l3embedding import openl3

A model is loaded by `load_audio_embedding_model`, or by `l3embedding.load_model`; nothing is printed.

References
----------
openl3 0.4.2, `core.py` and `models.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l3embedding import audio_files, embedding
from l3embedding.audio_files import get_output_path
from l3embedding.models.interface import EmbeddingModel
from l3embedding.models.representation import Convention
from l3embedding.utils.errors import AudioWarning as OpenL3Warning
from l3embedding.utils.errors import InputError as OpenL3Error

__all__ = [
    "OpenL3Error",
    "OpenL3Warning",
    "get_audio_embedding",
    "get_embedding",
    "get_output_path",
    "load_audio_embedding_model",
    "load_audio_embedding_model_from_path",
    "models",
    "process_audio_file",
    "process_file",
]


def load_audio_embedding_model(
    input_repr: str | None, content_type: str, embedding_size: int, frontend: Convention = "kapre"
) -> EmbeddingModel:
    """Load a model: linear, mel128 or mel256; music or env; 6144 or 512; kapre or librosa."""
    return embedding.load_model(None, _input_repr(input_repr, frontend), content_type, embedding_size, frontend)


def load_audio_embedding_model_from_path(
    model_path: str | os.PathLike[str], input_repr: str | None, embedding_size: int, frontend: Convention = "kapre"
) -> EmbeddingModel:
    """Load a model from a file of weights."""
    return embedding.load_model(model_path, _input_repr(input_repr, frontend), None, embedding_size, frontend)


def get_audio_embedding(
    audio: NDArray[np.floating] | list[NDArray[np.floating]],
    sr: int | list[int],
    model: EmbeddingModel | None = None,
    input_repr: str | None = None,
    content_type: str = "music",
    embedding_size: int = 6144,
    center: bool = True,
    hop_size: float = 0.1,
    batch_size: int = 32,
    frontend: Convention = "kapre",
    verbose: bool = True,
) -> tuple[Any, Any]:
    """Embed a recording, or a list of them; see `l3embedding.get_embedding`."""
    which = _which(model, input_repr, content_type, embedding_size, batch_size, frontend)
    return embedding.get_embedding(audio, sr, model, hop_size=hop_size, center=center, verbose=verbose, **which)


def process_audio_file(
    filepath: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str] | None = None,
    suffix: str | None = None,
    model: EmbeddingModel | None = None,
    input_repr: str | None = None,
    content_type: str = "music",
    embedding_size: int = 6144,
    center: bool = True,
    hop_size: float = 0.1,
    batch_size: int = 32,
    overwrite: bool = False,
    frontend: Convention = "kapre",
    verbose: bool = True,
) -> None:
    """Embed a file, or a list of them, into `.npz` files; see `l3embedding.process_file`."""
    which = _which(model, input_repr, content_type, embedding_size, batch_size, frontend)
    options: dict[str, Any] = {"hop_size": hop_size, "center": center, "overwrite": overwrite, "verbose": verbose}
    audio_files.process_file(filepath, output_dir, suffix, model, **options, **which)


class models:
    """In openl3 the module with these functions."""

    load_audio_embedding_model = staticmethod(load_audio_embedding_model)
    load_audio_embedding_model_from_path = staticmethod(load_audio_embedding_model_from_path)


get_embedding = get_audio_embedding
"""The name before openl3 0.4."""
process_file = process_audio_file
"""The name before openl3 0.4."""


def _which(
    model: object, input_repr: str | None, content_type: str, embedding_size: int, batch_size: int, frontend: Convention
) -> dict[str, Any]:
    """Arguments of `load_model`; none for a loaded model, where openl3 ignores them too."""
    if model is not None:
        return {}
    which = {"content_type": content_type, "embedding_size": embedding_size, "batch_size": batch_size}
    return {**which, "input_repr": _input_repr(input_repr, frontend), "frontend": frontend}


def _input_repr(input_repr: str | None, frontend: Convention) -> str:
    if frontend not in ("kapre", "librosa"):
        raise OpenL3Error(f"frontend is kapre or librosa, not {frontend!r}.")
    if input_repr is None and frontend == "librosa":
        raise OpenL3Error("The frontend librosa needs input_repr: linear, mel128 or mel256.")
    return input_repr or "mel256"
