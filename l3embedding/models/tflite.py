"""TFLite models: 8-bit students, and any others that take audio or a log-mel image."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from l3embedding.models import model_files
from l3embedding.models.frontend import LogMelSpectrogram
from l3embedding.models.interface import UNKNOWN_LICENCE
from l3embedding.models.model_files import AudioInput
from l3embedding.utils.errors import InputError


class TFLiteEmbeddingModel:
    """A TFLite network, float32 or 8-bit. It embeds one frame at a time, as on a board.

    Parameters
    ----------
    path
        The `.tflite` file: image `[1, bins, windows, 1]` or audio (`[samples]`, `[1, samples]`,
        `[1, samples, 1]`) to embedding. A `.json` file beside it describes its input, see
        `l3embedding.models.model_files`.

    Raises
    ------
    InputError
        One of the two files is missing or invalid.
    """

    is_stand_in = False
    licence = UNKNOWN_LICENCE
    batch_size = 64
    """Frames whose images are computed at once."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._interpreter, content = _open(path)
        self._input = self._interpreter.get_input_details()[0]
        takes_image = len(self._input["shape"]) == model_files.IMAGE_RANK
        description = model_files.read_description(path, takes_image)
        self.sample_rate = description.sample_rate
        if isinstance(description, AudioInput):
            self._front_end, number = None, self._prepare_audio(path, description)
        else:
            self._front_end, number = LogMelSpectrogram(description), 0
            self.representation, self.frame_length = description, description.frame_length
            model_files.require_image_shape(path, tuple(map(int, self._input["shape"][1:])), description)
        self._output = self._interpreter.get_output_details()[number]
        self._shape = tuple(self._interpreter.get_input_details()[0]["shape"])
        embeddings = self._run(np.zeros(self._shape, np.float32))
        if len(embeddings) > 1:
            model_files.require_pool(path, description)
        self.embedding_size = int(embeddings.shape[1])
        self.size_mb: float | None = len(content) / 1e6
        self.activation_mb = _largest_feature_map(self._interpreter)
        self.weights_sha256 = hashlib.sha256(content).hexdigest()

    def _prepare_audio(self, path: Path, description: AudioInput) -> int:
        """Set the length of an input of any length, and find the number of the output."""
        signature = [None if size < 0 else int(size) for size in self._input["shape_signature"]]
        without_batch = signature if len(signature) == 1 else signature[1:]
        axis, self.frame_length = model_files.audio_axis(path, tuple(without_batch), description)
        shape = np.ones(len(signature), np.int32)
        shape[1 if axis == 2 else -1] = self.frame_length
        self._interpreter.resize_tensor_input(self._input["index"], shape)
        self._interpreter.allocate_tensors()
        names = [each["name"] for each in self._interpreter.get_output_details()]
        return model_files.choose_output(path, names, description)

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, frame_length]` as float32 `[n, embedding_size]`."""
        embeddings = np.empty((len(frames), self.embedding_size), np.float32)
        for start in range(0, len(frames), self.batch_size):
            batch = np.ascontiguousarray(frames[start : start + self.batch_size])
            inputs = batch if self._front_end is None else keras.ops.convert_to_numpy(self._front_end(batch))
            for row, each in enumerate(inputs, start):
                embeddings[row] = self._run(each).mean(axis=0)
        return embeddings

    def _run(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed one frame's audio or image; float32 `[embeddings, embedding_size]`."""
        self._interpreter.set_tensor(self._input["index"], _quantize(frame.reshape(self._shape), self._input))
        self._interpreter.invoke()
        values = _dequantize(self._interpreter.get_tensor(self._output["index"]), self._output)
        return values.reshape(-1, values.shape[-1])


def _open(path: Path) -> tuple[Any, bytes]:
    from ai_edge_litert.interpreter import Interpreter

    try:
        content = path.read_bytes()
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read as a TFLite model: {error}") from None
    return interpreter, content


def _largest_feature_map(interpreter: Any) -> float | None:
    """Megabytes of the largest tensor that has the shape of a batch of one image; None if there is none."""
    maps = [each for each in interpreter.get_tensor_details() if len(each["shape"]) == 4 and each["shape"][0] == 1]
    sizes = [float(each["shape"].prod() * np.dtype(each["dtype"]).itemsize) for each in maps]
    return max(sizes) / 1e6 if sizes else None


def _quantize(values: NDArray[np.float32], details: dict[str, Any]) -> NDArray[Any]:
    if details["dtype"] == np.float32:
        return values
    scale, zero_point = details["quantization"]
    limits = np.iinfo(details["dtype"])
    return np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(details["dtype"])


def _dequantize(values: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float32]:
    if details["dtype"] == np.float32:
        return values
    scale, zero_point = details["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
