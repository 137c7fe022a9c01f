"""A run as a row: the two tabs of the sheet, and the values of their columns.

The documented columns come first, in the documented order; ours are to their right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from l3embedding.jobs.journal import Run
from l3embedding.jobs.stages import CLASSIFY, TRAIN

Cell = str | int | float | bool

RUN_ID = "Run ID"
_MAX_TEXT = 1000


@dataclass(frozen=True)
class Tab:
    """A tab of the sheet: its title, and its headings in the order of a new tab, each with the value's name."""

    name: str
    columns: Mapping[str, str]
    """The documented headings."""
    ours: Mapping[str, str]
    """Headings that we add to their right."""
    place: str
    """The heading of a run's folder, by which a row without a run id is found."""

    @property
    def headings(self) -> dict[str, str]:
        """All of them, in the order of a new tab."""
        return {**self.columns, **self.ours}


_OURS = {
    RUN_ID: "run_id", "Status": "status", "Job ID": "job_id", "Host": "host", "Started": "started",
    "Updated": "updated", "Dirty": "dirty", "Caveats": "caveats", "Error": "error",
}  # fmt: skip

UPSTREAM = Tab(
    "embedding_approx_mse",
    {
        "Username": "user", "Model Dir": "output_dir", "Train Data Dir": "audio/train",
        "Valid Data Dir": "audio/validate", "Emb Train Dir": "embedding/train", "Emb Valid Dir": "embedding/validate",
        "Approximation mode": "reduction.mode", "Emb key": "embedding_key", "Model Representation": "representation",
        "Student Emb Len": "embedding_size", "# Epochs": "distillation.epochs",
        "Train Epoch Size": "distillation.train_epoch_size",
        "Valid Epoch Size": "distillation.validation_epoch_size", "Train Batch Size": "distillation.batch_size",
        "Valid Batch Size": "distillation.batch_size", "Random State": "random_state",
        "Learning Rate": "distillation.learning_rate", "# GPUs": "gpus",
        "Checkpoint Interval": "distillation.checkpoint_interval", "Latest Epoch": "latest epoch",
        "Latest Train Loss": "latest train_loss", "Latest Valid Loss": "latest valid_loss",
        "Latest Train MAE": "latest train_mae", "Latest Valid MAE": "latest valid_mae",
        "Best Train Loss": "best train_loss", "Best Valid Loss": "best valid_loss",
        "Best Train MAE": "best train_mae", "Best Valid MAE": "best valid_mae",
    },
    _OURS | {"Commit": "commit", "Teacher": "teacher"},
    "Model Dir",
)  # fmt: skip

DOWNSTREAM = Tab(
    "sonyc_ust",
    {
        "Username": "user", "Model Type": "classifier.model_type", "Upstream Data": "upstream_data",
        "Commit": "commit", "Annotation Dir": "dataset_root", "Taxonomy Dir": "dataset_root",
        "Feature Dir": "features", "Output Dir": "output_dir", "Exp. ID": "run_id",
        "Hidden Layer Size": "classifier.hidden_layer_size", "Num. Hidden Layers": "classifier.num_hidden_layers",
        "Learning Rate": "classifier.learning_rate", "L2 Reg.": "classifier.l2_reg",
        "Batch Size": "classifier.batch_size", "Num Epochs": "classifier.epochs", "Patience": "classifier.patience",
        "Sensor Factor": "classifier.sensor_factor", "Proximity Factor": "classifier.proximity_factor",
        "No Standardize": "not standardize", "Co-occurrence Loss": "classifier.cooccurrence_loss",
        "Co-occurrence Loss Factor": "classifier.cooccurrence_loss_factor", "PCA": "classifier.pca",
        "PCA Components": "classifier.pca_components", "Label Mode": "classifier.label_mode",
        "Oversample": "classifier.oversample", "Oversample Iters.": "classifier.oversample_iters",
        "Threshold Type": "classifier.threshold_type", "Target Mode": "classifier.target_mode",
        "No Timestamp": "not timestamp_features", "Split Path": "split_path", "Optimizer": "classifier.optimizer",
        "Micro AUPRC": "micro_auprc", "Micro F1 (@0.5)": "micro_f1", "Macro AUPRC": "macro_auprc",
        "Coarse Tag AUPRC": "class_auprc",
    },
    _OURS | {"Seed": "seed"},
    "Output Dir",
)  # fmt: skip

TABS = (UPSTREAM, DOWNSTREAM)


def tab_of(run: Run) -> Tab | None:
    """The tab that a run is a row of; None for a run of another kind."""
    if run.stage == TRAIN:
        return UPSTREAM
    return DOWNSTREAM if run.stage == CLASSIFY and run.parameters.get("dataset.name") == "sonyc_ust" else None


def row_of(run: Run) -> dict[str, Cell]:
    """The value under each heading in the row of a run; empty if it has none.

    A classifier's scores are those of the tags that it was trained on, coarse or fine.
    """
    tab = tab_of(run)
    if tab is None:
        return {}
    known = {"run_id": run.run_id, "status": run.status, "started": run.started, "updated": run.updated}
    values = run.parameters | dict(run.facts) | known | {"error": run.error}
    values |= {"caveats": ", ".join(run.facts.get("caveats", []))}
    values |= _upstream(run) if tab is UPSTREAM else _downstream(run)
    return {heading: cell(values.get(name)) for heading, name in tab.headings.items()}


def cell(value: Any) -> Cell:
    """A value as a cell holds it: numbers as numbers, NaN and infinities as text, None as an empty cell."""
    if value is None:
        return ""
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_MAX_TEXT]


def _upstream(run: Run) -> dict[str, Any]:
    parameters, inputs = run.parameters, run.facts.get("inputs", {})
    audio, embedding = inputs.get("audio_dir"), inputs.get("embedding_dir") or inputs.get("audio_dir")
    keys = ("asr", "num_mels", "num_dft", "hop_len", "fmax")
    representation = {key: parameters.get(f"student.{key}") for key in keys}
    values: dict[str, Any] = {f"audio/{split}": f"{audio}/{split}" for split in ("train", "validate")}
    values |= {f"embedding/{split}": f"{embedding}/{split}" for split in ("train", "validate")}
    values["representation"] = " ".join(f"{key}={value}" for key, value in representation.items() if value is not None)
    values["embedding_size"] = run.facts.get("embedding_size", parameters.get("student.dim"))
    values |= {f"latest {key}": value for key, value in (run.epochs[-1] if run.epochs else {}).items()}
    for key in ("train_loss", "valid_loss", "train_mae", "valid_mae"):
        # A diverged epoch has text.
        numbers = [epoch[key] for epoch in run.epochs if isinstance(epoch.get(key), (int, float))]
        values[f"best {key}"] = min(numbers, default=None)
    return values


def _downstream(run: Run) -> dict[str, Any]:
    parameters = run.parameters
    return {
        **run.facts.get("inputs", {}),
        **(run.results.get(parameters.get("classifier.label_mode", "coarse")) or {}),
        "not standardize": not parameters.get("classifier.standardize", True),
        "not timestamp_features": not parameters.get("classifier.timestamp_features", False),
    }
