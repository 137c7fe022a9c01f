"""The interface that HEAR's tools call."""

from __future__ import annotations

import numpy as np
import pytest

from l3embedding import hear
from l3embedding.embedding import get_embedding
from l3embedding.models.networks import embedding_model, l3_audio_network
from l3embedding.models.representation import student_representation
from l3embedding.settings import StudentSettings
from l3embedding.utils.errors import InputError

TINY = student_representation(StudentSettings(asr=2000, num_mels=16, num_dft=256, hop_len=125))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("hear") / "tiny.keras"
    embedding_model(TINY, l3_audio_network(TINY.image_shape, (2, 2, 2, 4), "linear")).save(path)
    return hear.load_model(str(path))


def test_a_model_passes_hears_validator(model):
    tf = pytest.importorskip("tensorflow")
    assert isinstance(model, tf.Module)
    assert isinstance(model.scene_embedding_size, int) and isinstance(model.timestamp_embedding_size, int)
    # The validator knows four rates; a model of 2 kHz takes the lowest, resampled.
    assert (model.sample_rate, model.scene_embedding_size, model.timestamp_embedding_size) == (16000, 4, 4)


def test_timestamps_are_the_middles_of_the_frames_in_milliseconds(model, rng):
    audio = rng.normal(0, 0.1, (3, 48000)).astype(np.float32)
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    assert embeddings.shape == (3, timestamps.shape[1], 4)
    np.testing.assert_allclose(timestamps[0], 50 * np.arange(timestamps.shape[1]), atol=1e-3)
    expected, _ = get_embedding(audio[2], 16000, model.embedder, hop_size=0.05)
    np.testing.assert_allclose(embeddings[2], expected, atol=1e-5)


def test_a_scene_is_the_mean_over_time(model, rng):
    audio = rng.normal(0, 0.1, (2, 32000)).astype(np.float32)
    embeddings, _ = hear.get_timestamp_embeddings(audio, model)
    np.testing.assert_allclose(hear.get_scene_embeddings(audio, model), embeddings.mean(axis=1), rtol=1e-6)


def test_a_tensor_gives_a_tensor(model, rng):
    tf = pytest.importorskip("tensorflow")
    scenes = hear.get_scene_embeddings(tf.constant(rng.normal(0, 0.1, (2, 32000)), tf.float32), model)
    assert isinstance(scenes, tf.Tensor)
    assert scenes.shape == (2, 4)


def test_audio_of_other_dimensions_is_refused(model):
    with pytest.raises(InputError, match=r"\[n_sounds, n_samples\], not \(4000,\)"):
        hear.get_scene_embeddings(np.zeros(4000), model)
