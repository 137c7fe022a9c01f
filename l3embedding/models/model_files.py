"""Models of others in files: any Keras or TFLite model that takes audio, or a log-mel image.

Such a file does not say at which rate it hears, so a JSON file of the same name lies beside it. For
a model that takes audio it is a `AudioInput`, for one that takes an image an `InputRepresentation`:

    yamnet.tflite    yamnet.json     {"sample_rate": 16000, "frame_length": 15600, "output": 1}
    student.tflite   student.json    {"sample_rate": 8000, "n_fft": 1024, "hop_length": 160, "n_mels": 64}

Loading never runs code that came with a file: a Keras model may consist of Keras' own layers only.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from l3embedding.models.frontend import InputRepresentation
from l3embedding.models.networks import split_embedding_model
from l3embedding.models.teachers import KerasEmbeddingModel, embed_in_batches
from l3embedding.models.weights import sha256
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json, write_json

_AUDIO_EXAMPLE = {"sample_rate": 16000, "frame_length": 16000}
_IMAGE_EXAMPLE = {"sample_rate": 8000, "n_fft": 1024, "hop_length": 160, "n_mels": 64}
_IMAGE_RANK = 4
_OURS = "l3embedding"


@dataclass(frozen=True)
class AudioInput:
    """What a model that takes audio hears, and which of its outputs is the embedding.

    Attributes
    ----------
    sample_rate
        Hz.
    frame_length
        Samples in a frame; None where the file has it.
    output
        Number of the output, where there are several.
    pool
        `mean`: the model gives several embeddings a frame, `[batch, frames, d]`, and their mean is
        taken. It must be said, since a mean is not what every such model is meant for.
    """

    sample_rate: int
    frame_length: int | None = None
    output: int | None = None
    pool: Literal["mean"] | None = None


def write_representation(path: Path, representation: InputRepresentation) -> None:
    """Write the JSON file that lies beside a model that takes images."""
    write_json(path, vars(representation))


def read_description(path: Path, takes_image: bool) -> InputRepresentation | AudioInput:
    """Read the JSON file that lies beside a model.

    Parameters
    ----------
    path
        The model's file.
    takes_image
        Whether it takes a log-mel image; audio otherwise.

    Raises
    ------
    InputError
        The file is missing or says something else.
    """
    beside = path.with_suffix(".json")
    kind, example = (InputRepresentation, _IMAGE_EXAMPLE) if takes_image else (AudioInput, _AUDIO_EXAMPLE)
    remedy = f"write {beside}, for example {json.dumps(example)}"
    if not beside.is_file():
        raise InputError(
            f"{path} takes {'images' if takes_image else 'audio'}, but does not say of what rate: {remedy}"
        )
    try:
        description = kind(**read_json(beside))
    except TypeError as error:
        raise InputError(f"{beside} does not say what {path.name} hears ({error}): {remedy}") from None
    numbers = [description.sample_rate, getattr(description, "frame_length", None) or 1]
    if not all(isinstance(number, int) and number > 0 for number in numbers):
        raise InputError(f"{beside}: sample_rate and frame_length are positive whole numbers: {remedy}")
    return description


class KerasAudioModel:
    """A saved Keras model that takes audio: a teacher as `l3embedding.models.plugged.Teacher` asks for.

    Parameters
    ----------
    path
        Where it was saved.
    model
        Audio `[batch, samples]`, `[batch, samples, 1]` or `[batch, 1, samples]` to `[batch, d]` or
        `[batch, frames, d]`.
    description
        What the file does not say.
    batch_size
        Frames that are embedded at once.
    """

    def __init__(self, path: Path, model: keras.Model, description: AudioInput, batch_size: int = 32) -> None:
        self.name = path.stem
        self.sample_rate = description.sample_rate
        self.batch_size = batch_size
        self.weights_sha256 = sha256(path)
        self._axis, self.frame_length = audio_axis(path, model.input_shape[1:], description)
        outputs = model.outputs
        output = outputs[choose_output(path, [each.name for each in outputs], description)]
        if len(output.shape) == 3:
            require_pool(path, description)
            output = keras.ops.mean(output, axis=1)
        self.embedding_size = int(output.shape[-1])
        self._model = keras.Model(model.inputs, output)
        self._model.compile(jit_compile=False)
        self.size_mb = round(model.count_params() * 4e-6, 4)

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, frame_length]` as float32 `[n, embedding_size]`."""
        shaped = frames if self._axis is None else np.expand_dims(frames, self._axis)
        return embed_in_batches(self._model, shaped, self.batch_size, self.embedding_size)


