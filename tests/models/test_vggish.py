"""VGGish: its front end, its network and its files, compared with re-implementations in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from l3embedding.embedding import get_embedding, load_model
from l3embedding.models import registry
from l3embedding.models.interface import in_seconds
from l3embedding.models.vggish import (
    FILTERS,
    FRAME_LENGTH,
    N_MELS,
    SAMPLE_RATE,
    VggishLogMel,
    VggishModel,
    load_checkpoint,
    mel_filter_bank,
    vggish_network,
)
from l3embedding.models.weights import load_keras2_weights
from l3embedding.utils.errors import InputError
from tests.support.vggish_files import random_arrays, write_checkpoint, write_keras_port

NARROW = (3, 4, 5, 6), (7, 8, 9)


def _reference_image(samples):
    """`mel_features.log_mel_spectrogram` with VGGish's parameters: window by window and band by band, in float64."""
    hertz = np.arange(257) * 8000 / 256
    mel = 1127.0 * np.log(1.0 + hertz / 700.0)
    low, high = (1127.0 * np.log(1.0 + edge / 700.0) for edge in (125.0, 7500.0))
    rows = []
    for start in range(0, len(samples) - 399, 160):
        windowed = [samples[start + n] * (0.5 - 0.5 * np.cos(2 * np.pi / 400 * n)) for n in range(400)]
        magnitude = np.abs(np.fft.rfft(windowed, 512))
        bands = []
        for band in range(64):
            left, center, right = (low + (high - low) * (band + step) / 65 for step in range(3))
            slopes = np.minimum((mel - left) / (center - left), (right - mel) / (right - center))
            weights = np.where(np.arange(257) == 0, 0, np.maximum(0, slopes))
            bands.append(np.log(magnitude @ weights + 0.01))
        rows.append(bands)
    return np.array(rows)


