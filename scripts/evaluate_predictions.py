"""Judge a table of predictions by the metrics of DCASE 2020 task 5."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from classifier.metrics import evaluate, has_level, read_predictions
from data.files import write_json
from data.sonyc_ust import ground_truth, read_annotations, read_taxonomy
from scripts.program import say_errors, start_logging

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Write OUT_DIR/evaluation.json; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", metavar="PREDICTIONS.csv", type=Path)
    parser.add_argument("annotations", metavar="ANNOTATIONS.csv", type=Path)
    parser.add_argument("taxonomy", metavar="TAXONOMY.yaml", type=Path)
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path)
    parser.add_argument("--split", default="validate", help="which split is judged (default: %(default)s)")
    arguments = parser.parse_args(argv)
    start_logging()
    return say_errors(lambda: write_json(arguments.out_dir / "evaluation.json", _evaluate_files(arguments)))


def _evaluate_files(arguments: argparse.Namespace) -> dict[str, Any]:
    taxonomy = read_taxonomy(arguments.taxonomy)
    truth = ground_truth(read_annotations(arguments.annotations, taxonomy), taxonomy, arguments.split)
    predictions = read_predictions(arguments.predictions)
    results: dict[str, Any] = {}
    for level in ("fine", "coarse"):
        if has_level(predictions, taxonomy, level):
            results[level] = evaluate(predictions, truth, taxonomy, level)
        else:
            logger.warning("%s holds no %s predictions; they are not judged", arguments.predictions, level)
            results[level] = None
    return results


if __name__ == "__main__":
    sys.exit(main())
