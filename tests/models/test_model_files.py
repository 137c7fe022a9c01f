"""Model files of Keras and TFLite, and which are refused."""

from __future__ import annotations

import contextlib
import io
import json

import keras
import numpy as np
import pytest
from keras import layers

from l3embedding.embedding import load_model
from l3embedding.export.tflite import convert, write_tflite
from l3embedding.models.networks import l3_audio_network
from l3embedding.models.representation import student_representation
from l3embedding.settings import StudentSettings
from l3embedding.utils.errors import InputError

LENGTH = 120


def _network(shape, several_frames=False, name="mine"):
    audio = keras.Input(shape)
    x = layers.Reshape((LENGTH, 1))(audio)
    x = layers.Conv1D(4, 8, strides=8, activation="relu")(x)
    return keras.Model(audio, x if several_frames else layers.GlobalAveragePooling1D()(x), name=name)


def _describe(path, **values):
    path.with_suffix(".json").write_text(json.dumps(values))


@pytest.fixture
def frames(rng):
    return rng.normal(0, 0.1, (5, LENGTH)).astype(np.float32)


@pytest.mark.parametrize("shape", [(LENGTH,), (LENGTH, 1), (1, LENGTH)])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_any_keras_model_that_takes_audio_embeds(tmp_path, frames, shape, suffix):
    network, path = _network(shape), tmp_path / f"mine{suffix}"
    network.save(path)
    with pytest.raises(InputError, match=r'write .*mine.json, for example {"sample_rate": 16000, "frame_length"'):
        load_model(path)
    _describe(path, sample_rate=100)
    model = load_model(path)
    assert (model.sample_rate, model.frame_length, model.embedding_size) == (100, LENGTH, 4)
    np.testing.assert_allclose(model.embed(frames), network(frames.reshape(-1, *shape)), atol=1e-6)


def test_several_embeddings_per_frame_are_averaged_only_on_request(tmp_path, frames):
    network, path = _network((LENGTH,), several_frames=True), tmp_path / "mine.keras"
    network.save(path)
    _describe(path, sample_rate=100)
    with pytest.raises(InputError, match='write "pool": "mean" into'):
        load_model(path)
    _describe(path, sample_rate=100, pool="mean")
    np.testing.assert_allclose(load_model(path).embed(frames), np.mean(network(frames), axis=1), atol=1e-6)


def test_of_several_outputs_one_is_chosen(tmp_path, frames):
    network, path = _network((LENGTH,)), tmp_path / "mine.keras"
    keras.Model(network.input, [network.output, layers.Dense(2)(network.output)]).save(path)
    _describe(path, sample_rate=100)
    with pytest.raises(InputError, match=r"has the outputs 0 .*, 1 .*; write which is the embedding"):
        load_model(path)
    _describe(path, sample_rate=100, output=1)
    assert load_model(path).embedding_size == 2


