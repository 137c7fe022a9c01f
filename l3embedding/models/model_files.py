"""Model files: any Keras or TFLite model that takes audio, or a log-mel image.

Such a file does not contain the sampling rate that the model expects, so a JSON file of the same name must be beside
it. For a model that takes audio it holds an `AudioInput`, for one that takes an image an `InputRepresentation`:

    yamnet.tflite    yamnet.json     {"sample_rate": 16000, "frame_length": 15600, "output": 1}
    student.tflite   student.json    {"sample_rate": 8000, "n_fft": 1024, "hop_length": 160, "n_mels": 64}

Loading never executes code from a file: a Keras model may consist of Keras' own layers only.
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

from l3embedding.models.networks import split_embedding_model
from l3embedding.models.representation import InputRepresentation
from l3embedding.models.teachers import KerasAudioModel, KerasEmbeddingModel
from l3embedding.utils.downloads import digest
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json, write_json

_AUDIO_EXAMPLE = {"sample_rate": 16000, "frame_length": 16000}
_IMAGE_EXAMPLE = {"sample_rate": 8000, "n_fft": 1024, "hop_length": 160, "n_mels": 64}
IMAGE_RANK = 4
_OURS = "l3embedding"


@dataclass(frozen=True)
class AudioInput:
    """Input of a model that takes audio, and which of its outputs is the embedding.

    Attributes
    ----------
    sample_rate
        Hz.
    frame_length
        Samples per frame; None if the file determines it.
    output
        Number of the output, where there are several.
    pool
        `mean`: of a model that returns several embeddings per frame, `[batch, frames, d]`, use the mean. There is
        no default, since not every such model is meant to be averaged.
    """

    sample_rate: int
    frame_length: int | None = None
    output: int | None = None
    pool: Literal["mean"] | None = None


def write_representation(path: Path, representation: InputRepresentation) -> None:
    """Write the JSON file for a model that takes images."""
    write_json(path, vars(representation))


def read_description(path: Path, takes_image: bool) -> InputRepresentation | AudioInput:
    """Read the JSON file that describes the input of the model at `path`."""
    beside = path.with_suffix(".json")
    takes, example = ("images", _IMAGE_EXAMPLE) if takes_image else ("audio", _AUDIO_EXAMPLE)
    kind: type[InputRepresentation | AudioInput] = InputRepresentation if takes_image else AudioInput
    remedy = f"write {beside}, for example {json.dumps(example)}"
    if not beside.is_file():
        raise InputError(f"{path} takes {takes}, but its sampling rate is not known: {remedy}")
    try:
        description = kind(**read_json(beside))
    except TypeError as error:
        raise InputError(f"{beside} does not describe the input of {path.name} ({error}): {remedy}") from None
    numbers = [description.sample_rate, getattr(description, "frame_length", None) or 1]
    if not all(isinstance(number, int) and number > 0 for number in numbers):
        raise InputError(f"{beside}: sample_rate and frame_length are positive whole numbers: {remedy}")
    return description


def load_keras_file(path: Path, batch_size: int) -> KerasAudioModel:
    """Load a student, or any other Keras model, from a `.keras` or `.h5` file.

    Raises
    ------
    InputError
        The file is damaged, has layers that execute code, or does not fit its description.
    """
    require_own_layers(path)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} cannot be loaded by Keras: {error}") from None
    if any(type(layer).__module__.startswith(_OURS) for layer in model.layers):
        representation, network = split_embedding_model(model)
        return KerasEmbeddingModel(path.stem, representation, network, digest(path, "sha256"), batch_size=batch_size)
    if len(model.inputs) != 1:
        raise InputError(f"{path} has {len(model.inputs)} inputs; a teacher has one.")
    description = read_description(path, takes_image=len(model.input_shape) == IMAGE_RANK)
    if isinstance(description, AudioInput):
        return _audio_model(path, model, description, batch_size)
    require_image_shape(path, model.input_shape[1:], description)
    return KerasEmbeddingModel(path.stem, description, model, digest(path, "sha256"), batch_size=batch_size)


def _audio_model(path: Path, model: keras.Model, description: AudioInput, batch_size: int) -> KerasAudioModel:
    """Wrap a saved model so that it takes frames `[batch, samples]` and returns one embedding for each."""
    axis, length = audio_axis(path, model.input_shape[1:], description)
    number = choose_output(path, [each.name for each in model.outputs], description)
    audio = keras.Input((length,), name="audio")
    shaped = audio if axis is None else keras.ops.expand_dims(audio, axis)
    output = keras.tree.flatten(model(shaped))[number]
    if len(output.shape) == 3:
        require_pool(path, description)
        output = keras.ops.mean(output, axis=1)
    whole, sha256 = keras.Model(audio, output), digest(path, "sha256")
    return KerasAudioModel(path.stem, description.sample_rate, whole, sha256, batch_size=batch_size)


def is_full_model(path: Path) -> bool:
    """Whether an HDF5 file holds a whole model without kapre's layers, rather than weights alone."""
    config = _read_config(path)
    return config is not None and not any(
        "spectrogram" in str(each.get("class_name")).lower() for each in _parts(config)
    )


