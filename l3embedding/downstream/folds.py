"""Stage 06 on a data set with folds: each fold is the test fold of a classifier trained on the others.

The classifier takes embeddings, or it is the student's network, trained from scratch on the labels; see
`l3embedding.classifier.folds` and `l3embedding.classifier.cnn`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from l3embedding.classifier.fold_models import clip_vectorizer, fold_grid, fold_model
from l3embedding.classifier.folds import evaluate_folds
from l3embedding.data.clip_embeddings import CLIPS, check_paired, embedding_path, read_embedding
from l3embedding.data.datasets import DATASETS
from l3embedding.settings import CnnSettings, DatasetSettings, FoldsSettings, StudentSettings
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import write_text

logger = logging.getLogger(__name__)


def classify_by_folds(
    inputs: Mapping[str, Path],
    folder: Path,
    dataset: DatasetSettings,
    representation: str,
    folds: FoldsSettings,
    cnn: CnnSettings,
    student: StudentSettings,
    seed: int,
) -> dict[str, Any]:
    """Evaluate embeddings, or the student's network trained on the labels, fold by fold.

    Parameters
    ----------
    inputs
        `dataset_root`, `features` and, for a network with a teacher, `teacher_features`.
    folder
        Output folder.
    representation
        Of the features; `cnn` and `student` are for `logmel-cnn`.
    """
    features = inputs["features"] / CLIPS
    clips = _embedded(DATASETS[dataset.name].read(inputs["dataset_root"]).set_index("filename"), features)
    if representation == "logmel-cnn":
        teacher = inputs["teacher_features"] / CLIPS if "teacher_features" in inputs else None
        return _evaluate_cnn(clips, features, teacher, folder, folds, cnn, student, seed)
    load, vector = partial(_load_frames, features), clip_vectorizer(folds)
    samples = clips.index.to_numpy(str)
    if vector is not None:
        samples = np.stack([vector(load(clip)) for clip in samples])
    model = fold_model(folds, seed, None if vector else load)
    grid = fold_grid(folds) if folds.parameter_search else None
    # Framewise, each process of a search would hold frames of its own.
    results = _evaluate(samples, clips, model, folder, grid, n_jobs=-1 if vector else 1)
    return results | {"classifier": folds.classifier}


def _evaluate_cnn(
    clips: pd.DataFrame,
    images: Path,
    teacher_features: Path | None,
    folder: Path,
    folds: FoldsSettings,
    cnn: CnnSettings,
    student: StudentSettings,
    seed: int,
) -> dict[str, Any]:
    """Train the student's network for each fold, and evaluate it; see `l3embedding.classifier.cnn`."""
    # TensorFlow takes seconds to import, and classifiers of embeddings need none of it.
    from l3embedding.classifier.cnn import CnnClassifier, CnnTeacher
    from l3embedding.models.networks import l3_audio_network, model_size

    teacher = None
    if cnn.supervision != "labels":
        if teacher_features is None:
            raise InputError(f"--teacher-features is missing; cnn.supervision: {cnn.supervision} needs it.")
        clips = _embedded(clips, teacher_features)
        for clip in clips.index:
            check_paired(embedding_path(images, clip), embedding_path(teacher_features, clip))
        teacher = CnnTeacher(partial(_load_frames, teacher_features), fold_model(folds, seed))
    load, build = partial(_load_frames, images), partial(l3_audio_network, filters=student.blocks, head=student.head)
    model = CnnClassifier(build, load, cnn, seed, teacher, checkpoints=folder / "folds")
    results = _evaluate(clips.index.to_numpy(str), clips, model, folder)
    size = model_size(build(load(clips.index[0]).shape[1:]))
    described = {"embedding_size": student.dim, "size_mb": size.size_mb, "activation_mb": size.activation_mb}
    return results | described | {"classifier": "cnn"}


def _evaluate(
    samples: NDArray[Any],
    clips: pd.DataFrame,
    model: BaseEstimator,
    folder: Path,
    grid: Mapping[str, Sequence[Any]] | None = None,
    n_jobs: int = 1,
) -> dict[str, Any]:
    """Evaluate a classifier by folds, and write its predictions and their confusion matrix."""
    classes, folds = clips["category"].to_numpy(str), clips["fold"].to_numpy()
    results = evaluate_folds(samples, classes, folds, model, grid, n_jobs, folder / "folds")
    names = list(results.class_accuracy)
    predicted = {"filename": clips.index, "fold": folds, "category": classes, "prediction": results.predictions}
    confusion = pd.DataFrame(results.confusion, names, names).reset_index(names="category")
    for file, table in (("predictions.csv", pd.DataFrame(predicted)), ("confusion.csv", confusion)):
        write_text(folder / file, table.to_csv(index=False))
    logger.info("accuracy %.4f over %d folds", results.accuracy, len(results.fold_accuracy))
    return {
        "accuracy": results.accuracy,
        "fold_accuracy": results.fold_accuracy,
        "class_accuracy": results.class_accuracy,
        "chance": 1 / len(names),
        "clips": len(clips),
        "parameters": results.parameters,
    }


def _load_frames(features: Path, clip: str) -> NDArray[np.floating]:
    return read_embedding(embedding_path(features, clip))[0]


def _embedded(table: pd.DataFrame, features: Path) -> pd.DataFrame:
    """Keep the clips that have an embedding, and log the others."""
    found = np.array([embedding_path(features, clip).is_file() for clip in table.index])
    for clip in table.index[~found]:
        logger.warning("skipped: %s has no embedding in %s", clip, features)
    return table[found]
