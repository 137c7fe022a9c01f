"""Embedding models: what a teacher is, and what the students become.

An embedding model is anything with the attributes and the one method of `EmbeddingModel`. A new
teacher needs no more than that, and a line in `l3embedding.embedding.load_model`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.files import read_json, write_json
from l3embedding.frontend import InputRepresentation, LogMelSpectrogram
from l3embedding.networks import embedding_model, l3_audio_network, model_size

STAND_IN = "stand-in"
"""Name of the untrained teacher, wherever it appears."""


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
        Megabytes of the weights, and of the largest feature map.
    weights_sha256
        Tells these weights from others.
    is_stand_in
        Whether it is an untrained one that takes a teacher's place.
    """

    name: str
    sample_rate: int
    frame_length: int
    embedding_size: int
    size_mb: float
    activation_mb: float
    weights_sha256: str
    is_stand_in: bool

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
    """

    def __init__(
        self,
        name: str,
        representation: InputRepresentation,
        network: keras.Model,
        weights_sha256: str | None = None,
        is_stand_in: bool = False,
        batch_size: int = 32,
    ) -> None:
        self.name = name
        self.representation = representation
        self.network = network
        self.sample_rate = representation.sample_rate
        self.frame_length = representation.frame_length
        self.embedding_size = int(network.output_shape[-1])
        _, self.size_mb, self.activation_mb = model_size(network)
        self.weights_sha256 = weights_sha256 or _hash_weights(network)
        self.is_stand_in = is_stand_in
        self.batch_size = batch_size
        self._front_end = LogMelSpectrogram(representation)
        self._model = embedding_model(representation, network)
        # Without this Keras compiles with XLA for every new batch size, and runs no faster on a CPU.
        self._model.compile(jit_compile=False)

    def images(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network sees of frames: float32 `[n, bins, windows, 1]`, dB."""
        return keras.ops.convert_to_numpy(self._front_end(frames))

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, frame_length]` as float32 `[n, embedding_size]`."""
        # Few batch sizes, since Keras traces the network anew for each: powers of two, with silence at the end.
        size = min(self.batch_size, 1 << max(0, len(frames) - 1).bit_length())
        batches = [self._embed_batch(batch, size) for batch in _batches(frames, size)]
        return np.concatenate(batches) if batches else np.empty((0, self.embedding_size), np.float32)

    def _embed_batch(self, frames: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        padded = np.zeros((size, self.frame_length), np.float32)
        padded[: len(frames)] = frames
        return np.asarray(self._model.predict_on_batch(padded))[: len(frames)]


class TFLiteEmbeddingModel:
    """A front end and a TFLite network, of float32 or 8 bits; a frame at a time, as on a board.

    Parameters
    ----------
    path
        The `.tflite` file, image to embedding. Beside it lies a `.json` file with the input
        representation.

    Raises
    ------
    InputError
        One of the two files is missing or not what it should be.
    """

    is_stand_in = False

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.name = path.stem
        self.representation = read_representation(path.with_suffix(".json"))
        self.sample_rate = self.representation.sample_rate
        self.frame_length = self.representation.frame_length
        try:
            content = path.read_bytes()
            self._interpreter = Interpreter(model_content=content)
            self._interpreter.allocate_tensors()
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as a TFLite model: {error}") from None
        self._input, self._output = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]
        if tuple(self._input["shape"][1:]) != self.representation.image_shape:
            raise InputError(
                f"{path} takes images of {tuple(self._input['shape'][1:])}, but {path.with_suffix('.json')} "
                f"describes {self.representation.image_shape}."
            )
        self.embedding_size = int(self._output["shape"][-1])
        self.size_mb = len(content) / 1e6
        self.activation_mb = _largest_feature_map(self._interpreter) / 1e6
        self.weights_sha256 = hashlib.sha256(content).hexdigest()
        self._front_end = LogMelSpectrogram(self.representation)

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, frame_length]` as float32 `[n, embedding_size]`."""
        embeddings = np.empty((len(frames), self.embedding_size), np.float32)
        row = 0
        for batch in _batches(frames, 64):
            for image in keras.ops.convert_to_numpy(self._front_end(np.ascontiguousarray(batch))):
                self._interpreter.set_tensor(self._input["index"], _quantize(image[np.newaxis], self._input))
                self._interpreter.invoke()
                embeddings[row] = _dequantize(self._interpreter.get_tensor(self._output["index"])[0], self._output)
                row += 1
        return embeddings


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
    )


def write_representation(path: Path, representation: InputRepresentation) -> None:
    """Write the JSON file that lies beside a TFLite model."""
    write_json(path, vars(representation))


def read_representation(path: Path) -> InputRepresentation:
    """Read the JSON file that lies beside a TFLite model.

    Raises
    ------
    InputError
        The file is missing or not such a file.
    """
    try:
        return InputRepresentation(**read_json(path))
    except TypeError as error:
        raise InputError(f"{path} is not an input representation: {error}") from None


def _batches(frames: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    return [frames[start : start + size] for start in range(0, len(frames), size)]


def _hash_weights(network: keras.Model) -> str:
    digest = hashlib.sha256()
    for array in network.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _largest_feature_map(interpreter: Any) -> float:
    """Bytes of the largest tensor that has the shape of a batch of one image."""
    maps = [each for each in interpreter.get_tensor_details() if len(each["shape"]) == 4 and each["shape"][0] == 1]
    return float(max(each["shape"].prod() * np.dtype(each["dtype"]).itemsize for each in maps))


def _quantize(values: NDArray[np.float32], details: dict) -> NDArray:
    if details["dtype"] == np.float32:
        return values
    scale, zero_point = details["quantization"]
    limits = np.iinfo(details["dtype"])
    return np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(details["dtype"])


def _dequantize(values: NDArray, details: dict) -> NDArray[np.float32]:
    if details["dtype"] == np.float32:
        return values
    scale, zero_point = details["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
