"""A small synthetic street, to run the chain without recordings; its results tell nothing about real streets.

`upstream/`    unlabelled recordings of a few sensors over several days, with `recordings.csv`
`sonyc_ust/`   annotated clips of other sensors, in the form of SONYC-UST: three volunteers per training clip, who
               do not quite agree, and verified validation clips

Every file has its own random generator, so that an interrupted synthesis resumes with the missing files.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import yaml
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from l3embedding.data.sonyc_ust import ANNOTATIONS, TAXONOMY, Taxonomy, read_taxonomy
from l3embedding.data.sound_sources import SOURCES, colored_noise
from l3embedding.settings import StreetSettings
from l3embedding.utils.files import atomic_path, write_text

UPSTREAM = "upstream"
SONYC_UST = "sonyc_ust"
SAMPLE_RATE = 16000

_FIRST_MONDAY = 1_552_276_800.0
"""2019-03-11 04:00 UTC, midnight in New York."""
_DAY_S = 86_400.0
_PREVALENCE = dict(zip(SOURCES, (0.45, 0.3, 0.25, 0.25, 0.35, 0.25, 0.45, 0.25), strict=True))
_HIT, _FALSE_ALARM = 0.85, 0.04
"""Probability that a volunteer labels a source that is present, and one that is not."""

_TAXONOMY = {
    "engine": "small-sounding-engine medium-sounding-engine large-sounding-engine X:engine-of-uncertain-size",
    "machinery-impact": "rock-drill jackhammer hoe-ram pile-driver X:other-unknown-impact-machinery",
    "non-machinery-impact": "non-machinery-impact",
    "powered-saw": "chainsaw small-medium-rotating-saw large-rotating-saw X:other-unknown-powered-saw",
    "alert-signal": "car-horn car-alarm siren reverse-beeper X:other-unknown-alert-signal",
    "music": "stationary-music mobile-music ice-cream-truck X:music-from-uncertain-source",
    "human-voice": "person-or-small-group-talking person-or-small-group-shouting large-crowd amplified-speech "
    "X:other-unknown-human-voice",
    "dog": "dog-barking-whining",
}


@dataclass(frozen=True)
class Event:
    """A source in a clip: coarse category, key of the fine tag, and whether it is near."""

    category: str
    fine: str
    near: bool


def synthesize_street(folder: Path, street: StreetSettings, random_state: int) -> None:
    """Synthesise the street into `folder`; existing audio files are kept."""
    _write_upstream(folder / UPSTREAM, street, random_state)
    _write_sonyc_ust(folder / SONYC_UST, street, random_state)


def soundscape(events: list[Event], seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Mix events over the hum of a street, float32 `[seconds * SAMPLE_RATE]` in [-1, 1]."""
    n = round(seconds * SAMPLE_RATE)
    mixture = 0.03 * rng.uniform(0.5, 1.5) * colored_noise(rng, n, SAMPLE_RATE, rng.uniform(0.8, 1.6))
    for event in events:
        sound = SOURCES[event.category](rng, n, SAMPLE_RATE)
        if not event.near:
            # Distance attenuates, treble above all.
            cutoff = rng.uniform(1200, 2500)
            sound = sosfilt(butter(2, cutoff, fs=SAMPLE_RATE, output="sos"), sound)
        level = rng.uniform(0.25, 0.6) if event.near else rng.uniform(0.05, 0.15)
        mixture += (level * _fade(n, rng) * sound).astype(np.float32)
    return np.clip(mixture, -1, 1).astype(np.float32)


