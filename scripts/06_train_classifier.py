"""Stage 06: train and judge a classifier on the embeddings."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from data.datasets import DATASETS
from scripts.downstream.folds import classify_by_folds
from scripts.downstream.sonyc_ust import classify_sonyc_ust
from scripts.program import run_stage


def classify(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Train and judge on SONYC-UST, or on a data set with folds."""
    work = classify_by_folds if DATASETS[parameters.dataset].has_folds else classify_sonyc_ust
    return work(parameters, inputs, output_dir)


if __name__ == "__main__":
    sys.exit(run_stage("06-train-classifier", classify))
