"""The model card of a student, in the student's folder: its origin, size and accuracy.

It is made from the records (`done.json`) of the stages that led to it, in the layout that Hugging Face reads: YAML in
front, Markdown below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from l3embedding.settings import DistillationSettings, Settings, StudentSettings
from l3embedding.utils.files import write_text

MODEL_CARD = "README.md"
UNKNOWN = "unknown"

Record = Mapping[str, Any]


def write_model_card(folder: Path, parameters: Record, records: Sequence[Record], results: Record) -> None:
    """Write the card of a student (stage 03) or of its export (04) into the stage's folder.

    `parameters` and `results` are the stage's own, as in `done.json`; `records` are those of all stages before it,
    the nearest first.
    """
    # Stage 03 too may follow another of its name, whose training it continued: the nearest counts.
    by_stage = {record["stage"]: record for record in reversed(records)}
    is_export = "int8_bytes" in results
    trained = by_stage["03-train-approx-embedding"] if is_export else {"parameters": parameters, "results": results}
    empty: Record = {"parameters": {}, "inputs": {}, "results": {}}
    facts = {
        "student": trained["parameters"]["student"],
        "training": trained["results"],
        "export": results if is_export else None,
        "extraction": by_stage.get("00-extract-teacher-embeddings", empty),
        "sampling": by_stage.get("01-sample-teacher-embeddings", empty),
        "reduction": by_stage.get("02-fit-reduction", empty),
        "student_table": _table(StudentSettings, trained["parameters"]["student"]),
        "training_table": _table(DistillationSettings, trained["parameters"]["distillation"])
        | {"Seed": trained["parameters"]["random_state"]},
        "caveats": caveats(records),
    }
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    body = environment.get_template("model_card.md.j2").render(facts)
    front = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True)
    write_text(folder / MODEL_CARD, f"---\n{front}---\n\n{body}")


def caveats(records: Sequence[Record]) -> list[str]:
    """Reasons why the results of a run mean nothing by themselves; the sheet and the report show them too."""
    reasons = {"STAND-IN teacher": "is_stand_in", "SYNTHETIC audio": "synthetic"}
    return [caveat for caveat, key in reasons.items() if any(record["results"].get(key) for record in records)]


def front_matter(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that Hugging Face reads; see https://huggingface.co/docs/hub/model-cards."""
    training, extraction = facts["training"], facts["extraction"]["results"]
    metrics = [{"type": "mse", "name": "validation MSE", "value": training["best_valid_mse"]}]
    if facts["export"]:
        metrics.append({"type": "cosine", "name": "cosine to float", "value": facts["export"]["mean_cosine"]})
    data = Path(facts["extraction"]["inputs"].get("audio_root", UNKNOWN)).name
    result = {"task": {"type": "feature-extraction"}, "dataset": {"type": "audio", "name": data}, "metrics": metrics}
    return {
        # A student reproduces its teacher's output, so the licence of the teacher's weights applies to it.
        "license": extraction.get("teacher_licence", UNKNOWN),
        "library_name": "keras" if facts["export"] is None else "tflite",
        "pipeline_tag": "feature-extraction",
        "tags": ["audio", "audio-embedding", "knowledge-distillation", "specialized-embedding-approximation"]
        + [caveat.lower().replace(" ", "-") for caveat in facts["caveats"]],
        "metrics": [each["type"] for each in metrics],
        "model-index": [{"name": "SEA student", "results": [result]}],
    }


def _table(group: type[Settings], values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a group that are set, by the first clause of their descriptions."""
    return {
        str(field.description).partition(";")[0]: values[name]
        for name, field in group.model_fields.items()
        if values.get(name) is not None
    }
