"""Stage 06: train and judge a classifier on the embeddings."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from l3embedding.cli.program import run_stage
from l3embedding.data.datasets import DATASETS
from l3embedding.downstream.folds import classify_by_folds
from l3embedding.downstream.sonyc_ust import classify_sonyc_ust


def classify(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Train and judge on SONYC-UST, or on a data set with folds."""
    work = classify_by_folds if DATASETS[parameters.dataset].has_folds else classify_sonyc_ust
    return work(parameters, inputs, output_dir)


if __name__ == "__main__":
    sys.exit(run_stage("06-train-classifier", classify))