def _write_upstream(folder: Path, street: StreetSettings, random_state: int) -> None:
    rows = []
    for number in range(street.sensors):
        sensor = f"street-{number:02d}"
        for index in range(street.recordings):
            rng = _rng(random_state, "upstream", sensor, index)
            # Spread over a week, at random hours.
            day, hour = index % 7, rng.integers(0, 24)
            timestamp = _FIRST_MONDAY + day * _DAY_S + hour * 3600 + rng.integers(0, 3600)
            name = f"{sensor}/{sensor}_{index:04d}.wav"
            busy = 2.2 if 7 <= hour < 21 else 1.0
            events = _draw_events({category: busy * p / 2.2 for category, p in _PREVALENCE.items()}, rng)
            _write_clip(folder / name, events, street.recording_s, rng)
            rows.append({"path": name, "sensor": sensor, "timestamp": timestamp})
    with atomic_path(folder / "recordings.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def _write_sonyc_ust(folder: Path, street: StreetSettings, random_state: int) -> None:
    numbered = {number: name for number, name in enumerate(_TAXONOMY, start=1)}
    fine = {number: _fine_tags(_TAXONOMY[name]) for number, name in numbered.items()}
    write_text(folder / TAXONOMY, yaml.safe_dump({"coarse": numbered, "fine": fine}, sort_keys=False))
    taxonomy = read_taxonomy(folder / TAXONOMY)
    rows = []
    for split, count, sensors in (
        ("train", street.train_clips, range(101, 106)),
        ("validate", street.validate_clips, range(201, 204)),
    ):
        for index in range(count):
            sensor = sensors[index % len(sensors)]
            rng = _rng(random_state, split, str(sensor), index)
            events = _draw_events(_PREVALENCE, rng)
            name = f"{sensor}_{index:06d}.wav"
            _write_clip(folder / "audio" / name, events, street.clip_s, rng)
            where = _place(split, sensor, name, rng)
            # Three volunteers label a training clip, the team and its agreement (0) a validation clip.
            labels = {-1: events, -2: events, 0: events}
            if split == "train":
                volunteers = rng.choice(np.arange(1, 200), 3, replace=False)
                labels = {int(volunteer): _volunteer(events, rng) for volunteer in volunteers}
            rows += [where | _row(annotator, labelled, taxonomy) for annotator, labelled in labels.items()]
    with atomic_path(folder / ANNOTATIONS) as temporary:
        pd.DataFrame(rows)[_columns(taxonomy)].to_csv(temporary, index=False)


def _columns(taxonomy: Taxonomy) -> list[str]:
    """Columns in the order of SONYC-UST 2.3; only fine tags have a proximity."""
    fine = [column for column in taxonomy.columns if column not in taxonomy.coarse_columns]
    presence = [f"{column}_presence" for column in (*fine, *taxonomy.coarse_columns)]
    clip = "split sensor_id audio_filename annotator_id borough block latitude longitude year week day hour"
    return [*clip.split(), *presence, *(f"{column}_proximity" for column in fine)]


def _rng(random_state: int, *words: object) -> np.random.Generator:
    return np.random.default_rng([random_state, zlib.crc32(json.dumps(words).encode())])


def _draw_events(prevalence: Mapping[str, float], rng: np.random.Generator) -> list[Event]:
    present = [category for category, p in prevalence.items() if rng.random() < p]
    events = []
    for category in rng.permutation(present)[:4]:
        key = str(rng.choice(list(_fine_tags(_TAXONOMY[category]))))
        events.append(Event(str(category), key, bool(rng.random() < 0.6)))
    return events


def _fine_tags(text: str) -> dict[str, str]:
    """Number the words; one written `X:name` keeps its key."""
    numbered = enumerate(text.split(), start=1)
    return {"X" if "X:" in word else str(number): word.removeprefix("X:") for number, word in numbered}


def _write_clip(path: Path, events: list[Event], seconds: float, rng: np.random.Generator) -> None:
    # A spawned generator, so that the annotations do not depend on whether the sound is synthesised or exists.
    sound_rng = rng.spawn(1)[0]
    if path.is_file():
        return
    with atomic_path(path) as temporary:
        soundfile.write(temporary, soundscape(events, seconds, sound_rng), SAMPLE_RATE, subtype="PCM_16")


def _place(split: str, sensor: int, name: str, rng: np.random.Generator) -> dict[str, object]:
    block = sensor % 10
    place = {"borough": 1, "block": 500 + block, "latitude": 40.7 + block / 100, "longitude": -74.0 + block / 100}
    week, day, hour = rng.integers(1, 53), rng.integers(0, 7), rng.integers(0, 24)
    time = {"year": 2019, "week": int(week), "day": int(day), "hour": int(hour)}
    return {"split": split, "sensor_id": sensor, "audio_filename": name, **place, **time}


def _volunteer(events: list[Event], rng: np.random.Generator) -> list[Event]:
    """Labels of a volunteer, who misses some events and reports some that are absent."""
    hits = [event for event in events if rng.random() < _HIT]
    false_alarms = [category for category in _TAXONOMY if rng.random() < _FALSE_ALARM]
    known = {event.category for event in hits}
    return hits + [Event(category, "1", False) for category in false_alarms if category not in known]


def _row(annotator: int, events: list[Event], taxonomy: Taxonomy) -> dict[str, object]:
    row: dict[str, object] = {"annotator_id": annotator}
    by_category = {event.category: event for event in events}
    for category in taxonomy.categories:
        event = by_category.get(category.name)
        present = (category.column, category.fine_column(event.fine)) if event else ()
        for column in category.columns:
            row[f"{column}_presence"] = int(column in present)
            row[f"{column}_proximity"] = ("near" if event.near else "far") if event and column in present else -1
    return row


def _fade(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Fade in and out: an event spans at least half of the clip."""
    length = rng.uniform(0.5, 1.0) * n
    start = rng.uniform(0, n - length)
    position = np.arange(n)
    ramp = 0.05 * n
    return np.clip(np.minimum((position - start) / ramp, (start + length - position) / ramp), 0, 1)
