"""What the tests of whole runs share: the console command, and a run that nobody disturbs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

TINY = REPOSITORY / "tests" / "support" / "tiny.yaml"
SEA = [sys.executable, "-m", "l3embedding.cli.sea"]


def sea(*arguments: object, env: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    """Run the console command; returns what it said."""
    command = [*SEA, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=600)


def figures(folder: Path) -> dict[str, list]:
    """All tables of a run's report but that of time, and without the column of it."""
    tables = json.loads((folder / "07-report" / "tables.json").read_text())
    board = next(table for table in tables if table["title"] == "On the board")
    board["rows"] = [
        [cell for name, cell in zip(board["header"], row, strict=True) if "ms" not in name] for row in board["rows"]
    ]
    return {table["title"]: table["rows"] for table in tables if table["title"] != "Time and memory"}


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> tuple[Path, str]:
    """Folder and output of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("run") / "undisturbed"
    ended = sea("run", TINY, "--output-dir", folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder, ended.stdout
