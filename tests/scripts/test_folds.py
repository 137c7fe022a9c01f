"""Stages 05 and 06 on a data set with folds, in its real layout."""

from __future__ import annotations

import importlib
import logging
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

from l3embedding.classifier.cnn import CnnClassifier
from l3embedding.cli.program import run_stage
from l3embedding.data.clip_embeddings import read_embedding
from l3embedding.models.frontend import student_representation
from l3embedding.models.networks import embedding_model, l3_audio_network, model_size
from l3embedding.utils.files import read_json
from tests.support.vggish_files import random_arrays, write_keras_port

RATES = (8000, 16_000, 44_100)


@pytest.fixture(scope="module")
def us8k(tmp_path_factory):
    """UrbanSound8K with two classes in three folds, of different rates and lengths; one clip is missing, one broken."""
    root, rng, rows = tmp_path_factory.mktemp("us8k"), np.random.default_rng(0), []
    for fold in (1, 2, 3):
        (root / "audio" / f"fold{fold}").mkdir(parents=True)
        for index in range(6):
            name, kind = f"{fold}-{index}.wav", ("hum", "hiss")[index % 2]
            rate = RATES[index % 3]
            seconds = 0.3 if index == 0 else 1.5
            time = np.arange(int(rate * seconds)) / rate
            sound = np.sin(2 * np.pi * 300 * time) if kind == "hum" else rng.normal(0, 1, len(time))
            soundfile.write(root / "audio" / f"fold{fold}" / name, 0.3 * sound, rate)
            rows.append((name, fold, kind))
    rows.append(("gone.wav", 1, "hum"))
    (root / "audio" / "fold3" / "3-5.wav").write_bytes(b"RIFF broken")
    (root / "metadata").mkdir()
    table = pd.DataFrame(rows, columns=["slice_file_name", "fold", "class"])
    table.to_csv(root / "metadata" / "UrbanSound8K.csv", index=False)
    return root


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """An untrained student of few filters."""
    folder = tmp_path_factory.mktemp("student")
    representation = student_representation()
    network = l3_audio_network(representation.image_shape, (2, 2, 4, 8), "linear")
    embedding_model(representation, network).save(folder / "model_best_valid_loss.keras")
    return folder


def _run(stage: str, output_dir, us8k, *words: object):
    program = importlib.import_module(f"l3embedding.scripts.{stage.replace('-', '_')}")
    work = (program.generate, program.gather) if stage.startswith("05") else (program.classify,)
    argv = ["--output-dir", output_dir, "--dataset.name", "us8k", "--dataset-root", us8k, *words]
    assert run_stage(stage, *work, argv=list(map(str, argv))) == 0
    return read_json(output_dir / "done.json")["results"]


def _embed_with_vggish(us8k, weights, folder, hop_size):
    """Stage 05 with a seeded random VGGish, of which there are only the convolutions."""
    words = ("--representation", "teacher", "--teacher.name", "vggish", "--teacher.weights-dirs", weights)
    return _run("05-generate-embedding-samples", folder, us8k, *words, "--dataset.hop-size", hop_size)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_keras_port(folder / "vggish.h5", random_arrays(np.random.default_rng(0)))
    return folder


