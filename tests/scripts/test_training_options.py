"""Stage 03 by itself: what training can start from, and students of other shapes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from l3embedding.embedding import load_model
from tests.conftest import REPOSITORY

NAME = "03-train-approx-embedding"


def _train(run: Path, output: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    words = ["--audio-dir", run / "00-extract-teacher-embeddings", "--embedding-dir", run / "02-fit-reduction"]
    words += ["--output-dir", output, "--distillation.batch-size", "4", *flags]
    command = [sys.executable, REPOSITORY / "scripts" / f"{NAME.replace('-', '_')}.py", *words]
    return subprocess.run(list(map(str, command)), cwd=REPOSITORY, capture_output=True, text=True, timeout=300)


def _history(folder: Path) -> pd.DataFrame:
    results = ["epoch", "train_loss", "valid_loss", "valid_mae", "learning_rate"]
    return pd.read_csv(folder / "history.csv")[results]


def _kernels(folder: Path) -> list[np.ndarray]:
    return [array for array in load_model(folder).network.get_weights() if array.ndim == 4]


def test_a_finished_training_is_continued_in_another_folder(undisturbed, tmp_path):
    earlier = undisturbed[0] / NAME
    flags = ("--continue-from", str(earlier), "--student.filters", "2", "2", "4", "8", "--distillation.epochs", "6")
    ended = _train(undisturbed[0], tmp_path / "more", *flags)
    assert ended.returncode == 0, ended.stderr
    assert "resuming after epoch 4" in ended.stderr
    pd.testing.assert_frame_equal(_history(tmp_path / "more")[:4], _history(earlier), check_exact=True)
    assert len(_history(tmp_path / "more")) == 6
    ended = _train(undisturbed[0], tmp_path / "other", *flags, "--distillation.loss", "cosine")
    assert ended.returncode == 2
    assert "was trained with distillation.loss mse" in ended.stderr


def test_a_student_starts_from_the_weights_of_another_of_its_shape_only(undisturbed, tmp_path):
    earlier = undisturbed[0] / NAME
    flags = ("--distillation.initial-student", str(earlier), "--epochs", "1", "--learning-rate", "1e-6")
    ended = _train(undisturbed[0], tmp_path / "near", *flags, "--student.filters", "2", "2", "4", "8")
    assert ended.returncode == 0, ended.stderr
    for near, start in zip(_kernels(tmp_path / "near"), _kernels(earlier), strict=True):
        np.testing.assert_allclose(near, start, atol=1e-4)
    ended = _train(undisturbed[0], tmp_path / "far", *flags, "--student.filters", "2", "2", "3", "8")
    assert ended.returncode == 2
    assert "has another shape: block_3_conv_1" in ended.stderr


def test_a_student_of_any_shape_is_trained_and_loaded(undisturbed, tmp_path):
    representation = ("--asr", "4000", "--num-mels", "20", "--num-dft", "256", "--hop-len", "100", "--fmax", "1800")
    how = ("--loss", "relational", "--precision", "mixed_bfloat16", "--epochs", "1")
    ended = _train(undisturbed[0], tmp_path, "--student.filters", "3", "5", "8", *representation, *how)
    assert ended.returncode == 0, ended.stderr
    student = load_model(tmp_path)
    assert (student.sample_rate, student.embedding_size) == (4000, 8)
    assert student.representation.fmax == 1800


def test_without_a_dimension_it_is_that_of_the_targets(undisturbed, tmp_path):
    size = load_model(undisturbed[0] / NAME).embedding_size
    ended = _train(undisturbed[0], tmp_path / "any", "--epochs", "1")
    assert ended.returncode == 2
    assert f"student.dim: {size} is none of the paper's" in ended.stderr
    ended = _train(undisturbed[0], tmp_path / "other", "--student.filters", "2", "2", "4", "9", "--student.dim", "9")
    assert ended.returncode == 2
    assert f"have {size} dimensions, not the student's 9" in ended.stderr


@pytest.mark.parametrize("stage", [NAME, "04-export-student"])
def test_the_folder_of_a_student_is_enough_elsewhere_and_has_a_card(undisturbed, tmp_path, rng, stage):
    shutil.copytree(undisturbed[0] / stage, tmp_path / "student")
    frames = rng.normal(0, 0.1, (2, 8000)).astype(np.float32)
    np.testing.assert_array_equal(
        load_model(tmp_path / "student").embed(frames), load_model(undisturbed[0] / stage).embed(frames)
    )
    card = (tmp_path / "student" / "README.md").read_text()
    results = json.loads((undisturbed[0] / NAME / "done.json").read_text())["results"]
    assert "8 recordings of 2 sensors" in card and results["embedding_key"] in card
    assert str(results["best_valid_mse"]) in card
    assert "**STAND-IN teacher**" in card and "**SYNTHETIC audio**" in card
