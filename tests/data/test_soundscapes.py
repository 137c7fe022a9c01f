"""The synthetic street."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile

from l3embedding.data.recordings import by_sensor, list_recordings
from l3embedding.data.sonyc_ust import ground_truth, read_annotations, read_taxonomy, training_targets
from l3embedding.data.sound_sources import SOURCES
from l3embedding.data.soundscapes import SAMPLE_RATE, synthesize_street
from l3embedding.settings import StreetSettings

STREET = StreetSettings(sensors=2, recordings=3, recording_s=1.5, train_clips=30, validate_clips=30, clip_s=1.0)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    folder = tmp_path_factory.mktemp("street")
    synthesize_street(folder, STREET, 5)
    return folder


def _tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_makes_the_same_street_and_another_seed_another(street, tmp_path):
    synthesize_street(tmp_path / "same", STREET, 5)
    assert _tree(tmp_path / "same") == _tree(street)
    synthesize_street(tmp_path / "other", STREET, 6)
    assert _tree(tmp_path / "other") != _tree(street)


def test_a_lost_clip_is_restored_bit_for_bit(street):
    before = _tree(street)
    next((street / "sonyc_ust" / "audio").iterdir()).unlink()
    synthesize_street(street, STREET, 5)
    assert _tree(street) == before


def test_recordings_are_dated_over_several_days(street):
    sensors = by_sensor(list_recordings(street / "upstream"))
    assert {name: len(each) for name, each in sensors.items()} == {"street-00": 3, "street-01": 3}
    days = {int(recording.timestamp // 86400) for recording in sensors["street-00"]}
    assert len(days) == 3


def test_annotations_have_the_published_schema(street, shared):
    ours, published = (
        list(pd.read_csv(path, nrows=1))
        for path in (street / "sonyc_ust" / "annotations.csv", shared / "dcase_metrics_a" / "annotations.csv")
    )
    assert ours == published
    assert read_taxonomy(street / "sonyc_ust" / "dcase-ust-taxonomy.yaml") == read_taxonomy(
        shared / "dcase_metrics_a" / "dcase-ust-taxonomy.yaml"
    )


def test_every_category_occurs_in_both_splits_and_sensors_differ(street):
    root = street / "sonyc_ust"
    taxonomy = read_taxonomy(root / "dcase-ust-taxonomy.yaml")
    annotations = read_annotations(root / "annotations.csv", taxonomy)
    truth = ground_truth(annotations, taxonomy)
    targets = training_targets(annotations, taxonomy.coarse_columns)
    assert len(truth) == len(targets) == 30
    assert (truth[taxonomy.coarse_columns].sum() >= 1).all()
    assert (targets.sum() >= 1).all()
    sensors = annotations.groupby("split")["sensor_id"].unique()
    assert not set(sensors["train"]) & set(sensors["validate"])


def test_volunteers_disagree_on_some_tags(street):
    taxonomy = read_taxonomy(street / "sonyc_ust" / "dcase-ust-taxonomy.yaml")
    annotations = read_annotations(street / "sonyc_ust" / "annotations.csv", taxonomy)
    votes = annotations[annotations["split"] == "train"].groupby("audio_filename")[taxonomy.coarse_columns]
    assert (votes.size() == 3).all()
    assert (votes.max() != votes.min()).to_numpy().mean() > 0.02


def test_audio_is_finite_of_the_requested_length_and_not_silent(street):
    for path in street.rglob("*.wav"):
        audio, rate = soundfile.read(path)
        assert rate == SAMPLE_RATE
        assert len(audio) == (1.0 if "sonyc_ust" in str(path) else 1.5) * SAMPLE_RATE
        assert 0.005 < np.abs(audio).max() <= 1


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_of_unit_peak_and_varies(name):
    one, other = (SOURCES[name](np.random.default_rng(seed), SAMPLE_RATE, SAMPLE_RATE) for seed in (1, 2))
    assert one.dtype == np.float32
    assert np.abs(one).max() == pytest.approx(1, abs=1e-6)
    assert not np.array_equal(one, other)


def test_mean_spectra_distinguish_the_sources():
    def spectrum(name, seed):
        sound = SOURCES[name](np.random.default_rng(seed), 2 * SAMPLE_RATE, SAMPLE_RATE)
        bands = np.abs(np.fft.rfft(sound))[1:].reshape(50, -1).mean(axis=1)
        return np.log(bands / bands.sum() + 1e-6)

    centres = {name: np.mean([spectrum(name, seed) for seed in range(15)], axis=0) for name in SOURCES}
    right = [
        min(centres, key=lambda each: np.linalg.norm(centres[each] - spectrum(name, seed))) == name
        for name in SOURCES
        for seed in range(100, 110)
    ]
    assert np.mean(right) > 0.6, "chance is 0.125"
