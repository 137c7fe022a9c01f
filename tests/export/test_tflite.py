"""The student on a board."""

from __future__ import annotations

import numpy as np
import pytest

from l3embedding.export.tflite import arena_bytes, compare, convert, latency_ms, write_tflite
from l3embedding.models.frontend import student_representation
from l3embedding.models.model_files import write_representation
from l3embedding.models.networks import l3_audio_network
from l3embedding.models.teachers import KerasEmbeddingModel
from l3embedding.models.tflite import TFLiteEmbeddingModel
from l3embedding.settings import PAPER_STUDENTS


@pytest.fixture(scope="module")
def student():
    representation = student_representation()
    return KerasEmbeddingModel(
        "student", representation, l3_audio_network(representation.image_shape, (4, 8, 8, 16), "linear")
    )


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    tones = np.sin(2 * np.pi * rng.uniform(100, 3000, (64, 1)) * np.arange(8000) / 8000)
    return (tones + rng.normal(0, 0.1, tones.shape)).astype(np.float32)


def _load(path, content, representation):
    write_tflite(path, content)
    write_representation(path.with_suffix(".json"), representation)
    return TFLiteEmbeddingModel(path)


def test_the_float_model_is_the_network(student, frames, tmp_path):
    exported = _load(tmp_path / "float.tflite", convert(student.network), student.representation)
    np.testing.assert_allclose(exported.embed(frames[:8]), student.embed(frames[:8]), rtol=1e-3, atol=1e-3)


def test_the_8_bit_model_is_near_the_network_and_a_quarter_of_its_size(student, frames, tmp_path):
    floats = convert(student.network)
    content = convert(student.network, student.images(frames))
    exported = _load(tmp_path / "int8.tflite", content, student.representation)
    assert compare(exported.embed(frames), student.embed(frames)).mean_cosine > 0.98
    assert len(content) < len(floats)
    assert latency_ms(tmp_path / "int8.tflite") > 0


def test_input_and_output_of_the_8_bit_model_are_int8(student, frames, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=convert(student.network, student.images(frames)))
    assert interpreter.get_input_details()[0]["dtype"] == np.int8
    assert interpreter.get_output_details()[0]["dtype"] == np.int8


def test_student_2_fits_the_papers_board(frames):
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed, so there is no arena to measure")
    representation = student_representation()
    network = l3_audio_network(representation.image_shape, PAPER_STUDENTS[128], "relu")
    images = KerasEmbeddingModel("x", representation, network).images(frames)
    content = convert(network, images)
    # 605,088 bytes and an arena of 214,256 were measured independently for this network.
    assert len(content) == pytest.approx(605_088, rel=0.01)
    assert arena_bytes(content) == pytest.approx(214_256, rel=0.02)


def test_equal_embeddings_have_no_error(rng):
    embedding = rng.normal(size=(10, 4)).astype(np.float32)
    same = compare(embedding, embedding)
    assert same.relative_l2_error == 0
    assert same.mean_cosine == pytest.approx(1)
