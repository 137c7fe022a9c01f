"""Every code block of the documentation runs, page by page and in order, and the pages build without a warning."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import soundfile

from l3embedding.jobs.experiment import Experiment
from l3embedding.models.registry import CACHE_VARIABLE
from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))

# `sea run` and `sea plan` on the pages, at a size that a test can bear; a student keeps its dimension.
SMALL = {
    "harbour.yaml": ["sample_size=40", "student_filters=[2,2,2,32]", "num_epochs=1", "calibration_frames=4"],
    "experiments/demo.yaml": [
        "street_sensors=1",
        "street_recordings=2",
        "street_recording_s=8",
        "street_train_clips=8",
        "street_validate_clips=8",
        "street_clip_s=1",
        "sample_size=10",
        "student=8",
        "student_filters=[2,2,2,8]",
        "num_epochs=1",
        "batch_size=4",
        "calibration_frames=4",
        "classifier_epochs=2",
        "classifier_seeds=[0]",
        "representations=[teacher]",
    ],
}


class Block(NamedTuple):
    """A code block; one with a caption is a file of that name."""

    language: str
    caption: str | None
    code: str


def _blocks(page: str) -> list[Block]:
    pattern = r"^```(?:\{code-block\} )?(\w+)\n(?::caption: (\S+)\n\n)?(.*?)^```"
    found = re.findall(pattern, (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(language, caption or None, code) for language, caption, code in found]


@pytest.fixture
def workplace(tmp_path, monkeypatch, shared, rng) -> Path:
    """A folder with what the pages speak of, and a `sea` that makes experiments small."""
    for index in range(3):
        (tmp_path / "recordings" / "quay").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "recordings" / "quay" / f"{index}.wav", rng.normal(0, 0.1, 96000), 8000)
    soundfile.write(tmp_path / "street.wav", rng.normal(0, 0.1, 88200), 44100)
    (tmp_path / "outputs").mkdir()
    for folder in ("experiments", "jobs"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(shared / "sea64"))
    return tmp_path


def _run_bash(code: str) -> None:
    for line in filter(None, (line.split("#")[0].strip() for line in code.splitlines())):
        words = shlex.split(line)
        variables = dict(words.pop(0).split("=", 1) for word in list(words) if re.fullmatch(r"[A-Z]+=\S+", word))
        assert words[0] == "sea", f"no test runs {line}"
        settings = [word for each in SMALL.get(words[2], []) for word in ("--set", each)]
        path = os.pathsep.join([variables.pop("PYTHONPATH", ""), str(REPOSITORY)])
        ended = subprocess.run(
            [sys.executable, "-m", "l3embedding.cli.sea", *words[1:3], *settings, *words[3:]],
            env=os.environ | variables | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr}"


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page)])
def test_every_block_of_a_page_runs(page, workplace):
    namespace: dict[str, object] = {}
    for block in _blocks(page):
        if block.caption:
            (workplace / block.caption).write_text(block.code)
        elif block.language == "python":
            exec(compile(block.code, page, "exec"), namespace)
        else:
            assert block.language == "bash", f"{page}: no test runs {block.language}"
            _run_bash(block.code)
    if page == "teacher.md":
        _teaches(workplace)
    sys.modules.pop("my_teacher", None)


def _teaches(workplace: Path) -> None:
    """What the chain makes of the page's own teacher: shards, the journal's row, the report, the card."""
    import h5py

    from l3embedding.jobs.journal import read_run
    from l3embedding.sheet.rows import row_of

    run = workplace / "outputs" / "demo"
    with h5py.File(next((run / "00-extract-teacher-embeddings").rglob("*.h5"))) as shard:
        assert shard.attrs["teacher"] == "band levels" and shard["l3_embedding"].shape[1] == 16
    assert "teacher (band levels)" in (run / "07-report" / "tables.md").read_text()
    row = row_of(read_run(run / "03-train-approx-embedding"))
    assert row["Teacher"] == "band levels" and row["Status"] == "finished"
    assert "| band levels, 16 dimensions |" in (run / "03-train-approx-embedding" / "README.md").read_text()


def test_the_documentation_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path / "html")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert ended.returncode == 0, ended.stderr
    keys = (tmp_path / "html" / "experiment.html").read_text()
    for name in Experiment.model_fields:
        assert f">{name}</span>" in keys, name
    assert "l3embedding.embedding.load_model" in (tmp_path / "html" / "api.html").read_text()
