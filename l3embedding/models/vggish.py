"""VGGish: the teacher of Cerutti et al. (2019), a network on log-mel images that learned from YouTube.

Its examples are 96 windows of 25 ms, one each 10 ms: 0.96 s from the first window to the one after the last, and
15 600 samples in all. The front end is that of `vggish_input.py` and `mel_features.py`. The embedding is the last
layer of 128 units *before* any activation, as the checkpoint's authors now say it is meant; `vggish_relu` rectifies
it, as their first `vggish_slim.py` did and the ports to Keras do.

Weights are read as data: the published TensorFlow checkpoint (one file, or `.index` and `.data-*`), or the HDF5
file of a Keras port. The ports' file without the fully connected layers embeds in 512 dimensions, the averages of
the last feature maps, as the ports do by default.

References
----------
Hershey et al., CNN Architectures for Large-Scale Audio Classification, ICASSP 2017;
tensorflow/models, research/audioset/vggish (code and checkpoint, Apache 2.0); DTaoo/VGGish (the port to Keras).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from l3embedding.models.networks import model_size
from l3embedding.models.teachers import embed_in_batches
from l3embedding.models.weights import cache_dir, fetch_weights, load_keras2_weights, read_keras2_weights, sha256
from l3embedding.utils.errors import InputError

VGGISH, VGGISH_RELU = NAMES = ("vggish", "vggish_relu")
"""Its names, where a teacher is named: without and with the last ReLU."""
LICENCE = "apache-2.0"
"""Of the repository that publishes code and checkpoint."""
URL = "https://storage.googleapis.com/audioset/vggish_model.ckpt"
FILES = ("vggish_model.ckpt", "vggish_model.ckpt.index", "vggish.h5")
"""The files that are looked for, in this order."""

SAMPLE_RATE = 16_000
WINDOW_LENGTH, HOP_LENGTH, N_FFT = 400, 160, 512
N_WINDOWS, N_MELS = 96, 64
MEL_EDGES_HZ = (125.0, 7500.0)
LOG_OFFSET = 0.01
FRAME_LENGTH = (N_WINDOWS - 1) * HOP_LENGTH + WINDOW_LENGTH

FILTERS = (64, 128, 256, 512)
UNITS = (4096, 4096, 128)
_CONVOLUTIONS = (("conv1",), ("conv2",), ("conv3_1", "conv3_2"), ("conv4_1", "conv4_2"))
_DENSE = ("fc1_1", "fc1_2", "fc2")


class VggishModel:
    """VGGish as an embedding model, see `l3embedding.models.teachers.EmbeddingModel`.

    Parameters
    ----------
    name
        One of `NAMES`.
    network
        From `vggish_network`.
    weights_sha256
        Hash of the file the weights came from.
    batch_size
        Examples that are embedded at once.
    """

    sample_rate = SAMPLE_RATE
    frame_length = FRAME_LENGTH
    licence = LICENCE
    is_stand_in = False

    def __init__(self, name: str, network: keras.Model, weights_sha256: str, batch_size: int = 32) -> None:
        self.name = name
        self.embedding_size = int(network.output_shape[-1])
        size = model_size(network)
        self.size_mb, self.activation_mb = size.size_mb, size.activation_mb
        self.weights_sha256 = weights_sha256
        self.batch_size = batch_size
        audio = keras.Input((FRAME_LENGTH,), name="audio")
        self._model = keras.Model(audio, network(VggishLogMel(name="log_mel")(audio)), name=VGGISH)
        # As for all teachers, see `l3embedding.models.teachers.KerasEmbeddingModel`.
        self._model.compile(jit_compile=False)

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, 15600]` as float32 `[n, embedding_size]`."""
        return embed_in_batches(self._model, frames, self.batch_size, self.embedding_size)


@keras.saving.register_keras_serializable("l3embedding")
class VggishLogMel(layers.Layer):
    """Audio float32 `[batch, 15600]` at 16 kHz to log-mel images float32 `[batch, 96, 64, 1]`, natural logarithms."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"trainable": False} | kwargs)
        # Periodic, as scipy's `get_window(fftbins=True)`.
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_LENGTH) / WINDOW_LENGTH)
        self._window = window.astype(np.float32)
        self._mel = mel_filter_bank().astype(np.float32)

    def call(self, audio: keras.KerasTensor) -> keras.KerasTensor:
        """Compute the images."""
        # Keras puts a window that is shorter than the DFT into its middle. Zeros around the audio move the window
        # back to where it belongs; what remains is a shift of phase, of which a magnitude knows nothing.
        around = (N_FFT - WINDOW_LENGTH) // 2
        audio = ops.pad(audio, ((0, 0), (around, around)))
        real, imaginary = ops.stft(audio, WINDOW_LENGTH, HOP_LENGTH, N_FFT, self._window, center=False)
        magnitude = ops.sqrt(ops.square(real) + ops.square(imaginary))
        return ops.expand_dims(ops.log(ops.matmul(magnitude, self._mel) + LOG_OFFSET), -1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shape of the images."""
        return (input_shape[0], N_WINDOWS, N_MELS, 1)


def mel_filter_bank() -> NDArray[np.float64]:
    """VGGish's mel filter bank, float64 `[257, 64]`: triangles over the mel scale, not over Hz as librosa's."""
    bins = _mel(np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1))[:, None]
    edges = np.linspace(*_mel(np.array(MEL_EDGES_HZ)), N_MELS + 2)
    lower, center, upper = edges[:-2], edges[1:-1], edges[2:]
    bank = np.maximum(0, np.minimum((bins - lower) / (center - lower), (upper - bins) / (upper - center)))
    bank[0] = 0
    return bank


