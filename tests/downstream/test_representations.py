"""The registry of representations, and a student that is checked against the settings."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import soundfile

from l3embedding.data.clip_embeddings import embedding_path, read_embedding
from l3embedding.downstream.representations import EMBEDDERS, Request, embed_by
from l3embedding.embedding import BEST_MODEL
from l3embedding.models.frontend import student_representation
from l3embedding.models.networks import embedding_model, l3_audio_network
from l3embedding.settings import REPRESENTATIONS, Experiment, ReductionSettings, StudentSettings, TeacherSettings
from l3embedding.utils.errors import InputError
from tests.support.settings import values_of


@pytest.fixture
def clips(tmp_path, rng):
    paths = [tmp_path / name for name in ("a.wav", "b.wav")]
    for path in paths:
        soundfile.write(path, 0.1 * rng.normal(size=12_000), 8000)
    return paths


def _request(clips, **changes) -> Request:
    settings = {"reduction": ReductionSettings(), "teacher": TeacherSettings(), "student": StudentSettings()}
    usual = {"clips": clips, "folder": clips[0].parent / "out", "inputs": {}, "hop_size": 0.25, "random_state": 0}
    return Request(**usual | settings | changes)


def test_each_value_of_the_settings_is_implemented_and_no_other(clips):
    assert set(EMBEDDERS) == set(REPRESENTATIONS) == values_of(Experiment, "representations")
    with pytest.raises(InputError, match="representation 'vggish' is not one of teacher, reduced, student"):
        embed_by("vggish", _request(clips))


@pytest.mark.parametrize(
    ("representation", "flag"), [("reduced", "features"), ("student", "model"), ("student-int8", "model")]
)
def test_a_missing_input_is_named(clips, representation, flag):
    with pytest.raises(InputError, match=f"--{flag} is missing; representation {representation} needs it"):
        embed_by(representation, _request(clips))


def test_the_images_of_the_cnn_overlap_by_half_at_most_and_follow_the_students_settings(clips):
    settings = StudentSettings(num_mels=16, hop_len=400)
    results = embed_by("logmel-cnn", _request(clips, student=settings))
    assert (results["clips"], results["embedding_size"]) == (2, 16 * 20)
    images, timestamps = read_embedding(embedding_path(clips[0].parent / "out", "a"))
    assert (images.shape, images.dtype) == ((2, 16, 20, 1), np.float16)
    assert timestamps.tolist() == [0, 0.5]


def test_a_student_whose_input_contradicts_the_settings_is_an_error(clips, tmp_path):
    representation = student_representation(StudentSettings(num_mels=16, hop_len=400))
    keras.utils.set_random_seed(0)
    network = l3_audio_network(representation.image_shape, (2, 2, 2, 4), "linear")
    embedding_model(representation, network).save(tmp_path / BEST_MODEL)
    for matching in (StudentSettings(), StudentSettings(num_mels=16, asr=8000)):
        results = embed_by("student", _request(clips, inputs={"model": tmp_path}, student=matching))
        assert (results["clips"], results["embedding_size"]) == (2, 4)
    with pytest.raises(InputError, match="expects num_mels 16, but student.num_mels is 64"):
        embed_by("student", _request(clips, inputs={"model": tmp_path}, student=StudentSettings(num_mels=64)))
