"""Embedding models made of a Keras network, and the teacher that an experiment names."""

from __future__ import annotations

import hashlib
import logging

import keras
import numpy as np
from numpy.typing import NDArray

from l3embedding.models.frontend import InputRepresentation, LogMelSpectrogram
from l3embedding.models.interface import UNKNOWN_LICENCE, EmbeddingModel
from l3embedding.models.loading import load_model
from l3embedding.models.networks import embedding_model, l3_audio_network, model_size
from l3embedding.models.registry import WeightsNotFound
from l3embedding.settings import TeacherSettings

__all__ = ["EmbeddingModel", "KerasAudioModel", "KerasEmbeddingModel", "load_teacher", "stand_in_teacher"]

logger = logging.getLogger(__name__)


def load_teacher(teacher: TeacherSettings, random_state: int) -> EmbeddingModel:
    """Load the teacher that the settings name, or the stand-in where they allow it.

    Raises
    ------
    InputError
        The teacher cannot be loaded, and either no stand-in is allowed or missing weights are not the reason.
    """
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
            "A STAND-IN takes the teacher's place: an untrained network. Its results mean nothing by themselves."
        )
        return stand_in_teacher(random_state, teacher.batch_size)


class KerasAudioModel:
    """An embedding model that is one Keras model, audio `[batch, frame_length]` to embedding `[batch, d]`."""

    def __init__(
        self,
        name: str,
        sample_rate: int,
        model: keras.Model,
        weights_sha256: str,
        is_stand_in: bool = False,
        batch_size: int = 32,
        licence: str = UNKNOWN_LICENCE,
    ) -> None:
        self.name = name
        self.sample_rate = sample_rate
        self.frame_length = int(model.input_shape[1])
        self.embedding_size = int(model.output_shape[-1])
        self.size_mb: float | None = round(model.count_params() * 4e-6, 4)
        self.activation_mb: float | None = None
        self.weights_sha256 = weights_sha256
        self.is_stand_in = is_stand_in
        self.batch_size = batch_size
        self.licence = licence
        self._model = model
        # By default Keras would compile with XLA for every new batch size, which runs no faster on a CPU.
        self._model.compile(jit_compile=False)

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, frame_length]` as float32 `[n, embedding_size]`."""
        embeddings = np.empty((len(frames), self.embedding_size), np.float32)
        # Keras traces the model again for each batch size. So there are few: powers of two, filled up with silence.
        size = min(self.batch_size, 1 << max(0, len(frames) - 1).bit_length())
        for start in range(0, len(frames), size):
            batch = frames[start : start + size]
            padded = np.zeros((size, *frames.shape[1:]), np.float32)
            padded[: len(batch)] = batch
            embeddings[start : start + len(batch)] = np.asarray(self._model.predict_on_batch(padded))[: len(batch)]
        return embeddings


class KerasEmbeddingModel(KerasAudioModel):
    """An embedding model of our front end and a Keras network.

    Parameters
    ----------
    network
        Image to embedding.
    weights_sha256
        Hash of the file the weights came from; of the weights themselves by default.
    is_stand_in
        Whether it is untrained.
    batch_size
        Frames per forward pass.
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
        model, sha256 = embedding_model(representation, network), weights_sha256 or _hash_weights(network)
        super().__init__(name, representation.sample_rate, model, sha256, is_stand_in, batch_size, licence)
        self.representation = representation
        self.network: keras.Model = network
        _, self.size_mb, self.activation_mb, _ = model_size(network)
        self._front_end = LogMelSpectrogram(representation)

    def images(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the images of frames, float32 `[n, bins, windows, 1]`, dB."""
        return keras.ops.convert_to_numpy(self._front_end(frames))


def stand_in_teacher(random_state: int, batch_size: int = 32) -> KerasEmbeddingModel:
    """An untrained L3 network of small geometry, which takes a teacher's place where its weights are missing.

    16 kHz, 128 mels, 128 dimensions, 0.2 GFLOP per frame. Its weights derive from `random_state` alone, whatever
    the Keras backend.
    """
    representation = InputRepresentation(16000, n_fft=1024, hop_length=242, n_mels=128)
    network = l3_audio_network(representation.image_shape, filters=(16, 32, 64, 128), head="openl3")
    rng = np.random.default_rng(random_state)
    # He-normal weights, and a typical mean and variance of the image: so the embeddings, though of an untrained
    # network, tell sounds apart by their spectra.
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            shape = tuple(layer.kernel.shape)
            spread = np.sqrt(2 / np.prod(shape[:-1]))
            layer.set_weights([rng.normal(0, spread, shape), np.zeros(shape[-1])])
    network.get_layer("image_normalization").set_weights(np.array([[1.0], [0.0], [-40.0], [400.0]]))
    name = f"stand-in (untrained L3 network, seed {random_state})"
    return KerasEmbeddingModel(name, representation, network, None, True, batch_size, licence="mit")


def _hash_weights(network: keras.Model) -> str:
    digest = hashlib.sha256()
    for array in network.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
