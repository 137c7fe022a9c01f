"""Downloads from a real server: cut, resumed, changed, killed, concurrent."""

from __future__ import annotations

import hashlib
import logging
import re
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l3embedding.utils import downloads
from l3embedding.utils.downloads import DownloadFailed, digest, fetch_file, verify
from l3embedding.utils.errors import InputError
from tests.conftest import REPOSITORY
from tests.support.file_server import FileServer

SIZE = 300_000


def _content(rng, size: int = SIZE) -> bytes:
    return rng.bytes(size)


def _md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


@pytest.fixture
def server(rng, monkeypatch):
    """A server of one file, and no pauses between attempts."""
    monkeypatch.setattr(downloads, "PAUSE_S", 0.0)
    monkeypatch.setattr(downloads, "_CHUNK_BYTES", 10_000)
    with FileServer({"/a.bin": _content(rng)}).running() as started:
        yield started


def _fetch(server, tmp_path, checksum: str | None = "") -> bytes:
    content = server.files["/a.bin"]
    path = tmp_path / "a.bin"
    assert fetch_file(f"{server.url}/a.bin", path, _md5(content) if checksum == "" else checksum) == path
    assert list(tmp_path.iterdir()) == [path]
    return path.read_bytes()


def test_a_file_is_fetched_and_nothing_is_left_beside_it(server, tmp_path):
    assert _fetch(server, tmp_path) == server.files["/a.bin"]
    assert server.requests == [("/a.bin", None)]


def test_an_existing_file_is_verified_and_not_fetched_again(server, tmp_path):
    _fetch(server, tmp_path)
    _fetch(server, tmp_path)
    assert len(server.requests) == 1
    (tmp_path / "a.bin").write_bytes(b"other")
    with pytest.raises(InputError, match=r"a.bin is not the official file: its md5 is .*Remove it"):
        _fetch(server, tmp_path)


def test_a_cut_download_resumes_at_the_byte_where_it_was_cut(server, tmp_path):
    server.cuts = [70_000, 50_000, None]
    assert _fetch(server, tmp_path) == server.files["/a.bin"]
    assert [asked for _, asked in server.requests] == [None, "bytes=70000-", "bytes=120000-"]
    assert server.sent == SIZE


def test_with_a_server_that_ignores_ranges_the_download_starts_over(server, tmp_path):
    server.cuts, server.honours_range = [70_000, None], False
    assert _fetch(server, tmp_path) == server.files["/a.bin"]
    assert server.sent == SIZE + 70_000


def test_a_file_that_changes_between_two_parts_is_fetched_from_the_start(server, tmp_path, rng):
    old, new = server.files["/a.bin"], _content(rng)
    for sends_version, checksum in ((True, None), (True, _md5(new)), (False, _md5(new))):
        server.files["/a.bin"], server.cuts, server.sends_version = old, [70_000] * 6, sends_version
        server.honours_range = False
        with pytest.raises(DownloadFailed):
            fetch_file(f"{server.url}/a.bin", tmp_path / "a.bin", checksum)
        server.files["/a.bin"], server.cuts, server.honours_range = new, [], True
        assert _fetch(server, tmp_path, checksum) == new
        (tmp_path / "a.bin").unlink()


def test_without_version_and_checksum_nothing_is_resumed(server, tmp_path):
    server.cuts, server.sends_version = [70_000, None], False
    assert _fetch(server, tmp_path, checksum=None) == server.files["/a.bin"]
    assert [asked for _, asked in server.requests] == [None, None]


def test_without_a_content_length_the_checksum_detects_a_cut(server, tmp_path):
    server.sends_length, server.cuts = False, [70_000, None]
    with pytest.raises(DownloadFailed, match="the server's is not the official file"):
        _fetch(server, tmp_path)
    assert _fetch(server, tmp_path) == server.files["/a.bin"]


def test_a_busy_server_is_retried_and_a_refusal_is_final(server, tmp_path):
    server.statuses = [503, 429]
    assert _fetch(server, tmp_path) == server.files["/a.bin"]
    (tmp_path / "a.bin").unlink()
    server.statuses, server.requests = [403], []
    with pytest.raises(DownloadFailed, match="HTTP 403"):
        _fetch(server, tmp_path)
    assert len(server.requests) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("honours_range", [True, False])
def test_repeated_cuts_without_progress_fail(server, tmp_path, honours_range):
    server.cuts, server.honours_range = [70_000] + [0 if honours_range else 70_000] * 20, honours_range
    with pytest.raises(DownloadFailed, match=r"the connection was cut.*Fetch http.*/a.bin and put it at .*/a.bin"):
        _fetch(server, tmp_path)
    assert len(server.requests) == 1 + downloads.ATTEMPTS