def vggish_network(
    filters: Sequence[int] = FILTERS, units: Sequence[int] = UNITS, rectified: bool = False
) -> keras.Model:
    """Build the untrained network, image `[96, 64, 1]` to embedding.

    Parameters
    ----------
    filters
        Of the four groups of convolutions.
    units
        Of the fully connected layers; without any, the embedding is the average of the last feature maps.
    rectified
        Whether the last of them ends in a ReLU, too.
    """
    image = keras.Input((N_WINDOWS, N_MELS, 1), name="log_mel")
    x = image
    for names, width in zip(_CONVOLUTIONS, filters, strict=True):
        for name in names:
            x = layers.Conv2D(width, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2, name=f"pool{names[0][4]}")(x)
    if not units:
        return keras.Model(image, layers.GlobalAveragePooling2D(name="embedding")(x), name="network")
    x = layers.Flatten(name="flatten")(x)
    for name, width in zip(_DENSE, units, strict=True):
        is_hidden = name != _DENSE[-1]
        x = layers.Dense(width, activation="relu" if is_hidden or rectified else None, name=name)(x)
    return keras.Model(image, x, name="network")


def is_vggish(path: Path) -> bool:
    """Say whether a file is one of VGGish's, by its name: `vggish*.h5`, `*.ckpt` or `*.ckpt.index`."""
    return path.name.endswith((".ckpt", ".ckpt.index")) or (path.name.startswith(VGGISH) and path.suffix == ".h5")


def load_vggish(path: Path, name: str = VGGISH, batch_size: int = 32) -> VggishModel:
    """Load VGGish from a checkpoint or an HDF5 file, see the top of this module.

    There is no published checksum: that the file is VGGish's is known by the names and shapes of its arrays
    alone, and their content cannot be verified.

    Parameters
    ----------
    path
        A file of which `is_vggish` is true.
    name
        One of `NAMES`.
    batch_size
        Examples that are embedded at once.

    Raises
    ------
    InputError
        The file is damaged, or holds another network; the first array that differs is named.
    """
    rectified = name == VGGISH_RELU
    if path.suffix == ".h5":
        has_top = len(read_keras2_weights(path)) > sum(map(len, _CONVOLUTIONS))
        network = vggish_network(units=UNITS if has_top else (), rectified=rectified)
        load_keras2_weights(network, path)
    else:
        network = vggish_network(rectified=rectified)
        load_checkpoint(network, path)
    return VggishModel(name, network, sha256(_content(path)), batch_size)


def load_checkpoint(network: keras.Model, path: Path) -> None:
    """Put the weights of VGGish's TensorFlow checkpoint into a network.

    Parameters
    ----------
    network
        From `vggish_network`.
    path
        The checkpoint of one file, or the `.index` of one of several.

    Raises
    ------
    InputError
        The file is no checkpoint, or that of another network; the first array that differs is named.
    """
    # Only TensorFlow reads its checkpoints.
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(path).removesuffix(".index"))
        found = reader.get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} is no TensorFlow checkpoint, or is damaged: {error}. Remove it, and fetch it again."
        ) from None
    weighted = [layer for layer in network.layers if layer.weights]
    for layer in weighted:
        for name, weight in zip(_variables(layer.name), layer.weights, strict=True):
            shape, needed = found.get(name), list(weight.shape)
            if shape != needed:
                has = "lacks" if shape is None else f"has an array of {shape} for"
                raise InputError(f"{path} is not VGGish's checkpoint: it {has} {name}, which is of {needed}.")
    try:
        for layer in weighted:
            layer.set_weights([reader.get_tensor(name) for name in _variables(layer.name)])
    except tf.errors.OpError as error:
        raise InputError(f"{path} is damaged: {error}. Remove it, and fetch it again.") from None


def locate_vggish(search: Sequence[str | os.PathLike[str]] = (), download: bool = True) -> Path:
    """Find VGGish's weights, downloading the checkpoint into the cache if need be.

    Parameters
    ----------
    search
        Folders looked into before the cache.
    download
        Whether to fetch what is not at hand.

    Raises
    ------
    WeightsNotFound
        They are not at hand and cannot be fetched.
    """
    for folder in (*map(Path, search), cache_dir()):
        for name in FILES:
            if (folder / name).is_file():
                return folder / name
    return fetch_weights(URL, cache_dir() / FILES[0], None, download)


def parameter_count(filters: Sequence[int] = FILTERS, units: Sequence[int] = UNITS) -> int:
    """Parameters of `vggish_network`, without building it."""
    widths = [width for names, width in zip(_CONVOLUTIONS, filters, strict=True) for _ in names]
    convolutions = sum(9 * before * width + width for before, width in zip([1, *widths], widths, strict=False))
    flat = N_WINDOWS // 16 * (N_MELS // 16) * filters[-1]
    return convolutions + sum(before * width + width for before, width in zip([flat, *units], units, strict=False))


def _content(path: Path) -> Path:
    """The file that holds the weights: a checkpoint's `.index` says only where they are."""
    return path.with_name(path.name.replace(".index", ".data-00000-of-00001")) if path.suffix == ".index" else path


def _variables(layer: str) -> tuple[str, str]:
    """Names in the checkpoint of a layer's kernel and bias; those of one group share a scope."""
    group, underscore, _ = layer.partition("_")
    scope = f"vggish/{group}/{layer}" if underscore else f"vggish/{layer}"
    return f"{scope}/weights", f"{scope}/biases"


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127 * np.log1p(hertz / 700)
