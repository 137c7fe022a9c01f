"""Embeddings of audio: pretrained models, students distilled from them, and their evaluation.

>>> import l3embedding
>>> model = l3embedding.load_model("edgel3_sea_ust_audio_emb_64")  # doctest: +SKIP
>>> embedding, timestamps = l3embedding.get_embedding(audio, sr, model=model)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# openl3's and edgel3's exceptions and warnings by their names.
from l3embedding.utils.errors import AudioWarning as EdgeL3Warning
from l3embedding.utils.errors import AudioWarning as OpenL3Warning
from l3embedding.utils.errors import InputError as EdgeL3Error
from l3embedding.utils.errors import InputError as OpenL3Error

if TYPE_CHECKING:
    from l3embedding.audio_files import get_output_path, process_file
    from l3embedding.embedding import get_embedding, load_model

__all__ = [
    "EdgeL3Error",
    "EdgeL3Warning",
    "OpenL3Error",
    "OpenL3Warning",
    "get_embedding",
    "get_output_path",
    "load_model",
    "process_file",
]


def __getattr__(name: str) -> Any:
    # Keras and TensorFlow take seconds to import, which sampling and reduction do not need.
    if name in __all__:
        module = "audio_files" if name in ("get_output_path", "process_file") else "embedding"
        return getattr(import_module(f"l3embedding.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
