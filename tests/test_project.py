"""The project's promises about itself: every command of the README, the dependency lists, the rooms."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from l3embedding.jobs.experiment import Experiment, read_experiment
from tests.conftest import REPOSITORY
from tests.support.sheets_server import SheetsServer

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SEA = [sys.executable, "-m", "l3embedding.cli.sea"]

# The README's experiments at a size that a test can bear.
SMALL = [
    "street_sensors=1",
    "street_recordings=2",
    "street_recording_s=8",
    "street_train_clips=16",
    "street_validate_clips=16",
    "street_clip_s=1",
    "sample_size=10",
    "student=8",
    "student_filters=[2,2,2,8]",
    "num_epochs=1",
    "batch_size=4",
    "calibration_frames=4",
    "classifier_epochs=2",
    "classifier_seeds=[0]",
    "representations=[student]",
]
SMALL_REAL = [
    "sample_size=100",
    "student=8",
    "student_filters=[2,2,2,8]",
    "num_epochs=1",
    "upstream_hop_size=4",
    "embedding_hop_size=4",
    "calibration_frames=4",
    "representations=[student]",
]


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _commands() -> list[str]:
    lines = (line.split("#")[0].strip() for block in _blocks("bash") for line in block.splitlines())
    return [line for line in lines if line]


def _run(words, **options):
    ended = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=900, **options)
    assert ended.returncode == 0, f"{shlex.join(map(str, words))}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    return tmp_path_factory.mktemp("readme") / "run"


@pytest.mark.parametrize("command", _commands())
def test_every_command_of_the_readme_runs(command, small_run, tmp_path, request):
    program, *words = shlex.split(command)
    if program == "make":
        does = {"demo": "sea run experiments/demo.yaml", "test": "-m pytest", "docs": "sphinx-build"}[words[0]]
        assert does in _run(["make", "-n", *words])
    elif program == "cd":
        # What the job does is tested with its parameters in tests/scripts/test_slurm.py.
        cluster = request.getfixturevalue("cluster")
        said = _run(["bash", "-c", command.replace("sbatch ", "sbatch --output=/dev/null ")], env=cluster.environment)
        assert "Submitted batch job" in said
    elif program == "sea" and words[0] in RUNS:
        with SheetsServer().running() as server:
            if words[0] != "auth":
                words.insert(1, str(small_run))
            words = [word.replace("GSHEET_ID", server.gsheet_id).replace("tabs", str(tmp_path)) for word in words]
            said = _run([*SEA, *words], env=os.environ | server.environment(tmp_path))
        assert re.search(RUNS[words[0]], said), said
    elif program == "sea" and words[0] in ("models", "embed"):
        shared = request.getfixturevalue("shared")
        (tmp_path / "recordings").mkdir()
        soundfile.write(tmp_path / "recordings" / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 8000)
        words = [str(tmp_path / word) if word in ("recordings", "embeddings") else word for word in words]
        said = _run([*SEA, *words], env=os.environ | {"L3EMBEDDING_CACHE": str(shared / "sea64")})
        assert re.search("1 of 1 files are embedded|edgel3_sea_ust_audio_emb_64 .* yes", said), said
    elif program == "sea" and words[0] == "students":
        assert re.search(r"16-32-64-32 .* yes\n", _run([*SEA, *words]))
    elif program == "sea" and words[0] == "sensors":
        table = tmp_path / "SENSORS.csv"
        table.write_text("sensor,latitude,longitude\n" + "".join(f"s{i},{40 + i / 100},-74\n" for i in range(20)))
        assert len(_run([*SEA, *words[:2], str(table), *words[3:]]).splitlines()) == 16
    elif program == "sea" and words[0] == "fetch":
        words[-1] = str(tmp_path)
        # What is fetched is tested in tests/scripts/test_fetch.py; here there is no network.
        offline = os.environ | dict.fromkeys(("http_proxy", "https_proxy", "no_proxy"), "http://127.0.0.1:9")
        ended = subprocess.run([*SEA, *words], cwd=REPOSITORY, env=offline, capture_output=True, text=True)
        assert ended.returncode == 2
        assert re.search(r"error: annotations.csv cannot be fetched.*Fetch https://zenodo.org", ended.stderr), (
            ended.stderr
        )
    elif program == "sea":
        _run_sea(command, words, small_run, tmp_path, request)
    else:
        assert program == "python", f"no test runs {command}"
        _evaluate(words, tmp_path)


RUNS = {"runs": "finished|written|runs", "auth": "can be written", "sync": "written|up to date"}
SAID = {"run": "Table|Accuracy by fold", "plan": "05-generate", "status": "05-generate", "logs": "epoch", "cancel": "."}


def _run_sea(command: str, words: list[str], small_run: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Run a `sea` command at a small size; those on Slurm and those that look at a run share a folder."""
    on_slurm = "--executor slurm" in command or words[0] in ("logs", "cancel") or words == ["status"]
    sizes, folder, environment, expected = SMALL, small_run, os.environ, SAID[words[0]]
    if "_root=" in command:
        sizes, folder = SMALL_REAL, tmp_path / "real"
        root = str(request.getfixturevalue("shared")) if "../shared/data" in command else str(tmp_path)
        words = [word.replace("../shared/data", root).replace("=PATH", f"={root}") for word in words]
    if on_slurm:
        cluster = request.getfixturevalue("cluster")
        folder, environment = folder.with_name("slurm"), cluster.environment
        expected = "are queued" if words[0] == "run" else expected
        if words[0] == "logs":
            cluster.wait_until((folder / "03-train-approx-embedding" / "history.csv").is_file)
    real_size = any(name in command for name in ("paper/", "out_of_domain", "cerutti"))
    if real_size:
        # The real size costs nothing until it runs; the test's nodes are small.
        sizes = ["sbatch=[]"]
    settings = [] if words[0] in ("logs", "cancel") or words == ["status"] else sizes
    first = words.index("--set") if "--set" in words else len(words)
    settings = [word for each in settings for word in ("--set", each)]
    said = _run([*SEA, *words[:first], "--output-dir", folder, *settings, *words[first:]], env=environment)
    assert re.search(expected, said), said
    if real_size:
        _run([*SEA, "cancel", "--output-dir", folder], env=environment)


