"""SONYC-UST: its taxonomy, its annotations, its clips."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest

from l3embedding.data.sonyc_ust import (
    Taxonomy,
    apply_splits,
    clip_context,
    find_clips,
    ground_truth,
    proximities,
    read_annotations,
    read_taxonomy,
    sensor_ids,
    training_targets,
    unlabelled,
)
from l3embedding.utils.errors import InputError

TAXONOMY = """
coarse:
  1: engine
  2: dog
fine:
  1:
    1: small
    2: large
    X: uncertain
  2:
    1: barking
"""
COLUMNS = ["1-1_small", "1-2_large", "1-X_uncertain", "1_engine", "2-1_barking", "2_dog"]


@pytest.fixture
def taxonomy(tmp_path) -> Taxonomy:
    """Two categories, one of which has no uncertain tag."""
    (tmp_path / "taxonomy.yaml").write_text(TAXONOMY)
    return read_taxonomy(tmp_path / "taxonomy.yaml")


def _table(rows: list[tuple]) -> pd.DataFrame:
    """Annotations of (clip, annotator, split, engine, dog); the fine tags agree with the coarse ones."""
    return pd.DataFrame(
        {
            "split": split,
            "sensor_id": int(clip.split("_")[0]),
            "audio_filename": clip,
            "annotator_id": annotator,
            "1-1_small_presence": engine,
            "1-2_large_presence": 0,
            "1-X_uncertain_presence": 0,
            "1_engine_presence": engine,
            "2-1_barking_presence": dog,
            "2_dog_presence": dog,
        }
        for clip, annotator, split, engine, dog in rows
    )


ROWS = [
    ("3_b.wav", 11, "train", 0, 1),
    ("3_b.wav", 12, "train", 0, 0),
    ("1_a.wav", 11, "train", 1, 1),
    ("1_a.wav", 12, "train", 1, 0),
    ("1_a.wav", 0, "train", 0, 1),
    ("2_c.wav", -1, "train", -1, -1),
    ("5_d.wav", 0, "validate", 1, 0),
    ("4_e.wav", 0, "validate", 0, 1),
    ("4_e.wav", -2, "validate", 1, 1),
]


def _read(table: pd.DataFrame, folder: Path, taxonomy: Taxonomy) -> pd.DataFrame:
    table.to_csv(folder / "annotations.csv", index=False)
    return read_annotations(folder / "annotations.csv", taxonomy)


def test_a_taxonomy_names_the_columns_of_its_tags(taxonomy):
    engine, dog = taxonomy.categories
    assert (engine.column, engine.uncertain_column) == ("1_engine", "1-X_uncertain")
    assert engine.fine_columns == ["1-1_small", "1-2_large"]
    assert dog.uncertain_column is None
    assert taxonomy.coarse_columns == ["1_engine", "2_dog"]
    assert taxonomy.columns == COLUMNS


def test_the_published_taxonomy_has_8_coarse_and_23_fine_tags_and_6_uncertain_ones(shared):
    folder = shared / "dcase_metrics_a"
    taxonomy = read_taxonomy(folder / "dcase-ust-taxonomy.yaml")
    assert [len(category.fine_columns) for category in taxonomy.categories] == [3, 4, 1, 3, 4, 3, 4, 1]
    assert [category.number for category in taxonomy.categories if not category.uncertain_column] == [3, 8]
    annotations = read_annotations(folder / "annotations.csv", taxonomy)
    assert set(taxonomy.columns) <= set(annotations)
    assert ground_truth(annotations, taxonomy).shape == (120, 8 + 23 + 6)


@pytest.mark.parametrize(
    "text", ["", "coarse: [engine]", "coarse: {1: engine}", "coarse: {", "coarse: {x: y}\nfine: {}"]
)
def test_a_malformed_taxonomy_is_refused_by_name(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match="bad.yaml is not a taxonomy"):
        read_taxonomy(tmp_path / "bad.yaml")


def test_files_that_are_missing_are_refused_by_name(tmp_path, taxonomy):
    with pytest.raises(InputError, match="nowhere.yaml cannot be read: No such file"):
        read_taxonomy(tmp_path / "nowhere.yaml")
    with pytest.raises(InputError, match="nowhere.csv cannot be read as a CSV table: .*No such file"):
        read_annotations(tmp_path / "nowhere.csv", taxonomy)


def test_the_order_of_columns_is_irrelevant_and_other_columns_are_kept(tmp_path, taxonomy):
    table = _table(ROWS).assign(borough=1)
    expected = _read(table, tmp_path, taxonomy)
    pd.testing.assert_frame_equal(_read(table[table.columns[::-1]], tmp_path, taxonomy)[expected.columns], expected)
    assert "borough" in expected


@pytest.mark.parametrize("column", ["split", "sensor_id", "audio_filename", "annotator_id", "1-X_uncertain_presence"])
def test_a_missing_column_is_named(tmp_path, taxonomy, column):
    with pytest.raises(InputError, match=f"annotations.csv lacks the column {column}."):
        _read(_table(ROWS).drop(columns=column), tmp_path, taxonomy)


@pytest.mark.parametrize(("value", "message"), [(2, "2"), ("", "nan"), (0.5, "0.5"), ("yes", "yes")])
def test_a_presence_other_than_1_0_and_minus_1_is_refused_by_line_and_column(tmp_path, taxonomy, value, message):
    table = _table(ROWS).astype(object)
    table.loc[4, "1_engine_presence"] = value
    with pytest.raises(
        InputError, match=f"annotations.csv, line 6: 1_engine_presence is {message}; presence is 1, 0 or -1"
    ):
        _read(table, tmp_path, taxonomy)


def test_a_training_tag_is_present_if_any_annotator_labels_it_unless_a_verified_label_exists(tmp_path, taxonomy):
    annotations = _read(_table(ROWS), tmp_path, taxonomy)
    targets = training_targets(annotations, taxonomy.coarse_columns)
    expected = {"1_a.wav": [0, 1], "2_c.wav": [0, 0], "3_b.wav": [0, 1]}
    assert list(targets.index) == list(expected)
    assert targets.to_numpy().tolist() == list(expected.values())
    assert list(targets) == ["1_engine", "2_dog"]


def test_the_order_of_rows_is_irrelevant(tmp_path, taxonomy, rng):
    table = _table(ROWS)
    shuffled = table.iloc[rng.permutation(len(table))]
    first, second = (_read(each, tmp_path, taxonomy) for each in (table, shuffled))
    pd.testing.assert_frame_equal(training_targets(first, COLUMNS), training_targets(second, COLUMNS))
    pd.testing.assert_frame_equal(ground_truth(first, taxonomy), ground_truth(second, taxonomy))


def test_the_ground_truth_is_the_verified_rows_of_the_split_sorted_by_name(tmp_path, taxonomy):
    annotations = _read(_table(ROWS), tmp_path, taxonomy)
    truth = ground_truth(annotations, taxonomy)
    assert list(truth.index) == ["4_e.wav", "5_d.wav"]
    assert truth.loc["4_e.wav"].to_dict() == dict(zip(COLUMNS, [0, 0, 0, 0, 1, 1], strict=True))
    assert list(ground_truth(annotations, taxonomy, "train").index) == ["1_a.wav"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("1_a.wav", 3, "validate", 0, 0)], "No clip of the split 'validate' is verified.*splits are train, validate"),
        ([("1_a.wav", 0, "validate", 0, 0), ("1_a.wav", 0, "validate", 1, 0)], "1_a.wav has two rows of annotator 0"),
        ([("1_a.wav", 0, "validate", -1, 0)], "1_a.wav: a tag of annotator 0 is -1"),
    ],
)
def test_an_incomplete_ground_truth_is_refused(tmp_path, taxonomy, rows, message):
    annotations = _read(_table([*rows, ("9_z.wav", 1, "train", 0, 0)]), tmp_path, taxonomy)
    with pytest.raises(InputError, match=message):
        ground_truth(annotations, taxonomy)


def test_a_split_without_clips_is_refused(tmp_path, taxonomy):
    annotations = _read(_table(ROWS), tmp_path, taxonomy)
    with pytest.raises(InputError, match="no clip of the split 'test'"):
        training_targets(annotations, COLUMNS, "test")


def test_clips_are_found_wherever_they_were_unpacked_and_the_missing_are_named(tmp_path, caplog):
    for name in ("audio/1_a.wav", "audio-3/3_b.wav", "audio/other.wav", "audio/9_z.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with caplog.at_level(logging.WARNING):
        clips = find_clips(tmp_path, ["3_b.wav", "1_a.wav", "2_c.wav", "1_a.wav"])
    assert list(clips.items()) == [
        ("1_a.wav", tmp_path / "audio" / "1_a.wav"),
        ("3_b.wav", tmp_path / "audio-3" / "3_b.wav"),
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"skipped: the annotated clip 2_c.wav is not below {tmp_path}"
    ]


def test_a_data_set_without_any_clip_is_refused(tmp_path):
    with pytest.raises(InputError, match="Not one annotated clip is below"):
        find_clips(tmp_path, ["1_a.wav"])


def test_each_clip_has_its_sensor(tmp_path, taxonomy):
    annotations = _read(_table(ROWS), tmp_path, taxonomy)
    assert sensor_ids(annotations, pd.Index(["5_d.wav", "1_a.wav", "3_b.wav"])).tolist() == [5, 1, 3]


def test_verified_targets_are_limited_to_clips_that_annotator_0_labelled(tmp_path, taxonomy):
    annotations = _read(_table(ROWS), tmp_path, taxonomy)
    targets = training_targets(annotations, taxonomy.coarse_columns, target_mode="verified")
    assert targets.to_dict("index") == {"1_a.wav": {"1_engine": 0, "2_dog": 1}}
    volunteers = annotations[annotations["annotator_id"] > 0]
    with pytest.raises(InputError, match="No clip of the split 'train' is verified.*target_mode: verified"):
        training_targets(volunteers, taxonomy.coarse_columns, target_mode="verified")


def test_a_tag_is_unlabelled_if_it_is_minus_1_for_every_annotator(tmp_path, taxonomy):
    annotations = _read(_table(ROWS), tmp_path, taxonomy)
    clips = pd.Index(["2_c.wav", "1_a.wav"])
    assert unlabelled(annotations, clips, ["1_engine", "1-2_large"]).tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.csv", "audio_filename,split\n3_b.wav,validate\n1_a.wav,train\n5_d.wav,train\n"),
        ("s.csv", "split,sensor_id\nvalidate,3\ntrain,1\ntrain,5\n"),
        ("s.json", '{"3_b.wav": "validate", "1_a.wav": "train", "5_d.wav": "train"}'),
    ],
    ids=["clips", "sensors", "json"],
)
def test_a_split_file_replaces_the_splits_and_leaves_out_what_it_does_not_name(tmp_path, taxonomy, name, text):
    (tmp_path / name).write_text(text)
    split = apply_splits(_read(_table(ROWS), tmp_path, taxonomy), tmp_path / name)
    assert split.groupby("audio_filename")["split"].unique().map(list).to_dict() == {
        "1_a.wav": ["train"],
        "3_b.wav": ["validate"],
        "5_d.wav": ["train"],
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.csv", "audio_filename,split\nz.wav,train\n", "names 1 that the annotations do not have: z.wav"),
        ("s.csv", "audio_filename,split\n1_a.wav,train\n1_a.wav,test\n", "names 1_a.wav twice"),
        ("s.csv", "clip,split\n1_a.wav,train\n", "needs the column split, and audio_filename or sensor_id"),
        ("s.csv", "", "cannot be read"),
        ("s.json", "[1]", "must map file names to splits"),
        ("s.json", "{", "not valid JSON"),
    ],
)
def test_a_malformed_split_file_is_refused_by_name(tmp_path, taxonomy, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name}.*{message}"):
        apply_splits(_read(_table(ROWS), tmp_path, taxonomy), tmp_path / name)


def test_proximity_is_the_majority_of_those_who_labelled_the_tag_present(tmp_path, taxonomy):
    table = _table(ROWS)
    answers = ["near", "far", "near", "far", "near", "near", "near", "far", "notsure"]
    table["2-1_barking_proximity"] = answers
    annotations = _read(table, tmp_path, taxonomy)
    clips = pd.Index(["1_a.wav", "3_b.wav", "4_e.wav", "5_d.wav"])
    near = proximities(annotations, clips, ["2-1_barking", "1-1_small"])
    # 1_a: two near (of which one is annotator 0's); 3_b: one label only; 4_e: far against notsure; 5_d: nobody.
    assert near["2-1_barking"].to_list() == ["near", "near", "", ""]
    assert near["1-1_small"].to_list() == [""] * 4
    assert proximities(annotations.drop(columns="2-1_barking_proximity"), clips, ["2-1_barking"]) is None


def test_context_is_the_place_and_one_hot_time(tmp_path, taxonomy):
    table = _table(ROWS).assign(latitude=40.7, longitude=-74.0, week=53, day=6, hour=0)
    place, time = clip_context(_read(table, tmp_path, taxonomy), pd.Index(["3_b.wav", "1_a.wav"]))
    assert place.tolist() == [[40.7, -74.0]] * 2
    assert time.shape == (2, 52 + 7 + 24)
    assert time[0].nonzero()[0].tolist() == [51, 52 + 6, 52 + 7]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"hour": 24}, "_.*: hour 24 is out of range"),
        ({"day": -1}, "day -1 is out of range"),
        ({"latitude": "here"}, "its place or time is not a number"),
        ({"week": None}, "lack week, which timestamp_features needs"),
    ],
)
def test_an_invalid_context_is_refused(tmp_path, taxonomy, columns, message):
    table = _table(ROWS).assign(**{"latitude": 40.7, "longitude": -74.0, "week": 1, "day": 6, "hour": 0} | columns)
    table = table.drop(columns=[name for name, value in columns.items() if value is None])
    with pytest.raises(InputError, match=message):
        clip_context(_read(table, tmp_path, taxonomy), pd.Index(["3_b.wav"]))
