"""What a teacher has to provide, and what an embedding model has, without any framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNKNOWN_LICENCE = "unknown"


class Teacher(Protocol):
    """What a teacher of your own must have; it may have more of `EmbeddingModel`.

    Attributes
    ----------
    sample_rate
        Hz.
    frame_length
        Samples per frame.
    embedding_size
        Dimension of the embedding.
    """

    sample_rate: int
    frame_length: int
    embedding_size: int

    def embed(self, frames: NDArray[np.float32]) -> Any:
        """Embed frames float32 `[n, frame_length]` in [-1, 1] as an array of numbers `[n, embedding_size]`.

        A frame's embedding must not depend on the other frames of the batch.
        """


@runtime_checkable
class EmbeddingModel(Teacher, Protocol):
    """A teacher or student as all programs use it.

    Attributes
    ----------
    name
        Name in reports.
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
    size_mb: float | None
    activation_mb: float | None
    weights_sha256: str
    licence: str
    is_stand_in: bool
    batch_size: int

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, frame_length]` as float32 `[n, embedding_size]`."""
