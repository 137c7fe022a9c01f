"""The card of a student: its origin, settings and results, from the records of the stages before it."""

from __future__ import annotations

import pytest
import yaml

from l3embedding.export.model_card import write_model_card
from l3embedding.settings import DistillationSettings, StudentSettings

STUDENT = StudentSettings(dim=64, fmax=3500, filters=(8, 16, 64))
PARAMETERS = {
    "student": STUDENT.signed(),
    "distillation": DistillationSettings(loss="cosine", epochs=20).signed(),
    "random_state": 7,
}
RESULTS = {
    "embedding_key": "pca_64",
    "train_frames": 900,
    "validate_frames": 100,
    "epochs": 20,
    "best_epoch": 17,
    "best_valid_mse": 0.25,
    "baseline_mse": 1.5,
    "parameters": 12345,
    "size_mb": 0.05,
    "activation_mb": 0.4,
}
EXPORT = {"int8_bytes": 20000, "arena_bytes": 30000, "relative_l2_error": 0.05, "mean_cosine": 0.999}


def _record(stage, results, parameters=None, inputs=None):
    return {"stage": stage, "parameters": parameters or {}, "inputs": inputs or {}, "results": results}


EXTRACTION = {"teacher_name": "openl3", "teacher_licence": "cc-by-4.0", "teacher_embedding_size": 512, "recordings": 8}
RECORDS = [
    _record("02-fit-reduction", {"explained_variance_ratio": 0.875}),
    _record(
        "01-sample-teacher-embeddings", {"n_sampled": 600, "by_sensor": {"a": 1, "b": 2}}, {"sample": {"method": "dpp"}}
    ),
    _record(
        "00-extract-teacher-embeddings",
        EXTRACTION,
        {"recordings": {"exclude_sensor": "c"}},
        {"audio_root": "/data/harbour"},
    ),
]
TRAINED = _record("03-train-approx-embedding", RESULTS, PARAMETERS)


def _card(folder, parameters, records, results):
    write_model_card(folder, parameters, records, results)
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_has_origin_settings_and_results(tmp_path):
    front, body = _card(tmp_path, PARAMETERS, RECORDS, RESULTS)
    assert front["license"] == "cc-by-4.0" and front["library_name"] == "keras"
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"]["name"] == "harbour"
    assert [metric["value"] for metric in result["metrics"]] == [0.25]
    assert "# SEA student, 64 dimensions\n" in body
    for row in (
        "| teacher | openl3, 512 dimensions |",
        "| domain | harbour: 8 recordings of 2 sensors, 900 training frames, 100 validation frames |",
        "| sensor left out | c |",
        "| sample | dpp, 600 embeddings |",
        "pca_64, 87.5 % of the variance |",
        "| Upper edge of the mel filter bank, Hz | 3500.0 |",
        "| Filters of each block, for a student of your own | 8-16-64 |",
        "| What is minimised | cosine |",
        "| Seed | 7 |",
    ):
        assert row in body
    assert "training has failed" not in body and "8 bits" not in body


def test_the_card_of_an_export_is_that_of_its_student_and_of_8_bits(tmp_path):
    # The student's training continued an earlier one, of other settings.
    earlier = _record("03-train-approx-embedding", RESULTS, PARAMETERS | {"random_state": 8})
    front, body = _card(tmp_path, {"board": {}}, [TRAINED, earlier, *RECORDS], EXPORT)
    assert front["library_name"] == "tflite" and front["metrics"] == ["mse", "cosine"]
    assert "# SEA student, 64 dimensions, 8 bits" in body and "| Seed | 7 |" in body
    assert "20000 bytes of flash, an arena of 30000 bytes of RAM" in body
    _, body = _card(tmp_path, {"board": {}}, [TRAINED, *RECORDS], EXPORT | {"arena_bytes": None})
    assert "20000 bytes of flash |" in body


@pytest.mark.parametrize(
    ("result", "caveat", "tag"),
    [("is_stand_in", "STAND-IN teacher", "stand-in-teacher"), ("synthetic", "SYNTHETIC audio", "synthetic-audio")],
)
def test_a_card_warns_of_results_that_mean_nothing(tmp_path, result, caveat, tag):
    front, body = _card(tmp_path, PARAMETERS, [*RECORDS, _record("synthesize-street", {result: True})], RESULTS)
    assert f"**{caveat}**" in body and tag in front["tags"]


def test_a_student_worse_than_the_mean_is_marked(tmp_path):
    _, body = _card(tmp_path, PARAMETERS, RECORDS, RESULTS | {"best_valid_mse": 1.6})
    assert "training has failed" in body


def test_the_origin_of_a_student_without_records_is_unknown(tmp_path):
    front, body = _card(tmp_path, PARAMETERS, [], RESULTS)
    assert front["license"] == "unknown"
    assert "| teacher | unknown |" in body and "ask their authors before you distribute" in body
