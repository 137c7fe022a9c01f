"""Weights of the released networks: reading their files, and loading them into a network.

The files are HDF5 as Keras 2 wrote it, gzipped. They are read as data, never as code: the arrays are assigned to
layers in the order of the file, since the layers' names vary.
"""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from l3embedding.models.interface import UNKNOWN_LICENCE
from l3embedding.models.registry import Architecture, L3Model
from l3embedding.models.representation import Convention, student_representation
from l3embedding.models.teachers import KerasEmbeddingModel
from l3embedding.utils.downloads import digest
from l3embedding.utils.errors import InputError


def load_l3(
    path: Path,
    model: L3Model | None,
    batch_size: int = 32,
    embedding_size: int | None = None,
    frontend: Convention | None = None,
    architecture: Architecture | None = None,
) -> KerasEmbeddingModel:
    """Load an L3 network from a file of weights, `.h5` or `.h5.gz`; for other arguments see `l3embedding.load_model`.

    Parameters
    ----------
    model
        The official model whose weights they are; None for your own.
    architecture
        Architecture of your own; by default a SEA student's.

    Raises
    ------
    InputError
        The file is damaged, or belongs to another network.
    """
    architecture = model.architecture if model else architecture or _student_architecture(path)
    if embedding_size is not None:
        architecture = replace(architecture, embedding_size=embedding_size)
    representation = architecture.representation
    if frontend:
        representation = replace(representation, convention=frontend)
    network = architecture.build()
    load_keras2_weights(network, path)
    name, licence = (model.name, model.licence) if model else (path.name, UNKNOWN_LICENCE)
    sha256 = digest(path, "sha256")
    return KerasEmbeddingModel(name, representation, network, sha256, batch_size=batch_size, licence=licence)


def _student_architecture(path: Path) -> Architecture:
    """Recognise a SEA student by its arrays: unlike openl3's, its last convolution is normalised."""
    layers = [arrays for _, arrays in read_keras2_weights(path)]
    kernels = [arrays[0] for arrays in layers if arrays[0].ndim == 4]
    if not kernels or len(layers[-1]) != 4:
        raise InputError(
            f"{path}: the input representation of this network cannot be derived from its weights. "
            "Give the file its official name, such as openl3_audio_mel256_env.h5.gz, or pass input_repr."
        )
    return Architecture(student_representation(), tuple(kernel.shape[-1] for kernel in kernels[1::2]), "relu")


def read_keras2_weights(path: Path) -> list[tuple[str, list[NDArray[np.float32]]]]:
    """Read a Keras 2 HDF5 file, plain or gzipped: name and arrays of each layer with weights, in the file's order.

    The spectrogram layers are left out.

    Raises
    ------
    InputError
        The file is truncated, or is not such a file.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        with h5py.File(io.BytesIO(content), "r") as file:
            group = file.get("model_weights", file)
            members = [(name, group[name]) for name in _names(group, "layer_names")]
            layers = [(name, [layer[each][()] for each in _names(layer, "weight_names")]) for name, layer in members]
    except (OSError, EOFError, zlib.error, KeyError) as error:
        raise InputError(f"{path} is not a Keras 2 weights file, or is damaged: {error}") from None
    # kapre's DFT kernels and filter banks have several dimensions each; all other layers have a bias or a mean.
    return [(name, arrays) for name, arrays in layers if any(array.ndim == 1 for array in arrays)]


def load_keras2_weights(network: keras.Model, path: Path) -> None:
    """Load the weights of a Keras 2 file, `.h5` or `.h5.gz`, into a network.

    Raises
    ------
    InputError
        The file is damaged, or belongs to another network; the message names the first layer that differs.
    """
    stored = read_keras2_weights(path)
    layers = [layer for layer in network.layers if layer.weights]
    for (name, arrays), layer in zip(stored, layers, strict=False):
        found, needed = [array.shape for array in arrays], [tuple(weight.shape) for weight in layer.weights]
        if found != needed:
            raise InputError(
                f"{path} belongs to another network: its layer {name} has arrays {found}, "
                f"where {layer.name} needs {needed}. Choose the weights of this model."
            )
    if len(stored) != len(layers):
        raise InputError(
            f"{path} belongs to another network: it has {len(stored)} layers with weights, not {len(layers)}."
        )
    for (_, arrays), layer in zip(stored, layers, strict=True):
        layer.set_weights(arrays)


def _names(group: h5py.Group, attribute: str) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else name for name in group.attrs[attribute]]
