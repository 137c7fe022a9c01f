"""Does a student converge sooner on recordings of its domain, as the paper claims?

Two students are trained to produce phi(teacher(x)), where phi is fitted on the domain, on the same number of frames:
one on recordings of the domain, the other on recordings of anything else. Both are evaluated on clips of the domain
that neither was trained on.

    python -m benchmarks.benchmark_convergence ESC10_FOLDER [TEACHER]

ESC10_FOLDER has the layout of ESC-50. The domain is sounds of a street.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from l3embedding.data.audio import frame_audio, read_audio, resample
from l3embedding.data.esc50 import read_esc50
from l3embedding.distillation.pairs import Pairs
from l3embedding.distillation.training import build_student, train_student
from l3embedding.embedding import load_model
from l3embedding.models.frontend import LogMelSpectrogram, student_representation
from l3embedding.settings import DistillationSettings, StudentSettings
from l3embedding.upstream.reductions.pca import fit_pca

DOMAIN = ("dog", "crying_baby", "helicopter", "chainsaw", "sneezing")
SIZE = 32
STUDENT = StudentSettings(filters=(16, 32, 64, SIZE))
TEACHER = "edgel3_sea_ust_audio_emb_64"
HOP_S = 0.25
SEEDS = (0, 1, 2)
EPOCHS = 20


def main() -> None:
    """Print each epoch's error, and how many epochs each student needs for the other's best."""
    if len(sys.argv) < 2:
        print("convergence: not measured, since no folder of recordings is given")
        return
    clips = read_esc50(Path(sys.argv[1]))
    inside = clips["category"].isin(DOMAIN)
    test = inside & (clips["fold"] == clips["fold"].min())
    teacher = load_model(sys.argv[2] if len(sys.argv) > 2 else TEACHER)
    frames = {
        name: _frames(clips["path"][rows], teacher)
        for name, rows in (("in domain", inside & ~test), ("out of domain", ~inside), ("test", test))
    }
    phi = fit_pca([frames["in domain"][1]], SIZE)
    n = min(len(frames["in domain"][0]), len(frames["out of domain"][0]))
    errors = {
        name: np.mean([_errors(frames, name, n, phi, seed) for seed in SEEDS], axis=0)
        for name in ("in domain", "out of domain")
    }
    baseline = phi.transform(frames["test"][1]).var(axis=0).mean()
    print(f"{n} frames each; error of the domain's mean {baseline:.3f}; mean of {len(SEEDS)} seeds")
    print(pd.DataFrame(errors, index=pd.RangeIndex(1, EPOCHS + 1, name="epoch")).round(3).to_string())
    best, ours = errors["out of domain"].min(), errors["in domain"]
    theirs = int(errors["out of domain"].argmin()) + 1
    print(f"out of domain reaches {best:.3f} in {theirs} epochs, in domain in {int(np.argmax(ours <= best)) + 1}")
    print(f"in domain, the lowest error is {ours.min():.3f}")


def _frames(paths: pd.Series, teacher) -> tuple[np.ndarray, np.ndarray]:
    """The student's images of all frames, and the teacher's embeddings of them."""
    representation = student_representation(STUDENT)
    front_end = LogMelSpectrogram(representation)
    images, embeddings = [], []
    for path in paths:
        audio, rate = read_audio(path)
        frames = [
            frame_audio(resample(audio, rate, each), each, round(HOP_S * each), pad_end=False)
            for each in (representation.sample_rate, teacher.sample_rate)
        ]
        images.append(np.asarray(front_end(np.ascontiguousarray(frames[0]))))
        embeddings.append(teacher.embed(np.ascontiguousarray(frames[1])))
    return np.concatenate(images), np.concatenate(embeddings)


def _errors(frames: dict, name: str, n: int, phi, seed: int) -> np.ndarray:
    """Mean squared error on the test clips after each epoch."""
    images, embeddings = frames[name]
    rows = np.random.default_rng(seed).permutation(len(images))[:n]
    train = Pairs(images[rows], phi.transform(embeddings[rows]))
    validate = Pairs(frames["test"][0], phi.transform(frames["test"][1]))
    patience = dict.fromkeys(("patience", "plateau_patience", "checkpoint_interval"), EPOCHS)
    settings = DistillationSettings(epochs=EPOCHS, learning_rate=1e-3, **patience)
    network = build_student(STUDENT, train, seed)
    with tempfile.TemporaryDirectory() as folder:
        history = train_student(network, student_representation(STUDENT), train, validate, settings, seed, Path(folder))
    return history["valid_mse"].to_numpy()


if __name__ == "__main__":
    main()
