"""Extraction with a teacher of one's own: what it hears, and what becomes of its shards when it changes."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import soundfile

from l3embedding.data.recordings import by_sensor, list_recordings
from l3embedding.downstream.clips import embed_clips
from l3embedding.models.plugged import PluggedTeacher
from l3embedding.upstream.extraction import ExtractionSettings, extract_sensors

SETTINGS = ExtractionSettings(0.5, 1000, 0.5, 4, "Europe/Rome", 0)


class Ends:
    """The mean, the first and the last sample of a frame."""

    sample_rate, embedding_size = 1000, 3

    def __init__(self, frame_length, gain=1.0):
        self.frame_length, self.gain = frame_length, gain

    def embed(self, frames):
        return self.gain * np.stack([frames.mean(axis=1), frames[:, 0], frames[:, -1]], axis=1)


@pytest.fixture
def sensors(tmp_path, rng):
    (tmp_path / "audio" / "quay").mkdir(parents=True)
    for name in "ab":
        soundfile.write(
            tmp_path / "audio" / "quay" / f"{name}.wav", rng.uniform(-0.5, 0.5, 3000), 1000, subtype="FLOAT"
        )
    return by_sensor(list_recordings(tmp_path / "audio"))


def _shards(folder):
    return sorted(folder.glob("*/*.h5"))


@pytest.mark.parametrize(("frame_length", "last"), [(960, 959), (1000, 999), (1500, None)])
def test_a_teacher_hears_the_students_second_and_nothing_else(tmp_path, sensors, frame_length, last):
    extract_sensors(sensors, PluggedTeacher(Ends(frame_length), "ends"), SETTINGS, tmp_path / "out")
    for path in _shards(tmp_path / "out"):
        with h5py.File(path) as shard:
            audio, heard = shard["audio"][:] / 32768, shard["l3_embedding"][:]
        assert len(heard) == 5
        np.testing.assert_allclose(heard[:, 0], audio[:, :frame_length].sum(axis=1) / frame_length, atol=1e-4)
        np.testing.assert_allclose(heard[:, 1], audio[:, 0], atol=1e-4)
        np.testing.assert_allclose(heard[:, 2], 0 if last is None else audio[:, last], atol=1e-4)


@pytest.mark.parametrize("frame_length", [960, 1500])
def test_clips_are_heard_as_the_recordings_were(tmp_path, sensors, frame_length):
    teacher = PluggedTeacher(Ends(frame_length), "ends")
    extract_sensors(sensors, teacher, SETTINGS, tmp_path / "out")
    embed_clips([each.path for each in sensors["quay"]], teacher, tmp_path / "clips", 0.5)
    for path in _shards(tmp_path / "out"):
        with h5py.File(path) as shard:
            (clip,) = shard["recording_path"].asstr()
            expected = shard["l3_embedding"][:]
        name = clip.rpartition("/")[2].replace(".wav", ".npz")
        np.testing.assert_allclose(np.load(tmp_path / "clips" / name)["embedding"], expected, atol=1e-6)


def test_shards_of_a_teacher_that_has_changed_are_made_again(tmp_path, sensors, caplog):
    extract_sensors(sensors, PluggedTeacher(Ends(1000), "ends"), SETTINGS, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in _shards(tmp_path / "out")}
    extract_sensors(sensors, PluggedTeacher(Ends(1000), "ends"), SETTINGS, tmp_path / "out")
    assert before == {path: path.stat().st_mtime_ns for path in _shards(tmp_path / "out")}
    extract_sensors(sensors, PluggedTeacher(Ends(1000, gain=2), "ends"), SETTINGS, tmp_path / "out")
    assert "another version of the teacher" in caplog.text
    assert all(path.stat().st_mtime_ns > mtime for path, mtime in before.items())
