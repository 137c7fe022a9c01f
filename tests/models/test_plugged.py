"""A teacher of your own: what it must provide, what is filled in, what is refused."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from l3embedding.embedding import embed_stream, get_embedding, load_model
from l3embedding.models.interface import EmbeddingModel, PluggedTeacher, in_seconds
from l3embedding.utils.errors import InputError


class Loudness:
    """Root mean squares of three parts of a frame of 0.96 s: a teacher with no more than is required."""

    sample_rate, frame_length, embedding_size = 1000, 960, 3
    gain = 1.0

    def embed(self, frames):
        return self.gain * np.sqrt((frames.reshape(len(frames), 3, -1) ** 2).mean(axis=2))


@pytest.fixture
def frames(rng):
    return rng.normal(0, 0.1, (5, 960)).astype(np.float32)


def test_the_required_attributes_make_an_embedding_model(frames):
    model = PluggedTeacher(Loudness(), "loudness", batch_size=2)
    assert isinstance(model, EmbeddingModel)
    assert (model.name, model.licence, model.size_mb, model.is_stand_in) == ("loudness", "unknown", None, False)
    np.testing.assert_allclose(model.embed(frames), Loudness().embed(frames), rtol=1e-6)
    assert model.embed(frames).dtype == np.float32


def test_a_changed_teacher_is_noticed_and_rounding_is_not():
    one, same, other = (Loudness() for _ in range(3))
    same.gain, other.gain = 1 + 1e-6, 1.1
    hashes = [PluggedTeacher(each, "x").weights_sha256 for each in (one, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_rate": 0}, "sample_rate is 0, not a positive whole number"),
        ({"frame_length": None}, "frame_length is None"),
        ({"embed": None}, "has no method embed"),
        ({"embed": lambda frames: frames[:, :2]}, r"array of \(2, 2\) for frames of \(2, 960\), not \(2, 3\)"),
        ({"embed": lambda frames: np.full((len(frames), 3), np.nan)}, "is not finite"),
        ({"embed": lambda frames: np.full((len(frames), 3), "a")}, "not of numbers"),
        ({"embed": lambda frames: np.random.default_rng().random((len(frames), 3))}, "in training mode"),
    ],
)
def test_an_invalid_teacher_is_refused_before_work_begins(changes, message):
    teacher = SimpleNamespace(sample_rate=1000, frame_length=960, embedding_size=3, embed=Loudness().embed)
    with pytest.raises(InputError, match=message):
        PluggedTeacher(SimpleNamespace(**(vars(teacher) | changes)), "mine")


def test_a_teacher_is_imported_by_its_name(tmp_path, monkeypatch, frames):
    (tmp_path / "own_teacher.py").write_text(
        "from tests.models.test_plugged import Loudness\nload = Loudness\nnumber = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = load_model("own_teacher:load")
    assert model.name == "own_teacher:load"
    np.testing.assert_allclose(model.embed(frames), Loudness().embed(frames), rtol=1e-6)
    with pytest.raises(InputError, match="own_teacher.py has no callable 'number'"):
        load_model("own_teacher:number")
    with pytest.raises(InputError, match="No module named 'nowhere'. Put the folder of its module on PYTHONPATH"):
        load_model("nowhere:load")
    with pytest.raises(InputError, match="embeds in 3 dimensions, not 512"):
        load_model("own_teacher:load", embedding_size=512)
    sys.modules.pop("own_teacher")


@pytest.mark.parametrize("length", [960, 1000, 1500])
def test_in_seconds_a_teacher_gets_the_beginning_or_the_second_and_silence(length, rng):
    class Raw:
        sample_rate, frame_length, embedding_size = 1000, length, length

        def embed(self, frames):
            return frames

    seconds = rng.normal(0, 0.1, (2, 1000)).astype(np.float32)
    model = in_seconds(PluggedTeacher(Raw(), "raw"))
    assert model.frame_length == 1000 and model.name == "raw"
    embedded = model.embed(seconds)
    np.testing.assert_array_equal(embedded[:, : min(length, 1000)], seconds[:, : min(length, 1000)])
    assert embedded.shape == (2, length)
    assert not embedded[:, 1000:].any()


def test_a_teacher_embeds_a_recording_as_any_model_does(rng):
    audio = rng.normal(0, 0.1, 5000)
    embedding, timestamps = get_embedding(audio, 1000, Loudness(), hop_size=0.5, center=False)
    np.testing.assert_allclose(embedding[1], Loudness().embed(audio[np.newaxis, 500:1460])[0], rtol=1e-5)
    np.testing.assert_allclose(timestamps, 0.5 * np.arange(len(timestamps)))


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_a_stream_fills_the_batches_and_returns_each_recordings_embeddings(batch_size, rng):
    sizes = []

    class Counting(Loudness):
        def embed(self, frames):
            sizes.append(len(frames))
            return super().embed(frames)

    model = PluggedTeacher(Counting(), "counting", batch_size)
    sizes.clear()
    counts = {"a": 1, "b": 7, "c": 2, "d": 1, "e": 4}
    recordings = [(name, rng.normal(0, 0.1, (n, 960)).astype(np.float32)) for name, n in counts.items()]
    streamed = dict(embed_stream(iter(recordings), model))
    assert list(streamed) == list("abcde")
    for name, each in recordings:
        np.testing.assert_allclose(streamed[name], Loudness().embed(each), rtol=1e-5)
    assert len(sizes) == -(-15 // batch_size) and set(sizes[:-1]) <= {batch_size}