def load_keras_file(path: Path, batch_size: int) -> KerasEmbeddingModel | KerasAudioModel:
    """Load a student of ours, or a Keras model of others that lies in a `.keras` or `.h5` file.

    Raises
    ------
    InputError
        The file is damaged, has layers that run code of their own, or does not fit what is said of it.
    """
    require_own_layers(path)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} cannot be loaded by Keras: {error}") from None
    if any(type(layer).__module__.startswith(_OURS) for layer in model.layers):
        representation, network = split_embedding_model(model)
        return KerasEmbeddingModel(path.stem, representation, network, sha256(path), batch_size=batch_size)
    if len(model.inputs) != 1:
        raise InputError(f"{path} has {len(model.inputs)} inputs; a teacher has one.")
    takes_image = len(model.input_shape) == _IMAGE_RANK
    description = read_description(path, takes_image)
    if isinstance(description, AudioInput):
        return KerasAudioModel(path, model, description, batch_size)
    if model.input_shape[1:] != description.image_shape:
        raise InputError(
            f"{path} takes images of {model.input_shape[1:]}, but {path.with_suffix('.json').name} describes "
            f"{description.image_shape}."
        )
    return KerasEmbeddingModel(path.stem, description, model, sha256(path), batch_size=batch_size)


def is_full_model(path: Path) -> bool:
    """Say whether an HDF5 file holds a whole model of Keras' own layers, not only weights or one of kapre's."""
    config = _read_config(path)
    return config is not None and not any(
        "spectrogram" in str(each.get("class_name")).lower() for each in _parts(config)
    )


def require_own_layers(path: Path) -> None:
    """Refuse a Keras file that holds code, or calls for code beside Keras' own and ours.

    Keras' safe mode refuses Lambda layers too, but not in every release and not in every format.

    Raises
    ------
    InputError
        It does, or it cannot be read.
    """
    config = _read_config(path)
    if config is None:
        raise InputError(f"{path} holds no Keras model.")
    for part in _parts(config):
        name, module = str(part["class_name"]), str(part.get("module") or "keras")
        if "lambda" in name.lower():
            raise InputError(
                f"{path} has a Lambda layer, which runs code that lies in the file; it is not loaded. "
                "Save the model without it, or load it in a function of yours: teacher: my_module:load"
            )
        if module.split(".")[0] not in ("keras", "builtins", _OURS):
            raise InputError(
                f"{path} needs {module}.{name}, which is not Keras' own. "
                "Load it in a function of yours, and name that: teacher: my_module:load"
            )


def _read_config(path: Path) -> dict[str, Any] | None:
    """The architecture in a Keras file; None in one that has none."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as a Keras model: {error}") from None
    return None if config is None else json.loads(config)


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Every object that a configuration names, at whatever depth."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from _parts(value)
    elif isinstance(config, list):
        for value in config:
            yield from _parts(value)


def audio_axis(path: Path, shape: tuple[int | None, ...], description: AudioInput) -> tuple[int | None, int]:
    """Find where the samples are in a model's input, and how many there are.

    Parameters
    ----------
    path
        The model's file.
    shape
        Of the input, without the batch: `(samples,)`, `(samples, 1)` or `(1, samples)`; None is dynamic.
    description
        Gives the length where the file does not.

    Returns
    -------
    axis
        Of the frames, which is to be added to them; None if there is none.
    frame_length
        Samples.

    Raises
    ------
    InputError
        The shape is another, the length is not known, or the two differ.
    """
    if len(shape) not in (1, 2) or (len(shape) == 2 and 1 not in shape):
        raise InputError(f"{path} takes {shape}; a teacher takes audio (samples,), (samples, 1) or (1, samples).")
    axis = None if len(shape) == 1 else (2 if shape[1] == 1 else 1)
    samples = shape[0] if axis in (None, 2) else shape[1]
    length = samples or description.frame_length
    beside = path.with_suffix(".json")
    if length is None:
        raise InputError(f"{path} takes audio of any length; write frame_length (samples) into {beside}.")
    if description.frame_length not in (None, length):
        raise InputError(f"{path} takes {length} samples, but {beside} says {description.frame_length}.")
    return axis, length


def choose_output(path: Path, names: list[str], description: AudioInput) -> int:
    """Number of the output that is the embedding.

    Raises
    ------
    InputError
        There are several and none is chosen, or the chosen one is not there.
    """
    if description.output is None and len(names) == 1:
        return 0
    if description.output not in range(len(names)):
        listed = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        raise InputError(
            f"{path} has the outputs {listed}; write which is the embedding into {path.with_suffix('.json')}: "
            '"output": 0'
        )
    return description.output


def require_pool(path: Path, description: AudioInput) -> None:
    """Refuse several embeddings a frame, unless it is said that their mean is to be taken."""
    if description.pool != "mean":
        raise InputError(
            f"{path} gives several embeddings a frame; if their mean will do, "
            f'write "pool": "mean" into {path.with_suffix(".json")}.'
        )
