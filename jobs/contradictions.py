"""What keys of an experiment contradict each other, said before anything runs.

Each function takes anything that has the keys as attributes, and yields a sentence for each contradiction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PAPER_STUDENTS = (512, 256, 128, 64)

IMAGE_HOP_S = 0.5
"""Least hop between the images that a network is trained on: what overlaps more teaches it little."""


def contradictions(keys: Any) -> Iterator[str]:
    """All of an experiment's."""
    yield from _roots(keys)
    yield from _student(keys)
    yield from _judged(keys)
    yield from tagging_contradictions(keys)
    yield from _supervision(keys)


def tagging_contradictions(keys: Any) -> Iterator[str]:
    """Those of 06 on SONYC-UST."""
    if keys.model_type == "mil" and keys.frame_aggregation is not None:
        yield "frame_aggregation is a framewise model's; model_type mil has AutoPool"
    if keys.pca_components is not None and not keys.pca:
        yield "pca_components needs pca: true"
    if keys.cooccurrence_loss and not keys.cooccurrence_loss_factor:
        yield "cooccurrence_loss with a cooccurrence_loss_factor of 0 is none"
    if keys.dropout > 0 and not keys.num_hidden_layers:
        yield "dropout silences units of hidden layers; num_hidden_layers is 0"
    if keys.dropout > 0 and keys.optimizer == "lbfgs":
        yield "optimizer: lbfgs needs a loss without chance; dropout must be 0"
    smotes = keys.oversample != "none"
    if smotes and (keys.sensor_factor or keys.proximity_factor):
        yield (
            f"oversample: {keys.oversample} makes clips without a sensor or proximity; "
            "sensor_factor and proximity_factor must be 0"
        )
    if keys.fine_tune and keys.optimizer == "lbfgs":
        yield "fine_tune goes by batches; optimizer must be adam"
    if keys.fine_tune and keys.pca:
        yield "fine_tune changes the embeddings that pca is fitted on; pca must be false"
    if keys.fine_tune and smotes:
        yield f"fine_tune hears audio, which oversample: {keys.oversample} does not make"


def _roots(keys: Any) -> Iterator[str]:
    needed = ("audio_root", "dataset_root") if keys.needs_upstream else ("dataset_root",)
    for key in () if keys.synthetic_street else needed:
        if getattr(keys, key) is None:
            yield f"{key} is missing; set it, or synthetic_street: true"


def _student(keys: Any) -> Iterator[str]:
    if keys.student_filters is None and keys.student not in PAPER_STUDENTS:
        yield f"student: {keys.student} is none of the paper's {PAPER_STUDENTS}; give student_filters"
    if keys.student_filters is not None and keys.student_filters[-1] != keys.student:
        yield f"student_filters end in {keys.student_filters[-1]}, but student is {keys.student}"
    if keys.initial_student is not None and keys.continue_from is not None:
        yield "initial_student and continue_from are two ways to start; give one of them"
    if keys.fmax is not None and keys.fmax > keys.asr / 2:
        yield f"fmax: {keys.fmax:g} Hz is above half of asr, {keys.asr / 2:g} Hz"


def _judged(keys: Any) -> Iterator[str]:
    if "logmel-cnn" in keys.representations and keys.dataset == "sonyc_ust":
        yield "representations name 'logmel-cnn', which needs a data set with folds: esc50, us8k, ..."
    if "reduced" in keys.representations and keys.approx_mode == "mse":
        yield "representations name 'reduced', but approx_mode: mse has no reduction"
    if "reduced" in keys.representations and keys.approx_mode == "umap" and not keys.allow_pickle:
        yield "representations name 'reduced', which loads a pickled UMAP; say allow_pickle: true"
    if keys.fine_tune and keys.representations != ("student",):
        yield "fine_tune trains the student; representations can then be [student] only"


def _supervision(keys: Any) -> Iterator[str]:
    if keys.supervision == "labels":
        return
    if "logmel-cnn" not in keys.representations:
        yield f"supervision: {keys.supervision} is that of logmel-cnn, which representations do not name"
    if keys.embedding_hop_size < IMAGE_HOP_S:
        yield (
            f"supervision: {keys.supervision} pairs the teacher's frames with images, of which there is one each "
            f"{IMAGE_HOP_S} s; embedding_hop_size must be as much at least"
        )
    if keys.fold_classifier == "svm" and keys.supervision != "embedding":
        yield f"supervision: {keys.supervision} needs class probabilities, which fold_classifier: svm has none of"
