"""The model card of a student: what lies in its folder says where it comes from and what it is worth.

Everything in it is taken from the records of the stages that led there; the layout is the one that
Hugging Face reads (YAML in front, Markdown behind).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

from l3embedding.jobs.experiment import Experiment
from l3embedding.jobs.folder import ancestors
from l3embedding.utils.files import write_text

MODEL_CARD = "README.md"
UNKNOWN = "unknown"

_TRAINING = (
    "distillation_loss",
    "precision",
    "num_epochs",
    "batch_size",
    "learning_rate",
    "patience",
    "plateau_patience",
    "random_state",
)
_INPUT = ("asr", "num_mels", "num_dft", "hop_len", "fmax")


def write_model_card(
    folder: Path, parameters: Mapping[str, Any], inputs: Mapping[str, Path], results: Mapping[str, Any]
) -> None:
    """Write the card of a student (stage 03) or of its export (04).

    Parameters
    ----------
    folder
        The stage's folder.
    parameters, inputs, results
        The stage's own, as `done.json` will hold them.
    """
    records = {record["stage"]: record for record in reversed(list(ancestors(inputs)))}
    # Stage 03 too has an ancestor of its own name, where it goes on with an earlier training.
    is_export = "int8_bytes" in results
    trained = records["03-train-approx-embedding"] if is_export else {"parameters": parameters, "results": results}
    facts = {
        "student": trained["parameters"],
        "training": trained["results"],
        "export": results if is_export else None,
        "extraction": _of(records, "00-extract-teacher-embeddings"),
        "sampling": _of(records, "01-sample-teacher-embeddings"),
        "reduction": _of(records, "02-fit-reduction"),
        "settings": {name: trained["parameters"][name] for name in _TRAINING},
        "hears": {name: trained["parameters"][name] for name in _INPUT},
        "described": {name: field.description for name, field in Experiment.model_fields.items()},
        "caveats": caveats(records.values()),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    body = environment.get_template("model_card.md.j2").render(facts)
    front = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True)
    write_text(folder / MODEL_CARD, f"---\n{front}---\n\n{body}")


def caveats(records: Any) -> list[str]:
    """Why the figures of a run are not what they look like, in the words of the sheet and the report."""
    results = [record["results"] for record in records]
    said = {"STAND-IN teacher": "is_stand_in", "SYNTHETIC audio": "synthetic"}
    return [caveat for caveat, key in said.items() if any(each.get(key) for each in results)]


def front_matter(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What Hugging Face reads of the card.

    References
    ----------
    https://huggingface.co/docs/hub/model-cards
    """
    training, extraction = facts["training"], facts["extraction"]["results"]
    metrics = [{"type": "mse", "name": "validation MSE", "value": training["best_valid_mse"]}]
    if facts["export"]:
        metrics.append({"type": "cosine", "name": "cosine to float", "value": facts["export"]["mean_cosine"]})
    data = Path(facts["extraction"]["inputs"].get("audio_root", UNKNOWN)).name
    return {
        # A student is made of what its teacher says: who passes it on keeps to the licence of the teacher's weights.
        "license": extraction.get("teacher_licence", UNKNOWN),
        "library_name": "keras" if facts["export"] is None else "tflite",
        "pipeline_tag": "feature-extraction",
        "tags": ["audio", "audio-embedding", "knowledge-distillation", "specialized-embedding-approximation"]
        + [caveat.lower().replace(" ", "-") for caveat in facts["caveats"]],
        "metrics": [each["type"] for each in metrics],
        "model-index": [
            {
                "name": "SEA student",
                "results": [
                    {
                        "task": {"type": "feature-extraction"},
                        "dataset": {"type": "audio", "name": data},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def _of(records: Mapping[str, Any], stage: str) -> Mapping[str, Any]:
    """The record of a stage, or an empty one where the files came from elsewhere."""
    return records.get(stage, {"parameters": {}, "inputs": {}, "results": {}})
