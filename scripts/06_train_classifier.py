"""Stage 06: train a classifier on the embeddings, and evaluate it."""

from __future__ import annotations

import sys

from l3embedding.cli.program import Job, Results, run_stage
from l3embedding.data.datasets import DATASETS
from l3embedding.jobs.stopping import stop_deferred
from l3embedding.settings import (
    ClassifierSettings,
    CnnSettings,
    DatasetSettings,
    FoldsSettings,
    Representation,
    StudentSettings,
)


def classify(
    job: Job,
    dataset: DatasetSettings,
    representation: Representation,
    classifier: ClassifierSettings,
    folds: FoldsSettings,
    cnn: CnnSettings,
    student: StudentSettings,
    seed: int,
) -> Results:
    """Train and evaluate on SONYC-UST, or on a data set with folds."""
    # One of the two needs TensorFlow, which takes seconds to import.
    if DATASETS[dataset.name].has_folds:
        from l3embedding.downstream.folds import classify_by_folds

        return classify_by_folds(job.inputs, job.folder, dataset, representation, folds, cnn, student, seed)
    from l3embedding.downstream.sonyc_ust import classify_sonyc_ust

    return classify_sonyc_ust(job.inputs, job.folder, dataset, classifier, seed, job.track.epoch, stop_deferred)


if __name__ == "__main__":
    sys.exit(run_stage("06-train-classifier", classify))
