"""Stage 01: draw the sample of teacher embeddings that the reduction is fitted on."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from scripts.program import run_stage

logger = logging.getLogger(__name__)


def sample(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Sample each sensor's training shards; see `l3embedding.sampling`."""
    ...


if __name__ == "__main__":
    sys.exit(run_stage("01-sample-teacher-embeddings", sample))
