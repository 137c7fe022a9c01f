"""What all tests share: where the reference data may lie, and a generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real recordings and reference results, which lie beside some checkouts only."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the reference recordings (../shared/data) are not beside this checkout")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of a fixed seed."""
    return np.random.default_rng(20180216)