@pytest.fixture(scope="module")
def teacher_features(us8k, weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    results = _embed_with_vggish(us8k, weights, folder, 0.5)
    assert (results["model_name"], results["embedding_size"], results["clips"]) == ("vggish", 512, 17)
    return folder


@pytest.fixture(scope="module")
def features(us8k, student, tmp_path_factory):
    """Representation to its folder of embeddings and its results."""
    root, found = tmp_path_factory.mktemp("features"), {}
    for name in ("student", "mfcc", "logmel-cnn"):
        model = ("--model", student) if name == "student" else ()
        words = ("--representation", name, "--dataset.hop-size", 0.25, *model)
        found[name] = root / name, _run("05-generate-embedding-samples", root / name, us8k, *words)
    return found


def test_clips_of_any_rate_and_length_are_embedded_and_bad_ones_reported(features):
    folder, results = features["student"]
    assert results["clips"] == 17
    assert [entry["recording"].rpartition("/")[2] for entry in results["skipped"]] == ["3-5.wav"]
    shapes = {name: read_embedding(folder / "clips" / f"{name}.npz")[0].shape for name in ("1-0", "1-1", "1-2")}
    assert shapes == {"1-0": (1, 8), "1-1": (3, 8), "1-2": (3, 8)}


def test_the_baselines_pass_through_the_same_stages(features):
    folder, results = features["mfcc"]
    assert read_embedding(folder / "clips" / "1-1.npz")[0].shape == (3, 275)
    assert results["size_mb"] == 0
    folder, results = features["logmel-cnn"]
    assert read_embedding(folder / "clips" / "1-1.npz")[0].shape == (2, 64, 50, 1)
    assert results["embedding_size"] == 64 * 50


@pytest.mark.parametrize(
    ("representation", "settings", "least"),
    [
        ("mfcc", [], 0.9),
        ("mfcc", ["--folds.classifier", "svm", "--folds.clip-statistics", "statistics"], 0.9),
        ("mfcc", ["--folds.clip-statistics", "framewise", "--folds.parameter-search"], 0.9),
        ("student", ["--folds.classifier", "random_forest", "--folds.clip-statistics", "mean_std", "--seed", "3"], 0.3),
        ("logmel-cnn", ["--cnn.epochs", "4", "--cnn.learning-rate", "0.01"], 0.3),
    ],
)
def test_each_classifier_writes_its_tables(features, us8k, tmp_path, caplog, representation, settings, least):
    folder, _ = features[representation]
    network = ["--representation", representation, "--student.dim", 8, "--student.filters", 2, 2, 4, 8]
    with caplog.at_level(logging.WARNING):
        results = _run("06-train-classifier", tmp_path / "06", us8k, "--features", folder, *settings, *network)
    assert "gone.wav" in caplog.text and "3-5.wav has no embedding" in caplog.text
    assert results["clips"] == 17
    assert results["accuracy"] >= least
    assert set(results["class_accuracy"]) == {"hum", "hiss"}
    assert set(results["fold_accuracy"]) == {"1", "2", "3"}
    predictions = pd.read_csv(tmp_path / "06" / "predictions.csv")
    right = predictions["prediction"] == predictions["category"]
    assert right.groupby(predictions["fold"]).mean().mean() == pytest.approx(results["accuracy"])
    confusion = pd.read_csv(tmp_path / "06" / "confusion.csv", index_col="category")
    assert confusion.to_numpy().sum() == 17
    assert np.trace(confusion.to_numpy()) == right.sum()
    assert bool(results["parameters"]) == ("--folds.parameter-search" in settings)


CNN = ["--representation", "logmel-cnn", "--student.dim", 8, "--student.filters", 2, 2, 4, 8]
BRIEFLY = ["--cnn.epochs", 3, "--cnn.learning-rate", 0.01]
BY_BOTH = ["--cnn.supervision", "both", "--dataset.hop-size", 0.5]


def test_the_teacher_changes_what_is_learned_but_not_from_the_test_fold(
    features, teacher_features, us8k, tmp_path, monkeypatch
):
    """Other embeddings of fold 1 change what is learned for the other folds, and nothing for fold 1."""
    other = tmp_path / "other"
    shutil.copytree(teacher_features / "clips", other / "clips")
    rng = np.random.default_rng(0)
    for path in (other / "clips").glob("1-*.npz"):
        embedding, timestamps = read_embedding(path)
        np.savez(path, embedding=rng.normal(0, 100, embedding.shape).astype("f4"), timestamps=timestamps)
    fitted = []
    monkeypatch.setattr(CnnClassifier, "predict", _remembering(CnnClassifier.predict, fitted))
    for name, teacher in (("a", teacher_features), ("b", other)):
        inputs = ["--features", features["logmel-cnn"][0], "--teacher-features", teacher]
        results = _run("06-train-classifier", tmp_path / name, us8k, *inputs, *CNN, *BRIEFLY, *BY_BOTH)
    first, second = fitted[:3], fitted[3:]
    np.testing.assert_array_equal(first[0], second[0])
    assert all((a != b).any() for a, b in zip(first[1:], second[1:], strict=True))
    size = model_size(l3_audio_network((64, 50, 1), (2, 2, 4, 8), "linear"))
    assert (results["embedding_size"], results["size_mb"]) == (8, size.size_mb)
    assert (results["clips"], set(results["fold_accuracy"])) == (17, {"1", "2", "3"})


def _remembering(predict, fitted):
    def predict_and_remember(self, clips):
        fitted.append(self.model_.get_layer("logits").get_weights()[0])
        return predict(self, clips)

    return predict_and_remember


def test_a_teacher_with_other_frames_is_refused_by_clip(features, weights, us8k, tmp_path, capsys):
    _embed_with_vggish(us8k, weights, tmp_path / "teacher", 0.25)
    program = importlib.import_module("l3embedding.scripts.06_train_classifier")
    words = ["--output-dir", tmp_path / "06", "--dataset.name", "us8k", "--dataset-root", us8k, *CNN]
    words += [*BY_BOTH, "--features", features["logmel-cnn"][0]]
    for teacher, message in (
        ([], "--teacher-features is missing"),
        ([tmp_path / "teacher"], "1-1.npz has 2 frames and"),
    ):
        argv = list(map(str, words + (["--teacher-features", *teacher] if teacher else [])))
        assert run_stage("06-train-classifier", program.classify, argv=argv) == 2
        assert message in capsys.readouterr().err
