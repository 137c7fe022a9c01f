"""The recipe of SONYC-UST: from annotations and embeddings to a classifier, its predictions and its scores.

Training clips have the labels that any annotator heard, or those verified; a tag that nobody labelled, and in
label mode `fine` those of a category whose tag of uncertain kind is present, contribute nothing to the loss. The
epoch is chosen on training sensors that are held out. A classifier of fine tags is judged on the fine tags, and on
the coarse ones by the maximum over each category's; one of coarse tags on the coarse ones alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.classifier import oversampling
from l3embedding.classifier.clips import Clips, MixedClips
from l3embedding.classifier.losses import UNKNOWN
from l3embedding.classifier.network import PROXIMITY, SENSOR, TAGS, Classifier, ClassifierSettings, build_classifier
from l3embedding.classifier.oversampling import Oversampling
from l3embedding.classifier.scaling import Standardizer, fit_scaling
from l3embedding.classifier.training import Watch, predict, train
from l3embedding.data.sonyc_ust import (
    TargetMode,
    Taxonomy,
    clip_context,
    proximities,
    sensor_ids,
    training_targets,
    unlabelled,
)
from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)

LabelMode = Literal["coarse", "fine"]

HELD_OUT = 0.15
"""Share of the training clips, at least, that chooses the epoch."""


@dataclass(frozen=True)
class TaggingSettings:
    """What is learned, and from what; the defaults are the paper's.

    Attributes
    ----------
    label_mode
        Which tags are learned.
    target_mode
        `any`: present if any annotator says so, unless the verified label says otherwise; `verified`: only clips
        that are verified.
    standardize, pca, pca_components
        What happens to the embeddings, see `l3embedding.classifier.scaling`.
    timestamp_features
        Whether place and time of the clip are put beside each frame.
    oversample, oversample_iters, threshold_type
        See `l3embedding.classifier.oversampling`.
    seed
        Of every random choice.
    """

    label_mode: LabelMode = "coarse"
    target_mode: TargetMode = "any"
    standardize: bool = True
    pca: bool = False
    pca_components: int | None = None
    timestamp_features: bool = False
    oversample: Oversampling = "none"
    oversample_iters: int = 1
    threshold_type: str = "mean"
    seed: int = 0


@dataclass(frozen=True)
class Tagged:
    """What came of it.

    Attributes
    ----------
    predictions
        A row a judged clip, a column for each tag of the taxonomy that is predicted.
    prior
        Of the same shape: each tag's frequency in the training clips, which any classifier must beat.
    history
        A row an epoch.
    facts
        How many clips there were, of which kind.
    """

    predictions: pd.DataFrame
    prior: pd.DataFrame
    history: pd.DataFrame
    facts: dict[str, Any]


@dataclass(frozen=True)
class Features:
    """Features of some clips.

    Attributes
    ----------
    values
        `[clips, frames, ...]`: embeddings, or what an encoder takes.
    clips
        Their file names.
    """

    values: NDArray[np.floating]
    clips: Sequence[str]


def learned_columns(taxonomy: Taxonomy, label_mode: LabelMode) -> list[str]:
    """The tags that a classifier of this label mode predicts; never one of uncertain kind."""
    if label_mode == "coarse":
        return taxonomy.coarse_columns
    return [column for category in taxonomy.categories for column in category.fine_columns]


def tag_targets(
    annotations: pd.DataFrame, taxonomy: Taxonomy, settings: TaggingSettings, split: str = "train"
) -> pd.DataFrame:
    """Targets of the clips of a split: 0, 1, or -1 where the loss shall pass over a tag.

    Returns
    -------
    A row a clip, sorted by file name; a float32 column for each tag that is learned.
    """
    columns = learned_columns(taxonomy, settings.label_mode)
    targets = training_targets(annotations, taxonomy.columns, split, settings.target_mode)
    masked = targets[columns].astype(np.float32)
    masked = masked.mask(unlabelled(annotations, targets.index, columns), UNKNOWN)
    if unsaid := int((masked == UNKNOWN).to_numpy().sum()):
        logger.warning("%d labels of the split %s are -1 of all annotators; they are not learned from", unsaid, split)
    if settings.label_mode == "fine":
        for category in taxonomy.categories:
            if category.uncertain_column:
                masked.loc[targets[category.uncertain_column] == 1, category.fine_columns] = UNKNOWN
    for column in columns:
        if not (masked[column] == 1).any():
            logger.warning("no clip of the split %s has %s: it cannot be learned", split, column)
    return masked


def tag_clips(
    annotations: pd.DataFrame,
    taxonomy: Taxonomy,
    targets: pd.DataFrame,
    learned: Features,
    judged: Features,
    settings: TaggingSettings,
    classifier_settings: ClassifierSettings,
    *,
    encoder: keras.Model | None = None,
    scaling: Standardizer | None = None,
    watch: Watch | None = None,
) -> Tagged:
    """Train a classifier on some clips, and predict the tags of others.

    Parameters
    ----------
    annotations, taxonomy
        As `l3embedding.data.sonyc_ust` reads them.
    targets
        As `tag_targets` returns them, of the learned clips in their order.
    learned, judged
        Features of the clips to learn from and of those to predict.
    settings, classifier_settings
        How.
    encoder, scaling
        To fine-tune: the network that embeds a frame, and what standardises its embeddings.
    watch
        Looks on.

    Raises
    ------
    InputError
        The embeddings of the two differ in dimension, or an option needs what the annotations do not have.
    """
    if learned.values.shape[2:] != judged.values.shape[2:]:
        sizes = " and ".join(str(each.values.shape[2:]) for each in (learned, judged))
        raise InputError(f"Frames of the clips to learn from and to judge are of shape {sizes}; embed both alike.")
    index = pd.Index(learned.clips)
    rng = np.random.default_rng(settings.seed)
    sensors = sensor_ids(annotations, index)
    held_out = choose_held_out(sensors, rng)
    outputs = {TAGS: targets.to_numpy(np.float32)}
    outputs |= auxiliary_targets(annotations, taxonomy, index, classifier_settings)
    labels = outputs[TAGS]
    context, judged_context = _contexts(annotations, learned, judged, settings)
    if classifier_settings.model_type == "framewise":
        outputs = {name: values[:, np.newaxis] for name, values in outputs.items()}
    clips = Clips(learned.values, outputs, context)
    if encoder is None:
        scaling = fit_scaling(learned.values, settings.standardize, settings.pca, settings.pca_components)
    n_real = len(clips)
    if settings.oversample != "none":
        clips = _oversampled(clips, labels, ~held_out, settings, rng)
    build = partial(
        build_classifier,
        learned.values.shape[2:],
        labels.shape[1],
        classifier_settings,
        scaling=scaling,
        encoder=encoder,
        context_size=0 if context is None else context.shape[1],
        n_sensors=outputs[SENSOR].shape[-1] if SENSOR in outputs else 0,
        n_proximities=outputs[PROXIMITY].shape[-2] if PROXIMITY in outputs else 0,
    )
    classifier, history = train(build, clips, held_out, classifier_settings, settings.seed, watch)
    columns = list(targets)
    probabilities = _predict(classifier, Clips(judged.values, context=judged_context))
    predictions = pd.DataFrame(probabilities, pd.Index(judged.clips, name="audio_filename"), columns)
    prior = pd.DataFrame(prior_prediction(labels, len(predictions)), predictions.index, columns)
    facts = {
        "train_clips": n_real,
        "synthetic_clips": len(clips) - n_real,
        "held_out_clips": int(held_out.sum()),
        "judged_clips": len(predictions),
        "feature_dtype": str(learned.values.dtype),
        "best_epoch": int(history["valid_loss"].idxmin()) + 1,
        "epochs": len(history),
    }
    return Tagged(with_all_tags(predictions, taxonomy), with_all_tags(prior, taxonomy), history, facts)


def auxiliary_targets(
    annotations: pd.DataFrame, taxonomy: Taxonomy, clips: pd.Index, settings: ClassifierSettings
) -> dict[str, NDArray[np.float32]]:
    """One-hot targets of the auxiliary tasks that have a weight.

    Returns
    -------
    `sensor`, float32 `[clips, sensors]`, and `proximity`, float32 `[clips, fine tags, 2]` (near, far); all 0
    where most annotators do not say near or far.

    Raises
    ------
    InputError
        The annotations have no proximity.
    """
    targets = {}
    if settings.sensor_factor:
        _, which = np.unique(sensor_ids(annotations, clips), return_inverse=True)
        targets[SENSOR] = np.eye(which.max() + 1, dtype=np.float32)[which]
    if settings.proximity_factor:
        near = proximities(annotations, clips, learned_columns(taxonomy, "fine"))
        if near is None:
            raise InputError("The annotations have no column that ends in _proximity, which proximity_factor needs.")
        targets[PROXIMITY] = np.stack([near == "near", near == "far"], axis=-1).astype(np.float32)
    return targets


def with_all_tags(predictions: pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    """Predict each coarse tag by the maximum over its fine ones, and the uncertain ones never.

    Predictions of coarse tags are left as they are.
    """
    if set(taxonomy.coarse_columns) <= set(predictions):
        return predictions
    others = {}
    for category in taxonomy.categories:
        if category.uncertain_column:
            others[category.uncertain_column] = 0.0
        others[category.column] = predictions[category.fine_columns].max(axis=1)
    return predictions.assign(**others)[taxonomy.columns]


def prior_prediction(targets: NDArray[np.float32], n: int) -> NDArray[np.float64]:
    """Predict each tag's frequency where it is known for every clip, `[n, tags]`."""
    known = targets != UNKNOWN
    return np.tile((targets * known).sum(axis=0, dtype=np.float64) / np.maximum(known.sum(axis=0), 1), (n, 1))


