"""A student's folder describes itself, and is all that is needed to use it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml

from l3embedding.embedding import load_model
from l3embedding.export.model_card import write_model_card

STAGES = ["03-train-approx-embedding", "04-export-student"]


def _front(folder):
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), body


@pytest.mark.parametrize("stage", STAGES)
def test_the_card_says_what_the_records_say(undisturbed, stage):
    run, _ = undisturbed
    front, body = _front(run / stage)
    results = {name: json.loads((run / name / "done.json").read_text())["results"] for name in STAGES}
    assert front["license"] == "mit" and "stand-in-teacher" in front["tags"] and "synthetic-audio" in front["tags"]
    (metric, *_) = front["model-index"][0]["results"][0]["metrics"]
    assert metric["value"] == results[STAGES[0]]["best_valid_mse"]
    assert "**STAND-IN teacher**" in body and "**SYNTHETIC audio**" in body
    assert "8 recordings of 2 sensors" in body and results[STAGES[0]]["embedding_key"] in body
    assert (f"{results[STAGES[1]]['int8_bytes']} bytes of flash" in body) == (stage == STAGES[1])


@pytest.mark.parametrize("stage", STAGES)
def test_the_folder_alone_is_enough_elsewhere(undisturbed, tmp_path, rng, stage):
    shutil.copytree(undisturbed[0] / stage, tmp_path / "student")
    frames = rng.normal(0, 0.1, (2, 8000)).astype(np.float32)
    np.testing.assert_array_equal(
        load_model(tmp_path / "student").embed(frames), load_model(undisturbed[0] / stage).embed(frames)
    )


def test_a_student_of_files_from_elsewhere_says_that_its_origin_is_unknown(undisturbed, tmp_path):
    record = json.loads((undisturbed[0] / STAGES[0] / "done.json").read_text())
    write_model_card(tmp_path, record["parameters"], {}, record["results"])
    front, body = _front(tmp_path)
    assert front["license"] == "unknown"
    assert "| teacher | unknown |" in body and "ask before you pass this on" in body
