"""Stage 06 on SONYC-UST: train a classifier on one split, evaluate it on another, and write the results."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from l3embedding.classifier.bootstrap import confidence_intervals
from l3embedding.classifier.metrics import curve_table, evaluate, evaluate_proximity
from l3embedding.data.clip_embeddings import CLIPS, stack_embeddings
from l3embedding.data.sonyc_ust import (
    ANNOTATIONS,
    TAXONOMY,
    Taxonomy,
    apply_splits,
    find_clips,
    ground_truth,
    proximities,
    read_annotations,
    read_taxonomy,
)
from l3embedding.jobs.contradictions import tagging_contradictions
from l3embedding.jobs.stopping import stop_deferred
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path

logger = logging.getLogger(__name__)

CURVES = "curves.csv"
INTERVAL_SAMPLES = 1000
"""Resamplings behind the confidence intervals."""

_RENAMED = {"classifier_epochs": "num_epochs", "classifier_patience": "patience"}
_RENAMED |= {"classifier_batch_size": "batch_size", "classifier_learning_rate": "learning_rate"}


def classify_sonyc_ust(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Train on one split of SONYC-UST, and judge on another."""
    from l3embedding.classifier.tagging import tag_clips, tag_targets
    from l3embedding.classifier.training import Watch

    if contradiction := next(tagging_contradictions(parameters), None):
        raise InputError(f"{contradiction}.")
    root = inputs["dataset_root"]
    taxonomy = read_taxonomy(root / TAXONOMY)
    annotations = read_annotations(root / ANNOTATIONS, taxonomy)
    if "split_path" in inputs:
        annotations = apply_splits(annotations, inputs["split_path"])
    settings, classifier_settings = _settings(parameters)
    targets = tag_targets(annotations, taxonomy, settings)
    truth = ground_truth(annotations, taxonomy, parameters.evaluate_split)
    learned, judged, skipped, tuning = _features(parameters, inputs, list(targets.index), list(truth.index), output_dir)
    checkpoint = output_dir / "resume.npz"
    with stop_deferred() as should_stop:
        tagged = tag_clips(
            annotations,
            taxonomy,
            targets.loc[learned.clips],
            learned,
            judged,
            settings,
            classifier_settings,
            encoder=tuning and tuning.encoder,
            scaling=tuning and tuning.scaling,
            watch=Watch(parameters.track.epoch, checkpoint, should_stop),
        )
    checkpoint.unlink(missing_ok=True)
    if tuning:
        tuning.save(output_dir)
    for name, table in (("predictions.csv", tagged.predictions.reset_index()), ("history.csv", tagged.history)):
        with atomic_path(output_dir / name) as temporary:
            table.to_csv(temporary, index=False)
    truth = truth.loc[judged.clips]
    near = proximities(annotations, truth.index, [c for c in taxonomy.columns if c not in taxonomy.coarse_columns])
    results = judge(tagged.predictions, truth, taxonomy, parameters, near, output_dir)
    return {
        **results,
        "prior": evaluate(tagged.prior, truth, taxonomy, "coarse"),
        **tagged.facts,
        "validate_clips": len(truth),
        "skipped": skipped,
    }


def judge(
    predictions: pd.DataFrame,
    truth: pd.DataFrame,
    taxonomy: Taxonomy,
    parameters: SimpleNamespace,
    near: pd.DataFrame | None,
    output_dir: Path,
) -> dict[str, Any]:
    """Score predictions at the levels that were learned, and write the curves of each."""
    levels = ("coarse", "fine") if parameters.label_mode == "fine" else ("coarse",)
    results: dict[str, Any] = {"fine": None}
    for level in levels:
        scores = evaluate(predictions, truth, taxonomy, level)
        logger.info("%s: micro-AUPRC %.4f, macro-AUPRC %.4f", level, scores["micro_auprc"], scores["macro_auprc"])
        rng = np.random.default_rng(parameters.seed)
        results[level] = scores
        results[f"{level}_interval"] = confidence_intervals(
            predictions, truth, taxonomy, level, rng, samples=INTERVAL_SAMPLES
        )
        if near is not None:
            results[f"{level}_by_proximity"] = evaluate_proximity(predictions, truth, taxonomy, level, near)
    results["cooccurrence"] = cooccurrence(predictions, truth, taxonomy)
    with atomic_path(output_dir / CURVES) as temporary:
        curve_table(predictions, truth, taxonomy, levels).to_csv(temporary, index=False, float_format="%.6g")
    return results


def cooccurrence(predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, Any]:
    """How often a coarse tag occurs among the clips that have another: truly, and by the predicted probabilities.

    Returns
    -------
    `tags`, and `truth` and `predicted` as `[given, tag]`; 0 where no clip has the given tag.
    """
    columns = taxonomy.coarse_columns
    tables = {"truth": truth[columns].to_numpy(float), "predicted": predictions[columns].to_numpy(float)}
    shares = {}
    for name, values in tables.items():
        together = values.T @ values
        np.fill_diagonal(together, values.sum(axis=0))
        shares[name] = (together / np.maximum(values.sum(axis=0)[:, np.newaxis], 1e-9)).round(4).tolist()
    return {"tags": [category.name for category in taxonomy.categories], **shares}


def _settings(parameters: SimpleNamespace) -> tuple[Any, Any]:
    """The parameters as `l3embedding.classifier.tagging` takes them."""
    from l3embedding.classifier.network import ClassifierSettings
    from l3embedding.classifier.tagging import TaggingSettings

    values = {_RENAMED.get(name, name): value for name, value in vars(parameters).items()}
    values["frame_aggregation"] = values["frame_aggregation"] or "mean"
    if not values["cooccurrence_loss"]:
        values["cooccurrence_loss_factor"] = 0.0
    kinds = (TaggingSettings, ClassifierSettings)
    return tuple(kind(**{each.name: values[each.name] for each in fields(kind)}) for kind in kinds)


def _features(
    parameters: SimpleNamespace, inputs: Mapping[str, Path], learned: list[str], judged: list[str], output_dir: Path
) -> tuple[Any, Any, list[dict[str, str]], Any]:
    """Features of the clips to learn from and of those to judge; to fine-tune, the images of the student."""
    from l3embedding.classifier.tagging import Features

    if parameters.fine_tune != ("student_dir" in inputs):
        raise InputError("--fine-tune and --student-dir belong together: the student that made the features.")
    folder = inputs["features"] / CLIPS
    if parameters.fine_tune:
        from l3embedding.downstream.fine_tuning import Tuning

        audio = find_clips(inputs["dataset_root"], [*learned, *judged])
        learned, judged = ([clip for clip in clips if clip in audio] for clips in (learned, judged))
    stacks = [stack_embeddings(folder, clips) for clips in (learned, judged)]
    skipped = [entry for stack in stacks for entry in stack.skipped]
    if not parameters.fine_tune:
        return (*(Features(stack.features, stack.clips) for stack in stacks), skipped, None)
    tuning = Tuning.of(inputs["student_dir"], stacks[0].features if parameters.standardize else None)
    values = [
        tuning.images([audio[clip] for clip in stack.clips], folder, output_dir / "images" / f"{name}.npy")
        for name, stack in zip(("learned", "judged"), stacks, strict=True)
    ]
    return (*(Features(each, stack.clips) for each, stack in zip(values, stacks, strict=True)), skipped, tuning)
