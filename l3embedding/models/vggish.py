"""VGGish: the teacher of Cerutti et al. (2019), a network on log-mel images, trained on YouTube videos.

A frame is 96 windows of 25 ms with a hop of 10 ms: 15 600 samples. The front end follows `vggish_input.py` and
`mel_features.py`. The embedding is the last layer of 128 units *before* any activation, as the checkpoint's authors
now recommend; `vggish_relu` rectifies it, as their first `vggish_slim.py` and the Keras ports do.

Weights are read as data: the published TensorFlow checkpoint (one file, or `.index` and `.data-*`), or the HDF5
file of a Keras port. The ports' file without the fully connected layers gives embeddings of 512 dimensions, the
averages of the last feature maps, as the ports do by default.

References
----------
Hershey et al., CNN Architectures for Large-Scale Audio Classification, ICASSP 2017;
tensorflow/models, research/audioset/vggish (code and checkpoint, Apache 2.0); DTaoo/VGGish (the port to Keras).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from l3embedding.models.networks import model_size
from l3embedding.models.registry import Pretrained
from l3embedding.models.teachers import KerasAudioModel
from l3embedding.models.weights import load_keras2_weights, read_keras2_weights
from l3embedding.utils.downloads import digest
from l3embedding.utils.errors import InputError

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


class VggishModel(KerasAudioModel):
    """VGGish's front end and network as an embedding model."""

    def __init__(self, name: str, network: keras.Model, weights_sha256: str, licence: str, batch_size: int) -> None:
        audio = keras.Input((FRAME_LENGTH,), name="audio")
        model = keras.Model(audio, network(VggishLogMel(name="log_mel")(audio)), name="vggish")
        super().__init__(name, SAMPLE_RATE, model, weights_sha256, batch_size=batch_size, licence=licence)
        self.activation_mb = model_size(network).activation_mb


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
        # Keras centres a window that is shorter than the DFT. Zeros around the audio move the windows back to where
        # they belong; what remains is a shift of phase, which does not change the magnitudes.
        around = (N_FFT - WINDOW_LENGTH) // 2
        audio = ops.pad(audio, ((0, 0), (around, around)))
        real, imaginary = ops.stft(audio, WINDOW_LENGTH, HOP_LENGTH, N_FFT, self._window, center=False)
        magnitude = ops.sqrt(ops.square(real) + ops.square(imaginary))
        return ops.expand_dims(ops.log(ops.matmul(magnitude, self._mel) + LOG_OFFSET), -1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shape of the images."""
        return (input_shape[0], N_WINDOWS, N_MELS, 1)


def mel_filter_bank() -> NDArray[np.float64]:
    """VGGish's mel filter bank, float64 `[257, 64]`: its filters are triangles in mel, librosa's in Hz."""
    bins = _mel(np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1))[:, None]
    lowest, highest = _mel(np.array(MEL_EDGES_HZ))
    edges = np.linspace(lowest, highest, N_MELS + 2)
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
        Whether the last of them ends in a ReLU as well.
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
        activation = "relu" if rectified or name != _DENSE[-1] else None
        x = layers.Dense(width, activation=activation, name=name)(x)
    return keras.Model(image, x, name="network")


def load_vggish(path: Path, model: Pretrained, batch_size: int = 32) -> VggishModel:
    """Load VGGish from a checkpoint (a file, or the `.index` of several), or from an HDF5 file.

    Without a published checksum, the names and shapes of the arrays are all that can be verified.

    Raises
    ------
    InputError
        The file is damaged, or holds another network; the message names the first array that differs.
    """
    is_port = path.suffix == ".h5"
    has_top = not is_port or len(read_keras2_weights(path)) > sum(map(len, _CONVOLUTIONS))
    network = vggish_network(units=UNITS if has_top else (), rectified=model.name == "vggish_relu")
    (load_keras2_weights if is_port else load_checkpoint)(network, path)
    # An index only refers to the weights, which are in the file beside it.
    content = path.with_suffix(".data-00000-of-00001") if path.suffix == ".index" else path
    return VggishModel(model.name, network, digest(content, "sha256"), model.licence, batch_size)


def load_checkpoint(network: keras.Model, path: Path) -> None:
    """Load VGGish's TensorFlow checkpoint into a network; an error names the first array that differs."""
    # TensorFlow's checkpoints can be read by TensorFlow only, whatever the Keras backend.
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(path).removesuffix(".index"))
        found = reader.get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} is not a TensorFlow checkpoint, or is damaged: {error}. Remove it, and fetch it again."
        ) from None
    names = [name for layer in network.layers if layer.weights for name in _variables(layer.name)]
    for name, weight in zip(names, network.weights, strict=True):
        shape, needed = found.get(name), list(weight.shape)
        if shape != needed:
            has = "lacks" if shape is None else f"has an array of {shape} for"
            raise InputError(f"{path} is not VGGish's checkpoint: it {has} {name}, which needs {needed}.")
    try:
        network.set_weights([reader.get_tensor(name) for name in names])
    except tf.errors.OpError as error:
        raise InputError(f"{path} is damaged: {error}. Remove it, and fetch it again.") from None


def _variables(layer: str) -> tuple[str, str]:
    """Names of a layer's kernel and bias in the checkpoint, where the layers of a group share a scope."""
    scope = f"vggish/{layer.partition('_')[0]}/{layer}" if "_" in layer else f"vggish/{layer}"
    return f"{scope}/weights", f"{scope}/biases"


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127 * np.log1p(hertz / 700)
