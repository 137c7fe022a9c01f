"""edgel3's functions, with the same names and arguments.

    from l3embedding import edgel3

The default is the `sea` model of 128 dimensions. With a sparsity or a way of retraining it is a sparse model, also
without `model_type`: until edgel3 0.2 there were no others. Nothing is printed.

References
----------
edgel3 0.2, `core.py` and `models.py`.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l3embedding import audio_files, embedding
from l3embedding.audio_files import get_output_path
from l3embedding.models.interface import EmbeddingModel
from l3embedding.utils.errors import AudioWarning as EdgeL3Warning
from l3embedding.utils.errors import InputError as EdgeL3Error

__all__ = [
    "EdgeL3Error",
    "EdgeL3Warning",
    "get_embedding",
    "get_output_path",
    "load_embedding_model",
    "models",
    "process_file",
]


def load_embedding_model(
    model_type: str | None = None,
    emb_dim: int | None = None,
    retrain_type: str | None = None,
    sparsity: float | None = None,
) -> EmbeddingModel:
    """Load a model: sea of 64, 128, 256 or 512 dimensions; sparse, ft or kd, of five sparsities."""
    return embedding.load_model(model_type=model_type, emb_dim=emb_dim, retrain_type=retrain_type, sparsity=sparsity)


def get_embedding(
    audio: NDArray[np.floating],
    sr: int,
    model: EmbeddingModel | None = None,
    model_type: str | None = None,
    emb_dim: int | None = None,
    retrain_type: str | None = None,
    sparsity: float | None = None,
    center: bool = True,
    hop_size: float = 0.1,
    verbose: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Embed a recording; see `l3embedding.get_embedding`."""
    options: dict[str, Any] = {"hop_size": hop_size, "center": center, "verbose": verbose}
    options |= {"model_type": model_type, "emb_dim": emb_dim, "retrain_type": retrain_type, "sparsity": sparsity}
    return embedding.get_embedding(audio, sr, model, **options)


def process_file(
    filepath: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None = None,
    suffix: str | None = None,
    model: EmbeddingModel | None = None,
    model_type: str | None = None,
    emb_dim: int | None = None,
    retrain_type: str | None = None,
    sparsity: float | None = None,
    center: bool = True,
    hop_size: float = 0.1,
    verbose: bool = True,
) -> None:
    """Embed a file into an `.npz` file, which is overwritten; see `l3embedding.process_file`."""
    options: dict[str, Any] = {"hop_size": hop_size, "center": center, "verbose": verbose}
    options |= {"model_type": model_type, "emb_dim": emb_dim, "retrain_type": retrain_type, "sparsity": sparsity}
    audio_files.process_file(filepath, output_dir, suffix, model, **options)


class models:
    """In edgel3 the module with this function."""

    load_embedding_model = staticmethod(load_embedding_model)
