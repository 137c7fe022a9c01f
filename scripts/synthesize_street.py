"""Before the chain, where there are no recordings: synthesise a small street."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from data.soundscapes import StreetSizes, synthesize_street
from scripts.program import run_stage


def synthesize(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Make recordings and annotated clips; see `data.soundscapes`."""
    sizes = StreetSizes(**{each.name: getattr(parameters, f"street_{each.name}") for each in fields(StreetSizes)})
    synthesize_street(output_dir, sizes, parameters.random_state)
    return {"synthetic": True}


if __name__ == "__main__":
    sys.exit(run_stage("synthesize-street", synthesize))
