"""The scenes of DCASE 2013, which have neither a table nor folds."""

from __future__ import annotations

import pytest

from l3embedding.data.dcase2013 import read_dcase2013
from l3embedding.utils.errors import InputError

CLASSES = ("bus", "busystreet", "office", "openairmarket", "park", "quietstreet", "restaurant", "supermarket", "tube")


@pytest.fixture
def root(tmp_path):
    """Ten clips per class."""
    (tmp_path / "scenes_stereo").mkdir()
    for name in (*CLASSES, "tubestation"):
        for number in range(1, 11):
            (tmp_path / "scenes_stereo" / f"{name}{number:02}.wav").touch()
    return tmp_path


def test_the_class_is_the_name_without_the_number(root):
    clips = read_dcase2013(root)
    assert len(clips) == 100
    assert clips["category"].value_counts().to_dict() == dict.fromkeys((*CLASSES, "tubestation"), 10)
    assert clips["filename"].is_monotonic_increasing


def test_each_of_five_folds_has_the_same_two_clips_of_each_class(root):
    clips = read_dcase2013(root)
    assert (clips.groupby(["fold", "category"]).size() == 2).all()
    assert sorted(clips["fold"].unique()) == [1, 2, 3, 4, 5]
    assert clips.set_index("filename")["fold"][["bus01.wav", "bus06.wav", "bus10.wav"]].tolist() == [1, 1, 5]
    # A clip that is missing moves no other to another fold.
    (root / "scenes_stereo" / "bus01.wav").unlink()
    assert read_dcase2013(root).set_index("filename")["fold"]["bus06.wav"] == 1


def test_the_folder_of_the_clips_itself_is_accepted(root):
    assert read_dcase2013(root / "scenes_stereo").equals(read_dcase2013(root))


def test_other_folders_and_files_are_refused_by_name(root, tmp_path):
    with pytest.raises(InputError, match="There is no clip"):
        read_dcase2013(tmp_path / "nowhere")
    (root / "scenes_stereo" / "street.wav").touch()
    with pytest.raises(InputError, match=r"street.wav is not named as a scene of DCASE 2013"):
        read_dcase2013(root)