def require_own_layers(path: Path) -> None:
    """Refuse a Keras file that holds code, or needs code other than Keras' own and ours."""
    # Keras' safe mode refuses Lambda layers too, but not in every release and not in every format.
    config = _read_config(path)
    if config is None:
        raise InputError(f"{path} does not hold a Keras model.")
    for part in _parts(config):
        name, module = str(part["class_name"]), str(part.get("module") or "keras")
        if "lambda" in name.lower():
            raise InputError(
                f"{path} has a Lambda layer, which would execute code from the file; it is not loaded. "
                "Save the model without it, or load it in a function of your own: teacher: my_module:load"
            )
        if module.split(".")[0] not in ("keras", "builtins", _OURS):
            raise InputError(
                f"{path} needs {module}.{name}, which is not part of Keras. "
                "Load it in a function of your own, and name that: teacher: my_module:load"
            )


def _read_config(path: Path) -> dict[str, Any] | None:
    """The architecture that a Keras file holds, if any."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                config = archive.read("config.json")
        else:
            with h5py.File(path, "r") as file:
                config = file.attrs.get("model_config")
        return None if config is None else json.loads(config)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as a Keras model: {error}") from None


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects in a configuration, at any depth."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        config = list(config.values())
    for value in config if isinstance(config, list) else ():
        yield from _parts(value)


def audio_axis(path: Path, shape: tuple[int | None, ...], description: AudioInput) -> tuple[int | None, int]:
    """Find the axis to add to frames for a model's input, if any, and the frames' length.

    `shape` is the input's without the batch: `(samples,)`, `(samples, 1)` or `(1, samples)`; where it is None, the
    description determines the length.
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
        raise InputError(f"{path} takes {length} samples, but {beside} has frame_length {description.frame_length}.")
    return axis, length


def choose_output(path: Path, names: list[str], description: AudioInput) -> int:
    """Number of the output that is the embedding; of several, the description has to choose one."""
    output = 0 if description.output is None and len(names) == 1 else description.output
    if output is None or output not in range(len(names)):
        listed = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        which = f'write which is the embedding into {path.with_suffix(".json")}: "output": 0'
        raise InputError(f"{path} has the outputs {listed}; {which}")
    return output


def require_pool(path: Path, description: InputRepresentation | AudioInput) -> None:
    """Refuse several embeddings per frame, unless the description asks for their mean."""
    if not isinstance(description, AudioInput) or description.pool != "mean":
        raise InputError(
            f"{path} returns several embeddings per frame; if you want their mean, "
            f'write "pool": "mean" into {path.with_suffix(".json")}.'
        )


def require_image_shape(path: Path, shape: tuple[int, ...], description: InputRepresentation) -> None:
    """Refuse a description of other images than a model takes."""
    if shape != description.image_shape:
        described = f"{path.with_suffix('.json').name} describes {description.image_shape}"
        raise InputError(f"{path} takes images of {shape}, but {described}.")
