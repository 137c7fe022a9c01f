"""Embeddings of audio: pretrained models, students distilled from them, and their evaluation.

>>> import l3embedding
>>> model = l3embedding.load_model("edgel3_sea_ust_audio_emb_64")  # doctest: +SKIP
>>> embedding, timestamps = l3embedding.get_embedding(audio, sr, model=model)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l3embedding.audio_files import get_output_path, process_file
    from l3embedding.embedding import get_embedding, load_model
    from l3embedding.utils.errors import AudioWarning as EdgeL3Warning
    from l3embedding.utils.errors import AudioWarning as OpenL3Warning
    from l3embedding.utils.errors import InputError as EdgeL3Error
    from l3embedding.utils.errors import InputError as OpenL3Error

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

_MODULES = {
    "get_embedding": ("l3embedding.embedding", "get_embedding"),
    "load_model": ("l3embedding.embedding", "load_model"),
    "get_output_path": ("l3embedding.audio_files", "get_output_path"),
    "process_file": ("l3embedding.audio_files", "process_file"),
    # The packages' exceptions and warnings by their names.
    "OpenL3Error": ("l3embedding.utils.errors", "InputError"),
    "EdgeL3Error": ("l3embedding.utils.errors", "InputError"),
    "OpenL3Warning": ("l3embedding.utils.errors", "AudioWarning"),
    "EdgeL3Warning": ("l3embedding.utils.errors", "AudioWarning"),
}


def __getattr__(name: str) -> Any:
    # Keras and TensorFlow take seconds to import, which sampling and reduction do not need.
    if name in _MODULES:
        module, attribute = _MODULES[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
