"""Stage 07: lay the paper's tables and ours side by side, with figures, on one page."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from l3embedding.cli.program import run_stage
from l3embedding.report.collect import collect
from l3embedding.report.page import write_report


def report(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Collect what the run's folder holds, and write it; see `l3embedding.report`."""
    collected = collect(inputs["run_dir"])
    write_report(collected, f"Specialized Embedding Approximation: {inputs['run_dir'].resolve().name}", output_dir)
    return {"judged": len(collected.judged)}


if __name__ == "__main__":
    sys.exit(run_stage("07-report", report))