def _evaluate(words, folder: Path) -> None:
    tags = ["1-1_small", "1_engine"]
    (folder / "TAXONOMY.yaml").write_text("coarse: {1: engine}\nfine: {1: {1: small}}\n")
    (folder / "PREDICTIONS.csv").write_text("audio_filename,1-1_small,1_engine\na.wav,0.9,0.8\nb.wav,0.1,0.2\n")
    head = ",".join(["split", "sensor_id", "audio_filename", "annotator_id", *(f"{tag}_presence" for tag in tags)])
    (folder / "ANNOTATIONS.csv").write_text(f"{head}\nvalidate,1,a.wav,0,1,1\nvalidate,1,b.wav,0,0,0\n")
    _run([sys.executable, *words[:2], *(str(folder / word) for word in words[2:])])
    assert '"micro_f1": 1.0' in (folder / "OUT_DIR" / "evaluation.json").read_text()


def test_the_readmes_python_runs(shared, tmp_path):
    (code,) = _blocks("python")
    soundfile.write(tmp_path / "street.wav", np.random.default_rng(0).normal(0, 0.1, 44100), 44100)
    environment = os.environ | {"L3EMBEDDING_CACHE": str(shared / "sea64"), "PYTHONPATH": str(REPOSITORY)}
    code += "\nassert embedding.shape == (len(timestamps), 64)\n"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_the_readmes_experiment_is_valid(tmp_path):
    (text,) = _blocks("yaml")
    (tmp_path / "harbour.yaml").write_text(text)
    assert len(read_experiment(tmp_path / "harbour.yaml").experiments) == 3


