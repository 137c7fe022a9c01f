"""Stage 06 on SONYC-UST, as `sea run` calls it, with each option switched on."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from l3embedding.cli.program import run_stage
from l3embedding.data.clip_embeddings import CLIPS, embedding_path, read_embedding
from l3embedding.data.sonyc_ust import find_clips
from l3embedding.data.soundscapes import SONYC_UST, synthesize_street
from l3embedding.downstream.clips import embed_clips
from l3embedding.embedding import BEST_MODEL, load_model
from l3embedding.jobs.chain import build_chain
from l3embedding.jobs.experiment import read_experiment
from l3embedding.models.frontend import student_representation
from l3embedding.models.networks import embedding_model, l3_audio_network
from l3embedding.settings import StreetSettings, StudentSettings
from l3embedding.utils.errors import InputError
from tests.scripts.conftest import TINY

STAGE = "06-train-classifier"
PROGRAM = importlib.import_module("l3embedding.scripts.06_train_classifier")
_STREET = StreetSettings(
    synthetic=True, sensors=1, recordings=1, recording_s=1, train_clips=30, validate_clips=16, clip_s=1.5
)
SPLITS = "sensor_id,split\n101,train\n102,train\n103,validate\n201,validate\n202,test\n203,test\n"


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Path:
    """Clips, a student, and its embeddings of the clips."""
    root = tmp_path_factory.mktemp("street")
    synthesize_street(root, _STREET, random_state=3)
    representation = student_representation(StudentSettings(num_mels=16, hop_len=400))
    keras.utils.set_random_seed(0)
    network = l3_audio_network(representation.image_shape, (2, 2, 2, 4), head="linear")
    # As 03 leaves it: compiled, with metrics of its own.
    network.compile("adam", "mse", metrics=["mae"])
    (root / "student").mkdir()
    embedding_model(representation, network).save(root / "student" / BEST_MODEL)
    names = pd.read_csv(root / SONYC_UST / "annotations.csv")["audio_filename"].unique().tolist()
    clips = list(find_clips(root / SONYC_UST, names).values())
    assert not embed_clips(clips, load_model(root / "student"), root / "embeddings" / CLIPS, 0.25)
    (root / "splits.csv").write_text(SPLITS)
    return root


def _classify(street: Path, folder: Path, *overrides: str) -> int:
    """Run the task of 06 of an experiment, on the inputs of the street."""
    settings = ["representations=[student]", "classifier.epochs=2", "classifier.batch_size=16", *overrides]
    (task,) = (task for task in build_chain(read_experiment(TINY, settings), folder) if task.stage.name == STAGE)
    places = {"dataset_root": street / SONYC_UST, "features": street / "embeddings", "student_dir": street / "student"}
    task = replace(task, inputs={key: places.get(key, path) for key, path in task.inputs.items()})
    return run_stage(STAGE, PROGRAM.classify, argv=task.flags())


def _dotted(overrides) -> list[str]:
    return [each if each.startswith("representations") else f"classifier.{each}" for each in overrides]


def _results(folder: Path) -> tuple[dict, Path]:
    (done,) = folder.rglob("done.json")
    return json.loads(done.read_text())["results"], done.parent


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("label_mode=fine", "cooccurrence_loss=true", "dropout=0.2", "target_mode=any"),
        ("model_type=framewise", "frame_aggregation=softmax", "num_hidden_layers=0", "standardize=false"),
        ("model_type=framewise", "frame_aggregation=max", "sensor_factor=0.5", "proximity_factor=0.5"),
        ("oversample=mlsmote", "oversample_iters=2", "pca=true", "pca_components=2", "label_mode=fine"),
        ("oversample=lssmote", "threshold_type=percentile_0", "timestamp_features=true"),
        ("optimizer=lbfgs", "proximity_factor=0.1"),
    ],
    ids=lambda overrides: "+".join(each.split("=")[0] for each in overrides) or "defaults",
)
def test_every_option_goes_through_the_stage(street, tmp_path, overrides):
    assert _classify(street, tmp_path, *_dotted(overrides)) == 0
    results, folder = _results(tmp_path)
    fine = "label_mode=fine" in overrides
    for level in ("coarse", "fine") if fine else ("coarse",):
        assert 0 < results[level]["micro_auprc"] < 1
        low, high = results[f"{level}_interval"]["micro_auprc"]
        assert low < high
        assert set(results[f"{level}_by_proximity"]) == {"near", "far"}
    assert (results["fine"] is None) != fine
    assert results["validate_clips"] == 16
    assert (results["synthetic_clips"] > 0) == any("oversample=" in each for each in overrides)
    predictions = pd.read_csv(folder / "predictions.csv")
    assert len(predictions) == 16
    assert len(predictions.columns) == 1 + (37 if fine else 8)
    assert set(pd.read_csv(folder / "curves.csv")["level"]) == ({"coarse", "fine"} if fine else {"coarse"})
    assert not (folder / "resume.npz").exists()


def test_a_split_file_replaces_the_splits(street, tmp_path):
    assert (
        _classify(street, tmp_path, f"dataset.split_path={street / 'splits.csv'}", "dataset.evaluate_split=test") == 0
    )
    results, folder = _results(tmp_path)
    sensors = pd.read_csv(folder / "predictions.csv")["audio_filename"].str[:3]
    assert set(sensors) == {"202", "203"}
    assert results["train_clips"] == 12


def test_fine_tuning_trains_the_student_and_keeps_it(street, tmp_path):
    assert _classify(street, tmp_path, "classifier.fine_tune=true", "classifier.learning_rate=1e-2") == 0
    results, folder = _results(tmp_path)
    assert 0 < results["coarse"]["micro_auprc"] < 1
    assert not (folder / "images").exists()
    before, after = load_model(street / "student"), load_model(folder)
    assert after.representation == before.representation
    moved = [
        not np.allclose(one, other)
        for one, other in zip(before.network.get_weights(), after.network.get_weights(), strict=True)
    ]
    assert any(moved)


def test_an_untrained_tuning_predicts_what_the_embeddings_do(street, tmp_path):
    # At a learning rate of almost nothing, images through the student are the embeddings that lie there.
    still = ("classifier.learning_rate=1e-12", "classifier.epochs=1")
    for name, overrides in (("tuned", ("classifier.fine_tune=true",)), ("plain", ())):
        assert _classify(street, tmp_path / name, *still, *overrides) == 0
    tuned, plain = (
        pd.read_csv(_results(tmp_path / name)[1] / "predictions.csv", index_col=0) for name in ("tuned", "plain")
    )
    np.testing.assert_allclose(tuned, plain, atol=5e-3)
    assert plain.to_numpy().std() > 0.02


def test_another_students_embeddings_are_not_tuned_from(street, tmp_path, capsys):
    other = tmp_path / "street"
    other.mkdir()
    for name in (SONYC_UST, "embeddings"):
        (other / name).symlink_to(street / name)
    model = keras.saving.load_model(street / "student" / BEST_MODEL)
    model.set_weights([2 * weight for weight in model.get_weights()])
    (other / "student").mkdir()
    model.save(other / "student" / BEST_MODEL)
    assert _classify(other, tmp_path / "out", "classifier.fine_tune=true") == 2
    assert "was not made by the student" in capsys.readouterr().err


def test_clips_without_an_embedding_or_of_another_length_are_skipped_and_named(street, tmp_path, caplog):
    folder = tmp_path / "street" / "embeddings" / CLIPS
    folder.mkdir(parents=True)
    (tmp_path / "street" / SONYC_UST).symlink_to(street / SONYC_UST)
    files = sorted((street / "embeddings" / CLIPS).glob("*.npz"))
    for path in files[2:]:
        (folder / path.name).symlink_to(path)
    embedding, timestamps = read_embedding(files[0])
    np.savez(embedding_path(folder, files[0].stem), embedding=embedding[:1], timestamps=timestamps[:1])
    assert _classify(tmp_path / "street", tmp_path / "out") == 0
    results, _ = _results(tmp_path / "out")
    assert {Path(entry["recording"]).stem for entry in results["skipped"]} == {files[0].stem, files[1].stem}
    assert results["train_clips"] == 28
    assert files[1].stem in caplog.text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["frame_aggregation=max"], "frame_aggregation is for model_type framewise"),
        (["pca_components=4"], "pca_components needs classifier.pca: true"),
        (["cooccurrence_loss=true", "cooccurrence_loss_factor=0"], "a cooccurrence_loss_factor of 0 has no effect"),
        (["oversample=mlsmote", "sensor_factor=1"], "sensor_factor and proximity_factor must be 0"),
        (["dropout=0.5", "num_hidden_layers=0"], "num_hidden_layers is 0"),
        (["dropout=0.5", "optimizer=lbfgs"], "dropout must be 0"),
        (["fine_tune=true"], r"representations can then be \[student\] only"),
        (["fine_tune=true", "representations=[student]", "pca=true"], "pca must be false"),
        (["fine_tune=true", "representations=[student]", "oversample=lssmote"], "needs audio"),
        (["threshold_type=median"], "threshold_type.*median"),
        (["threshold_type=percentile_101"], "threshold_type.*percentile_101"),
        (["label_mode=both"], "label_mode.*both"),
        (["dropout=1"], "dropout.*1"),
    ],
)
def test_options_that_contradict_each_other_are_refused_when_the_experiment_is_read(overrides, message):
    with pytest.raises(InputError, match=message):
        read_experiment(TINY, _dotted(overrides))


def test_they_are_refused_by_the_program_too(street, tmp_path, capsys):
    argv = ["--dataset-root", street / SONYC_UST, "--features", street / "embeddings", "--output-dir", tmp_path / "out"]
    refused = (["--classifier.pca-components", 3], "needs classifier.pca: true"), (["--fine-tune"], "go together")
    for flags, message in refused:
        assert run_stage(STAGE, PROGRAM.classify, argv=[str(word) for word in [*argv, *flags]]) == 2
        assert message in capsys.readouterr().err
