"""The project's rules for itself: the dependency lists, and which folder imports which."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY


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


# What each folder may import beside itself and EVERYWHERE.
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
    "report": {"data", "jobs"},
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
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
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
