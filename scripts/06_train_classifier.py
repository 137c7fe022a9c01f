"""Stage 06: train and judge a classifier on the embeddings."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from classifier.folds import clip_vector, evaluate_folds
from classifier.metrics import evaluate
from data.clip_embeddings import CLIPS, embedding_path, read_embedding, stack_embeddings
from data.esc50 import read_esc50
from data.files import atomic_path
from data.sonyc_ust import (
    ANNOTATIONS,
    TAXONOMY,
    ground_truth,
    read_annotations,
    read_taxonomy,
    sensor_ids,
    training_targets,
)
from jobs.stopping import stop_deferred
from scripts.program import run_stage

logger = logging.getLogger(__name__)

HELD_OUT = 0.15
"""Share of the training clips, at least, that chooses the epoch."""


def classify(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Train and judge on SONYC-UST, or fold by fold on ESC-50."""
    work = {"sonyc_ust": _classify_sonyc_ust, "esc50": _classify_esc50}[parameters.dataset]
    return work(parameters, inputs["dataset_root"], inputs["features"] / CLIPS, output_dir)


def _classify_sonyc_ust(parameters: SimpleNamespace, root: Path, features: Path, output_dir: Path) -> dict[str, Any]:
    from classifier.mil import MilSettings, Standardizer, prior_prediction, train_mil

    taxonomy = read_taxonomy(root / TAXONOMY)
    annotations = read_annotations(root / ANNOTATIONS, taxonomy)
    targets = _embedded(training_targets(annotations, taxonomy.coarse_columns), features)
    truth = _embedded(ground_truth(annotations, taxonomy), features)
    train, validate = stack_embeddings(features, targets.index), stack_embeddings(features, truth.index)
    if parameters.standardize:
        standardizer = Standardizer.fit(train)
        train, validate = standardizer.transform(train), standardizer.transform(validate)
    settings = MilSettings(
        num_hidden_layers=parameters.num_hidden_layers,
        hidden_layer_size=parameters.hidden_layer_size,
        num_epochs=parameters.classifier_epochs,
        patience=parameters.classifier_patience,
        batch_size=parameters.classifier_batch_size,
        learning_rate=parameters.classifier_learning_rate,
        l2_reg=parameters.l2_reg,
    )
    held_out = choose_held_out(sensor_ids(annotations, targets.index), np.random.default_rng(parameters.seed))
    labels = targets.to_numpy(np.float32)
    checkpoint = output_dir / "resume.npz"
    with stop_deferred() as should_stop:
        model, history = train_mil(
            train, labels, settings, parameters.seed, held_out, parameters.track.epoch, checkpoint, should_stop
        )
    checkpoint.unlink(missing_ok=True)
    predictions = pd.DataFrame(model.predict(validate, verbose=0), truth.index, taxonomy.coarse_columns)
    for name, table in (("predictions.csv", predictions.reset_index()), ("history.csv", history)):
        with atomic_path(output_dir / name) as temporary:
            table.to_csv(temporary, index=False)
    prior = pd.DataFrame(prior_prediction(labels, len(truth)), truth.index, taxonomy.coarse_columns)
    coarse = evaluate(predictions, truth, taxonomy, "coarse")
    logger.info("micro-AUPRC %.4f, macro-AUPRC %.4f", coarse["micro_auprc"], coarse["macro_auprc"])
    return {
        "coarse": coarse,
        # A classifier of coarse labels says nothing on the fine ones.
        "fine": None,
        "prior": evaluate(prior, truth, taxonomy, "coarse"),
        "train_clips": len(targets),
        "held_out_clips": int(held_out.sum()),
        "validate_clips": len(truth),
        "best_epoch": int(history["valid_loss"].idxmin()) + 1,
        "epochs": len(history),
    }


def _classify_esc50(parameters: SimpleNamespace, root: Path, features: Path, output_dir: Path) -> dict[str, Any]:
    clips = _embedded(read_esc50(root).set_index("filename"), features)
    vectors = np.stack(
        [
            clip_vector(read_embedding(embedding_path(features, clip))[0], parameters.clip_statistics)
            for clip in clips.index
        ]
    )
    classes, folds = clips["category"].to_numpy(str), clips["fold"].to_numpy()
    results = evaluate_folds(vectors, classes, folds, c=parameters.logistic_c, standardize=parameters.standardize)
    table = pd.DataFrame({"filename": clips.index, "category": classes, "prediction": results.predictions})
    with atomic_path(output_dir / "predictions.csv") as temporary:
        table.to_csv(temporary, index=False)
    logger.info("accuracy %.4f over %d folds", results.accuracy, len(results.fold_accuracy))
    return {
        "accuracy": results.accuracy,
        "fold_accuracy": results.fold_accuracy,
        "class_accuracy": results.class_accuracy,
        "chance": 1 / len(results.class_accuracy),
        "clips": len(clips),
    }


def choose_held_out(sensors: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Hold out whole sensors, since the clips that are judged come from other sensors too.

    Where there is but one sensor, single clips are held out.
    """
    groups = sensors if len(np.unique(sensors)) > 1 else np.arange(len(sensors))
    held_out = np.zeros(len(groups), bool)
    for group in rng.permutation(np.unique(groups)):
        if held_out.mean() >= HELD_OUT:
            break
        held_out |= groups == group
    return held_out


def _embedded(table: pd.DataFrame, features: Path) -> pd.DataFrame:
    """Keep the clips that have an embedding, and name the others."""
    there = np.array([embedding_path(features, clip).is_file() for clip in table.index])
    for clip in table.index[~there]:
        logger.warning("skipped: %s has no embedding in %s", clip, features)
    return table[there]


if __name__ == "__main__":
    sys.exit(run_stage("06-train-classifier", classify))
