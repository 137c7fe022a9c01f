"""A run as a row: the two tabs of the sheet, and the values of their columns.

The documented columns come first, in the documented order; ours are to their right.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from l3embedding.jobs.journal import Run

Cell = str | int | float | bool

RUN_ID = "Run ID"
_MAX_TEXT = 1000


@dataclass(frozen=True)
class Tab:
    """A tab of the sheet.

    Attributes
    ----------
    name
        Its title.
    columns
        The documented headings, in order.
    ours
        Headings that we add to their right.
    place
        The heading of a run's folder, by which a row without a run id is found.
    """

    name: str
    columns: tuple[str, ...]
    ours: tuple[str, ...]
    place: str

    @property
    def headings(self) -> tuple[str, ...]:
        """All of them, in the order of a new tab."""
        return self.columns + self.ours


_OURS = (RUN_ID, "Status", "Job ID", "Host", "Started", "Updated", "Dirty", "Caveats", "Error")

UPSTREAM = Tab(
    "embedding_approx_mse",
    (
        "Username", "Model Dir", "Train Data Dir", "Valid Data Dir", "Emb Train Dir", "Emb Valid Dir",
        "Approximation mode", "Emb key", "Model Representation", "Student Emb Len", "# Epochs", "Train Epoch Size",
        "Valid Epoch Size", "Train Batch Size", "Valid Batch Size", "Random State", "Learning Rate", "# GPUs",
        "Checkpoint Interval", "Latest Epoch", "Latest Train Loss", "Latest Valid Loss", "Latest Train MAE",
        "Latest Valid MAE", "Best Train Loss", "Best Valid Loss", "Best Train MAE", "Best Valid MAE",
    ),
    (*_OURS, "Commit", "Teacher"),
    "Model Dir",
)  # fmt: skip

DOWNSTREAM = Tab(
    "sonyc_ust",
    (
        "Username", "Model Type", "Upstream Data", "Commit", "Annotation Dir", "Taxonomy Dir", "Feature Dir",
        "Output Dir", "Exp. ID", "Hidden Layer Size", "Num. Hidden Layers", "Learning Rate", "L2 Reg.", "Batch Size",
        "Num Epochs", "Patience", "Sensor Factor", "Proximity Factor", "No Standardize", "Co-occurrence Loss",
        "Co-occurrence Loss Factor", "PCA", "PCA Components", "Label Mode", "Oversample", "Oversample Iters.",
        "Threshold Type", "Target Mode", "No Timestamp", "Split Path", "Optimizer", "Micro AUPRC", "Micro F1 (@0.5)",
        "Macro AUPRC", "Coarse Tag AUPRC",
    ),
    (*_OURS, "Seed"),
    "Output Dir",
)  # fmt: skip

TABS = (UPSTREAM, DOWNSTREAM)


def tab_of(run: Run) -> Tab | None:
    """The tab that a run is a row of; None for a run of another kind."""
    if run.stage == "03-train-approx-embedding":
        return UPSTREAM
    is_sonyc_ust = run.parameters.get("dataset.name") == "sonyc_ust"
    return DOWNSTREAM if run.stage == "06-train-classifier" and is_sonyc_ust else None


def row_of(run: Run) -> dict[str, Cell]:
    """The value under each heading in the row of a run; empty if it has none.

    A classifier's scores are those of the tags that it was trained on, coarse or fine.
    """
    tab = tab_of(run)
    if tab is None:
        return {}
    values = _ours(run) | (_upstream(run) if tab is UPSTREAM else _downstream(run))
    return {heading: cell(values.get(heading)) for heading in tab.headings}


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


def _ours(run: Run) -> dict[str, Any]:
    facts = run.facts
    return {
        RUN_ID: run.run_id,
        "Status": run.status,
        "Job ID": facts.get("job_id"),
        "Host": facts.get("host"),
        "Started": run.started,
        "Updated": run.updated,
        "Dirty": facts.get("dirty"),
        "Caveats": ", ".join(facts.get("caveats", [])),
        "Error": run.error,
        "Commit": facts.get("commit"),
        "Username": facts.get("user"),
    }


def _upstream(run: Run) -> dict[str, Any]:
    parameters, inputs = run.parameters, run.facts.get("inputs", {})
    audio, embedding = inputs.get("audio_dir"), inputs.get("embedding_dir") or inputs.get("audio_dir")
    latest = run.epochs[-1] if run.epochs else {}
    representation = {
        key: parameters.get(f"student.{key}") for key in ("asr", "num_mels", "num_dft", "hop_len", "fmax")
    }
    values = {
        "Model Dir": run.facts.get("output_dir"),
        "Train Data Dir": f"{audio}/train",
        "Valid Data Dir": f"{audio}/validate",
        "Emb Train Dir": f"{embedding}/train",
        "Emb Valid Dir": f"{embedding}/validate",
        "Emb key": run.facts.get("embedding_key"),
        "Model Representation": " ".join(
            f"{key}={value}" for key, value in representation.items() if value is not None
        ),
        "Student Emb Len": run.facts.get("embedding_size", parameters.get("student.dim")),
        "# GPUs": run.facts.get("gpus"),
        "Latest Epoch": latest.get("epoch"),
        "Teacher": run.facts.get("teacher"),
    }
    values |= {heading: parameters.get(key) for heading, key in _UPSTREAM_PARAMETERS.items()}
    for heading in ("Train Loss", "Valid Loss", "Train MAE", "Valid MAE"):
        metric = heading.lower().replace(" ", "_")
        numbers = [epoch[metric] for epoch in run.epochs if isinstance(epoch.get(metric), (int, float))]
        values |= {f"Latest {heading}": latest.get(metric), f"Best {heading}": min(numbers, default=None)}
    return values


def _downstream(run: Run) -> dict[str, Any]:
    parameters, inputs = run.parameters, run.facts.get("inputs", {})
    scores = run.results.get(parameters.get("classifier.label_mode", "coarse")) or {}
    values = {
        "Upstream Data": run.facts.get("upstream_data"),
        "Annotation Dir": inputs.get("dataset_root"),
        "Taxonomy Dir": inputs.get("dataset_root"),
        "Feature Dir": inputs.get("features"),
        "Output Dir": run.facts.get("output_dir"),
        "Exp. ID": run.run_id,
        "No Standardize": not parameters.get("classifier.standardize", True),
        "No Timestamp": not parameters.get("classifier.timestamp_features", False),
        "Split Path": inputs.get("split_path"),
        "Micro AUPRC": scores.get("micro_auprc"),
        "Micro F1 (@0.5)": scores.get("micro_f1"),
        "Macro AUPRC": scores.get("macro_auprc"),
        "Coarse Tag AUPRC": scores.get("class_auprc"),
        "Seed": parameters.get("seed"),
    }
    return values | {heading: parameters.get(f"classifier.{key}") for heading, key in _CLASSIFIER_PARAMETERS.items()}


_UPSTREAM_PARAMETERS = {
    "Approximation mode": "reduction.mode",
    "# Epochs": "distillation.epochs",
    "Train Epoch Size": "distillation.train_epoch_size",
    "Valid Epoch Size": "distillation.validation_epoch_size",
    "Train Batch Size": "distillation.batch_size",
    "Valid Batch Size": "distillation.batch_size",
    "Random State": "random_state",
    "Learning Rate": "distillation.learning_rate",
    "Checkpoint Interval": "distillation.checkpoint_interval",
}
_CLASSIFIER_PARAMETERS = {
    "Model Type": "model_type",
    "Hidden Layer Size": "hidden_layer_size",
    "Num. Hidden Layers": "num_hidden_layers",
    "Learning Rate": "learning_rate",
    "L2 Reg.": "l2_reg",
    "Batch Size": "batch_size",
    "Num Epochs": "epochs",
    "Patience": "patience",
    "Sensor Factor": "sensor_factor",
    "Proximity Factor": "proximity_factor",
    "Co-occurrence Loss": "cooccurrence_loss",
    "Co-occurrence Loss Factor": "cooccurrence_loss_factor",
    "PCA": "pca",
    "PCA Components": "pca_components",
    "Label Mode": "label_mode",
    "Oversample": "oversample",
    "Oversample Iters.": "oversample_iters",
    "Threshold Type": "threshold_type",
    "Target Mode": "target_mode",
    "Optimizer": "optimizer",
}
