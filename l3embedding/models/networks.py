"""The L3 audio network: the teacher's, and with fewer filters the students'.

Batch normalisation on the image, then four blocks of two 3x3 convolutions, each followed by batch
normalisation and ReLU, with 2x2 max-pooling after the first three. The *head* is how the network ends, after
the last convolution:

`openl3`   max-pooling of its output, neither normalised nor rectified, to 512 or 6144 dimensions
`relu`     normalisation, ReLU, global max-pooling: the released SEA students
`linear`   normalisation, global max-pooling: reaches negative values, as PCA's targets have

Names and order of the layers are part of the file formats: released weights are read in this order, and training
states by these names.

References
----------
Arandjelovic and Zisserman, Look, Listen and Learn, ICCV 2017; Cramer et al., ICASSP 2019; Srivastava
et al., ICASSP 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import keras
from keras import layers

from l3embedding.models.frontend import InputRepresentation, LogMelSpectrogram, student_representation
from l3embedding.models.registry import TEACHER_FILTERS
from l3embedding.settings import StudentSettings
from l3embedding.utils.errors import InputError
from l3embedding.utils.registry import look_up

Head = Literal["openl3", "relu", "linear"]
Precision = Literal["float32", "mixed_bfloat16"]

EMBEDDING_LAYER = "audio_embedding_layer"
_IMAGE_NORMALIZATION = "image_normalization"
_ENDS = (_IMAGE_NORMALIZATION, "pool", "embedding")

_MOMENTUM = 0.9
"""Of the moving averages. With Keras' 0.99 they take hundreds of steps to settle, and until then the validation loss is
wrong, because it is computed with averages that lag behind: 17.5 instead of 1.7 after 57 steps on real recordings."""

_OPENL3_GRID = {512: (1, 1), 6144: (4, 3)}


class ModelSize(NamedTuple):
    """Parameters, megabytes (10^6 bytes) of them and of the largest feature map in float32, and work per frame."""

    parameters: int
    size_mb: float
    activation_mb: float
    gflop: float


def l3_audio_network(
    image_shape: tuple[int, int, int],
    filters: tuple[int, ...] = TEACHER_FILTERS,
    head: Head = "openl3",
    embedding_size: int | None = None,
) -> keras.Model:
    """Build an untrained network, image to embedding.

    Parameters
    ----------
    image_shape
        (bins, windows, 1), as `InputRepresentation.image_shape`.
    filters
        Of each block; the last is the embedding's dimension.
    head
        A key of `HEADS`, see the top of this module.
    embedding_size
        For the head `openl3` and 512 filters: 512, or 6144 for a 4 x 3 grid of 512.

    Raises
    ------
    InputError
        The head is unknown, the image is too small for the pooling, or the network has no such embedding size.
    """
    finish = look_up(HEADS, head, "student.head")
    sizes = _OPENL3_GRID if head == "openl3" and filters[-1] == 512 else {filters[-1]: (1, 1)}
    if embedding_size is not None and embedding_size not in sizes:
        raise InputError(f"This network embeds in {' or '.join(map(str, sizes))} dimensions, not {embedding_size}.")
    shortest = 2 ** (len(filters) - 1)
    if min(image_shape[:2]) < shortest:
        raise InputError(f"An image of {image_shape[:2]} is too small for {len(filters)} blocks: {shortest} at least.")
    image = keras.Input(image_shape, name="log_mel")
    x = layers.BatchNormalization(name=_IMAGE_NORMALIZATION)(image)
    for block, width in enumerate(filters, start=1):
        if block > 1:
            x = layers.MaxPooling2D(2, name=f"pool_{block - 1}")(x)
        x = _rectified(_convolution(x, width, f"block_{block}_conv_1"))
        last = block == len(filters)
        x = _convolution(x, width, EMBEDDING_LAYER if last else f"block_{block}_conv_2")
        x = x if last else _rectified(x)
    return keras.Model(image, finish(x, embedding_size), name="network")


def student_network(student: StudentSettings) -> keras.Model:
    """Build a student's untrained network, image to embedding."""
    return l3_audio_network(student_representation(student).image_shape, student.blocks, student.head)


