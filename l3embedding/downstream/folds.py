"""Stage 06 on a data set with folds: each is judged by what the others taught.

A classifier of embeddings, or the student's network trained anew on the labels; see `l3embedding.classifier.folds` and
`l3embedding.classifier.cnn`.
"""

from __future__ import annotations

import logging
import typing
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from l3embedding.classifier.fold_models import clip_vector, fold_grid, fold_model
from l3embedding.classifier.folds import evaluate_folds
from l3embedding.data.clip_embeddings import CLIPS, check_paired, embedding_path, read_embedding
from l3embedding.data.datasets import DATASETS
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path

if typing.TYPE_CHECKING:
    from l3embedding.classifier.cnn import CnnTeacher
    from l3embedding.classifier.fold_models import Load

logger = logging.getLogger(__name__)


def classify_by_folds(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Judge embeddings, or the student's network trained anew, fold by fold."""
    features = inputs["features"] / CLIPS
    clips = _embedded(DATASETS[parameters.dataset].read(inputs["dataset_root"]).set_index("filename"), features)
    if parameters.representation != "logmel-cnn":
        return _classify_embeddings(parameters, clips, features, output_dir)
    teacher = inputs["teacher_features"] / CLIPS if "teacher_features" in inputs else None
    return _train_cnn(parameters, clips, features, teacher, output_dir)


def _classify_embeddings(
    parameters: SimpleNamespace, clips: pd.DataFrame, features: Path, output_dir: Path
) -> dict[str, Any]:
    """Judge a classifier of embeddings by folds."""
    load = partial(_load_frames, features)
    framewise = parameters.clip_statistics == "framewise"
    samples = clips.index.to_numpy(str)
    if not framewise:
        samples = np.stack([clip_vector(load(clip), parameters.clip_statistics) for clip in samples])
    model = _fold_model(parameters, load if framewise else None)
    grid = fold_grid(parameters.fold_classifier, framewise) if parameters.parameter_search else None
    # Framewise, each process of a search would hold frames of its own.
    n_jobs = 1 if framewise else -1
    results = _judge(samples, clips, model, output_dir, grid, n_jobs)
    return results | {"classifier": parameters.fold_classifier}


def _train_cnn(
    parameters: SimpleNamespace, clips: pd.DataFrame, images: Path, teacher: Path | None, output_dir: Path
) -> dict[str, Any]:
    """Train the student's network for each fold, and judge it; see `l3embedding.classifier.cnn`."""
    from l3embedding.classifier.cnn import CnnClassifier
    from l3embedding.models.networks import l3_audio_network, model_size

    if parameters.supervision != "labels":
        if teacher is None:
            raise InputError(f"--teacher-features is missing; supervision {parameters.supervision} needs it.")
        clips = _embedded(clips, teacher)
        for clip in clips.index:
            check_paired(embedding_path(images, clip), embedding_path(teacher, clip))
    load, filters = partial(_load_frames, images), _filters(parameters)
    build = partial(l3_audio_network, filters=filters, head=parameters.student_head)
    model = CnnClassifier(
        build,
        load,
        parameters.classifier_epochs,
        parameters.classifier_batch_size,
        parameters.classifier_learning_rate,
        parameters.seed,
        None if parameters.supervision == "labels" else _teacher(parameters, teacher),
    )
    results = _judge(clips.index.to_numpy(str), clips, model, output_dir)
    size = model_size(build(load(clips.index[0]).shape[1:]))
    described = {"embedding_size": filters[-1], "size_mb": size.size_mb, "activation_mb": size.activation_mb}
    return results | described | {"classifier": "cnn"}


def _teacher(parameters: SimpleNamespace, features: Path) -> CnnTeacher:
    """What the network learns from beside the labels."""
    from l3embedding.classifier.cnn import CnnTeacher

    return CnnTeacher(
        parameters.supervision,
        partial(_load_frames, features),
        _fold_model(parameters),
        parameters.temperature,
        parameters.teacher_weight,
    )


def _fold_model(parameters: SimpleNamespace, load: Load | None = None) -> BaseEstimator:
    return fold_model(
        parameters.fold_classifier,
        standardize=parameters.standardize,
        logistic_c=parameters.logistic_c,
        seed=parameters.seed,
        load=load,
    )


def _filters(parameters: SimpleNamespace) -> tuple[int, ...]:
    """The filters that the parameters say, or those of the paper's student of this dimension."""
    from l3embedding.settings import PAPER_STUDENTS

    filters = parameters.student_filters or PAPER_STUDENTS.get(parameters.student)
    if filters is None:
        raise InputError(f"None of the paper's students has {parameters.student} dimensions; give --student-filters.")
    return tuple(filters)


def _judge(
    samples: NDArray,
    clips: pd.DataFrame,
    model: BaseEstimator,
    output_dir: Path,
    grid: Mapping[str, Sequence[Any]] | None = None,
    n_jobs: int = 1,
) -> dict[str, Any]:
    """Judge a classifier by folds, and write what it said of each clip."""
    classes, folds = clips["category"].to_numpy(str), clips["fold"].to_numpy()
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
        "parameters": results.parameters,
    }


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
