"""Stage 06: train and judge a classifier on the embeddings."""

from __future__ import annotations

import logging
import sys
import typing
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from classifier.fold_models import clip_vector, fold_grid, fold_model
from classifier.folds import evaluate_folds
from classifier.metrics import evaluate
from data.clip_embeddings import CLIPS, embedding_path, read_embedding, stack_embeddings
from data.datasets import DATASETS
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

if typing.TYPE_CHECKING:
    from classifier.cnn import CnnClassifier
    from classifier.fold_models import Load

logger = logging.getLogger(__name__)

HELD_OUT = 0.15
"""Share of the training clips, at least, that chooses the epoch."""


def classify(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Train and judge on SONYC-UST, or on a data set with folds, each by what the others taught."""
    features = inputs["features"] / CLIPS
    if DATASETS[parameters.dataset].has_folds:
        clips = _embedded(DATASETS[parameters.dataset].read(inputs["dataset_root"]).set_index("filename"), features)
        return _classify_by_folds(parameters, clips, features, inputs.get("model"), output_dir)
    return _classify_sonyc_ust(parameters, inputs["dataset_root"], features, output_dir)


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


def _classify_by_folds(
    parameters: SimpleNamespace, clips: pd.DataFrame, features: Path, student: Path | None, output_dir: Path
) -> dict[str, Any]:
    classes, folds = clips["category"].to_numpy(str), clips["fold"].to_numpy()
    load = partial(_load_frames, features)
    framewise = student is not None or parameters.clip_statistics == "framewise"
    samples = clips.index.to_numpy(str)
    if not framewise:
        samples = np.stack([clip_vector(load(clip), parameters.clip_statistics) for clip in samples])
    kind = parameters.fold_classifier
    if student is not None:
        model, grid = _cnn(parameters, student, load), None
    else:
        model = fold_model(
            kind,
            standardize=parameters.standardize,
            logistic_c=parameters.logistic_c,
            seed=parameters.seed,
            load=load if framewise else None,
        )
        grid = fold_grid(kind, framewise) if parameters.parameter_search else None
    # Framewise, each process of a search would hold frames of its own.
    n_jobs = 1 if framewise else -1
    results = evaluate_folds(samples, classes, folds, model, grid, n_jobs, output_dir / "folds")
    table = {"filename": clips.index, "fold": folds, "category": classes, "prediction": results.predictions}
    confusion = pd.DataFrame(results.confusion, list(results.class_accuracy), list(results.class_accuracy))
    _write_csv(output_dir / "predictions.csv", pd.DataFrame(table))
    _write_csv(output_dir / "confusion.csv", confusion.reset_index(names="category"))
    logger.info("accuracy %.4f over %d folds", results.accuracy, len(results.fold_accuracy))
    return {
        "accuracy": results.accuracy,
        "fold_accuracy": results.fold_accuracy,
        "class_accuracy": results.class_accuracy,
        "chance": 1 / len(results.class_accuracy),
        "clips": len(clips),
        "classifier": "cnn" if student is not None else kind,
        "parameters": results.parameters,
    }


def _cnn(parameters: SimpleNamespace, student: Path, load: Load) -> CnnClassifier:
    """The student's network, to be trained anew."""
    import keras

    from classifier.cnn import CnnClassifier
    from l3embedding.embedding import load_model

    network = load_model(student).network
    return CnnClassifier(
        lambda: keras.models.clone_model(network),
        load,
        parameters.classifier_epochs,
        parameters.classifier_batch_size,
        parameters.classifier_learning_rate,
        parameters.seed,
    )


def _load_frames(features: Path, clip: str) -> NDArray[np.floating]:
    return read_embedding(embedding_path(features, clip))[0]


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


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
