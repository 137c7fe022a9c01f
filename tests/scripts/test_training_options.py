"""Stage 03 by itself: where training may start from, and students of other shapes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from l3embedding.embedding import load_model
from tests.conftest import REPOSITORY

NAME = "03-train-approx-embedding"


def _train(run: Path, output: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    words = ["--audio-dir", run / "00-extract-teacher-embeddings", "--embedding-dir", run / "02-fit-reduction"]
    words += ["--output-dir", output, "--student", "8", "--batch-size", "4", *flags]
    command = [sys.executable, REPOSITORY / "scripts" / f"{NAME.replace('-', '_')}.py", *words]
    return subprocess.run(list(map(str, command)), cwd=REPOSITORY, capture_output=True, text=True, timeout=300)


def _history(folder: Path) -> pd.DataFrame:
    results = ["epoch", "train_loss", "valid_loss", "valid_mae", "learning_rate"]
    return pd.read_csv(folder / "history.csv")[results]


def _kernels(folder: Path) -> list[np.ndarray]:
    return [array for array in load_model(folder).network.get_weights() if array.ndim == 4]


def test_a_finished_training_goes_on_in_another_folder(undisturbed, tmp_path):
    earlier = undisturbed[0] / NAME
    flags = ("--continue-from", str(earlier), "--student-filters", "2", "2", "4", "8", "--num-epochs", "6")
    ended = _train(undisturbed[0], tmp_path / "more", *flags)
    assert ended.returncode == 0, ended.stderr
    assert "taking up after epoch 4" in ended.stderr
    pd.testing.assert_frame_equal(_history(tmp_path / "more")[:4], _history(earlier), check_exact=True)
    assert len(_history(tmp_path / "more")) == 6
    ended = _train(undisturbed[0], tmp_path / "other", *flags, "--distillation-loss", "cosine")
    assert ended.returncode == 2
    assert "was trained by distillation_loss mse" in ended.stderr


def test_a_student_starts_from_anothers_weights_of_its_shape_alone(undisturbed, tmp_path):
    earlier = undisturbed[0] / NAME
    flags = ("--initial-student", str(earlier), "--num-epochs", "1", "--learning-rate", "1e-6")
    ended = _train(undisturbed[0], tmp_path / "near", *flags, "--student-filters", "2", "2", "4", "8")
    assert ended.returncode == 0, ended.stderr
    for near, start in zip(_kernels(tmp_path / "near"), _kernels(earlier), strict=True):
        np.testing.assert_allclose(near, start, atol=1e-4)
    ended = _train(undisturbed[0], tmp_path / "far", *flags, "--student-filters", "2", "2", "3", "8")
    assert ended.returncode == 2
    assert "is of another shape: block_3_conv_1" in ended.stderr


def test_a_student_of_any_shape_is_trained_and_loaded(undisturbed, tmp_path):
    hears = ("--asr", "4000", "--num-mels", "20", "--num-dft", "256", "--hop-len", "100", "--fmax", "1800")
    how = ("--distillation-loss", "relational", "--precision", "mixed_bfloat16", "--num-epochs", "1")
    ended = _train(undisturbed[0], tmp_path, "--student-filters", "3", "5", "8", *hears, *how)
    assert ended.returncode == 0, ended.stderr
    student = load_model(tmp_path)
    assert (student.sample_rate, student.embedding_size) == (4000, 8)
    assert student.representation.fmax == 1800
