"""Weights files: found, verified, read, refused."""

from __future__ import annotations

import gzip
import hashlib

import h5py
import numpy as np
import pytest

from l3embedding.models import weights
from l3embedding.models.networks import l3_audio_network
from l3embedding.models.weights import (
    CACHE_VARIABLE,
    GIT_BLOBS,
    WeightsNotFound,
    architecture_of,
    load_keras2_weights,
    locate_weights,
    read_keras2_weights,
    verify_git_blob,
)
from l3embedding.utils.errors import InputError
from tests.support.file_server import FileServer

SHAPE = (16, 16, 1)
FILTERS = (2, 2, 3, 4)
NAME = "edgel3_sea_ust_audio_emb_64"


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
def test_weights_are_read_by_order_in_either_layout_and_the_spectrogram_left_out(tmp_path, rng, group, zipped):
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
        with pytest.raises(InputError, match=f"{name} is no Keras 2 weights file"):
            read_keras2_weights(tmp_path / name)


def test_a_file_is_verified_by_its_git_blob(tmp_path):
    (tmp_path / "x").write_bytes(b"hello\n")
    # What `git hash-object` says of that content.
    verify_git_blob(tmp_path / "x", "ce013625030ba8dba906f756967f9e9ca394464a")
    with pytest.raises(InputError, match="is not the official file"):
        verify_git_blob(tmp_path / "x", "0" * 40)


def _own_blob(monkeypatch, content):
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    monkeypatch.setitem(weights.GIT_BLOBS, NAME, blob)


def test_folders_are_searched_in_order_and_the_cache_last(tmp_path, monkeypatch):
    _own_blob(monkeypatch, b"weights")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    for folder in ("cache", "lab"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{NAME}.h5.gz").write_bytes(b"weights")
    assert locate_weights(NAME).parent == tmp_path / "cache"
    assert locate_weights(NAME, [tmp_path / "nowhere", tmp_path / "lab"]).parent == tmp_path / "lab"


def test_without_a_network_the_error_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setitem(weights._REPOSITORIES, "edgel3", "http://127.0.0.1:9/")
    with pytest.raises(WeightsNotFound, match=f"Fetch http://127.0.0.1:9/{NAME}.h5.gz and put it at {tmp_path}"):
        locate_weights(NAME)
    assert not list(tmp_path.iterdir())


def test_the_released_student_is_the_official_file(shared):
    path = locate_weights(NAME, [shared / "sea64"])
    verify_git_blob(path, GIT_BLOBS[NAME])


@pytest.mark.parametrize("name", sorted(GIT_BLOBS))
def test_every_official_name_tells_its_architecture(name):
    architecture = architecture_of(name)
    assert len(architecture.filters) == 4
    assert (architecture.representation.convention == "kapre") == name.endswith("-v0_4_0")
    assert architecture.head == ("relu" if "sea" in name else "openl3")


def test_weights_that_are_on_their_way_are_taken_up_and_verified(tmp_path, rng, monkeypatch):
    content = rng.bytes(200_000)
    _own_blob(monkeypatch, content)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr("l3embedding.utils.downloads.PAUSE_S", 0.0)
    with FileServer({f"/{NAME}.h5.gz": content}, cuts=[5 << 14, None]).running() as server:
        monkeypatch.setitem(weights._REPOSITORIES, "edgel3", f"{server.url}/")
        assert locate_weights(NAME).read_bytes() == content
        assert [asked for _, asked in server.requests] == [None, f"bytes={5 << 14}-"]
    assert locate_weights(NAME).read_bytes() == content
