"""Judge a table of predictions by the metrics of DCASE 2020 task 5."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from l3embedding.classifier.bootstrap import confidence_intervals
from l3embedding.classifier.metrics import evaluate, evaluate_proximity, has_level, read_predictions
from l3embedding.cli.program import say_errors, start_logging
from l3embedding.data.sonyc_ust import ground_truth, proximities, read_annotations, read_taxonomy
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import write_json

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Write OUT_DIR/evaluation.json; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", metavar="PREDICTIONS.csv", type=Path)
    parser.add_argument("annotations", metavar="ANNOTATIONS.csv", type=Path)
    parser.add_argument("taxonomy", metavar="TAXONOMY.yaml", type=Path)
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path)
    parser.add_argument("--split", default="validate", help="which split is judged (default: %(default)s)")
    parser.add_argument(
        "--bootstrap", metavar="N", type=int, default=0, help="bound each figure by N resamplings of the clips (95 %%)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resamplings (default: %(default)s)")
    parser.add_argument("--proximity", action="store_true", help="judge near and far sources apart, too")
    arguments = parser.parse_args(argv)
    start_logging()
    return say_errors(lambda: write_json(arguments.out_dir / "evaluation.json", _evaluate_files(arguments)))


def _evaluate_files(arguments: argparse.Namespace) -> dict[str, Any]:
    taxonomy = read_taxonomy(arguments.taxonomy)
    annotations = read_annotations(arguments.annotations, taxonomy)
    truth = ground_truth(annotations, taxonomy, arguments.split)
    predictions = read_predictions(arguments.predictions)
    fine = [column for column in taxonomy.columns if column not in taxonomy.coarse_columns]
    near = proximities(annotations, truth.index, fine) if arguments.proximity else None
    if arguments.proximity and near is None:
        raise InputError(f"{arguments.annotations} has no column that ends in _proximity.")
    results: dict[str, Any] = {}
    for level in ("fine", "coarse"):
        if not has_level(predictions, taxonomy, level):
            logger.warning("%s holds no %s predictions; they are not judged", arguments.predictions, level)
            results[level] = None
            continue
        results[level] = evaluate(predictions, truth, taxonomy, level)
        if arguments.bootstrap:
            rng = np.random.default_rng(arguments.seed)
            results[f"{level}_interval"] = confidence_intervals(
                predictions, truth, taxonomy, level, rng, arguments.bootstrap
            )
        if near is not None:
            results[f"{level}_by_proximity"] = evaluate_proximity(predictions, truth, taxonomy, level, near)
    return results


if __name__ == "__main__":
    sys.exit(main())
