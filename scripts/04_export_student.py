"""Stage 04: quantise the student to 8 bits, and check whether it fits the board."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l3embedding.cli.program import Job, Results, run_stage
from l3embedding.data.audio import from_int16
from l3embedding.data.shards import read_dataset, require_shards
from l3embedding.embedding import load_model
from l3embedding.export.model_card import write_model_card
from l3embedding.export.tflite import arena_bytes, compare, convert, latency_ms, write_tflite
from l3embedding.jobs.folder import ancestors
from l3embedding.models.model_files import write_representation
from l3embedding.models.networks import model_size
from l3embedding.models.teachers import KerasEmbeddingModel
from l3embedding.settings import BoardSettings
from l3embedding.utils.errors import InputError

FLOAT_FILE = "student_float32.tflite"
INT8_FILE = "student_int8.tflite"


def export(job: Job, board: BoardSettings, random_state: int) -> Results:
    """Convert the best student, and compare the 8-bit model with it on validation frames."""
    student = load_model(job.inputs["student_dir"])
    if not isinstance(student, KerasEmbeddingModel):
        raise InputError(f"{job.inputs['student_dir']} holds {student.name}, which is not a Keras network to convert.")
    rng = np.random.default_rng(random_state)
    calibration = _sample_frames(job.inputs["audio_dir"] / "train", board.calibration_frames, rng)
    frames = _sample_frames(job.inputs["audio_dir"] / "validate", board.calibration_frames, rng)
    float_content = convert(student.network)
    int8_content = convert(student.network, student.images(calibration))
    for name, content in ((FLOAT_FILE, float_content), (INT8_FILE, int8_content)):
        write_tflite(job.folder / name, content)
        write_representation((job.folder / name).with_suffix(".json"), student.representation)
    fidelity = compare(load_model(job.folder / INT8_FILE).embed(frames), student.embed(frames))
    arena = arena_bytes(int8_content)
    results = {
        "float_bytes": len(float_content),
        "int8_bytes": len(int8_content),
        "arena_bytes": arena,
        "activation_bytes": round(model_size(student.network).activation_mb * 1e6 / 4),
        "latency_ms": latency_ms(job.folder / INT8_FILE),
        **asdict(fidelity),
        "flash_limit_bytes": board.flash_limit_bytes,
        "ram_limit_bytes": board.ram_limit_bytes,
        "fits_flash": len(int8_content) <= board.flash_limit_bytes,
        "fits_ram": None if arena is None else arena <= board.ram_limit_bytes,
    }
    parameters = {"board": board.signed(), "random_state": random_state}
    write_model_card(job.folder, parameters, list(ancestors(job.inputs)), results)
    return results


def _sample_frames(folder: Path, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw frames of audio from a few shards, float32 `[count, sample_rate]`."""
    shards = require_shards(folder)
    chosen = rng.permutation(len(shards))[:8]
    audio = np.concatenate([read_dataset(shards[index], "audio") for index in chosen])
    return from_int16(audio[rng.permutation(len(audio))[:count]])


if __name__ == "__main__":
    sys.exit(run_stage("04-export-student", export))
