"""Downloads that are taken up where they stopped, and get their name only once they are verified.

While a file is on its way, `.NAME.download/` lies beside its place: the part that has arrived, what the
server promised of the whole, and a lock, so that of several processes that want the file one fetches it
and the others wait. A checksum is written `ALGORITHM:DIGEST`; beside the algorithms of hashlib there is
`git`, the id of a git blob: SHA-1 over `blob SIZE\\0` and the content.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import make_folder, read_json, remove_leftovers, write_json
from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)

ATTEMPTS = 5
"""Attempts in a row that bring nothing new, before a download is given up."""
PAUSE_S = 2.0
"""Before the second attempt; doubled before each further one."""
TIMEOUT_S = 30.0
"""How long a server may say nothing."""
_CHUNK_BYTES = 1 << 14
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE = 206, 416
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})

_ARRIVED = "arrived"
_PROMISE = "promise.json"
_LOCK = ".lock"


class DownloadFailed(InputError):
    """A file cannot be had; the message names the URL, and where to put the file."""


def fetch_file(url: str, path: Path, checksum: str | None) -> Path:
    """Fetch a file, unless it is there; either way it is verified.

    Parameters
    ----------
    url
        Where it is to be had, over HTTP.
    path
        Where it shall be.
    checksum
        `md5:...`, `sha256:...` or `git:...`; None if none is known.

    Returns
    -------
    `path`.

    Raises
    ------
    DownloadFailed
        The server cannot be reached, refuses, or breaks off again and again; or what it sends is not
        what the checksum says.
    InputError
        A file is there already, and is another one.
    """
    if not path.is_file():
        make_folder(path.parent)
        with _only_worker(path.with_name(f".{path.name}.download"), path) as work:
            if not path.is_file():
                os.replace(_fetch_into(work, url, path, checksum), path)
                return path
    verify(path, checksum)
    return path


def verify(path: Path, checksum: str | None) -> None:
    """Refuse a file whose content is not that of a checksum.

    Raises
    ------
    InputError
        It is not; the remedy is to remove the file.
    """
    if difference := _difference(path, checksum):
        raise InputError(f"{path} is not the official file: its {difference}. Remove it.")


def digest(path: Path, algorithm: str) -> str:
    """The hexadecimal digest of a file's content, by one of hashlib's algorithms or `git`."""
    with open(path, "rb") as file:
        if algorithm != "git":
            return hashlib.file_digest(file, algorithm).hexdigest()
        blob = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size)
        return hashlib.file_digest(file, lambda: blob).hexdigest()


class ResumingDownloader:
    """A downloader for pooch that keeps what has arrived, and goes on from there.

    Parameters
    ----------
    work
        Folder that keeps it; no other process may use it.
    path
        Where the file shall be in the end, for the messages.
    verifiable
        Whether a checksum will tell if the parts of two files were put together.
    """

    def __init__(self, work: Path, path: Path, verifiable: bool) -> None:
        self.resumed = False
        self._arrived, self._promise_file = work / _ARRIVED, work / _PROMISE
        self._path, self._verifiable = path, verifiable
        self._reached = False

    def __call__(self, url: str, output_file: str, pooch: object = None) -> None:
        """Download `url` to `output_file`.

        Raises
        ------
        DownloadFailed
            It cannot be had.
        """
        furthest, failures = self._size(), 0
        while (trouble := self._attempt(url)) is not None:
            # A server that begins anew each time, and breaks off each time, brings nothing new.
            failures = 0 if self._size() > furthest else failures + 1
            furthest = max(furthest, self._size())
            if failures >= ATTEMPTS or not self._reached:
                raise failure(url, self._path, trouble)
            pause = PAUSE_S * 2 ** max(failures - 1, 0)
            logger.warning("%s: %s after %d bytes; again in %.0f s", url, trouble, self._size(), pause)
            time.sleep(pause)
        os.replace(self._arrived, output_file)

    def forget(self) -> None:
        """Begin anew."""
        for path in (self._arrived, self._promise_file):
            path.unlink(missing_ok=True)

    def _size(self) -> int:
        return self._arrived.stat().st_size if self._arrived.is_file() else 0

    def _attempt(self, url: str) -> str | None:
        """Try to bring the rest; returns what went wrong, or None if all is there."""
        have, promise = self._size(), _Promise.read(self._promise_file)
        if promise and have and have == promise.total:
            self.resumed = True
            return None
        headers = {"Accept-Encoding": "identity"}
        if promise and have and promise.url == url and (promise.version or self._verifiable):
            headers["Range"] = f"bytes={have}-"
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
                self._reached = True
                return self._receive(answer, url, have, promise)
        except requests.exceptions.RequestException as error:
            self._reached |= isinstance(error, requests.exceptions.ReadTimeout)
            return _in_short(error)

    def _receive(self, answer: requests.Response, url: str, have: int, promise: _Promise | None) -> str | None:
        status = answer.status_code
        if status in _TRY_AGAIN:
            return f"HTTP {status} {answer.reason}"
        promised = _Promise.of(answer, url)
        goes_on = status == _PARTIAL_CONTENT and promised == promise and _first_byte(answer) == have
        if status == _RANGE_NOT_SATISFIABLE or (status == _PARTIAL_CONTENT and not goes_on):
            self.forget()
            return "the file on the server is another one now"
        if not answer.ok:
            raise failure(url, self._path, f"HTTP {status} {answer.reason}")
        if not goes_on:
            have = 0
            self._arrived.write_bytes(b"")
            write_json(self._promise_file, asdict(promised))
        self.resumed |= goes_on
        title = f"fetching {self._path.name}"
        with open(self._arrived, "ab") as file, progress(title, promised.total or 0, "B", logger, have) as bar:
            for chunk in answer.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                file.flush()
                bar.update(len(chunk))
        return None if promised.total in (None, self._size()) else "the connection was cut"


def failure(url: str, path: Path, reason: str) -> DownloadFailed:
    """The error that says what can be done where the network does not."""
    return DownloadFailed(f"{path.name} cannot be fetched ({reason}). Fetch {url} and put it at {path}.")


@dataclass(frozen=True)
class _Promise:
    """What a server says of a whole file; the part of one file is not continued with that of another.

    Attributes
    ----------
    url
        Where it is.
    version
        Its ETag, or when it was last modified; empty if the server says neither.
    total
        Its size, bytes; None if the server does not say.
    """

    url: str
    version: str
    total: int | None

    @classmethod
    def of(cls, answer: requests.Response, url: str) -> _Promise:
        """Read what an answer says."""
        headers = answer.headers
        size = headers.get("Content-Length", "")
        if answer.status_code == _PARTIAL_CONTENT:
            size = headers.get("Content-Range", "").rpartition("/")[2]
        version = headers.get("ETag") or headers.get("Last-Modified") or ""
        return cls(url, version, int(size) if size.isdigit() else None)

    @classmethod
    def read(cls, path: Path) -> _Promise | None:
        """Read what an earlier answer said; None if there was none."""
        try:
            return cls(**read_json(path))
        except (InputError, TypeError):
            return None


def _first_byte(answer: requests.Response) -> int | None:
    first = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else None


def _fetch_into(work: Path, url: str, path: Path, checksum: str | None) -> Path:
    """Fetch a file into its working folder, and verify it there; returns where it lies."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    _tidy(work, path.name)
    known = None if checksum is None or checksum.startswith("git:") else checksum
    downloader = ResumingDownloader(work, path, checksum is not None)
    while True:
        try:
            whole = Path(pooch.retrieve(url, known, fname=path.name, path=work, downloader=downloader))
            difference = _difference(whole, checksum if known is None else None)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            difference = str(error)
        if difference is None:
            return whole
        (work / path.name).unlink(missing_ok=True)
        downloader.forget()
        if not downloader.resumed:
            raise failure(url, path, f"what comes is not the official file: its {difference}")
        logger.warning("%s: the parts do not make the official file; beginning anew", url)
        downloader = ResumingDownloader(work, path, checksum is not None)


