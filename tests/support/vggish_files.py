"""Seeded random weights of VGGish in its published layouts: the TensorFlow checkpoint and the port's HDF5 file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

SCOPES = ("conv1", "conv2", "conv3/conv3_1", "conv3/conv3_2", "conv4/conv4_1", "conv4/conv4_2")
TOP_SCOPES = ("fc1/fc1_1", "fc1/fc1_2", "fc2")

Arrays = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]


def random_arrays(
    rng: np.random.Generator, filters: Sequence[int] = (64, 128, 256, 512), units: Sequence[int] = ()
) -> Arrays:
    """Scope of each layer to its kernel and bias, as large as keeps the activations about 1."""
    widths = [1, filters[0], filters[1], filters[2], filters[2], filters[3], filters[3]]
    shapes = [(3, 3, widths[i], widths[i + 1]) for i in range(6)]
    sizes = [6 * 4 * filters[3], *units]
    shapes += [(sizes[i], sizes[i + 1]) for i in range(len(units))]
    scopes = (*SCOPES, *TOP_SCOPES)[: len(shapes)]
    return {
        scope: (
            rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype(np.float32),
            rng.normal(0, 0.1, shape[-1]).astype(np.float32),
        )
        for scope, shape in zip(scopes, shapes, strict=True)
    }


def write_checkpoint(path: Path, arrays: Arrays, version: int = 1) -> None:
    """Write `vggish/SCOPE/weights` and `/biases` as TensorFlow 1 does: one file (1), or index and data (2)."""
    import tensorflow as tf

    with tf.Graph().as_default():
        for scope, (kernel, bias) in arrays.items():
            tf.compat.v1.get_variable(f"vggish/{scope}/weights", initializer=kernel)
            tf.compat.v1.get_variable(f"vggish/{scope}/biases", initializer=bias)
        tf.compat.v1.get_variable("vggish/global_step", initializer=0)
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            saver = tf.compat.v1.train.Saver(write_version=version)
            saver.save(session, str(path), write_meta_graph=False, write_state=False)


def write_keras_port(path: Path, arrays: Arrays) -> None:
    """Write Keras 2 weights as the port does, whose names contain slashes."""
    with h5py.File(path, "w") as file:
        names = [f"vggish_{scope}" if scope.startswith("fc") else scope for scope in arrays]
        file.attrs["layer_names"] = [b"input_1", *(name.encode() for name in names)]
        file.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for name, pair in zip(names, arrays.values(), strict=True):
            members = [f"{name}/{kind}:0" for kind in ("kernel", "bias")]
            group = file.create_group(name)
            group.attrs["weight_names"] = [member.encode() for member in members]
            for member, array in zip(members, pair, strict=True):
                group[member] = array
