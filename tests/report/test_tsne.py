"""The t-SNE layout of samples."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from l3embedding.data.shards import TEACHER_KEY
from l3embedding.report.figures import tsne_layout


@pytest.fixture
def samples(tmp_path, rng):
    paths = []
    for sensor, shift in (("a", 0.0), ("b", 50.0)):
        paths.append(tmp_path / f"{sensor}.h5")
        with h5py.File(paths[-1], "w") as file:
            # The shift is in one dimension only, since all are standardised.
            embeddings = rng.normal(size=(30, 8)) + shift * np.eye(8)[0]
            file[TEACHER_KEY] = embeddings.astype(np.float32)
    return paths


def test_points_are_shared_among_sensors_and_depend_on_the_seed_alone(samples):
    layout = tsne_layout(samples, 41, 5)
    assert {sensor: np.shape(points) for sensor, points in layout.items()} == {"a": (21, 2), "b": (21, 2)}
    assert tsne_layout(samples, 41, 5) == layout
    assert tsne_layout(samples, 41, 6) != layout


def test_few_points_suffice(samples):
    assert np.shape(tsne_layout(samples, 8, 5)["a"]) == (4, 2)
