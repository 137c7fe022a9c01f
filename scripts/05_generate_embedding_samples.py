"""Stage 05: embed the clips of the downstream data set."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from l3embedding.cli.program import load_teacher, run_stage
from l3embedding.data.clip_embeddings import CLIPS
from l3embedding.data.datasets import DATASETS
from l3embedding.downstream.clips import LogMelImages, embed_clips, reduce_clips
from l3embedding.embedding import load_model
from l3embedding.jobs.contradictions import IMAGE_HOP_S
from l3embedding.models.frontend import InputRepresentation, student_representation
from l3embedding.models.mfcc import MfccModel
from l3embedding.models.teachers import EmbeddingModel
from l3embedding.upstream.reduction import load_reduction
from l3embedding.utils.errors import InputError


def generate(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Embed with the teacher, a student or MFCCs, or reduce the teacher's embeddings."""
    needed = {"teacher": [], "mfcc": [], "logmel-cnn": [], "reduced": ["features", "phi"]}.get(
        parameters.representation, ["model"]
    )
    if missing := [name for name in needed if name not in inputs]:
        raise InputError(f"--{missing[0]} is missing; representation {parameters.representation} needs it.")
    clips = parameters.share.of(DATASETS[parameters.dataset].read(inputs["dataset_root"])["path"].tolist())
    if parameters.representation == "reduced":
        reduction = load_reduction(inputs["phi"], parameters.allow_pickle)
        skipped = reduce_clips(clips, inputs["features"] / CLIPS, reduction, output_dir / CLIPS)
        return {"clips": len(clips) - len(skipped), "skipped": skipped, "embedding_size": reduction.embedding_size}
    model, hop_size = _load(parameters, inputs), parameters.embedding_hop_size
    if parameters.representation == "logmel-cnn":
        hop_size = max(hop_size, IMAGE_HOP_S)
    skipped = embed_clips(clips, model, output_dir / CLIPS, hop_size)
    return {
        "clips": len(clips) - len(skipped),
        "skipped": skipped,
        "model_name": model.name,
        "is_stand_in": model.is_stand_in,
        "embedding_size": model.embedding_size,
        "size_mb": model.size_mb,
        "activation_mb": model.activation_mb,
    }


def gather(parts: list[dict[str, Any]], output_dir: Path) -> dict[str, Any]:
    """Put together which clips all tasks embedded, and refuse to go on with none."""
    clips, skipped = sum(part["clips"] for part in parts), [entry for part in parts for entry in part["skipped"]]
    if not clips:
        raise InputError(f"Not one of the {len(skipped)} clips could be embedded; the first: {skipped[0]['reason']}")
    return parts[0] | {"clips": clips, "skipped": skipped}


def _load(parameters: SimpleNamespace, inputs: Mapping[str, Path]) -> EmbeddingModel:
    if parameters.representation == "teacher":
        return load_teacher(parameters)
    if parameters.representation == "mfcc":
        return MfccModel()
    said = student_representation(
        parameters.asr, parameters.num_mels, parameters.num_dft, parameters.hop_len, parameters.fmax
    )
    if parameters.representation == "logmel-cnn":
        return LogMelImages(said)
    return _load_student(inputs["model"], said, parameters.teacher_batch_size)


def _load_student(path: Path, said: InputRepresentation, batch_size: int) -> EmbeddingModel:
    """Load a student, and refuse one that hears something else than the parameters say."""
    model = load_model(path, batch_size=batch_size)
    heard = getattr(model, "representation", said)
    if heard != said:
        raise InputError(f"{path} hears {heard}, but the parameters say {said}.")
    return model


if __name__ == "__main__":
    sys.exit(run_stage("05-generate-embedding-samples", generate, gather))
