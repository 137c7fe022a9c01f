"""Every command and code block of the README and documentation runs, page by page, and names settings that exist.

Commands run at a small size, in a folder with the files that the pages name. A page has two tests: one of what runs on
a single machine, the other of what needs a Slurm cluster.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import soundfile
import yaml

from l3embedding.jobs.experiment import read_experiment
from l3embedding.settings import Experiment, groups
from tests.conftest import REPOSITORY
from tests.support.sheets_server import SheetsServer

DOCS = REPOSITORY / "docs"
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in DOCS.glob("*.md"))]
SEA = [sys.executable, "-m", "l3embedding.cli.sea"]

SMALL_STUDENT = ["student.dim=8", "student.filters=[2,2,2,8]", "distillation.epochs=1", "board.calibration_frames=4"]
SMALL_DEMO = [
    *("street.sensors=1", "street.recordings=2", "street.recording_s=8"),
    *("street.train_clips=16", "street.validate_clips=16", "street.clip_s=1", "sample.size=10"),
    *SMALL_STUDENT,
    *("distillation.batch_size=4", "classifier.epochs=2", "seeds=[0]", "representations=[teacher,student]"),
]
# The real size costs nothing until it runs, but the nodes of the tests are small.
REAL_SIZE = ["slurm.sbatch=[]"]
SIZES = {
    # The dimension stays, since the tutorial checks it.
    "harbour.yaml": ["sample.size=40", "student.filters=[2,2,2,32]", "distillation.epochs=1", SMALL_STUDENT[-1]],
    "experiments/demo.yaml": SMALL_DEMO,
    "experiments/esc10.yaml": [
        *("sample.size=100", "recordings.hop_size=4", "dataset.hop_size=4", "representations=[student]"),
        *SMALL_STUDENT,
    ],
    "experiments/out_of_domain.yaml": REAL_SIZE,
    "experiments/cerutti.yaml": REAL_SIZE,
    "experiments/paper/table1.yaml": REAL_SIZE,
    "experiments/paper/table2.yaml": REAL_SIZE,
}

# What each command prints at least.
PRINTS = {
    "auth": "can write|can be written",
    "cancel": ".",
    "embed": r"(\d+) of \1 files are embedded",
    "evaluate": "",  # what it writes is checked
    "logs": "epoch",
    "models": "edgel3_sea_ust_audio_emb_64 .* yes",
    "plan": "00-extract|05-generate",
    "run": "Table|Accuracy by fold",
    "runs": "finished|written|runs",
    "sensors": r"sensor,latitude,longitude,nearest_km\n(.+\n){15}$",
    "status": "00-extract|05-generate",
    "students": r"16-32-64-32 .* yes\n",
    "sync": "written|up to date",
}
MAKE = {"demo": "sea run experiments/demo.yaml", "test": "-m pytest", "docs": "sphinx-build"}


class Block(NamedTuple):
    """A code block; one with a caption is a file of that name."""

    language: str
    caption: str | None
    code: str


def _blocks(page: str) -> list[Block]:
    pattern = r"^```(?:\{code-block\} )?(\w+)\n(?::caption: (\S+)\n\n)?(.*?)^```"
    found = re.findall(pattern, (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(language, caption or None, code) for language, caption, code in found]


def _commands(block: Block) -> list[str]:
    return [line for line in (line.split("#")[0].strip() for line in block.code.splitlines()) if line]


def _needs_slurm(command: str) -> bool:
    return "slurm" in command or "sbatch" in command or command == "sea cancel"


LOCAL_PAGES = [page for page in PAGES if _blocks(page)]
SLURM_PAGES = [
    page
    for page in PAGES
    if any(block.language == "bash" and any(map(_needs_slurm, _commands(block))) for block in _blocks(page))
]


@pytest.fixture
def workplace(tmp_path, monkeypatch, rng) -> Path:
    """A folder with the files that the pages name."""
    for folder in ("recordings/quay", "datasets", "outputs"):
        (tmp_path / folder).mkdir(parents=True)
    for index in range(3):
        soundfile.write(tmp_path / "recordings" / "quay" / f"{index}.wav", rng.normal(0, 0.1, 96000), 8000)
    soundfile.write(tmp_path / "street.wav", rng.normal(0, 0.1, 88200), 44100)
    sensors = [f"s{index},{40 + index / 100},-74" for index in range(20)]
    (tmp_path / "SENSORS.csv").write_text("\n".join(["sensor,latitude,longitude", *sensors]) + "\n")
    tags = ["1-1_small", "1_engine"]
    (tmp_path / "TAXONOMY.yaml").write_text("coarse: {1: engine}\nfine: {1: {1: small}}\n")
    (tmp_path / "PREDICTIONS.csv").write_text("audio_filename,1-1_small,1_engine\na.wav,0.9,0.8\nb.wav,0.1,0.2\n")
    head = ",".join(["split", "sensor_id", "audio_filename", "annotator_id", *(f"{tag}_presence" for tag in tags)])
    (tmp_path / "ANNOTATIONS.csv").write_text(f"{head}\nvalidate,1,a.wav,0,1,1\nvalidate,1,b.wav,0,0,0\n")
    for name in ("experiments", "jobs", "Makefile"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """The demo's run at a small size, for pages about runs that do not begin with one."""
    folder = tmp_path_factory.mktemp("finished")
    settings = [word for each in SMALL_DEMO for word in ("--set", each)]
    _run([*SEA, "run", str(REPOSITORY / "experiments" / "demo.yaml"), *settings], cwd=folder)
    return folder / "outputs"