def test_a_silent_server_times_out(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(downloads, "ATTEMPTS", 2)
    server.silence_s = 0.3
    with pytest.raises(DownloadFailed, match=r"sent nothing for 0.1 s"):
        _fetch(server, tmp_path)


def test_offline_the_error_names_the_url_and_where_to_put_the_file(tmp_path):
    began = time.monotonic()
    with pytest.raises(DownloadFailed) as failed:
        fetch_file("http://127.0.0.1:9/a.bin", tmp_path / "x" / "a.bin", None)
    assert time.monotonic() - began < 1
    assert str(failed.value) == (
        "a.bin cannot be fetched ([Errno 111] Connection refused). "
        f"Fetch http://127.0.0.1:9/a.bin and put it at {tmp_path}/x/a.bin."
    )


def test_a_file_with_another_checksum_is_refused(server, tmp_path):
    with pytest.raises(DownloadFailed, match="the server's is not the official file"):
        fetch_file(f"{server.url}/a.bin", tmp_path / "a.bin", _md5(b"x"))
    with pytest.raises(DownloadFailed, match="its git blob is"):
        fetch_file(f"{server.url}/a.bin", tmp_path / "a.bin", f"git:{'0' * 40}")
    assert not list(tmp_path.iterdir())


def test_digests_equal_those_of_git_md5sum_and_sha256sum(tmp_path):
    (tmp_path / "x").write_bytes(b"hello\n")
    # git hash-object, md5sum, sha256sum
    assert digest(tmp_path / "x", "git") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert digest(tmp_path / "x", "md5") == "b1946ac92492d2347c6235b4d2611184"
    assert digest(tmp_path / "x", "sha256") == "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    verify(tmp_path / "x", None)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, SIZE), max_size=4), honours_range=st.booleans(), seed=st.integers(0, 99))
def test_wherever_it_is_cut_the_file_equals_the_servers(server, tmp_path_factory, cuts, honours_range, seed):
    server.files["/a.bin"] = bytes([seed]) * 1000 + server.files["/a.bin"][1000:]
    server.cuts, server.honours_range = [*cuts, *[None] * 9], honours_range
    assert _fetch(server, tmp_path_factory.mktemp("cut")) == server.files["/a.bin"]


FETCH = """
import sys
from pathlib import Path
from l3embedding.utils.downloads import fetch_file
fetch_file(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
"""


def _process(server, tmp_path) -> subprocess.Popen:
    checksum = _md5(server.files["/a.bin"])
    command = [sys.executable, "-c", FETCH, f"{server.url}/a.bin", str(tmp_path / "a.bin"), checksum]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE)


def test_the_download_of_a_killed_process_is_resumed(server, tmp_path, rng):
    server.files["/a.bin"], server.pause_s = _content(rng, 4_000_000), 0.02
    process = _process(server, tmp_path)
    part = tmp_path / ".a.bin.part"
    while not (part.is_file() and part.stat().st_size > 1_000_000):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept, server.pause_s = part.stat().st_size, 0.0
    assert not (tmp_path / "a.bin").exists()
    assert _fetch(server, tmp_path) == server.files["/a.bin"]
    assert server.requests[-1] == ("/a.bin", f"bytes={kept}-")


def test_a_download_killed_just_before_the_rename_is_finished_without_a_request(server, tmp_path):
    (tmp_path / ".a.bin.part").write_bytes(server.files["/a.bin"])
    assert _fetch(server, tmp_path) == server.files["/a.bin"]
    assert server.requests == []


def test_a_partial_file_longer_than_the_servers_is_fetched_from_the_start(server, tmp_path):
    (tmp_path / ".a.bin.part").write_bytes(bytes(2 * SIZE))
    assert _fetch(server, tmp_path) == server.files["/a.bin"]


def test_only_one_of_several_processes_fetches_a_file(server, tmp_path, rng):
    server.files["/a.bin"], server.pause_s = _content(rng, 3_000_000), 0.02
    processes = [_process(server, tmp_path) for _ in range(3)]
    errors = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert len(server.requests) == 1
    assert _fetch(server, tmp_path) == server.files["/a.bin"]


def test_progress_is_logged_in_bytes_with_the_time_left(server, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("l3embedding.utils.progress.LOG_INTERVAL_S", 0.0)
    with caplog.at_level(logging.INFO):
        _fetch(server, tmp_path)
    lines = [record.getMessage() for record in caplog.records]
    assert any(re.fullmatch(r"fetching a.bin: 150k of 300kB, .+B/s, \d\d:\d\d left", line) for line in lines), lines
    assert re.fullmatch(r"fetching a.bin: 300kB in \d\d:\d\d", lines[-1])
