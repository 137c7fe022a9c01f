"""Files of Keras 2 weights: read by order, refused if damaged or of another network."""

from __future__ import annotations

import gzip

import h5py
import numpy as np
import pytest

from l3embedding.models.networks import l3_audio_network
from l3embedding.models.weights import load_keras2_weights, read_keras2_weights
from l3embedding.utils.errors import InputError

SHAPE = (16, 16, 1)
FILTERS = (2, 2, 3, 4)


def _save_as_keras2(network, path, group=None):
    """Write a network's weights in the layout of Keras 2, with a spectrogram layer in front."""
    with h5py.File(path, "w") as file:
        root = file.create_group(group) if group else file
        layers = [layer for layer in network.layers if layer.weights]
        root.attrs["layer_names"] = [b"melspectrogram", *(layer.name.encode() for layer in layers), b"flatten"]
        root.create_group("flatten").attrs["weight_names"] = np.array([], "S1")
        arrays = {"melspectrogram": {"real_kernels:0": np.ones((4, 1, 1, 3)), "freq2mel:0": np.ones((3, 2))}}
        for layer in layers:
            arrays[layer.name] = {f"{layer.name}/{i}:0": np.asarray(w) for i, w in enumerate(layer.get_weights())}
        for name, values in arrays.items():
            member = root.create_group(name)
            member.attrs["weight_names"] = [each.encode() for each in values]
            for each, value in values.items():
                member[each] = value


def _random_network(rng, filters=FILTERS, head="relu"):
    network = l3_audio_network(SHAPE, filters, head)
    network.set_weights([rng.uniform(0.1, 1, weight.shape) for weight in network.get_weights()])
    return network


@pytest.mark.parametrize("group", [None, "model_weights"])
@pytest.mark.parametrize("zipped", [False, True])
def test_weights_are_read_in_order_from_either_layout_without_the_spectrogram(tmp_path, rng, group, zipped):
    network = _random_network(rng)
    path = tmp_path / "w.h5"
    _save_as_keras2(network, path, group)
    if zipped:
        path.with_suffix(".h5.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_suffix(".h5.gz")
    other = l3_audio_network(SHAPE, FILTERS, "relu")
    load_keras2_weights(other, path)
    for a, b in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_of_another_network_are_refused_by_layer_and_shape(tmp_path, rng):
    _save_as_keras2(_random_network(rng), tmp_path / "w.h5")
    with pytest.raises(InputError, match=r"w.h5 belongs to another network: its layer .* has arrays \[\(3, 3, 2, 3\)"):
        load_keras2_weights(l3_audio_network(SHAPE, (2, 2, 5, 4), "relu"), tmp_path / "w.h5")
    with pytest.raises(InputError, match="has 17 layers with weights, not 16"):
        load_keras2_weights(l3_audio_network(SHAPE, FILTERS, "openl3"), tmp_path / "w.h5")


def test_damaged_files_are_refused_by_name(tmp_path, rng):
    _save_as_keras2(_random_network(rng), tmp_path / "w.h5")
    content = gzip.compress((tmp_path / "w.h5").read_bytes())
    (tmp_path / "cut.h5.gz").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.h5").write_text("no weights")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = [1]
    for name in ("cut.h5.gz", "text.h5", "other.h5"):
        with pytest.raises(InputError, match=f"{name} is not a Keras 2 weights file"):
            read_keras2_weights(tmp_path / name)
