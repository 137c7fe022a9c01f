"""The teacher that an experiment names, and the stand-in."""

from __future__ import annotations

import numpy as np
import pytest

from l3embedding.models.registry import CACHE_VARIABLE, WeightsNotFound
from l3embedding.models.teachers import load_teacher, stand_in_teacher
from l3embedding.settings import TeacherSettings
from l3embedding.utils.errors import InputError


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))


def test_a_stand_in_takes_the_place_of_missing_weights_only_where_allowed(caplog, rng):
    teacher = load_teacher(TeacherSettings(stand_in=True, batch_size=4), random_state=3)
    assert teacher.is_stand_in and teacher.batch_size == 4
    assert "A STAND-IN takes the teacher's place" in caplog.text
    frames = rng.normal(0, 0.1, (2, 16000)).astype(np.float32)
    np.testing.assert_array_equal(teacher.embed(frames), stand_in_teacher(3).embed(frames))
    with pytest.raises(InputError, match="neither a file nor a pretrained model"):
        load_teacher(TeacherSettings(name="openl4", stand_in=True), 3)


def test_missing_weights_are_an_error_otherwise(monkeypatch):
    from dataclasses import replace

    from l3embedding.models import registry

    teacher = TeacherSettings()
    model = replace(registry.find(teacher.name), url="http://127.0.0.1:9/weights")
    monkeypatch.setitem(registry.models(), teacher.name, model)
    with pytest.raises(WeightsNotFound, match="Fetch http://127.0.0.1:9/weights"):
        load_teacher(teacher, 3)


def test_a_teacher_of_your_own_is_loaded_by_its_name():
    teacher = load_teacher(TeacherSettings(name="tests.models.test_plugged:Loudness", batch_size=5), 3)
    assert (teacher.name, teacher.embedding_size, teacher.batch_size) == ("tests.models.test_plugged:Loudness", 3, 5)
