"""What all tests share: where the reference data may lie, a Slurm cluster, and a generator."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.slurm_cluster import PROGRAMS, SlurmCluster

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real recordings and reference results, which lie beside some checkouts only."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the reference recordings (../shared/data) are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmCluster]:
    """A Slurm cluster of two nodes, which ends with the tests."""
    if missing := [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]:
        pytest.skip(f"Slurm is not installed ({', '.join(missing)}); .ci/run installs it")
    with tempfile.TemporaryDirectory(prefix="sea-") as folder, SlurmCluster(Path(folder)) as started:
        yield started


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of a fixed seed."""
    return np.random.default_rng(20180216)
