"""Sensors that are far apart."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from l3embedding.upstream.sensor_selection import haversine_km, select_sensors
from l3embedding.utils.errors import InputError
from tests.conftest import REPOSITORY


def test_distances_are_great_circles():
    latitude, longitude = (
        np.array([40.7128, 51.5074, -33.8688, 0.0, 0.0]),
        np.array([-74.006, -0.1278, 151.2093, 0.0, 180.0]),
    )
    distance = haversine_km(latitude, longitude)
    assert distance[0, 1] == pytest.approx(5570, abs=5)
    assert distance[1, 2] == pytest.approx(16994, abs=10)
    assert distance[3, 4] == pytest.approx(np.pi * 6371.0088)
    np.testing.assert_array_equal(distance, distance.T)


def test_selected_sensors_are_farther_apart_than_random_ones(rng):
    """Most sensors are in one square; the selected ones are not."""
    latitude = np.concatenate([40.73 + rng.normal(0, 1e-4, 60), 40.6 + rng.uniform(0, 0.3, 12)])
    longitude = np.concatenate([-73.99 + rng.normal(0, 1e-4, 60), -74.1 + rng.uniform(0, 0.3, 12)])
    distance = haversine_km(latitude, longitude) + np.diag(np.full(72, np.inf))

    def nearest(chosen):
        return distance[np.ix_(chosen, chosen)].min(axis=1).mean()

    ours = np.mean([nearest(select_sensors(latitude, longitude, 8, rng)) for _ in range(20)])
    random = np.mean([nearest(rng.choice(72, 8, replace=False)) for _ in range(20)])
    assert ours > 2 * random


def test_invalid_selections_are_refused(rng):
    with pytest.raises(InputError, match="3 sensors cannot be chosen among 2 places"):
        select_sensors(np.array([1.0, 2.0, 1.0]), np.array([1.0, 2.0, 1.0]), 3, rng)
    with pytest.raises(InputError, match="must be degrees"):
        select_sensors(np.array([91.0, 0.0]), np.array([0.0, 0.0]), 1, rng)


def test_the_command_prints_a_table_of_the_chosen(tmp_path):
    rows = [f"s{index},{40 + index / 10},-74" for index in range(9)]
    (tmp_path / "sensors.csv").write_text("\n".join(["sensor,latitude,longitude", *rows]))
    command = [
        sys.executable,
        "-m",
        "l3embedding.cli.sea",
        "sensors",
        "select",
        str(tmp_path / "sensors.csv"),
        "-k",
        "3",
    ]
    runs = [subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    header, *chosen = runs[0].stdout.splitlines()
    assert header == "sensor,latitude,longitude,nearest_km"
    assert len(chosen) == 3
    (tmp_path / "sensors.csv").write_text("name\n")
    failed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert failed.returncode == 2
    assert "lacks the column sensor, latitude, longitude" in failed.stderr
