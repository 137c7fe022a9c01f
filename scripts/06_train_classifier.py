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

from classifier.folds import clip_vector, evaluate_folds
from data.clip_embeddings import CLIPS, embedding_path, read_embedding
from data.esc50 import read_esc50
from data.files import atomic_path
from scripts.program import run_stage
from scripts.sonyc_ust import classify_sonyc_ust

logger = logging.getLogger(__name__)


def classify(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Train and judge on SONYC-UST, or fold by fold on ESC-50."""
    if parameters.dataset == "sonyc_ust":
        return classify_sonyc_ust(parameters, inputs, output_dir)
    return _classify_esc50(parameters, inputs["dataset_root"], inputs["features"] / CLIPS, output_dir)


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


def _embedded(table: pd.DataFrame, features: Path) -> pd.DataFrame:
    """Keep the clips that have an embedding, and name the others."""
    there = np.array([embedding_path(features, clip).is_file() for clip in table.index])
    for clip in table.index[~there]:
        logger.warning("skipped: %s has no embedding in %s", clip, features)
    return table[there]


if __name__ == "__main__":
    sys.exit(run_stage("06-train-classifier", classify))
