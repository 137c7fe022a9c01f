"""Embeddings of audio: teachers, the students distilled from them, and what is done with both.

>>> import l3embedding
>>> model = l3embedding.load_model("edgel3_sea_ust_audio_emb_64")  # doctest: +SKIP
>>> embedding, timestamps = l3embedding.get_embedding(audio, sr, model=model)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l3embedding.embedding import get_embedding, load_model

__all__ = ["get_embedding", "load_model"]


def __getattr__(name: str) -> Any:
    # Keras takes seconds to import; who only samples or reduces need not wait for it.
    if name in __all__:
        from l3embedding import embedding

        return getattr(embedding, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
