"""The rows: the documented columns in the documented order, and their values."""

from __future__ import annotations

from pathlib import Path

import pytest

from l3embedding.jobs.journal import Run
from l3embedding.sheet.rows import DOWNSTREAM, UPSTREAM, cell, row_of, tab_of

DOCUMENTED = {
    "embedding_approx_mse": (
        "Username | Model Dir | Train Data Dir | Valid Data Dir | Emb Train Dir | Emb Valid Dir | Approximation mode | "
        "Emb key | Model Representation | Student Emb Len | # Epochs | Train Epoch Size | Valid Epoch Size | "
        "Train Batch Size | Valid Batch Size | Random State | Learning Rate | # GPUs | Checkpoint Interval | "
        "Latest Epoch | Latest Train Loss | Latest Valid Loss | Latest Train MAE | Latest Valid MAE | "
        "Best Train Loss | Best Valid Loss | Best Train MAE | Best Valid MAE"
    ),
    "sonyc_ust": (
        "Username | Model Type | Upstream Data | Commit | Annotation Dir | Taxonomy Dir | Feature Dir | Output Dir | "
        "Exp. ID | Hidden Layer Size | Num. Hidden Layers | Learning Rate | L2 Reg. | Batch Size | Num Epochs | "
        "Patience | Sensor Factor | Proximity Factor | No Standardize | Co-occurrence Loss | "
        "Co-occurrence Loss Factor | PCA | PCA Components | Label Mode | Oversample | Oversample Iters. | "
        "Threshold Type | Target Mode | "
        "No Timestamp | Split Path | Optimizer | Micro AUPRC | Micro F1 (@0.5) | Macro AUPRC | Coarse Tag AUPRC"
    ),
}

FACTS = {
    "parameters": {
        "student": {"dim": 64, "asr": 8000, "num_mels": 64, "fmax": None},
        "distillation": {"epochs": 300, "batch_size": 64, "learning_rate": 1e-4},
        "reduction": {"mode": "pca"},
        "random_state": 5,
    },
    "inputs": {"audio_dir": "/data/audio", "embedding_dir": "/data/reduced"},
    "output_dir": "/out/student",
    "user": "ada",
    "job_id": "17",
    "caveats": ["STAND-IN teacher"],
}


def _run(stage="03-train-approx-embedding", **options):
    values = {"folder": Path("/out"), "run_id": "abc", "stage": stage, "status": "running", "facts": FACTS}
    return Run(**values | {"started": "2026-01-01T00:00:00", "updated": "2026-01-02T00:00:00"} | options)


@pytest.mark.parametrize("tab", [UPSTREAM, DOWNSTREAM], ids=lambda tab: tab.name)
def test_the_headings_are_the_documented_ones_in_their_order_and_ours_are_to_the_right(tab):
    assert " | ".join(tab.columns) == DOCUMENTED[tab.name]
    assert list(tab.headings) == [*tab.columns, *tab.ours]


def test_latest_is_the_last_epoch_and_best_the_lowest_value():
    epochs = tuple(
        {"epoch": n, "train_loss": 4.0 - n, "valid_loss": loss, "train_mae": 1.0, "valid_mae": mae}
        for n, loss, mae in ((1, 0.9, 0.5), (2, 0.4, 0.2), (3, 0.6, 0.3))
    )
    row = row_of(_run(epochs=epochs))
    assert (row["Latest Epoch"], row["Latest Valid Loss"], row["Latest Valid MAE"]) == (3, 0.6, 0.3)
    assert (row["Best Train Loss"], row["Best Valid Loss"], row["Best Valid MAE"]) == (1.0, 0.4, 0.2)