def embedding_model(representation: InputRepresentation, network: keras.Model) -> keras.Model:
    """Put the front end before a network: audio float32 `[batch, sample_rate]` to embedding `[batch, d]`.

    Saved as `.keras`, the model describes itself: the front end's layer holds its input representation.
    """
    audio = keras.Input((representation.frame_length,), name="audio")
    return keras.Model(audio, network(LogMelSpectrogram(representation, name="log_mel")(audio)), name="embedding")


def split_embedding_model(model: keras.Model) -> tuple[InputRepresentation, keras.Model]:
    """Undo `embedding_model`.

    Raises
    ------
    InputError
        The model was not made by `embedding_model`.
    """
    front_ends = [layer for layer in model.layers if isinstance(layer, LogMelSpectrogram)]
    networks = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if len(front_ends) != 1 or len(networks) != 1:
        raise InputError(f"The model {model.name!r} is not a front end followed by a network.")
    return front_ends[0].representation, networks[0]


def with_precision(network: keras.Model, precision: Precision) -> keras.Model:
    """Copy a network, uncompiled, into a precision of arithmetic; its weights stay float32.

    Both ends compute in float32: bfloat16's eight bits would round the image to half a dB, and the embedding by 0.4 %.
    """
    config = network.get_config()
    for layer in config["layers"]:
        is_end = layer["name"] in _ENDS or layer["name"].startswith(f"{EMBEDDING_LAYER}_")
        if layer["class_name"] != "InputLayer":
            layer["config"]["dtype"] = "float32" if is_end else precision
    copy = keras.Model.from_config(config)
    copy.set_weights(network.get_weights())
    return copy


def model_size(network: keras.Model) -> ModelSize:
    """Count a network's parameters, its largest feature map in float32, as the paper does, and its convolutions."""
    parameters = network.count_params()
    maps = [_size(layer) for layer in network.layers if not isinstance(layer, layers.InputLayer)]
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]
    flop = sum(2 * _size(layer) * math.prod(layer.kernel.shape[:-1]) for layer in convolutions)
    return ModelSize(parameters, round(parameters * 4 / 1e6, 4), round(max(maps) * 4 / 1e6, 4), round(flop / 1e9, 4))


def _size(layer: keras.layers.Layer) -> int:
    """Numbers in a layer's output for one frame."""
    return math.prod(side or 1 for side in layer.output.shape[1:])


def _convolution(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    options = {"kernel_initializer": "he_normal", "kernel_regularizer": keras.regularizers.L2(1e-5)}
    return layers.Conv2D(width, 3, padding="same", name=name, **options)(x)


def _normalized(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.BatchNormalization(momentum=_MOMENTUM, name=f"{_name(x)}_normalization")(x)


def _rectified(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU(name=f"{_name(x)}_relu")(_normalized(x))


def _name(x: keras.KerasTensor) -> str:
    return x._keras_history.operation.name


def _openl3_head(x: keras.KerasTensor, embedding_size: int | None) -> keras.KerasTensor:
    rows, columns = _OPENL3_GRID.get(embedding_size or 512, (1, 1))
    return _pooled(x, (-(-x.shape[1] // rows), -(-x.shape[2] // columns)), padding="same")


def _pooled(x: keras.KerasTensor, size: tuple[int, int], **options: Any) -> keras.KerasTensor:
    return layers.Flatten(name="embedding")(layers.MaxPooling2D(size, **options, name="pool")(x))


HEADS: dict[str, Callable[[keras.KerasTensor, int | None], keras.KerasTensor]] = {
    "openl3": _openl3_head,
    "relu": lambda x, _: _pooled(_rectified(x), x.shape[1:3]),
    "linear": lambda x, _: _pooled(_normalized(x), x.shape[1:3]),
}
"""How a network ends: head to what it does with the last convolution's output, given the embedding size."""
