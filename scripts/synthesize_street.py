"""Before the chain, where there are no recordings: synthesise a small street."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from l3embedding.cli.program import run_stage
from l3embedding.data.soundscapes import StreetSizes, synthesize_street


def synthesize(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Make recordings and annotated clips; see `l3embedding.data.soundscapes`."""
    sizes = StreetSizes(**{each.name: getattr(parameters, f"street_{each.name}") for each in fields(StreetSizes)})
    synthesize_street(output_dir, sizes, parameters.random_state)
    return {"synthetic": True}


if __name__ == "__main__":
    sys.exit(run_stage("synthesize-street", synthesize))