def test_the_configuration_is_in_the_row_from_the_start():
    row = row_of(_run())
    assert row["Model Dir"] == "/out/student"
    assert row["Train Data Dir"] == "/data/audio/train"
    assert row["Emb Valid Dir"] == "/data/reduced/validate"
    assert (row["Student Emb Len"], row["# Epochs"], row["Learning Rate"]) == (64, 300, 1e-4)
    assert (row["Approximation mode"], row["Valid Batch Size"], row["Random State"]) == ("pca", 64, 5)
    assert row["Model Representation"] == "asr=8000 num_mels=64"
    assert (row["Username"], row["Job ID"], row["Status"], row["Run ID"]) == ("ada", "17", "running", "abc")
    assert row["Latest Epoch"] == row["Best Valid MAE"] == ""
    assert row["Caveats"] == "STAND-IN teacher"


def test_a_diverged_epoch_is_shown_and_is_not_the_best():
    epochs = ({"epoch": 1, "valid_loss": 2.0}, {"epoch": 2, "valid_loss": "NaN"})
    row = row_of(_run(epochs=epochs))
    assert (row["Latest Valid Loss"], row["Best Valid Loss"]) == ("NaN", 2.0)


def test_a_classifier_is_a_row_of_the_downstream_tab_with_its_metrics():
    parameters = {"dataset": {"name": "sonyc_ust"}, "classifier": {"standardize": True}, "seed": 3}
    facts = {"parameters": parameters, "inputs": {"features": "/f"}}
    coarse = {"micro_auprc": 0.8, "micro_f1": 0.7, "macro_auprc": 0.6, "class_auprc": {"dog": 0.5}}
    run = _run("06-train-classifier", facts=facts, status="finished", results={"coarse": coarse})
    row = row_of(run)
    assert tab_of(run) is DOWNSTREAM
    assert (row["Micro AUPRC"], row["Micro F1 (@0.5)"], row["Macro AUPRC"]) == (0.8, 0.7, 0.6)
    assert row["Coarse Tag AUPRC"] == '{"dog": 0.5}'
    assert (row["No Standardize"], row["Seed"]) == (False, 3)


def test_other_stages_have_no_row():
    for stage, facts in (("00-extract-teacher-embeddings", FACTS), ("06-train-classifier", {"parameters": {}})):
        assert tab_of(_run(stage, facts=facts)) is None
        assert row_of(_run(stage, facts=facts)) == {}


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (3, 3), (0.5, 0.5), (True, True), (float("nan"), "nan"), (float("-inf"), "-inf"), ("=1+1", "=1+1")],
)
def test_a_cell_is_a_number_a_text_or_a_boolean(value, shown):
    assert cell(value) == shown
    assert type(cell(value)) is type(shown)


def test_a_classifiers_options_are_under_their_own_headings():
    options = {
        "Model Type": ("model_type", "framewise"),
        "Sensor Factor": ("sensor_factor", 0.5),
        "Proximity Factor": ("proximity_factor", 0.25),
        "Co-occurrence Loss": ("cooccurrence_loss", True),
        "Co-occurrence Loss Factor": ("cooccurrence_loss_factor", 1e-4),
        "PCA": ("pca", True),
        "PCA Components": ("pca_components", 32),
        "Label Mode": ("label_mode", "fine"),
        "Oversample": ("oversample", "lssmote"),
        "Oversample Iters.": ("oversample_iters", 3),
        "Threshold Type": ("threshold_type", "percentile_80"),
        "Target Mode": ("target_mode", "verified"),
        "Optimizer": ("optimizer", "lbfgs"),
    }
    classifier = {"timestamp_features": True, **dict(options.values())}
    parameters = {"dataset": {"name": "sonyc_ust"}, "classifier": classifier}
    facts = {"parameters": parameters, "inputs": {"split_path": "/splits.csv"}}
    results = {"coarse": {"micro_auprc": 0.8}, "fine": {"micro_auprc": 0.7}}
    row = row_of(_run("06-train-classifier", facts=facts, results=results))
    assert {heading: row[heading] for heading in options} == {heading: value for heading, (_, value) in options.items()}
    assert row["No Timestamp"] is False
    assert row["Split Path"] == "/splits.csv"
    assert row["Micro AUPRC"] == 0.7
