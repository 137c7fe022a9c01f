"""The command `sea evaluate`: a table of predictions, scored by the metrics of DCASE 2020 task 5."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import write_json

logger = logging.getLogger(__name__)


def add_command(commands: Any) -> None:
    """Add `evaluate` to the parser of `sea`."""
    description = evaluate_files.__doc__
    parser = commands.add_parser("evaluate", help="score predictions of SONYC-UST", description=description)
    parser.set_defaults(action=evaluate_files)
    parser.add_argument("predictions", metavar="PREDICTIONS.csv", type=Path)
    parser.add_argument("annotations", metavar="ANNOTATIONS.csv", type=Path)
    parser.add_argument("taxonomy", metavar="TAXONOMY.yaml", type=Path)
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path)
    parser.add_argument("--split", default="validate", help="the split to evaluate on (default: %(default)s)")
    help_text = "95 %% confidence intervals from N resamplings of clips"
    parser.add_argument("--bootstrap", metavar="N", type=int, default=0, help=help_text)
    parser.add_argument("--seed", type=int, default=0, help="seed of the resamplings (default: %(default)s)")
    parser.add_argument("--proximity", action="store_true", help="also evaluate near and far sources separately")


def evaluate_files(arguments: argparse.Namespace) -> None:
    """Print the scores of predictions by the metrics of DCASE 2020 task 5, and write OUT_DIR/evaluation.json."""
    from l3embedding.classifier.bootstrap import evaluate_level
    from l3embedding.classifier.counts import Level
    from l3embedding.classifier.metrics import has_level, read_predictions
    from l3embedding.data.sonyc_ust import ground_truth, proximities, read_annotations, read_taxonomy

    taxonomy = read_taxonomy(arguments.taxonomy)
    annotations = read_annotations(arguments.annotations, taxonomy)
    truth = ground_truth(annotations, taxonomy, arguments.split)
    predictions = read_predictions(arguments.predictions)
    fine = [column for column in taxonomy.columns if column not in taxonomy.coarse_columns]
    near = proximities(annotations, truth.index, fine) if arguments.proximity else None
    if arguments.proximity and near is None:
        raise InputError(f"{arguments.annotations} has no column that ends in _proximity.")
    results: dict[str, Any] = {}
    levels: tuple[Level, ...] = ("fine", "coarse")
    for level in levels:
        if not has_level(predictions, taxonomy, level):
            logger.warning("%s has no %s predictions; they are not evaluated", arguments.predictions, level)
            results[level] = None
            continue
        results |= evaluate_level(
            predictions, truth, taxonomy, level, samples=arguments.bootstrap, seed=arguments.seed, proximity=near
        )
    path = arguments.out_dir / "evaluation.json"
    write_json(path, results)
    print(score_table(results), f"\n{len(truth)} clips of the split {arguments.split}; all scores: {path}", sep="\n")


def score_table(results: Mapping[str, Any]) -> str:
    """Lay out the scores of each level, and the AUPRC of its categories, with intervals where there are any."""
    import pandas as pd

    columns: dict[str, dict[str, str]] = {}
    for level in ("coarse", "fine"):
        if results[level] is not None:
            columns[level] = _cells(results[level], results.get(f"{level}_interval"))
        for word, scores in results.get(f"{level}_by_proximity", {}).items():
            columns[f"{level}, {word}"] = _cells(scores, None)
    return pd.DataFrame(columns).to_string()


def _cells(scores: Mapping[str, Any], intervals: Mapping[str, Any] | None) -> dict[str, str]:
    bounds = _flat(intervals) if intervals else {}
    return {
        name: f"{value:.4f}" + (" [{:.4f}, {:.4f}]".format(*bounds[name]) if bounds else "")
        for name, value in _flat(scores).items()
    }


def _flat(scores: Mapping[str, Any]) -> dict[str, Any]:
    by_class = {f"AUPRC of {name}": value for name, value in scores["class_auprc"].items()}
    return {name: scores[name] for name in ("micro_auprc", "micro_f1", "macro_auprc", "lwlrap")} | by_class