def choose_held_out(sensors: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Hold out whole sensors, since the clips that are judged come from other sensors too.

    Where there is but one sensor, single clips are held out.
    """
    groups = sensors if len(np.unique(sensors)) > 1 else np.arange(len(sensors))
    held_out = np.zeros(len(groups), bool)
    for group in rng.permutation(np.unique(groups)):
        if held_out.mean() >= HELD_OUT:
            break
        held_out |= groups == group
    return held_out


def _contexts(
    annotations: pd.DataFrame, learned: Features, judged: Features, settings: TaggingSettings
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Place and time of the clips; the place is standardised as the embeddings are, the time is one-hot."""
    if not settings.timestamp_features:
        return None, None
    (place, time), (judged_place, judged_time) = (
        clip_context(annotations, pd.Index(each.clips)) for each in (learned, judged)
    )
    if settings.standardize:
        mean, spread = place.mean(axis=0), place.std(axis=0)
        scale = np.where(spread > 0, spread, 1)
        place, judged_place = (place - mean) / scale, (judged_place - mean) / scale
    return (
        np.concatenate([place, time], axis=1, dtype=np.float32),
        np.concatenate([judged_place, judged_time], axis=1, dtype=np.float32),
    )


def _oversampled(
    clips: Clips,
    labels: NDArray[np.float32],
    learned: NDArray[np.bool_],
    settings: TaggingSettings,
    rng: np.random.Generator,
) -> MixedClips:
    """Put synthetic clips behind the real ones, made of those that are learned from alone."""
    of = np.flatnonzero(learned)
    means = np.stack([clips.features[clip].mean(axis=0, dtype=np.float32) for clip in of])
    work = {"mlsmote": oversampling.mlsmote, "lssmote": oversampling.lssmote}[settings.oversample]
    mixtures = work(means, labels[of], rng, settings.oversample_iters, settings.threshold_type)
    return MixedClips.of(clips, mixtures.renumbered(of), TAGS)


def _predict(classifier: Classifier, clips: Clips) -> NDArray[np.float32]:
    # The sigmoid of a large number may exceed 1 by its pooling's rounding.
    return np.clip(predict(classifier, clips), 0, 1)