def _reference_embedding(image, arrays, rectified=False):
    """VGG by shifted sums, in float64."""
    x = image[..., None]
    for scope, (kernel, bias) in arrays.items():
        kernel, bias = kernel.astype(np.float64), bias.astype(np.float64)
        if kernel.ndim == 4:
            padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
            rows, columns = x.shape[:2]
            parts = [padded[i : i + rows, j : j + columns] @ kernel[i, j] for i in range(3) for j in range(3)]
            x = np.maximum(sum(parts) + bias, 0)
            if not scope.endswith(("3_1", "4_1")):
                x = x.reshape(rows // 2, 2, columns // 2, 2, -1).max(axis=(1, 3))
        else:
            x = x.reshape(-1) @ kernel + bias
            x = np.maximum(x, 0) if rectified or scope != "fc2" else x
    return x if x.ndim == 1 else x.mean(axis=(0, 1))


@pytest.fixture
def frames(rng):
    """Noise, a tone, and silence."""
    time = np.arange(FRAME_LENGTH) / 16_000
    return np.stack([rng.normal(0, 0.1, FRAME_LENGTH), 0.5 * np.sin(2 * np.pi * 440 * time), 0 * time]).astype("f4")


def _model(arrays, filters, units, rectified=False):
    network = vggish_network(filters, units, rectified)
    network.set_weights([array for pair in arrays.values() for array in pair])
    return VggishModel("vggish", network, "0" * 64, "apache-2.0", 32)


def test_the_image_is_the_published_front_ends(frames):
    images = keras.ops.convert_to_numpy(VggishLogMel()(frames))
    assert images.shape == (3, 96, 64, 1)
    for image, samples in zip(images, frames.astype(np.float64), strict=True):
        np.testing.assert_allclose(image[..., 0], _reference_image(samples), atol=2e-4)


def test_the_filters_are_triangles_over_the_mel_scale_and_leave_the_mean_out():
    bank = mel_filter_bank()
    assert not bank[0].any()
    hertz = np.arange(257) * 31.25
    assert not bank[(hertz < 125) | (hertz > 7500)].any()
    # Within the outermost centres, two neighbouring triangles add up to one.
    np.testing.assert_allclose(bank.sum(axis=1)[(hertz > 200) & (hertz < 7200)], 1, atol=1e-12)


def test_successive_examples_are_those_of_the_published_framing(rng):
    samples = rng.normal(0, 0.1, 3 * 15_360 + 240).astype(np.float32)
    arrays = random_arrays(rng, *NARROW)
    embedding, timestamps = get_embedding(samples, 16_000, _model(arrays, *NARROW), hop_size=0.96, center=False)
    image = _reference_image(samples.astype(np.float64))
    expected = [_reference_embedding(image[at : at + 96], arrays) for at in (0, 96, 192)]
    np.testing.assert_allclose(embedding, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(timestamps, [0, 0.96, 1.92])


@pytest.mark.parametrize("units", [NARROW[1], ()])
@pytest.mark.parametrize("rectified", [False, True])
def test_the_network_is_the_papers(frames, rng, units, rectified):
    arrays = random_arrays(rng, NARROW[0], units)
    expected = [_reference_embedding(_reference_image(frame.astype(float)), arrays, rectified) for frame in frames[:2]]
    model = _model(arrays, NARROW[0], units, rectified)
    np.testing.assert_allclose(model.embed(frames[:2]), expected, rtol=1e-4, atol=1e-4)
    assert model.embedding_size == (9 if units else 6)


def test_the_registry_describes_the_published_network():
    model, network = registry.find("vggish"), vggish_network()
    assert (model.sample_rate, model.bins) == (SAMPLE_RATE, N_MELS)
    assert (*model.dimensions, model.parameters) == (network.output_shape[1], network.count_params())


@pytest.mark.parametrize("version", [1, 2])
def test_a_checkpoint_of_either_kind_is_read_by_its_names(tmp_path, rng, version):
    arrays = random_arrays(rng, *NARROW)
    path = tmp_path / "vggish_model.ckpt"
    write_checkpoint(path, arrays, version)
    network = vggish_network(*NARROW)
    load_checkpoint(network, path if version == 1 else tmp_path / "vggish_model.ckpt.index")
    for layer, (kernel, bias) in zip([each for each in network.layers if each.weights], arrays.values(), strict=True):
        np.testing.assert_array_equal(layer.get_weights()[0], kernel)
        np.testing.assert_array_equal(layer.get_weights()[1], bias)


def test_another_checkpoint_is_refused_by_the_first_array_that_differs(tmp_path, rng):
    path = tmp_path / "vggish_model.ckpt"
    write_checkpoint(path, random_arrays(rng, *NARROW))
    wrong = r"has an array of \[3, 3, 1, 3\] for vggish/conv1/weights, which needs \[3, 3, 1, 64\]"
    with pytest.raises(InputError, match=wrong):
        load_checkpoint(vggish_network(FILTERS, ()), path)
    write_checkpoint(path, {"conv1": random_arrays(rng, *NARROW)["conv1"]})
    with pytest.raises(InputError, match="it lacks vggish/conv2/weights"):
        load_checkpoint(vggish_network(*NARROW), path)
    path.write_bytes(b"<html>not here</html>")
    with pytest.raises(InputError, match="is not a TensorFlow checkpoint"):
        load_checkpoint(vggish_network(*NARROW), path)


def test_a_keras_ports_file_is_read_in_the_order_of_its_layers(tmp_path, rng):
    arrays = random_arrays(rng, *NARROW)
    write_keras_port(tmp_path / "vggish.h5", arrays)
    network = vggish_network(*NARROW)
    load_keras2_weights(network, tmp_path / "vggish.h5")
    np.testing.assert_array_equal(network.get_layer("conv3_2").get_weights()[0], arrays["conv3/conv3_2"][0])
    np.testing.assert_array_equal(network.get_layer("fc2").get_weights()[1], arrays["fc2"][1])


def test_vggish_is_loaded_by_its_name_and_embeds_seconds(tmp_path, rng, frames):
    arrays = random_arrays(rng)
    write_keras_port(tmp_path / "vggish.h5", arrays)
    model = load_model("vggish", search=[tmp_path], download=False)
    assert (model.name, model.licence, model.embedding_size, model.size_mb) == ("vggish", "apache-2.0", 512, 17.9988)
    second = np.pad(frames[:1], ((0, 0), (0, 400)), constant_values=1)
    np.testing.assert_array_equal(in_seconds(model).embed(second), model.embed(frames[:1]))
    expected = _reference_embedding(_reference_image(frames[0].astype(float)), arrays)
    np.testing.assert_allclose(model.embed(frames[:1])[0], expected, rtol=1e-3, atol=1e-4)
