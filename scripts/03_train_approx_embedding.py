"""Stage 03: train the student to produce phi(teacher(x)) from x."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from l3embedding.cli.program import Job, Results, run_stage
from l3embedding.data.shards import SPLITS, TEACHER_KEY, dataset_shape, embedding_keys, require_shards
from l3embedding.distillation.devices import find_devices
from l3embedding.distillation.pairs import Pairs, ShardPair, load_pairs, match_shards
from l3embedding.distillation.training import build_student, continue_training, mean_prediction_loss, train_student
from l3embedding.embedding import load_model
from l3embedding.export.model_card import write_model_card
from l3embedding.jobs.folder import CONFIG, ancestors
from l3embedding.jobs.stopping import stop_deferred
from l3embedding.models.frontend import InputRepresentation, student_representation
from l3embedding.models.networks import model_size
from l3embedding.models.teachers import KerasEmbeddingModel
from l3embedding.settings import DistillationSettings, ReductionSettings, StudentSettings, TeacherSettings
from l3embedding.training import Callbacks, assign_all
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json

logger = logging.getLogger(__name__)


def train(
    job: Job,
    student: StudentSettings,
    distillation: DistillationSettings,
    reduction: ReductionSettings,
    teacher: TeacherSettings,
    random_state: int,
) -> Results:
    """Pair audio with targets, and train; see `l3embedding.distillation.training`."""
    shards = _match_shards(job.inputs, student.dim, reduction.mode)
    key = shards["train"][0].key
    representation = student_representation(student)
    devices = find_devices(job.folder / "tasks")
    if "continue_from" in job.inputs and devices.is_chief:
        _continue(job.inputs["continue_from"], job.folder, distillation.loss)
    features = job.folder / "features"
    pairs = {split: load_pairs(shards[split], representation, features / split) for split in SPLITS}
    with devices.scope():
        network = build_student(student, pairs["train"], random_state)
        if distillation.initial_student is not None:
            _initialize(network, representation, distillation.initial_student, teacher.weights_dirs)
    job.track.note(embedding_key=key, embedding_size=student.dim, gpus=devices.gpus)
    with stop_deferred() as should_stop:
        callbacks = Callbacks(job.track.epoch, should_stop=should_stop)
        history = train_student(
            network,
            representation,
            pairs["train"],
            pairs["validate"],
            distillation,
            random_state,
            job.folder,
            callbacks,
            devices,
        )
    if not devices.is_chief:
        return {}
    # The images take more room than all else, and are quickly computed again.
    shutil.rmtree(features)
    results = _results(history, pairs, key) | model_size(network)._asdict()
    parameters = {"student": student.signed(), "distillation": distillation.signed(), "random_state": random_state}
    write_model_card(job.folder, parameters, list(ancestors(job.inputs)), results)
    return results


def dimension_of_targets(inputs: Mapping[str, Path]) -> dict[str, Any]:
    """The student's dimension where the command line does not give it: that of the targets."""
    if "embedding_dir" not in inputs:
        _, size = dataset_shape(require_shards(inputs["audio_dir"] / "train")[0], TEACHER_KEY)
    else:
        shard = require_shards(inputs["embedding_dir"] / "train")[0]
        _, size = dataset_shape(shard, embedding_keys(shard)[0])
    return {"student.dim": size}


def _match_shards(inputs: Mapping[str, Path], dim: int, mode: str) -> dict[str, list[ShardPair]]:
    """Pair the shards of both splits; without a reduction, the targets are the teacher's embeddings."""
    embedding_dir = inputs.get("embedding_dir") if mode != "mse" else None
    if mode != "mse" and embedding_dir is None:
        raise InputError(f"--embedding-dir is missing; reduction.mode: {mode} needs reduced shards.")
    shards = {
        split: match_shards(inputs["audio_dir"] / split, embedding_dir and embedding_dir / split) for split in SPLITS
    }
    if (size := shards["train"][0].embedding_size) != dim:
        raise InputError(
            f"The targets in {embedding_dir or inputs['audio_dir']} have {size} dimensions, not the student's {dim}."
        )
    return shards


def _initialize(
    network: keras.Model, representation: InputRepresentation, name: str, weights_dirs: tuple[str, ...]
) -> None:
    """Start from another student's weights."""
    initial = load_model(name, search=weights_dirs)
    if not isinstance(initial, KerasEmbeddingModel):
        raise InputError(f"initial_student {name} is not a Keras network, so it has no weights to start from.")
    if initial.representation != representation:
        raise InputError(f"initial_student {name} expects {initial.representation}, not {representation}.")
    assign_all(network.weights, initial.network.get_weights(), f"initial_student {name}")
    logger.info("starting from the weights of %s", initial.name)


def _continue(earlier: Path, folder: Path, loss: str) -> None:
    """Continue an earlier run's training, whose best loss must be of the same kind."""
    before = read_json(earlier / CONFIG)["parameters"].get("distillation", {}).get("loss", loss)
    if before != loss:
        raise InputError(f"{earlier} was trained with distillation.loss {before}, which is not comparable with {loss}.")
    continue_training(earlier, folder)
    logger.info("continuing the training in %s", earlier)


def _results(history: pd.DataFrame, pairs: Mapping[str, Pairs], key: str) -> dict[str, Any]:
    best = history.iloc[int(history["valid_loss"].to_numpy().argmin())]
    return {
        "embedding_key": key,
        "train_frames": len(pairs["train"]),
        "validate_frames": len(pairs["validate"]),
        "epochs": len(history),
        "best_epoch": int(best["epoch"]),
        "best_valid_loss": float(best["valid_loss"]),
        "best_valid_mse": float(best["valid_mse"]),
        "best_valid_mae": float(history["valid_mae"].min()),
        "samples_per_s": float(history["samples_per_s"].median()),
        "baseline_mse": mean_prediction_loss(pairs["train"], pairs["validate"]),
    }


if __name__ == "__main__":
    sys.exit(run_stage("03-train-approx-embedding", train, defaults=dimension_of_targets))
