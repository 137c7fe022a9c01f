"""The project's rules for itself: the dependency lists, and which folder imports which."""

from __future__ import annotations

import ast
import subprocess
import sys

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
    "jobs": set(),
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
