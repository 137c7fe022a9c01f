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
from data.clip_embeddings import CLIPS, embedding_path, read_embedding
from data.datasets import DATASETS
from data.files import atomic_path
from scripts.program import run_stage
from scripts.sonyc_ust import classify_sonyc_ust

if typing.TYPE_CHECKING:
    from classifier.cnn import CnnClassifier
    from classifier.fold_models import Load

logger = logging.getLogger(__name__)


def classify(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Train and judge on SONYC-UST, or on a data set with folds, each by what the others taught."""
    if not DATASETS[parameters.dataset].has_folds:
        return classify_sonyc_ust(parameters, inputs, output_dir)
    features = inputs["features"] / CLIPS
    clips = _embedded(DATASETS[parameters.dataset].read(inputs["dataset_root"]).set_index("filename"), features)
    return _classify_by_folds(parameters, clips, features, inputs.get("student_dir"), output_dir)


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


def _embedded(table: pd.DataFrame, features: Path) -> pd.DataFrame:
    """Keep the clips that have an embedding, and name the others."""
    there = np.array([embedding_path(features, clip).is_file() for clip in table.index])
    for clip in table.index[~there]:
        logger.warning("skipped: %s has no embedding in %s", clip, features)
    return table[there]


if __name__ == "__main__":
    sys.exit(run_stage("06-train-classifier", classify))
