"""Stage 04: quantise the student to 8 bits, and see whether it fits the board."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l3embedding.cli.program import run_stage
from l3embedding.data.audio import from_int16
from l3embedding.data.shards import read_dataset, require_shards
from l3embedding.embedding import load_model
from l3embedding.export.model_card import write_model_card
from l3embedding.export.tflite import arena_bytes, compare, convert, latency_ms, write_tflite
from l3embedding.models.model_files import write_representation
from l3embedding.models.networks import model_size

FLOAT_FILE = "student_float32.tflite"
INT8_FILE = "student_int8.tflite"


def export(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Convert the best student, and compare the 8-bit one with it on validation frames."""
    student = load_model(inputs["student_dir"])
    rng = np.random.default_rng(parameters.random_state)
    calibration = _some_frames(inputs["audio_dir"] / "train", parameters.calibration_frames, rng)
    frames = _some_frames(inputs["audio_dir"] / "validate", parameters.calibration_frames, rng)
    float_content = convert(student.network)
    int8_content = convert(student.network, student.images(calibration))
    for name, content in ((FLOAT_FILE, float_content), (INT8_FILE, int8_content)):
        write_tflite(output_dir / name, content)
        write_representation((output_dir / name).with_suffix(".json"), student.representation)
    fidelity = compare(load_model(output_dir / INT8_FILE).embed(frames), student.embed(frames))
    arena = arena_bytes(int8_content)
    results = {
        "float_bytes": len(float_content),
        "int8_bytes": len(int8_content),
        "arena_bytes": arena,
        "activation_bytes": round(model_size(student.network).activation_mb * 1e6 / 4),
        "latency_ms": latency_ms(output_dir / INT8_FILE),
        **asdict(fidelity),
        "flash_limit_bytes": parameters.flash_limit_bytes,
        "ram_limit_bytes": parameters.ram_limit_bytes,
        "fits_flash": len(int8_content) <= parameters.flash_limit_bytes,
        "fits_ram": None if arena is None else arena <= parameters.ram_limit_bytes,
    }
    write_model_card(output_dir, vars(parameters), inputs, results)
    return results


def _some_frames(folder: Path, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw frames of audio from a few shards, float32 `[count, sample_rate]`."""
    shards = require_shards(folder)
    chosen = rng.permutation(len(shards))[:8]
    audio = np.concatenate([read_dataset(shards[index], "audio") for index in chosen])
    return from_int16(audio[rng.permutation(len(audio))[:count]])


if __name__ == "__main__":
    sys.exit(run_stage("04-export-student", export))
