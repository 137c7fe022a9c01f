"""Embedding models: what a teacher is, and what the students become.

An embedding model is anything with the attributes and the one method of `EmbeddingModel`. Of a
teacher of one's own less is asked, see `l3embedding.models.plugged`.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Protocol, runtime_checkable

import keras
import numpy as np
from numpy.typing import NDArray

from l3embedding.models.frontend import InputRepresentation, LogMelSpectrogram
from l3embedding.models.networks import embedding_model, l3_audio_network, model_size
from l3embedding.settings import TeacherSettings

logger = logging.getLogger(__name__)

STAND_IN = "stand-in"
"""Name of the untrained teacher, wherever it appears."""
UNKNOWN_LICENCE = "unknown"


@runtime_checkable
class EmbeddingModel(Protocol):
    """Embeds frames of audio.

    Attributes
    ----------
    name
        How reports call it.
    sample_rate
        Hz.
    frame_length
        Samples in a frame.
    embedding_size
        Dimension of the embedding.
    size_mb, activation_mb
        Megabytes of the weights, and of the largest feature map; None where they are not known.
    weights_sha256
        Tells these weights from others.
    licence
        Of the weights: an SPDX identifier in small letters, or `unknown`.
    is_stand_in
        Whether it is an untrained one that takes a teacher's place.
    batch_size
        Frames that are embedded at once.
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


class KerasEmbeddingModel:
    """A front end and a Keras network.

    Parameters
    ----------
    name
        How reports call it.
    representation
        What the network hears.
    network
        Image to embedding.
    weights_sha256
        Hash of the file the weights came from; of the weights themselves by default.
    is_stand_in
        Whether it is untrained.
    batch_size
        Frames that are embedded at once.
    licence
        Of the weights.
    """

    def __init__(
        self,
        name: str,
        representation: InputRepresentation,
        network: keras.Model,
        weights_sha256: str | None = None,
        is_stand_in: bool = False,
        batch_size: int = 32,
        licence: str = UNKNOWN_LICENCE,
    ) -> None:
        self.name = name
        self.representation = representation
        self.network = network
        self.sample_rate = representation.sample_rate
        self.frame_length = representation.frame_length
        self.embedding_size = int(network.output_shape[-1])
        size = model_size(network)
        self.size_mb, self.activation_mb = size.size_mb, size.activation_mb
        self.weights_sha256 = weights_sha256 or _hash_weights(network)
        self.is_stand_in = is_stand_in
        self.batch_size = batch_size
        self.licence = licence
        self._front_end = LogMelSpectrogram(representation)
        self._model = embedding_model(representation, network)
        # Without this Keras compiles with XLA for every new batch size, and runs no faster on a CPU.
        self._model.compile(jit_compile=False)

    def images(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network sees of frames: float32 `[n, bins, windows, 1]`, dB."""
        return keras.ops.convert_to_numpy(self._front_end(frames))

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, frame_length]` as float32 `[n, embedding_size]`."""
        return embed_in_batches(self._model, frames, self.batch_size, self.embedding_size)


def stand_in_teacher(random_state: int, batch_size: int = 32) -> KerasEmbeddingModel:
    """An untrained L3 network of small geometry, for where the real teacher is not at hand.

    16 kHz, 128 mels, 128 dimensions, 0.2 GFLOP a frame. Its weights come from the seed alone, whatever
    the Keras backend; they are he-normal, and the image is normalised by a typical mean and spread,
    so that its embeddings, though untrained, tell sounds apart by their spectra.

    Parameters
    ----------
    random_state
        Seed of the weights.
    batch_size
        Frames that are embedded at once.
    """
    representation = InputRepresentation(16000, n_fft=1024, hop_length=242, n_mels=128)
    network = l3_audio_network(representation.image_shape, filters=(16, 32, 64, 128), head="openl3")
    rng = np.random.default_rng(random_state)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            shape = tuple(layer.kernel.shape)
            spread = np.sqrt(2 / np.prod(shape[:-1]))
            layer.set_weights([rng.normal(0, spread, shape), np.zeros(shape[-1])])
    network.get_layer("image_normalization").set_weights(np.array([[1.0], [0.0], [-40.0], [400.0]]))
    return KerasEmbeddingModel(
        f"{STAND_IN} (untrained L3 network, seed {random_state})",
        representation,
        network,
        is_stand_in=True,
        batch_size=batch_size,
        licence="mit",
    )


def load_teacher(teacher: TeacherSettings, random_state: int) -> EmbeddingModel:
    """Load a teacher, or an untrained stand-in if its weights are not found and the settings allow it.

    Raises
    ------
    InputError
        The teacher's weights are not found, and no stand-in is allowed.
    """
    from l3embedding.embedding import load_model
    from l3embedding.models.weights import WeightsNotFound

    try:
        return load_model(
            teacher.name,
            embedding_size=teacher.embedding_size,
            search=teacher.weights_dirs,
            download=not teacher.stand_in,
            batch_size=teacher.batch_size,
        )
    except WeightsNotFound as error:
        if not teacher.stand_in:
            raise
        logger.warning("%s", error)
        logger.warning(
            "A STAND-IN takes the teacher's place: an untrained network. Its figures mean nothing by themselves."
        )
        return stand_in_teacher(random_state, teacher.batch_size)


def embed_in_batches(
    model: keras.Model, frames: NDArray[np.float32], batch_size: int, embedding_size: int
) -> NDArray[np.float32]:
    """Embed frames float32 `[n, ...]` as float32 `[n, embedding_size]` by a Keras model.

    Few batch sizes, since Keras traces the model anew for each: powers of two, with silence at the end.
    """
    embeddings = np.empty((len(frames), embedding_size), np.float32)
    size = min(batch_size, 1 << max(0, len(frames) - 1).bit_length())
    for start in range(0, len(frames), size):
        batch = frames[start : start + size]
        padded = np.zeros((size, *frames.shape[1:]), np.float32)
        padded[: len(batch)] = batch
        embeddings[start : start + len(batch)] = np.asarray(model.predict_on_batch(padded))[: len(batch)]
    return embeddings


def _hash_weights(network: keras.Model) -> str:
    digest = hashlib.sha256()
    for array in network.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