def test_every_key_that_the_readme_names_is_a_key_with_that_default():
    tables = [part.split("\n\n")[0] for part in README.split("| key | default | what it is |")[1:]]
    rows = [row for table in tables for row in table.splitlines()[2:]]
    keys = [key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert keys
    for key in keys:
        assert key in Experiment.model_fields


def test_every_file_that_the_readme_names_is_there():
    for name in re.findall(r"`((?:scripts|jobs|data|l3embedding|experiments|classifier)/[\w./]*)`", README):
        assert (REPOSITORY / name).exists(), name
    for name in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (REPOSITORY / name).is_file(), name


def _setup_lists() -> tuple[list[str], dict[str, list[str]]]:
    tree = ast.parse((REPOSITORY / "setup.py").read_text())
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)}
    return values["REQUIRES"], values["EXTRAS"]


def test_conda_and_pip_users_get_the_same_dependencies():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in environment if isinstance(entry, dict))
    requires, extras = _setup_lists()
    assert [each for each in pip if not each.startswith("--")] == [
        *requires,
        *extras["cpu"],
        *extras["edge"],
        *extras["test"],
    ]
    assert "python >=3.11,<3.13" in environment


# What each room may import, beside itself and what is named above it as `everywhere`.
ROOMS = {
    "utils": set(),
    "settings": {"data"},
    "data": set(),
    "models": {"data"},
    "classifier": {"data", "training"},
    "upstream": {"data", "models"},
    "distillation": {"data", "models", "training"},
    "export": {"data", "models"},
    "downstream": {"data", "models", "upstream", "classifier"},
    "jobs": {"data"},
    "sheet": {"jobs"},
    "report": {"jobs", "downstream"},
}
EVERYWHERE = {"utils", "settings"}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_down_only(room):
    top = REPOSITORY / "l3embedding" / room
    for path in top.rglob("*.py") if top.is_dir() else [top.with_suffix(".py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            parts = (each.split(".") for each in names if each.startswith("l3embedding."))
            for name in (each[1] for each in parts):
                allowed = name == room or name in ROOMS[room] | EVERYWHERE or name not in ROOMS
                assert allowed, f"{path} imports {name}"


def test_the_launcher_imports_no_array_library():
    modules = "sys, l3embedding.jobs.chain, l3embedding.jobs.local"
    code = f"import {modules}; sys.exit(bool({{'numpy', 'pandas', 'keras', 'h5py'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_a_wheel_works_beside_folders_of_the_users_own(tmp_path):
    """It holds one top-level package and the job files, and ignores a user's `data/`, `scripts/` and `jobs/`."""
    source, site, place = tmp_path / "source", tmp_path / "site", tmp_path / "place"
    for name in ("l3embedding", "data", "classifier", "jobs", "scripts"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, source / name, symlinks=True, ignore=ignore)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, source])
    (wheel,) = tmp_path.glob("*.whl")
    _run([*pip, "install", "--no-deps", "--target", site, wheel])
    assert sorted(path.name for path in site.iterdir() if "-info" not in path.name) == ["bin", "l3embedding"]
    for name in ("data", "scripts", "jobs", "classifier"):
        (place / name).mkdir(parents=True)
        (place / name / "__init__.py").write_text("raise ImportError('the user has a package of this name')")
    (place / "x.yaml").write_text("recordings: /nowhere\nrepresentations: []\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for words in (["plan", "x.yaml", "--commands"], ["jobs"]):
        # An editable install has put this repository on the path.
        code = f"import sys; sys.path = [{str(site)!r}, '.', *(p for p in sys.path if p != {str(REPOSITORY)!r})]\n"
        code += f"from l3embedding.cli.sea import main; sys.exit(main({words!r}))"
        command = [sys.executable, "-c", code]
        ended = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert str(site) in ended.stdout
    jobs = Path(ended.stdout.strip())
    assert (jobs / "emb_approx_mse" / "upstream" / "03-train-approx-embedding-pca.sbatch").is_file()
    assert (jobs / "activate.sh").is_file()
    assert (jobs.parent / "scripts" / "03_train_approx_embedding.py").is_file()
