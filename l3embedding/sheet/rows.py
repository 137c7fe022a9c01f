"""A run as a row: the two tabs of the sheet, and what stands in their columns.

The documented columns come first and in the documented order; ours stand to their right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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
        The heading under which a run's folder stands; it finds the row of a run that has no id yet.
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
    is_sonyc_ust = run.facts.get("parameters", {}).get("dataset") == "sonyc_ust"
    return DOWNSTREAM if run.stage == "06-train-classifier" and is_sonyc_ust else None


def row_of(run: Run) -> dict[str, Cell]:
    """What stands under each heading in the row of a run; empty if it has none.

    A classifier's scores are those of the tags that it learned, coarse or fine.
    """
    tab = tab_of(run)
    if tab is None:
        return {}
    values = _ours(run) | (_upstream(run) if tab is UPSTREAM else _downstream(run))
    return {heading: cell(values.get(heading)) for heading in tab.headings}


def cell(value: Any) -> Cell:
    """A value as a cell takes it: numbers as numbers, what JSON cannot say as text, nothing as an empty cell."""
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
    parameters, inputs = run.facts.get("parameters", {}), run.facts.get("inputs", {})
    audio, embedding = inputs.get("audio_dir"), inputs.get("embedding_dir") or inputs.get("audio_dir")
    latest = run.epochs[-1] if run.epochs else {}
    heard = [key for key in ("asr", "num_mels", "num_dft", "hop_len", "fmax") if parameters.get(key) is not None]
    representation = " ".join(f"{key}={parameters[key]}" for key in heard)
    values = {
        "Model Dir": run.facts.get("output_dir"),
        "Train Data Dir": f"{audio}/train",
        "Valid Data Dir": f"{audio}/validate",
        "Emb Train Dir": f"{embedding}/train",
        "Emb Valid Dir": f"{embedding}/validate",
        "Approximation mode": parameters.get("approx_mode"),
        "Emb key": run.facts.get("embedding_key"),
        "Model Representation": representation,
        "Student Emb Len": run.facts.get("embedding_size", parameters.get("student")),
        "# Epochs": parameters.get("num_epochs"),
        "Train Epoch Size": parameters.get("train_epoch_size"),
        "Valid Epoch Size": parameters.get("validation_epoch_size"),
        "Train Batch Size": parameters.get("batch_size"),
        "Valid Batch Size": parameters.get("batch_size"),
        "Random State": parameters.get("random_state"),
        "Learning Rate": parameters.get("learning_rate"),
        "# GPUs": run.facts.get("gpus"),
        "Checkpoint Interval": parameters.get("checkpoint_interval"),
        "Latest Epoch": latest.get("epoch"),
        "Teacher": run.facts.get("teacher"),
    }
    for heading, metric in (
        ("Train Loss", "train_loss"),
        ("Valid Loss", "valid_loss"),
        ("Train MAE", "train_mae"),
        ("Valid MAE", "valid_mae"),
    ):
        values[f"Latest {heading}"] = latest.get(metric)
        values[f"Best {heading}"] = _lowest(run, lambda epoch, metric=metric: epoch.get(metric))
    return values


def _lowest(run: Run, metric: Callable[[Mapping[str, Any]], Any]) -> float | None:
    """The lowest number of all epochs; of a loss and of an error that is the best."""
    numbers = [value for epoch in run.epochs if isinstance(value := metric(epoch), (int, float))]
    return min(numbers, default=None)


def _downstream(run: Run) -> dict[str, Any]:
    parameters, inputs = run.facts.get("parameters", {}), run.facts.get("inputs", {})
    root, judged = inputs.get("dataset_root"), run.results.get(parameters.get("label_mode", "coarse")) or {}
    return {
        "Model Type": parameters.get("model_type"),
        "Upstream Data": run.facts.get("upstream_data"),
        "Annotation Dir": root,
        "Taxonomy Dir": root,
        "Feature Dir": inputs.get("features"),
        "Output Dir": run.facts.get("output_dir"),
        "Exp. ID": run.run_id,
        "Hidden Layer Size": parameters.get("hidden_layer_size"),
        "Num. Hidden Layers": parameters.get("num_hidden_layers"),
        "Learning Rate": parameters.get("classifier_learning_rate"),
        "L2 Reg.": parameters.get("l2_reg"),
        "Batch Size": parameters.get("classifier_batch_size"),
        "Num Epochs": parameters.get("classifier_epochs"),
        "Patience": parameters.get("classifier_patience"),
        "Sensor Factor": parameters.get("sensor_factor"),
        "Proximity Factor": parameters.get("proximity_factor"),
        "No Standardize": not parameters.get("standardize", True),
        "Co-occurrence Loss": parameters.get("cooccurrence_loss"),
        "Co-occurrence Loss Factor": parameters.get("cooccurrence_loss_factor"),
        "PCA": parameters.get("pca"),
        "PCA Components": parameters.get("pca_components"),
        "Label Mode": parameters.get("label_mode"),
        "Oversample": parameters.get("oversample"),
        "Oversample Iters.": parameters.get("oversample_iters"),
        "Threshold Type": parameters.get("threshold_type"),
        "Target Mode": parameters.get("target_mode"),
        "No Timestamp": not parameters.get("timestamp_features", False),
        "Split Path": inputs.get("split_path"),
        "Optimizer": parameters.get("optimizer"),
        "Micro AUPRC": judged.get("micro_auprc"),
        "Micro F1 (@0.5)": judged.get("micro_f1"),
        "Macro AUPRC": judged.get("macro_auprc"),
        "Coarse Tag AUPRC": judged.get("class_auprc"),
        "Seed": parameters.get("seed"),
    }