def _tidy(work: Path, name: str) -> None:
    """Take up what a process left that was killed while pooch verified a whole file."""
    remove_leftovers(work)
    arrived = work / _ARRIVED
    for stray in work.iterdir():
        if stray.name in (_ARRIVED, _PROMISE, _LOCK, name):
            continue
        if stray.stat().st_size and not arrived.exists():
            stray.rename(arrived)
        else:
            stray.unlink()


def _difference(path: Path, checksum: str | None) -> str | None:
    """Say how a file's checksum differs; None if it does not."""
    if checksum is None:
        return None
    algorithm, _, expected = checksum.partition(":")
    found = digest(path, algorithm)
    name = "git blob" if algorithm == "git" else algorithm
    return None if found == expected else f"{name} is {found}, not {expected}"


@contextmanager
def _only_worker(work: Path, path: Path) -> Iterator[Path]:
    """Hold a working folder; it goes when the file is there, or when it keeps nothing."""
    while True:
        work.mkdir(exist_ok=True)
        try:
            lock = open(work / _LOCK, "a")  # noqa: SIM115
        except FileNotFoundError:
            continue  # its last holder has just removed it
        with lock:
            _lock(lock.fileno(), path)
            if not _is_same(lock.fileno(), work / _LOCK):
                continue
            try:
                yield work
            finally:
                if path.is_file() or not (work / _ARRIVED).is_file():
                    shutil.rmtree(work, ignore_errors=True)
            return


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("waiting for another process, which fetches %s", path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise InputError(f"{path.parent} lies on a file system without locks: {error}. Mount it with flock.") from None


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _in_short(error: Exception) -> str:
    """The cause of a failed request, which requests and urllib3 wrap several times."""
    if "timed out" in str(error):
        return f"the server says nothing for {TIMEOUT_S:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    cause: BaseException = error
    while isinstance(inner := getattr(cause, "reason", None) or (cause.args or [None])[-1], BaseException):
        cause = inner
    return str(cause).rpartition(": ")[2]
