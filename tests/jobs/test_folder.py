"""Stage folders: skipped, resumed, set aside, locked."""

from __future__ import annotations

import multiprocessing
import time

import pytest

from l3embedding.jobs.folder import WHOLE, Share, StageFolder, fingerprint, stage_folders
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json


def _folder(path, value=1, **inputs):
    return StageFolder("03-train-approx-embedding", path, {"value": value}, inputs)


def _finish(folder, name="output"):
    with folder.opened():
        (folder.path / name).write_text("whole")
        folder.finish({"score": 1.0}, time.time())


def test_a_finished_stage_is_done_until_a_parameter_changes(tmp_path):
    _finish(_folder(tmp_path / "a"))
    assert _folder(tmp_path / "a").state() == "done"
    assert _folder(tmp_path / "a", value=2).state() == "outdated"
    assert _folder(tmp_path / "a", value=2).changes() == ["value 1 -> 2"]
    assert _folder(tmp_path / "b").state() == "to do"


def test_what_was_done_says_who_when_and_how_long(tmp_path):
    _finish(_folder(tmp_path / "a"))
    record = read_json(tmp_path / "a" / "done.json")
    assert record["results"] == {"score": 1.0}
    assert {"host", "job_id", "started", "finished", "elapsed_s", "peak_memory_mb", "signature"} <= record.keys()


def test_an_unfinished_stage_keeps_its_outputs_and_loses_half_written_ones(tmp_path):
    with pytest.raises(RuntimeError), _folder(tmp_path / "a").opened():
        (tmp_path / "a" / "shard.h5").write_text("whole")
        (tmp_path / "a" / ".partial-next-xyz.h5").write_text("half")
        raise RuntimeError
    assert _folder(tmp_path / "a").state() == "interrupted"
    with _folder(tmp_path / "a").opened():
        assert (tmp_path / "a" / "shard.h5").exists()
        assert not (tmp_path / "a" / ".partial-next-xyz.h5").exists()


def test_output_of_other_parameters_is_set_aside_not_mixed_and_not_lost(tmp_path):
    _finish(_folder(tmp_path / "a"))
    with _folder(tmp_path / "a", value=2).opened():
        assert not (tmp_path / "a" / "output").exists()
        (aside,) = tmp_path.glob("a.old-*")
        assert (aside / "output").read_text() == "whole"
    assert aside not in stage_folders(tmp_path)


def test_going_back_to_earlier_settings_brings_back_their_output(tmp_path):
    _finish(_folder(tmp_path / "a"), "first")
    _finish(_folder(tmp_path / "a", value=2), "second")
    with _folder(tmp_path / "a").opened():
        assert _folder(tmp_path / "a").is_done()
        assert (tmp_path / "a" / "first").read_text() == "whole"
    (aside,) = tmp_path.glob("a.old-*")
    assert (aside / "second").is_file()


def test_a_sweep_may_be_narrowed_and_widened_in_the_same_folder(tmp_path):
    _finish(_folder(tmp_path / "a" / "value=1"))
    _finish(_folder(tmp_path / "a"))
    _finish(_folder(tmp_path / "a" / "value=2", value=2))
    _finish(_folder(tmp_path / "a", value=3))
    assert _folder(tmp_path / "a" / "value=1").is_done() and _folder(tmp_path / "a" / "value=2", value=2).is_done()
    assert stage_folders(tmp_path) == [tmp_path / "a", tmp_path / "a" / "value=1", tmp_path / "a" / "value=2"]


def test_a_folder_with_files_that_no_stage_wrote_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="thesis.tex"), _folder(tmp_path).opened():
        pass


def test_a_changed_input_makes_the_stage_outdated(tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    (audio / "x.wav").write_text("one")
    _finish(_folder(tmp_path / "a", audio=audio))
    assert _folder(tmp_path / "a", audio=audio).state() == "done"
    (audio / "y.wav").write_text("two")
    assert _folder(tmp_path / "a", audio=audio).state() == "outdated"


def test_the_output_of_an_unfinished_stage_is_not_read(tmp_path):
    with pytest.raises(RuntimeError), _folder(tmp_path / "a").opened():
        (tmp_path / "a" / "train").mkdir()
        raise RuntimeError
    with pytest.raises(InputError, match="unfinished"):
        fingerprint(tmp_path / "a" / "train")


def test_what_a_stage_wrote_counts_by_its_signature_not_by_its_times(tmp_path):
    _finish(_folder(tmp_path / "a"))
    before = fingerprint(tmp_path / "a" / "output")
    (tmp_path / "a" / "output").touch()
    assert fingerprint(tmp_path / "a" / "output") == before


def test_tasks_share_a_stage_and_the_last_gathers_what_all_found(tmp_path):
    gathered = []
    for index in (2, 0, 1):
        share, folder = Share(index, 3), _folder(tmp_path / "a")
        with folder.opened(share):
            folder.finish_part(share, {"items": share.of(range(8))}, time.time())
            with folder.gathering(share, {}) as parts:
                if parts is not None:
                    gathered.append(parts)
                    folder.finish({"items": sorted(sum((part["items"] for part in parts), []))}, time.time())
    assert len(gathered) == 1
    assert read_json(tmp_path / "a" / "done.json")["results"] == {"items": list(range(8))}


def test_tasks_work_side_by_side_but_not_beside_one_that_does_the_whole(tmp_path):
    folder = _folder(tmp_path / "a")
    with folder.opened(Share(0, 2)):
        with _folder(tmp_path / "a").opened(Share(1, 2)):
            assert folder.is_running()
        for share in (WHOLE, Share(0, 2)):
            with pytest.raises(InputError, match="another run"), folder.opened(share, patience_s=0.2):
                pass
        with pytest.raises(InputError, match="another run"), _folder(tmp_path / "a", 2).opened(Share(1, 2), 0.2):
            pass
    assert not folder.is_running()


def test_a_task_leaves_the_half_written_files_of_its_fellows_alone(tmp_path):
    with _folder(tmp_path / "a").opened(Share(0, 2)):
        (tmp_path / "a" / ".partial-other").touch()
        with _folder(tmp_path / "a").opened(Share(1, 2)):
            assert (tmp_path / "a" / ".partial-other").exists()


def test_shared_output_of_other_parameters_is_set_aside_by_the_first_task(tmp_path):
    _finish(_folder(tmp_path / "a"))
    for index in range(2):
        with _folder(tmp_path / "a", value=2).opened(Share(index, 2)):
            assert not (tmp_path / "a" / "output").exists()
    assert len(list(tmp_path.glob("a.old-*"))) == 1


def _hold(path, ready, release):
    with _folder(path).opened():
        ready.set()
        release.wait(20)


def test_a_second_writer_is_refused_and_told_who_is_first(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(tmp_path / "a", ready, release))
    first.start()
    try:
        assert ready.wait(20)
        assert _folder(tmp_path / "a").state() == "running"
        with pytest.raises(InputError, match=f"process {first.pid} on"), _folder(tmp_path / "a").opened(patience_s=0.2):
            pass
    finally:
        release.set()
        first.join()