def test_a_keras_model_that_takes_images_embeds(tmp_path, rng):
    representation = student_representation(StudentSettings(asr=2000, num_mels=16, num_dft=256, hop_len=125))
    network = l3_audio_network(representation.image_shape, (2, 2, 2, 4), "linear")
    network.save(tmp_path / "image.keras")
    _describe(tmp_path / "image.keras", sample_rate=2000, n_fft=256, hop_length=125, n_mels=16)
    model = load_model(tmp_path / "image.keras")
    frames = rng.normal(0, 0.1, (2, 2000)).astype(np.float32)
    np.testing.assert_allclose(model.embed(frames), network(model.images(frames)), atol=1e-5)
    _describe(tmp_path / "image.keras", sample_rate=2000, n_fft=256, hop_length=125, n_mels=8)
    with pytest.raises(InputError, match=r"takes images of \(16, 16, 1\), but image.json describes \(8, 16, 1\)"):
        load_model(tmp_path / "image.keras")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_with_code_in_it_is_refused_and_the_code_not_executed(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"bad{suffix}"
    audio = keras.Input((LENGTH,))
    keras.Model(audio, layers.Lambda(lambda x: [x, __import__("os").makedirs("ran", exist_ok=True)][0])(audio)).save(
        path
    )
    (tmp_path / "ran").rmdir()
    _describe(path, sample_rate=100)
    with pytest.raises(InputError, match="has a Lambda layer, which would execute code from the file"):
        load_model(path)
    assert not (tmp_path / "ran").exists()


def test_a_model_that_needs_another_package_is_refused_by_its_name(tmp_path):
    class Foreign(layers.Layer):
        def call(self, x):
            return x

    audio = keras.Input((LENGTH,))
    keras.Model(audio, Foreign()(audio)).save(tmp_path / "bad.keras")
    with pytest.raises(InputError, match=r"needs .*test_model_files.Foreign, which is not part of Keras"):
        load_model(tmp_path / "bad.keras")


def _tflite(network):
    import tensorflow as tf

    with contextlib.redirect_stdout(io.StringIO()):
        return tf.lite.TFLiteConverter.from_keras_model(network).convert()


@pytest.mark.parametrize("batch", [1, None])
def test_any_tflite_model_that_takes_audio_embeds(tmp_path, frames, batch):
    network, path = _network((LENGTH,)), tmp_path / "mine.tflite"
    audio = keras.Input(batch_shape=(batch, LENGTH))
    write_tflite(path, _tflite(keras.Model(audio, network(audio))))
    with pytest.raises(InputError, match=r"but its sampling rate is not known: write .*mine.json, for example"):
        load_model(path)
    _describe(path, sample_rate=100, frame_length=LENGTH)
    model = load_model(path)
    np.testing.assert_allclose(model.embed(frames), network(frames), atol=1e-6)
    assert model.size_mb == path.stat().st_size / 1e6
    _describe(path, sample_rate=100, frame_length=99)
    with pytest.raises(InputError, match=r"takes 120 samples, but .*mine.json has frame_length 99"):
        load_model(path)


def test_a_tflite_model_without_a_batch_and_of_any_length_takes_the_described_length(tmp_path, rng):
    import tensorflow as tf

    # As YAMNet's: audio [samples] of any length, several outputs, several embeddings.
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def __call__(self, audio):
            framed = tf.signal.frame(audio, 10, 10)
            return {"a": tf.reduce_max(framed, axis=0), "b": tf.abs(framed)}

    module = Module()
    with contextlib.redirect_stdout(io.StringIO()):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([module.__call__.get_concrete_function()], module)
        write_tflite(tmp_path / "any.tflite", converter.convert())
    frames = rng.normal(0, 0.1, (3, 50)).astype(np.float32)
    _describe(tmp_path / "any.tflite", sample_rate=100)
    with pytest.raises(InputError, match=r"takes audio of any length; write frame_length \(samples\) into"):
        load_model(tmp_path / "any.tflite")
    found = []
    for output in (0, 1):
        _describe(tmp_path / "any.tflite", sample_rate=100, frame_length=50, output=output, pool="mean")
        found.append(load_model(tmp_path / "any.tflite").embed(frames))
    expected = [frames.reshape(3, 5, 10).max(axis=1), np.abs(frames.reshape(3, 5, 10)).mean(axis=1)]
    for each in expected:
        assert min(np.abs(each - one).max() for one in found) < 1e-6


def test_a_tflite_student_needs_its_representation(tmp_path):
    network = l3_audio_network((16, 16, 1), (2, 2, 2, 4), "linear")
    write_tflite(tmp_path / "student.tflite", convert(network))
    with pytest.raises(InputError, match=r'takes images, but .* for example {"sample_rate": 8000, "n_fft": 1024'):
        load_model(tmp_path / "student.tflite")
    _describe(tmp_path / "student.tflite", sample_rate=2000, frame_length=2000)
    with pytest.raises(InputError, match=r"student.json does not describe the input of student.tflite"):
        load_model(tmp_path / "student.tflite")
