"""What an embedding model is, without any framework: the interface that teachers and students share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNKNOWN_LICENCE = "unknown"


@runtime_checkable
class EmbeddingModel(Protocol):
    """Embeds frames of audio. Less is asked of a teacher of your own, see `l3embedding.models.plugged`.

    Attributes
    ----------
    name
        Name in reports.
    sample_rate
        Hz.
    frame_length
        Samples per frame.
    embedding_size
        Dimension of the embedding.
    size_mb, activation_mb
        Megabytes of the weights, and of the largest feature map; None where they are not known.
    weights_sha256
        Identifies the weights.
    licence
        Of the weights: an SPDX identifier in small letters, or `unknown`.
    is_stand_in
        Whether it is an untrained network in place of a teacher.
    batch_size
        Frames per forward pass.
    """

    name: str
    sample_rate: int
    frame_length: int
    embedding_size: int
    size_mb: float | None
    activation_mb: float | None
    weights_sha256: str
    licence: str
    is_stand_in: bool
    batch_size: int

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, frame_length]` as float32 `[n, embedding_size]`."""
