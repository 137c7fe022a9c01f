"""Stage 06 on SONYC-UST: train a classifier on one split, evaluate it on another, and write the results.

To fine-tune, the student is trained further, with the classifier on top of it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from l3embedding.classifier.bootstrap import evaluate_level
from l3embedding.classifier.counts import Level
from l3embedding.classifier.metrics import curve_table, evaluate
from l3embedding.classifier.scaling import Standardizer
from l3embedding.classifier.tagging import tag_clips, tag_targets
from l3embedding.data.clip_embeddings import CLIPS, StackedEmbeddings, stack_embeddings
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
from l3embedding.downstream.clips import clip_images
from l3embedding.embedding import BEST_MODEL, load_model
from l3embedding.models.networks import embedding_model
from l3embedding.models.teachers import KerasEmbeddingModel
from l3embedding.settings import ClassifierSettings, DatasetSettings
from l3embedding.training import Callbacks
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path, write_text

logger = logging.getLogger(__name__)

CURVES = "curves.csv"
IMAGES = "images"
"""Folder of a student's log-mel images, within the stage's."""
INTERVAL_SAMPLES = 1000
"""Resamplings behind the confidence intervals."""


@dataclass(frozen=True)
class Tuning:
    """A student that is trained together with the classifier."""

    model: KerasEmbeddingModel
    encoder: keras.Model  # its network, image to embedding, whose weights change
    scaling: Standardizer | None  # fitted to its embeddings before they change


def classify_sonyc_ust(
    inputs: Mapping[str, Path],
    folder: Path,
    dataset: DatasetSettings,
    settings: ClassifierSettings,
    seed: int,
    on_epoch: Callable[[dict[str, float]], None],
    stop_deferred: Callable[[], AbstractContextManager[Callable[[], bool]]],
) -> dict[str, Any]:
    """Train on the training split of SONYC-UST, and evaluate on another.

    Parameters
    ----------
    inputs, folder
        `dataset_root`, `features`, and optionally `split_path` and `student_dir`; and the output folder.
    dataset, settings
        The split to evaluate on, and the classifier.
    seed
        Seed of the classifier and of the confidence intervals.
    on_epoch
        Called with each row of the history.
    stop_deferred
        Context in which a request to stop is deferred; it yields a function that returns whether there was one,
        and raises at its end if there was.

    Returns
    -------
    Results for `done.json`.
    """
    root = inputs["dataset_root"]
    taxonomy = read_taxonomy(root / TAXONOMY)
    annotations = read_annotations(root / ANNOTATIONS, taxonomy)
    if "split_path" in inputs:
        annotations = apply_splits(annotations, inputs["split_path"])
    targets = tag_targets(annotations, taxonomy, settings)
    truth = ground_truth(annotations, taxonomy, dataset.evaluate_split)
    training, evaluated, tuning = _features(inputs, folder, settings, list(targets.index), list(truth.index))
    checkpoint = folder / "resume.npz"
    # Only training is deferred, which then saves its state; the checkpoint must outlive an interrupted training.
    with stop_deferred() as should_stop:
        tagged = tag_clips(
            annotations,
            taxonomy,
            targets.loc[training.clips],
            training,
            evaluated,
            settings,
            seed,
            encoder=tuning.encoder if tuning else None,
            scaling=tuning.scaling if tuning else None,
            callbacks=Callbacks(on_epoch, checkpoint, should_stop),
        )
    checkpoint.unlink(missing_ok=True)
    if tuning:
        with atomic_path(folder / BEST_MODEL) as temporary:
            embedding_model(tuning.model.representation, tuning.encoder).save(temporary)
        shutil.rmtree(folder / IMAGES)  # the largest files by far
    for name, table in (("predictions.csv", tagged.predictions.reset_index()), ("history.csv", tagged.history)):
        write_text(folder / name, table.to_csv(index=False))
    truth = truth.loc[evaluated.clips]
    near = proximities(annotations, truth.index, [c for c in taxonomy.columns if c not in taxonomy.coarse_columns])
    levels: tuple[Level, ...] = ("coarse", "fine") if settings.label_mode == "fine" else ("coarse",)
    return {
        **evaluate_levels(tagged.predictions, truth, taxonomy, levels, near, seed, folder),
        "prior": evaluate(tagged.prior, truth, taxonomy, "coarse"),
        **tagged.facts,
        "validate_clips": len(truth),
        "skipped": training.skipped + evaluated.skipped,
    }


def evaluate_levels(
    predictions: pd.DataFrame,
    truth: pd.DataFrame,
    taxonomy: Taxonomy,
    levels: tuple[Level, ...],
    near: pd.DataFrame | None,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Evaluate predictions at some levels of the taxonomy, and write the precision-recall curves."""
    results: dict[str, Any] = {"fine": None}
    for level in levels:
        tables = (predictions, truth, taxonomy, level)
        results |= evaluate_level(*tables, samples=INTERVAL_SAMPLES, seed=seed, proximity=near)
        scores = results[level]
        logger.info("%s: micro-AUPRC %.4f, macro-AUPRC %.4f", level, scores["micro_auprc"], scores["macro_auprc"])
    results["cooccurrence"] = cooccurrence(predictions, truth, taxonomy)
    curves = curve_table(predictions, truth, taxonomy, levels)
    write_text(folder / CURVES, curves.to_csv(index=False, float_format="%.6g"))
    return results


