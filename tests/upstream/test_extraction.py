"""Extraction with a plugged teacher: its input, bad recordings, resumption, and a teacher that changes."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import soundfile

from l3embedding.data.recordings import by_sensor, list_recordings
from l3embedding.downstream.clips import embed_clips
from l3embedding.models.interface import PluggedTeacher
from l3embedding.settings import RecordingsSettings
from l3embedding.upstream import extraction
from l3embedding.upstream.extraction import extract_sensors

SETTINGS = RecordingsSettings(audio_rate=1000, validate_fraction=0.5, per_shard=4)


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
def test_a_teacher_receives_the_students_second_and_nothing_else(tmp_path, sensors, frame_length, last):
    extract_sensors(sensors, PluggedTeacher(Ends(frame_length), "ends"), SETTINGS, tmp_path / "out", 0)
    for path in _shards(tmp_path / "out"):
        with h5py.File(path) as shard:
            audio, embedded = shard["audio"][:] / 32768, shard["l3_embedding"][:]
        assert len(embedded) == 5
        np.testing.assert_allclose(embedded[:, 0], audio[:, :frame_length].sum(axis=1) / frame_length, atol=1e-4)
        np.testing.assert_allclose(embedded[:, 1], audio[:, 0], atol=1e-4)
        np.testing.assert_allclose(embedded[:, 2], 0 if last is None else audio[:, last], atol=1e-4)


@pytest.mark.parametrize("frame_length", [960, 1500])
def test_clips_and_recordings_are_embedded_alike(tmp_path, sensors, frame_length):
    teacher = PluggedTeacher(Ends(frame_length), "ends")
    extract_sensors(sensors, teacher, SETTINGS, tmp_path / "out", 0)
    embed_clips([each.path for each in sensors["quay"]], teacher, tmp_path / "clips", 0.5)
    for path in _shards(tmp_path / "out"):
        with h5py.File(path) as shard:
            (clip,) = shard["recording_path"].asstr()
            expected = shard["l3_embedding"][:]
        name = clip.rpartition("/")[2].replace(".wav", ".npz")
        np.testing.assert_allclose(np.load(tmp_path / "clips" / name)["embedding"], expected, atol=1e-6)


def test_shards_of_a_teacher_that_has_changed_are_replaced(tmp_path, sensors, caplog):
    extract_sensors(sensors, PluggedTeacher(Ends(1000), "ends"), SETTINGS, tmp_path / "out", 0)
    before = {path: path.stat().st_mtime_ns for path in _shards(tmp_path / "out")}
    extract_sensors(sensors, PluggedTeacher(Ends(1000), "ends"), SETTINGS, tmp_path / "out", 0)
    assert before == {path: path.stat().st_mtime_ns for path in _shards(tmp_path / "out")}
    extract_sensors(sensors, PluggedTeacher(Ends(1000, gain=2), "ends"), SETTINGS, tmp_path / "out", 0)
    assert "another version of the teacher" in caplog.text
    assert all(path.stat().st_mtime_ns > mtime for path, mtime in before.items())


@pytest.fixture
def many(tmp_path, rng):
    """A sensor with eight recordings, of which the fifth holds NaN: a header does not show that."""
    folder = tmp_path / "audio" / "quay"
    folder.mkdir(parents=True)
    for name in "abcdefgh":
        audio = rng.uniform(-0.5, 0.5, 2000)
        if name == "e":
            audio[700] = np.nan
        soundfile.write(folder / f"{name}.wav", audio, 1000, subtype="FLOAT")
    return by_sensor(list_recordings(tmp_path / "audio"))


def _content(folder):
    content = {}
    for path in _shards(folder):
        with h5py.File(path) as shard:
            content[path.relative_to(folder)] = {name: repr(shard[name][()].tolist()) for name in shard}
    return content


@pytest.fixture
def decoded(monkeypatch):
    """The recordings that have been decoded, in order of completion."""
    names, read = [], extraction.read_audio

    def counting(path):
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(extraction, "read_audio", counting)
    return names


def test_each_recording_is_decoded_once(tmp_path, many, decoded):
    extract_sensors(many, PluggedTeacher(Ends(1000), "ends"), SETTINGS, tmp_path / "out", 0)
    assert sorted(decoded) == [f"{name}.wav" for name in "abcdefgh"]


def test_a_recording_that_proves_bad_when_decoded_leaves_only_its_own_frames_out(tmp_path, many):
    teacher = PluggedTeacher(Ends(1000), "ends")
    (skipped,) = extract_sensors(many, teacher, SETTINGS, tmp_path / "out", 0)
    assert skipped["recording"].endswith("e.wav")
    assert "not a finite number (the first at sample 700)" in skipped["reason"]
    used = []
    for path in _shards(tmp_path / "out"):
        with h5py.File(path) as shard:
            names = shard["recording_path"].asstr()[:]
            assert shard["recording"][:].tolist() == np.repeat(np.arange(len(names)), 3).tolist()
            assert len(shard["audio"]) == len(shard["l3_embedding"]) == len(shard["spl"]) == 3 * len(names)
            np.testing.assert_allclose(shard["l3_embedding"][:, 1], shard["audio"][:, 0] / 32768, atol=1e-4)
            used += [name.rpartition("/")[2] for name in names]
    assert sorted(used) == [f"{name}.wav" for name in "abcdfgh"]


def test_skipped_recordings_and_shards_survive_an_interruption(tmp_path, many, decoded, monkeypatch):
    """It is killed after the first shard; the second run ends with the same files and the same list."""
    teacher = PluggedTeacher(Ends(1000), "ends")
    settings = SETTINGS.model_copy(update={"per_shard": 2})
    expected = extract_sensors(many, teacher, settings, tmp_path / "undisturbed", 0)
    write = extraction.write_upstream_shard

    def killed(path, *arguments):
        if len(_shards(tmp_path / "out")) == 2:
            raise KeyboardInterrupt
        write(path, *arguments)

    monkeypatch.setattr(extraction, "write_upstream_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        extract_sensors(many, teacher, settings, tmp_path / "out", 0)
    monkeypatch.setattr(extraction, "write_upstream_shard", write)
    finished = {name for path in _shards(tmp_path / "out") for name in _names(path)}
    decoded.clear()
    for _ in range(2):
        assert extract_sensors(many, teacher, settings, tmp_path / "out", 0) == expected
    assert finished
    assert finished.isdisjoint(decoded)
    assert _content(tmp_path / "out") == _content(tmp_path / "undisturbed")


def _names(path):
    with h5py.File(path) as shard:
        return [name.rpartition("/")[2] for name in shard["recording_path"].asstr()]


def test_a_shard_without_a_usable_recording_is_not_written(tmp_path, many):
    settings = SETTINGS.model_copy(update={"per_shard": 1})
    for _ in range(2):
        (skipped,) = extract_sensors(many, PluggedTeacher(Ends(1000), "ends"), settings, tmp_path / "out", 0)
        assert skipped["recording"].endswith("e.wav")
        assert len(_shards(tmp_path / "out")) == 7


def test_the_split_stays_as_it_was_planned_when_a_file_is_repaired_in_between(tmp_path, many):
    """Else a resumed run would mix two splits of one sensor."""
    folder = tmp_path / "audio" / "quay"
    whole = (folder / "b.wav").read_bytes()
    (folder / "b.wav").write_bytes(b"")
    teacher = PluggedTeacher(Ends(1000), "ends")
    extract_sensors(many, teacher, SETTINGS, tmp_path / "out", 0)
    before = _content(tmp_path / "out")
    _shards(tmp_path / "out")[0].unlink()
    (folder / "b.wav").write_bytes(whole)
    skipped = extract_sensors(many, teacher, SETTINGS, tmp_path / "out", 0)
    assert [entry["recording"].rpartition("/")[2] for entry in skipped] == ["b.wav", "e.wav"]
    assert _content(tmp_path / "out") == before


def test_a_sensor_whose_validation_recordings_all_prove_bad_is_split_again(tmp_path, many):
    teacher, folder = PluggedTeacher(Ends(1000), "ends"), tmp_path / "audio" / "quay"
    settings = SETTINGS.model_copy(update={"validate_fraction": 0.1})
    extract_sensors(many, teacher, settings, tmp_path / "first", 0)
    (bad,) = _names(next((tmp_path / "first" / "validate").iterdir()))
    (folder / bad).write_bytes((folder / "e.wav").read_bytes())
    for _ in range(2):
        skipped = extract_sensors(many, teacher, settings, tmp_path / "out", 0)
        assert sorted(entry["recording"].rpartition("/")[2] for entry in skipped) == sorted([bad, "e.wav"])
        split = {name: path.parent.name for path in _shards(tmp_path / "out") for name in _names(path)}
        assert split.keys() == {f"{name}.wav" for name in "abcdefgh"} - {bad, "e.wav"}
        assert list(split.values()).count("validate") == 1
