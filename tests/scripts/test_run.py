"""`sea run`, from the street to the tables: skipped, resumed, killed and run again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import h5py
import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.scripts.conftest import SEA, TINY, figures, sea


def test_a_run_ends_with_the_papers_tables_and_the_place_of_the_report(undisturbed):
    folder, said = undisturbed
    assert "Table 1: models" in said
    assert "Table 2: sampling" in said
    assert f"Report: {folder / '07-report' / 'report.html'}" in said
    assert (folder / "07-report" / "report.html").is_file()


def test_the_stand_in_is_named_in_the_log_the_record_and_the_tables(undisturbed):
    folder, said = undisturbed
    assert "STAND-IN" in (folder / "logs" / "00-extract-teacher-embeddings.log").read_text()
    record = json.loads((folder / "00-extract-teacher-embeddings" / "done.json").read_text())
    assert record["results"]["is_stand_in"] is True
    assert "Not comparable with the paper: the teacher is a STAND-IN" in said


def test_a_second_run_does_nothing(undisturbed):
    folder, _ = undisturbed
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")}
    ended = sea("run", TINY, "--output-dir", folder)
    assert ended.returncode == 0
    assert "finished in" not in ended.stderr
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")}


def _lines(text):
    """Stage and the rest of each line of a table."""
    return {tuple(line.split()[:2]): line for line in text.splitlines()}


def test_plan_and_status_tell_what_is_done_and_what_a_change_would_cost_and_why(undisturbed):
    folder, _ = undisturbed
    assert "# 0 of 15 tasks to run" in sea("plan", TINY, "--output-dir", folder).stdout
    changed = _lines(sea("plan", TINY, "--output-dir", folder, "--set", "sample=random").stdout)
    assert ("00-extract-teacher-embeddings", "done") in changed
    assert "sample.method dpp -> random" in changed["01-sample-teacher-embeddings", "outdated"]
    assert "20 embeddings" in changed["01-sample-teacher-embeddings", "outdated"]
    assert "01-sample-teacher-embeddings comes first" in changed["02-fit-reduction", "outdated"]
    assert " done" in changed["06-train-classifier", "teacher"]
    assert " outdated" in changed["06-train-classifier", "student"]
    commands = sea("plan", TINY, "--output-dir", folder, "--set", "sample=random", "--commands").stdout
    assert "01_sample_teacher_embeddings.py --output-dir" in commands and "--sample.method random" in commands
    status = sea("status", TINY, "--output-dir", folder).stdout.splitlines()
    assert len(status) == 16
    assert all(" done " in line for line in status[1:])


def test_each_shard_says_which_teacher_made_it(undisturbed):
    folder, _ = undisturbed
    shards = list((folder / "00-extract-teacher-embeddings").rglob("*.h5"))
    assert shards
    for path in shards:
        with h5py.File(path) as file:
            assert "stand-in" in file.attrs["teacher"]
            assert file["audio"].dtype == np.int16
            assert file["audio"].shape == (len(file["l3_embedding"]), file.attrs["sample_rate"])
            assert np.isfinite(file["spl"][:]).all()


def test_no_recording_lies_on_both_sides_of_the_split(undisturbed):
    folder, _ = undisturbed
    recordings = {}
    for split in ("train", "validate"):
        recordings[split] = set()
        for path in (folder / "00-extract-teacher-embeddings" / split).glob("*.h5"):
            with h5py.File(path) as file:
                recordings[split] |= set(file["recording_path"].asstr())
    assert recordings["train"] and recordings["validate"]
    assert not recordings["train"] & recordings["validate"]


def test_a_run_killed_at_random_moments_ends_with_the_tables_of_an_undisturbed_one(undisturbed, tmp_path):
    rng = np.random.default_rng(int.from_bytes(os.urandom(4)))
    for delay in rng.uniform(3, 20, 3):
        process = subprocess.Popen(
            [*SEA, "run", str(TINY), "--output-dir", str(tmp_path / "run")],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    ended = sea("run", TINY, "--output-dir", tmp_path / "run")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert figures(tmp_path / "run") == figures(undisturbed[0])
    assert not list((tmp_path / "run").rglob(".partial-*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml cannot be read: No such file"),
        (["run", TINY, "--set", "sample.metod=dpp"], "did you mean sample.method?"),
        (["run", TINY, "--set", "sampling=dpp"], "it is now sample.method"),
        (
            ["run", TINY, "--set", "street=false", "--set", "recordings=/nowhere", "--set", "dataset.root=/x"],
            "recordings.root: /nowhere does not exist.\ndataset.root: /x does not exist.",
        ),
        (["run", TINY, "--output-dir", "/proc/nothing"], "/proc/nothing cannot be created"),
        (["run", TINY, "--from", "9"], "'9' is not a stage; they are 00-extract-teacher-embeddings"),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_status_2(arguments, said):
    ended = sea(*arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_stage_refuses_what_an_earlier_one_left_unfinished(undisturbed, tmp_path):
    ended = sea("run", TINY, "--output-dir", tmp_path / "run", "--until", "0", "--set", "street.sensors=1")
    assert ended.returncode == 0, ended.stderr
    (tmp_path / "run" / "00-extract-teacher-embeddings" / "done.json").unlink()
    ended = sea("run", TINY, "--output-dir", tmp_path / "run", "--from", "1", "--set", "street.sensors=1")
    assert ended.returncode == 1
    assert "unfinished" in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["reduction.kernel=rbf", "sample={kernel: paper, draw: mcmc}"], "pca_ndata=20_emb=8_kernel=rbf"),
        (["reduction={mode: umap, n_neighbors: 5}"], "umap_ndata=20_emb=8_k=5_metric=euclidean_dist=0.1"),
    ],
)
def test_other_reductions_go_through_the_chain(undisturbed, tmp_path, settings, key):
    shutil.copytree(undisturbed[0], tmp_path / "run")
    words = [
        word for each in (*settings, "representations=[student]", "report.tsne_points=12") for word in ("--set", each)
    ]
    ended = sea("run", TINY, "--output-dir", tmp_path / "run", "--until", "2", *words)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    record = json.loads((tmp_path / "run" / "02-fit-reduction" / "done.json").read_text())
    assert record["results"]["embedding_key"] == key
    (shard, *_) = (tmp_path / "run" / "02-fit-reduction" / "train").glob("*.h5")
    with h5py.File(shard) as file:
        assert file[key].shape[1] == 8
    ended = sea("run", TINY, "--output-dir", tmp_path / "run", "--from", "7", *words)
    page = (tmp_path / "run" / "07-report" / "report.html").read_text()
    assert "by t-SNE: a picture" in page
    assert "Sampling: volume of the sample" in page
