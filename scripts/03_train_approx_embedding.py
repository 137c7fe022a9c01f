"""Stage 03: train the student to produce phi(teacher(x)) from x."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from data.errors import InputError
from data.shards import SPLITS
from jobs.stopping import stop_deferred
from l3embedding.devices import find_devices
from l3embedding.distillation import TrainingSettings, build_student, mean_prediction_loss, train_student
from l3embedding.frontend import student_representation
from l3embedding.networks import STUDENT_FILTERS, model_size
from l3embedding.pairs import load_pairs, match_shards
from scripts.model_card import write_model_card
from scripts.program import run_stage


def train(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Pair audio with targets, and train; see `l3embedding.distillation`."""
    if parameters.approx_mode != "mse" and "embedding_dir" not in inputs:
        raise InputError(f"--embedding-dir is missing; approx_mode {parameters.approx_mode} needs reduced shards.")
    devices = find_devices(output_dir / "resume")
    representation = student_representation(parameters.asr, parameters.num_mels, parameters.num_dft, parameters.hop_len)
    embedding_dir = inputs.get("embedding_dir") if parameters.approx_mode != "mse" else None
    shards = {
        split: match_shards(inputs["audio_dir"] / split, embedding_dir and embedding_dir / split) for split in SPLITS
    }
    size = shards["train"][0].embedding_size
    if parameters.student not in (None, size):
        raise InputError(
            f"The targets in {embedding_dir or inputs['audio_dir']} have {size} dimensions, "
            f"not the student's {parameters.student}."
        )
    pairs = {split: load_pairs(shards[split], representation, output_dir / "features" / split) for split in SPLITS}
    filters = parameters.student_filters or STUDENT_FILTERS.get(size)
    if filters is None:
        raise InputError(
            f"The targets have {size} dimensions, as none of the paper's students; give --student-filters."
        )
    with devices.scope():
        network = build_student(
            representation, tuple(filters), parameters.student_head, pairs["train"], parameters.random_state
        )
    settings = TrainingSettings(**{each.name: getattr(parameters, each.name) for each in fields(TrainingSettings)})
    parameters.track.note(embedding_key=shards["train"][0].key, embedding_size=size, gpus=devices.gpus)
    with stop_deferred() as should_stop:
        history = train_student(
            network,
            representation,
            pairs["train"],
            pairs["validate"],
            settings,
            output_dir,
            should_stop,
            devices,
            parameters.track.epoch,
        )
    if not devices.is_chief:
        return {}
    best = history.loc[history["valid_loss"].idxmin()]
    results = {
        "embedding_key": shards["train"][0].key,
        "train_frames": len(pairs["train"]),
        "validate_frames": len(pairs["validate"]),
        "epochs": len(history),
        "best_epoch": int(best["epoch"]),
        "best_valid_loss": float(best["valid_loss"]),
        "best_valid_mse": float(best["valid_mse"]),
        "best_valid_mae": float(history["valid_mae"].min()),
        "baseline_mse": mean_prediction_loss(pairs["train"], pairs["validate"]),
        **model_size(network)._asdict(),
    }
    # The images are quickly made again and take more room than all else.
    shutil.rmtree(output_dir / "features")
    write_model_card(output_dir, vars(parameters), inputs, results)
    return results


if __name__ == "__main__":
    sys.exit(run_stage("03-train-approx-embedding", train))
