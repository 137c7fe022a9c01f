"""Stage 00 on a folder that a field trip left behind."""

from __future__ import annotations

import importlib.util
import json

import h5py
import numpy as np
import pytest
import soundfile

from l3embedding.jobs.stages import STAGES


def _program(stage):
    spec = importlib.util.spec_from_file_location(stage.replace("-", "_"), STAGES[stage].program)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _extract(audio_root, output_dir, *flags):
    from l3embedding.cli.program import run_stage

    stage = "00-extract-teacher-embeddings"
    argv = ["--audio-root", audio_root, "--output-dir", output_dir, "--teacher.stand-in", *flags]
    program = _program(stage)
    return run_stage(stage, program.extract, program.gather, list(map(str, argv)))


@pytest.fixture
def field_trip(tmp_path, rng):
    root = tmp_path / "audio"
    for sensor, count in (("park", 4), ("lonely", 1)):
        (root / sensor).mkdir(parents=True)
        for index in range(count):
            soundfile.write(root / sensor / f"{index}.wav", rng.normal(0, 0.1, 36000), 16000)
    soundfile.write(root / "park" / "stereo.flac", rng.normal(0, 0.1, (44100, 2)), 44100)
    soundfile.write(root / "park" / "blink.wav", rng.normal(0, 0.1, 500), 16000)
    soundfile.write(root / "park" / "empty.wav", np.zeros(0), 16000)
    (root / "park" / "zero.wav").touch()
    (root / "park" / "notes.ogg").write_text("not audio")
    soundfile.write(root / "park" / "nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    content = (root / "park" / "0.wav").read_bytes()
    (root / "park" / "cut.wav").write_bytes(content[:30000])
    return root


def test_bad_recordings_are_skipped_and_reported_and_the_good_ones_are_used(field_trip, tmp_path, caplog):
    assert _extract(field_trip, tmp_path / "out") == 0
    results = json.loads((tmp_path / "out" / "done.json").read_text())["results"]
    skipped = {entry["recording"].rsplit("/", 1)[1]: entry["reason"] for entry in results["skipped"]}
    assert set(skipped) == {"empty.wav", "zero.wav", "notes.ogg", "nan.wav", "cut.wav"}
    assert "no samples" in skipped["empty.wav"]
    assert "truncated" in skipped["cut.wav"]
    assert results["recordings"] == 7
    assert "lonely: too few usable recordings to validate on (1)" in caplog.text
    assert "blink.wav is shorter than a frame" in caplog.text
    used = []
    for path in (tmp_path / "out").rglob("*.h5"):
        with h5py.File(path) as file:
            assert np.isfinite(file["l3_embedding"][:]).all()
            used += [name.rsplit("/", 1)[1] for name in file["recording_path"].asstr()]
    assert sorted(used) == ["0.wav", "0.wav", "1.wav", "2.wav", "3.wav", "blink.wav", "stereo.flac"]


def test_a_folder_without_a_usable_recording_is_refused(tmp_path, capsys):
    (tmp_path / "audio" / "s").mkdir(parents=True)
    (tmp_path / "audio" / "s" / "x.wav").touch()
    assert _extract(tmp_path / "audio", tmp_path / "out") == 2
    assert "No usable recording is left to train on (1 were skipped)" in capsys.readouterr().err
    assert not (tmp_path / "out" / "done.json").exists()


def test_an_excluded_sensor_is_left_out(field_trip, tmp_path, capsys):
    assert _extract(field_trip, tmp_path / "out", "--recordings.exclude-sensor", "lonely") == 0
    assert not list((tmp_path / "out").rglob("lonely*"))
    assert _extract(field_trip, tmp_path / "other", "--recordings.exclude-sensor", "nobody") == 2
    assert "'nobody' is not among lonely, park" in capsys.readouterr().err


def test_a_weights_file_of_another_network_is_refused(field_trip, tmp_path, capsys, shared):
    wrong = tmp_path / "openl3_audio_mel256_env.h5.gz"
    wrong.write_bytes((shared / "sea64" / "edgel3_sea_ust_audio_emb_64.h5.gz").read_bytes())
    assert _extract(field_trip, tmp_path / "out", "--teacher.name", wrong) == 2
    assert "belongs to another network" in capsys.readouterr().err
