"""Measured levels, duplicates, and the authors' own files on their way into the chain."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import soundfile

from l3embedding.cli.program import run_stage
from l3embedding.data.loudness import relevance
from l3embedding.jobs.stages import STAGES
from tests.conftest import REPOSITORY


def _run(stage, *flags):
    spec = importlib.util.spec_from_file_location("program", STAGES[stage].program)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    names = {"00-extract-teacher-embeddings": "extract", "01-sample-teacher-embeddings": "sample"}
    work = getattr(program, names.get(stage, "reduce"))
    return run_stage(stage, work, getattr(program, "gather", None), [str(flag) for flag in flags])


@pytest.fixture
def park(tmp_path, rng):
    """A sensor with four recordings of two seconds, a minute apart, and a sound level meter."""
    folder = tmp_path / "audio" / "park"
    folder.mkdir(parents=True)
    for minute in range(4):
        soundfile.write(folder / f"{1_500_000_000 + 60 * minute}.wav", rng.normal(0, 0.1, 16000), 8000)
    times = 1_500_000_000 + 0.125 * np.arange(8 * 150)
    (tmp_path / "spl").mkdir()
    pd.DataFrame({"timestamp": times, "spl": 50 + np.arange(len(times)) % 7}).to_csv(tmp_path / "spl" / "park.csv")
    return tmp_path


def _extract(folder, *flags):
    return _run(
        "00-extract-teacher-embeddings",
        *("--audio-root", folder / "audio", "--output-dir", folder / "out", "--teacher.stand-in", *flags),
    )


def test_measured_levels_replace_the_audios_and_recordings_in_their_gaps_are_skipped(park):
    assert _extract(park, "--spl-root", park / "spl") == 0
    results = json.loads((park / "out" / "done.json").read_text())["results"]
    # The meter ends after 150 s, before the fourth recording.
    (skipped,) = results["skipped"]
    assert "1500000180.wav" in skipped["recording"]
    assert "a gap at 3 of its 3 frames" in skipped["reason"]
    levels, times = [], []
    for path in sorted((park / "out").glob("*/*.h5")):
        with h5py.File(path) as shard:
            levels.append(shard["spl"][:])
            times.append(shard["timestamp"][:])
    levels, times = np.concatenate(levels), np.concatenate(times)
    tick = np.round((times - 1_500_000_000) / 0.125).astype(int)
    expected = np.mean([50 + (tick + offset) % 7 for offset in range(4)], axis=0)
    np.testing.assert_allclose(levels, expected, atol=0.0051)


def test_a_sensor_without_levels_is_refused_at_once(park, capsys):
    (park / "spl" / "park.csv").rename(park / "spl" / "other.csv")
    assert _extract(park, "--spl-root", park / "spl") == 2
    assert "has no levels of park" in capsys.readouterr().err


def test_a_recording_with_the_time_of_another_is_skipped_as_a_duplicate(park):
    folder = park / "audio" / "park"
    (folder / "1500000060-copy.wav").write_bytes((folder / "1500000060.wav").read_bytes())
    assert _extract(park) == 0
    (skipped,) = json.loads((park / "out" / "done.json").read_text())["results"]["skipped"]
    assert "a duplicate" in skipped["reason"]


def test_the_authors_files_can_be_sampled(tmp_path, rng):
    times = 1_500_000_000 + 0.5 * np.arange(200)
    for name in ("features", "index"):
        (tmp_path / name).mkdir()
    embedding = rng.normal(size=(200, 12)).astype(np.float32)
    level = rng.uniform(40, 80, 760)
    with h5py.File(tmp_path / "features" / "b8-27.h5", "w") as file:
        file["openl3"], file["timestamp"] = embedding, times
    with h5py.File(tmp_path / "index" / "b8-27.h5", "w") as file:
        file["spl_vector"], file["spl_timestamp"] = level, 1_500_000_000 + 0.125 * np.arange(760)
    command = [
        sys.executable,
        "-m",
        "l3embedding.cli.import_features",
        tmp_path / "features",
        tmp_path / "index",
        tmp_path / "out",
    ]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "10 of 200 frames have no level" in ended.stderr
    with h5py.File(tmp_path / "out" / "train" / "b8-27-0000.h5") as shard:
        np.testing.assert_array_equal(shard["l3_embedding"][:], embedding[:190])
        expected = np.round(level.reshape(-1, 4).mean(axis=1), 2).astype(np.float32)
        np.testing.assert_allclose(shard["spl"][:], expected, atol=1e-4)
        levels = shard["spl"][:]
    flags = ["--audio-dir", tmp_path / "out", "--output-dir", tmp_path / "sample", "--sample.size", 50]
    assert _run("01-sample-teacher-embeddings", *flags, "--recordings.time-zone", "America/New_York") == 0
    with h5py.File(tmp_path / "sample" / "b8-27.h5") as sample:
        ranks = relevance(levels, times[:190], "America/New_York")
        np.testing.assert_array_equal(sample["relevance"][:], ranks[sample["row"][:]])
    results = json.loads((tmp_path / "sample" / "done.json").read_text())["results"]
    assert results["n_sampled"] == 50
    assert results["diagnostics"]["b8-27"]["log_volume"].keys() == {"sample", "random_mean", "random_std"}


def test_a_sample_does_not_depend_on_how_many_tasks_draw_it(tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / "shards" / "train").mkdir(parents=True)
    for sensor in "abcd":
        with h5py.File(tmp_path / "shards" / "train" / f"{sensor}-0000.h5", "w") as file:
            file["l3_embedding"] = rng.normal(size=(80, 6)).astype(np.float32)
            file["timestamp"] = 1_500_000_000 + 3600.0 * np.arange(80)
            file["relevance"] = rng.uniform(0.1, 1, 80).astype(np.float32)
            file.attrs["sensor"] = sensor
    drawn: list[tuple] = []
    for num_tasks in (1, 3):
        out = tmp_path / f"of-{num_tasks}"
        for index in range(num_tasks):
            flags = ["--audio-dir", tmp_path / "shards", "--output-dir", out, "--sample.size", 40]
            assert _run("01-sample-teacher-embeddings", *flags, "--task-index", index, "--num-tasks", num_tasks) == 0
        results = json.loads((out / "done.json").read_text())["results"]
        rows = {}
        for sensor in "abcd":
            with h5py.File(out / f"{sensor}.h5") as file:
                rows[sensor] = file["row"][:].tolist()
        drawn.append((rows, results))
    assert drawn[0] == drawn[1]
    # Resumed, it draws only the missing sensor.
    out = tmp_path / "of-1"
    (out / "done.json").unlink()
    (out / "b.h5").unlink()
    kept = (out / "a.h5").stat().st_mtime_ns
    flags = ["--audio-dir", tmp_path / "shards", "--output-dir", out, "--sample.size", 40]
    assert _run("01-sample-teacher-embeddings", *flags) == 0
    assert (out / "a.h5").stat().st_mtime_ns == kept
    assert json.loads((out / "done.json").read_text())["results"] == drawn[0][1]
    with h5py.File(out / "b.h5") as file:
        assert file["row"][:].tolist() == drawn[0][0]["b"]
