"""The recipe of SONYC-UST: from annotations and embeddings to a trained classifier and its predictions.

A training clip has the labels that any annotator gave it, or the verified ones. The loss ignores tags that nobody
labelled and, in label mode `fine`, those of a category whose uncertain tag is present. The epoch is selected on
training sensors that are held out. A classifier of fine tags also predicts each coarse one, by the maximum over its
fine tags; a classifier of coarse tags predicts these alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.classifier.clips import Clips, MixedClips
from l3embedding.classifier.losses import UNKNOWN
from l3embedding.classifier.network import MODEL_TYPES, PROXIMITY, SENSOR, TAGS, build_classifier
from l3embedding.classifier.oversampling import oversample
from l3embedding.classifier.scaling import Standardizer, fit_scaling
from l3embedding.classifier.training import predict, train
from l3embedding.data.clip_embeddings import StackedEmbeddings
from l3embedding.data.sonyc_ust import Taxonomy, clip_context, proximities, sensor_ids, training_targets, unlabelled
from l3embedding.settings import ClassifierSettings
from l3embedding.training import Callbacks
from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)

HELD_OUT = 0.15
"""Least fraction of the training clips that selects the epoch."""


@dataclass(frozen=True)
class Tagged:
    """Predictions of a trained classifier."""

    predictions: pd.DataFrame  #: one row per evaluated clip, one column per predicted tag
    prior: pd.DataFrame  #: the same of a baseline: each tag's frequency in the training clips
    history: pd.DataFrame  #: one row per epoch
    facts: dict[str, Any]  #: numbers of clips and epochs


def predicted_columns(taxonomy: Taxonomy, label_mode: str) -> list[str]:
    """The tags that a classifier of this label mode predicts; the uncertain ones are never among them."""
    if label_mode == "coarse":
        return taxonomy.coarse_columns
    return [column for category in taxonomy.categories for column in category.fine_columns]


def tag_targets(
    annotations: pd.DataFrame, taxonomy: Taxonomy, settings: ClassifierSettings, split: str = "train"
) -> pd.DataFrame:
    """Targets of the clips of a split: 0, 1, or -1 for tags that the loss ignores.

    Returns
    -------
    One row per clip, sorted by file name; a float32 column for each predicted tag.
    """
    columns = predicted_columns(taxonomy, settings.label_mode)
    targets = training_targets(annotations, taxonomy.columns, split, settings.target_mode)
    masked = targets[columns].astype(np.float32)
    masked = masked.mask(unlabelled(annotations, targets.index, columns), UNKNOWN)
    if ignored := int((masked == UNKNOWN).to_numpy().sum()):
        logger.warning("%d labels of the split %s are -1 for all annotators; training ignores them", ignored, split)
    if settings.label_mode == "fine":
        for category in taxonomy.categories:
            if category.uncertain_column:
                masked.loc[targets[category.uncertain_column] == 1, category.fine_columns] = UNKNOWN
    for column in masked.columns[~(masked == 1).any()]:
        logger.warning("no clip of the split %s has %s: it cannot be learned", split, column)
    return masked


def tag_clips(
    annotations: pd.DataFrame,
    taxonomy: Taxonomy,
    targets: pd.DataFrame,
    training: StackedEmbeddings,
    evaluated: StackedEmbeddings,
    settings: ClassifierSettings,
    seed: int,
    *,
    encoder: keras.Model | None = None,
    scaling: Standardizer | None = None,
    callbacks: Callbacks | None = None,
) -> Tagged:
    """Train a classifier on some clips, and predict the tags of others.

    Parameters
    ----------
    annotations, taxonomy
        As `l3embedding.data.sonyc_ust` reads them.
    targets
        As `tag_targets` returns them, one row per training clip, in the same order.
    training, evaluated
        The training clips and the clips to predict: embeddings, or the encoder's inputs `[clips, frames, ...]`.
    settings, seed, callbacks
        The classifier and its training, the seed of every random choice, and the training's callbacks.
    encoder, scaling
        To fine-tune: the network that embeds a frame, and the standardisation of its embeddings.

    Raises
    ------
    InputError
        The embeddings of the two differ in dimension, or the annotations lack what an option needs.
    """
    shapes = [each.features.shape[2:] for each in (training, evaluated)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"Frames of the training clips have the shape {shapes[0]}, those of the evaluated clips {shapes[1]}; "
            "embed both alike."
        )
    index = pd.Index(training.clips)
    rng = np.random.default_rng(seed)
    held_out = choose_held_out(sensor_ids(annotations, index), rng)
    labels = targets.to_numpy(np.float32)
    outputs = {TAGS: labels} | auxiliary_targets(annotations, taxonomy, index, settings)
    context, evaluated_context = _contexts(annotations, training, evaluated, settings)
    if MODEL_TYPES[settings.model_type].per_frame:
        outputs = {name: values[:, np.newaxis] for name, values in outputs.items()}
    clips = Clips(training.features, outputs, context)
    if settings.oversample != "none":
        sources = np.flatnonzero(~held_out)
        means = np.stack([clips.features[clip].mean(axis=0, dtype=np.float32) for clip in sources])
        options = (rng, settings.oversample_iters, settings.threshold_type)
        mixtures = oversample(settings.oversample, means, labels[sources], *options)
        clips = MixedClips.of(clips, mixtures.renumbered(sources), TAGS)
    build = partial(
        build_classifier,
        shapes[0],
        labels.shape[1],
        settings,
        scaling=fit_scaling(training.features, settings) if encoder is None else scaling,
        encoder=encoder,
        context_size=0 if context is None else context.shape[1],
        n_sensors=outputs[SENSOR].shape[-1] if SENSOR in outputs else 0,
        n_proximities=outputs[PROXIMITY].shape[-2] if PROXIMITY in outputs else 0,
    )
    classifier, history = train(build, clips, held_out, settings, seed, callbacks)
    # The sigmoid of a large number may exceed 1 by the rounding of the pooling.
    probabilities = np.clip(predict(classifier, Clips(evaluated.features, context=evaluated_context)), 0, 1)
    rows = pd.Index(evaluated.clips, name="audio_filename")
    predictions = pd.DataFrame(probabilities, rows, targets.columns)
    prior = pd.DataFrame(prior_prediction(labels, len(rows)), rows, targets.columns)
    facts = {
        "train_clips": len(index),
        "synthetic_clips": len(clips) - len(index),
        "held_out_clips": int(held_out.sum()),
        "evaluated_clips": len(rows),
        "feature_dtype": str(training.features.dtype),
        "best_epoch": int(history["valid_loss"].to_numpy().argmin()) + 1,
        "epochs": len(history),
    }
    return Tagged(with_all_tags(predictions, taxonomy), with_all_tags(prior, taxonomy), history, facts)


def auxiliary_targets(
    annotations: pd.DataFrame, taxonomy: Taxonomy, clips: pd.Index, settings: ClassifierSettings
) -> dict[str, NDArray[np.float32]]:
    """One-hot targets of the auxiliary tasks whose weight is not 0.

    Returns
    -------
    `sensor`, float32 `[clips, sensors]`, and `proximity`, float32 `[clips, fine tags, 2]` (near, far); all 0
    where no majority of the annotators chose near or far.
    """
    targets = {}
    if settings.sensor_factor:
        _, which = np.unique(sensor_ids(annotations, clips), return_inverse=True)
        targets[SENSOR] = np.eye(which.max() + 1, dtype=np.float32)[which]
    if settings.proximity_factor:
        near = proximities(annotations, clips, predicted_columns(taxonomy, "fine"))
        if near is None:
            raise InputError("The annotations have no column that ends in _proximity, which proximity_factor needs.")
        targets[PROXIMITY] = np.stack([near == "near", near == "far"], axis=-1).astype(np.float32)
    return targets


def with_all_tags(predictions: pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    """Predict each coarse tag by the maximum over its fine ones, and 0 for the uncertain ones.

    Predictions of coarse tags are returned unchanged.
    """
    if set(taxonomy.coarse_columns) <= set(predictions):
        return predictions
    others: dict[str, Any] = {}
    for category in taxonomy.categories:
        if category.uncertain_column:
            others[category.uncertain_column] = 0.0
        others[category.column] = predictions[category.fine_columns].max(axis=1)
    return predictions.assign(**others)[taxonomy.columns]


def prior_prediction(targets: NDArray[np.float32], n: int) -> NDArray[np.float64]:
    """Predict each tag's frequency among the clips where it is known, for `n` clips, `[n, tags]`."""
    known = targets != UNKNOWN
    return np.tile((targets * known).sum(axis=0, dtype=np.float64) / np.maximum(known.sum(axis=0), 1), (n, 1))


def choose_held_out(sensors: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Hold out whole sensors, since the evaluated clips come from other sensors too.

    If there is only one sensor, single clips are held out.
    """
    groups = sensors if len(np.unique(sensors)) > 1 else np.arange(len(sensors))
    held_out = np.zeros(len(groups), bool)
    for group in rng.permutation(np.unique(groups)):
        if held_out.mean() >= HELD_OUT:
            break
        held_out |= groups == group
    return held_out


def _contexts(
    annotations: pd.DataFrame, training: StackedEmbeddings, evaluated: StackedEmbeddings, settings: ClassifierSettings
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Place and time of the clips; the place is standardised as the embeddings are, the time is one-hot."""
    if not settings.timestamp_features:
        return None, None
    contexts = [clip_context(annotations, pd.Index(each.clips)) for each in (training, evaluated)]
    place, _ = contexts[0]
    mean, spread = (place.mean(axis=0), place.std(axis=0)) if settings.standardize else (np.zeros(2), np.ones(2))
    scale = np.where(spread > 0, spread, 1)
    first, second = (
        np.concatenate([(place - mean) / scale, time], axis=1, dtype=np.float32) for place, time in contexts
    )
    return first, second