def _run(words: list[str], expected: int = 0, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | dict(env or {})
    ended = subprocess.run(words, capture_output=True, text=True, timeout=900, env=environment, cwd=cwd)
    assert ended.returncode == expected, f"{shlex.join(words)}\n{ended.stdout}\n{ended.stderr}"
    return ended.stderr if expected else ended.stdout


@pytest.mark.parametrize("page", LOCAL_PAGES)
def test_every_block_of_a_page_runs(page, workplace, monkeypatch, request):
    weights = REPOSITORY.parent / "shared" / "data" / "sea64"
    monkeypatch.setenv("L3EMBEDDING_CACHE", str(weights if weights.is_dir() else workplace / "cache"))
    namespace: dict[str, object] = {}
    for block in _blocks(page):
        if "edgel3_sea" in block.code and block.language in ("python", "bash") and not weights.is_dir():
            pytest.skip(f"from here on {page} needs weights that are not beside this checkout")
        if block.caption:
            (workplace / block.caption).write_text(block.code)
        if block.language == "python" and not block.caption:
            exec(compile(block.code, page, "exec"), namespace)
        elif block.language == "yaml":
            _check_yaml(block.code, workplace)
        elif block.language == "bash":
            for command in _commands(block):
                if not _needs_slurm(command):
                    _run_command(command, workplace, request)
        else:
            assert block.caption or block.language in ("text", "bibtex"), f"{page}: no test runs {block.language}"
    if page == "docs/teacher.md":
        _check_teacher(workplace)
    sys.modules.pop("my_teacher", None)


@pytest.mark.parametrize("page", SLURM_PAGES)
def test_every_slurm_command_of_a_page_runs(page, workplace, cluster):
    for block in _blocks(page):
        commands = _commands(block) if block.language == "bash" else []
        if not any(map(_needs_slurm, commands)):
            continue
        for command in commands:
            words = shlex.split(command)
            if words[0] == "cd":
                # The job itself is tested with its parameters in tests/scripts/test_slurm.py.
                command = command.replace("sbatch ", "sbatch --output=/dev/null ")
                assert "Submitted batch job" in _run(["bash", "-c", command], env=cluster.environment)
                continue
            if words[1] == "logs":
                history = workplace / "outputs" / "demo" / "03-train-approx-embedding" / "history.csv"
                cluster.wait_until(history.is_file)
            printed = _run([*SEA, *_small(words[1:], workplace)], env=cluster.environment)
            if words[1] == "run":
                assert "are queued" in printed
                if SIZES[words[2]] is REAL_SIZE:
                    _run([*SEA, "cancel"], env=cluster.environment)
            else:
                assert re.search(PRINTS[words[1]], printed), printed
    if list(workplace.glob("outputs/*")):
        _run([*SEA, "cancel"], env=cluster.environment)


def _small(words: list[str], workplace: Path) -> list[str]:
    """The words of a command of `sea` with `--set` for a small size, and paths for the placeholders."""
    words = [word.replace("=PATH", f"={workplace / 'recordings'}") for word in words]
    sizes = SIZES[words[1]] if len(words) > 1 and words[1].endswith(".yaml") else []
    # Before the page's own settings, which count.
    return [*words[:2], *(word for each in sizes for word in ("--set", each)), *words[2:]]


def _run_command(command: str, workplace: Path, request: pytest.FixtureRequest) -> None:
    """Run a command that needs no cluster, and check what it prints."""
    words = shlex.split(command)
    variables = dict(words.pop(0).split("=", 1) for word in list(words) if re.fullmatch(r"[A-Z]+=\S+", word))
    if words[0] == "make":
        assert MAKE[words[1]] in _run([*words[:1], "-n", *words[1:]], cwd=REPOSITORY)
        return
    assert words[0] == "sea", f"no test runs {command}"
    if words[1] == "fetch":
        # Downloads are tested in tests/scripts/test_fetch.py; here there is no network.
        offline = dict.fromkeys(("http_proxy", "https_proxy", "no_proxy"), "http://127.0.0.1:9")
        assert re.search("cannot be fetched.*Fetch https://", _run([*SEA, *words[1:]], expected=2, env=offline))
        return
    if words[1] in ("runs", "sync", "status", "logs") and not list(workplace.glob("outputs/*")):
        finished = request.getfixturevalue("finished_run")
        shutil.copytree(finished, workplace / "outputs", dirs_exist_ok=True)
    if "esc10" in command:
        shared = request.getfixturevalue("shared")
        words = [word.replace("=PATH", f"={shared / 'esc10'}") for word in words]
    if "PYTHONPATH" in variables:
        variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], str(REPOSITORY)])
    words = _small(words[1:], workplace)
    if "GSHEET_ID" in words:
        with SheetsServer().running() as server:
            words = [word.replace("GSHEET_ID", server.gsheet_id) for word in words]
            printed = _run([*SEA, *words], env=variables | dict(server.environment(workplace)))
    else:
        printed = _run([*SEA, *words], env=variables)
    if "--until" not in words or words[0] != "run":  # else there is no report yet
        assert re.search(PRINTS[words[0]], printed), printed
    if words[0] == "evaluate":
        assert '"micro_f1": 1.0' in (workplace / "OUT_DIR" / "evaluation.json").read_text()