def cooccurrence(predictions: pd.DataFrame, truth: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, Any]:
    """How often a coarse tag occurs among the clips that have another: truly, and by the predicted probabilities.

    It returns `tags`, and `truth` and `predicted` as `[given, tag]`; 0 where no clip has the given tag.
    """
    found: dict[str, Any] = {"tags": [category.name for category in taxonomy.categories]}
    for name, table in (("truth", truth), ("predicted", predictions)):
        values = table[taxonomy.coarse_columns].to_numpy(float)
        together = values.T @ values
        np.fill_diagonal(together, values.sum(axis=0))
        found[name] = (together / np.maximum(values.sum(axis=0)[:, np.newaxis], 1e-9)).round(4).tolist()
    return found


def _features(
    inputs: Mapping[str, Path], folder: Path, settings: ClassifierSettings, training: list[str], evaluated: list[str]
) -> tuple[StackedEmbeddings, StackedEmbeddings, Tuning | None]:
    """Embeddings of the training clips and of the evaluated ones; to fine-tune, the student's images of them."""
    if settings.fine_tune != ("student_dir" in inputs):
        raise InputError("classifier.fine_tune and --student-dir go together: the student that made the features.")
    features = inputs["features"] / CLIPS
    if not settings.fine_tune:
        return stack_embeddings(features, training), stack_embeddings(features, evaluated), None
    audio = find_clips(inputs["dataset_root"], [*training, *evaluated])
    stacks = [stack_embeddings(features, [each for each in clips if each in audio]) for clips in (training, evaluated)]
    model = load_model(inputs["student_dir"])
    if not isinstance(model, KerasEmbeddingModel):
        raise InputError(f"{inputs['student_dir']} holds an 8-bit student, which cannot be trained; use that of 03.")
    # The saved network still has the loss and metrics of stage 03, which would be trained and logged here too.
    encoder = keras.Model(model.network.inputs, model.network.outputs, name=model.network.name)
    scaling = Standardizer.fit(stacks[0].features) if settings.standardize else None
    for index, name in enumerate(("training.npy", "evaluated.npy")):
        clips = [audio[clip] for clip in stacks[index].clips]
        images = clip_images(clips, features, model, folder / IMAGES / name)
        stacks[index] = replace(stacks[index], features=images)
    return stacks[0], stacks[1], Tuning(model, encoder, scaling)
