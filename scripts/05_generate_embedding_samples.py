"""Stage 05: embed the clips of the downstream data set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from l3embedding.cli.program import Job, Results, run_stage
from l3embedding.data.clip_embeddings import CLIPS
from l3embedding.data.datasets import DATASETS
from l3embedding.downstream.representations import Request, embed_by
from l3embedding.settings import DatasetSettings, ReductionSettings, Representation, StudentSettings, TeacherSettings
from l3embedding.utils.errors import InputError


def generate(
    job: Job,
    representation: Representation,
    dataset: DatasetSettings,
    reduction: ReductionSettings,
    teacher: TeacherSettings,
    student: StudentSettings,
    random_state: int,
) -> Results:
    """Embed this task's share of the clips; see `l3embedding.downstream.representations`."""
    clips = job.share.of(DATASETS[dataset.name].read(job.inputs["dataset_root"])["path"].tolist())
    folder, hop_size = job.folder / CLIPS, dataset.hop_size
    request = Request(clips, folder, job.inputs, hop_size, reduction, teacher, student, random_state)
    return embed_by(representation, request)


def gather(parts: Sequence[Results], folder: Path) -> Results:
    """Combine the results of all tasks; fails if no clip could be embedded."""
    clips, skipped = sum(part["clips"] for part in parts), [entry for part in parts for entry in part["skipped"]]
    if not clips:
        raise InputError(f"None of the {len(skipped)} clips could be embedded; the first: {skipped[0]['reason']}")
    return {**parts[0], "clips": clips, "skipped": skipped}


if __name__ == "__main__":
    sys.exit(run_stage("05-generate-embedding-samples", generate, gather))
