"""Stage 03: train the student to produce phi(teacher(x)) from x."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pandas as pd

from l3embedding.cli.program import run_stage
from l3embedding.data.shards import SPLITS
from l3embedding.distillation.devices import find_devices
from l3embedding.distillation.pairs import Pairs, ShardPair, load_pairs, match_shards
from l3embedding.distillation.training import (
    TrainingSettings,
    build_student,
    continue_training,
    mean_prediction_loss,
    set_weights,
    train_student,
)
from l3embedding.embedding import load_model
from l3embedding.export.model_card import write_model_card
from l3embedding.jobs.folder import CONFIG
from l3embedding.jobs.stopping import stop_deferred
from l3embedding.models.frontend import InputRepresentation, student_representation
from l3embedding.models.networks import model_size
from l3embedding.models.teachers import KerasEmbeddingModel
from l3embedding.settings import PAPER_STUDENTS
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json

logger = logging.getLogger(__name__)


def train(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Pair audio with targets, and train; see `l3embedding.distillation.training`."""
    shards = _match(parameters, inputs)
    representation = student_representation(
        parameters.asr, parameters.num_mels, parameters.num_dft, parameters.hop_len, parameters.fmax
    )
    filters = _filters(parameters, shards["train"][0])
    devices = find_devices(output_dir / "resume")
    if "continue_from" in inputs and devices.is_chief:
        _continue(inputs["continue_from"], output_dir, parameters.distillation_loss)
    pairs = {split: load_pairs(shards[split], representation, output_dir / "features" / split) for split in SPLITS}
    with devices.scope():
        network = build_student(
            representation, filters, parameters.student_head, pairs["train"], parameters.random_state
        )
        if parameters.initial_student is not None:
            _initialize(network, representation, parameters)
    settings = TrainingSettings(**{each.name: getattr(parameters, each.name) for each in fields(TrainingSettings)})
    parameters.track.note(
        embedding_key=shards["train"][0].key, embedding_size=shards["train"][0].embedding_size, gpus=devices.gpus
    )
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
    # The images are quickly made again and take more room than all else.
    shutil.rmtree(output_dir / "features")
    results = _results(history, pairs, shards["train"][0].key) | model_size(network)._asdict()
    write_model_card(output_dir, vars(parameters), inputs, results)
    return results


def _match(parameters: SimpleNamespace, inputs: Mapping[str, Path]) -> dict[str, list[ShardPair]]:
    """Pair the shards of both splits."""
    embedding_dir = inputs.get("embedding_dir") if parameters.approx_mode != "mse" else None
    if parameters.approx_mode != "mse" and embedding_dir is None:
        raise InputError(f"--embedding-dir is missing; approx_mode {parameters.approx_mode} needs reduced shards.")
    shards = {
        split: match_shards(inputs["audio_dir"] / split, embedding_dir and embedding_dir / split) for split in SPLITS
    }
    size = shards["train"][0].embedding_size
    if parameters.student not in (None, size):
        raise InputError(
            f"The targets in {embedding_dir or inputs['audio_dir']} have {size} dimensions, "
            f"not the student's {parameters.student}."
        )
    return shards


def _filters(parameters: SimpleNamespace, shard: ShardPair) -> tuple[int, ...]:
    """The filters that the parameters say, or those of the paper's student of this dimension."""
    size = shard.embedding_size
    filters = parameters.student_filters or PAPER_STUDENTS.get(size)
    if filters is None:
        raise InputError(
            f"The targets have {size} dimensions, as none of the paper's students; give --student-filters."
        )
    if filters[-1] != size:
        raise InputError(f"--student-filters end in {filters[-1]}, but the targets have {size} dimensions.")
    return tuple(filters)


def _initialize(network: keras.Model, representation: InputRepresentation, parameters: SimpleNamespace) -> None:
    """Start from another student's weights."""
    name = parameters.initial_student
    initial = load_model(name, search=parameters.weights_dirs)
    if not isinstance(initial, KerasEmbeddingModel):
        raise InputError(f"initial_student {name} is no Keras network, and has no weights to start from.")
    if initial.representation != representation:
        raise InputError(f"initial_student {name} hears {initial.representation}, not {representation}.")
    set_weights(network, initial.network, f"initial_student {name}")
    logger.info("starting from the weights of %s", initial.name)


def _continue(earlier: Path, output_dir: Path, loss: str) -> None:
    """Go on with an earlier run's training, whose best loss must be of the same kind."""
    said = read_json(earlier / CONFIG)["parameters"]["distillation_loss"]
    if said != loss:
        raise InputError(f"{earlier} was trained by distillation_loss {said}, which {loss} cannot be compared with.")
    continue_training(earlier, output_dir)
    logger.info("going on with the training in %s", earlier)


def _results(history: pd.DataFrame, pairs: Mapping[str, Pairs], key: str) -> dict[str, Any]:
    best = history.loc[history["valid_loss"].idxmin()]
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
    sys.exit(run_stage("03-train-approx-embedding", train))