def _check_yaml(code: str, workplace: Path) -> None:
    """A block of YAML is an experiment, or some sections of one."""
    content = yaml.safe_load(code)
    if "name" in content:
        path = workplace / f"{content['name']}.yaml"
        path.write_text(code)
        assert read_experiment(path).experiments
        return
    for section, fields in content.items():
        groups()[section].model_validate(fields)


def _check_teacher(workplace: Path) -> None:
    """The chain handles the page's own teacher: shards, the journal's row, the report, the card."""
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


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_that_a_page_names_exists(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    text = re.sub(r"^```python\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for name, group in groups().items():
        for key in re.findall(rf"(?<![\w./-]){name}\.([a-z_]+)", text):
            assert key in group.model_fields or key in ("csv", "md", "wav"), f"{name}.{key}"


def test_earlier_keys_of_the_same_name_are_in_the_section_that_the_page_names():
    rows = re.findall(r"^\| (.*) \| `(\w+)\.` with the same name \|$", (DOCS / "migrate.md").read_text(), re.MULTILINE)
    assert len(rows) > 5
    for keys, section in rows:
        assert set(re.findall(r"`(\w+)`", keys)) <= set(groups()[section].model_fields)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    folders = "scripts|jobs|data|l3embedding|experiments|classifier|tests"
    for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", text):
        assert (REPOSITORY / name).exists(), name
    for name in re.findall(r"\]\(((?!http)[^)]+)\)", text):
        assert ((REPOSITORY / page).parent / name).is_file(), name


def test_the_documentation_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path / "html")]
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    _run(command, cwd=REPOSITORY)
    # The build brings the page up to date.
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == page, "docs/settings.md was out of date; commit it"
    assert "l3embedding.embedding.load_model" in (tmp_path / "html" / "api.html").read_text()


def test_the_tables_have_all_settings():
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"<!-- (\w+) -->\n(.*?)<!-- end -->", page, re.DOTALL))
    assert sections.keys() == {"experiment", *groups()}
    for name, group in groups().items():
        assert re.findall(r"^\| `(\w+)`", sections[name], re.MULTILINE) == list(group.model_fields)
    top = re.findall(r"^\| `(\w+)`", sections["experiment"], re.MULTILINE)
    assert [*top, *groups()] == list(Experiment.model_fields)
