"""Downloads that resume where they were interrupted, and get their name only once they are verified.

The part of a file that has arrived is beside it as `.NAME.part`. The process that fetches it holds a lock on that, and
others that want the same file wait. A checksum is written `ALGORITHM:DIGEST`; the algorithms are those of hashlib and
`git`, the id of a git blob: SHA-1 of `blob SIZE\\0` and the content.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import requests
from requests.exceptions import ConnectionError, HTTPError, RequestException, Timeout

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import make_folder
from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)

ATTEMPTS = 5  # consecutive ones without a new byte, before a download fails
PAUSE_S = 2.0  # before the second attempt; it doubles with each further one
TIMEOUT_S = 30.0  # for which a server may send nothing
_CHUNK_BYTES = 1 << 14
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class DownloadFailed(InputError):
    """A file cannot be fetched; the message names the URL, and where to put the file."""


def failure(url: str, path: Path, reason: str) -> DownloadFailed:
    """Make the error that tells the user how to do without a download."""
    return DownloadFailed(f"{path.name} cannot be fetched ({reason}). Fetch {url} and put it at {path}.")


def fetch_file(url: str, path: Path, checksum: str | None) -> Path:
    """Fetch the file at an HTTP address to `path` unless it exists, verify it, and return its path.

    Parameters
    ----------
    checksum
        `md5:...`, `sha256:...` or `git:...`; None if none is known.

    Raises
    ------
    DownloadFailed
        The server cannot be reached, refuses the request, interrupts it repeatedly, or sends another file.
    InputError
        The file exists, with another checksum.
    """
    make_folder(path.parent)
    if not path.is_file():
        with _locked(path.with_name(f".{path.name}.part"), path) as part:
            if not path.is_file():  # else another process has fetched it meanwhile
                _complete(part, url, path, checksum)
                os.replace(part.name, path)
                return path
    verify(path, checksum)
    return path


def verify(path: Path, checksum: str | None) -> None:
    """Raise an `InputError` if a file has another checksum; the remedy is to remove it."""
    if difference := _difference(path, checksum):
        raise InputError(f"{path} is not the official file: its {difference}. Remove it.")


def digest(path: Path, algorithm: str) -> str:
    """The hexadecimal digest of a file's content, by one of hashlib's algorithms or `git`."""
    with open(path, "rb") as file:
        if algorithm != "git":
            return hashlib.file_digest(file, algorithm).hexdigest()
        blob = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size)
        return hashlib.file_digest(file, lambda: blob).hexdigest()


def _difference(path: Path, checksum: str | None) -> str | None:
    if checksum is None:
        return None
    algorithm, _, expected = checksum.partition(":")
    found = digest(path, algorithm)
    name = "git blob" if algorithm == "git" else algorithm
    return None if found == expected else f"{name} is {found}, not {expected}"


@contextmanager
def _locked(name: Path, path: Path) -> Iterator[IO[bytes]]:
    """Open the partial file of `path` for appending, once no other process holds it."""
    while True:
        with open(name, "ab", buffering=0) as part:
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("waiting for another process, which is fetching %s", path)
                fcntl.flock(part, fcntl.LOCK_EX)
            except OSError as error:
                raise InputError(
                    f"{path.parent} is on a file system without locks ({error}); mount it with flock."
                ) from None
            # The process that held the lock may have renamed or removed the file that was opened.
            try:
                current = os.path.samestat(os.fstat(part.fileno()), name.stat())
            except FileNotFoundError:
                current = False
            if not current:
                continue
            try:
                yield part
            finally:
                if path.is_file() or not part.tell():
                    name.unlink(missing_ok=True)
            return


def _complete(part: IO[bytes], url: str, path: Path, checksum: str | None) -> None:
    """Append what is missing to a partial file, and verify it."""
    if checksum is None:
        _empty(part)  # what an earlier process left may belong to another version of the file
    elif part.tell() and not _difference(Path(part.name), checksum):
        return  # an earlier process was killed just before it could rename the file
    resumed = part.tell() > 0
    _receive_all(part, url, path, checksum is not None)
    if resumed and _difference(Path(part.name), checksum):
        logger.warning("%s: the parts do not make the official file; starting over", url)
        _empty(part)
        _receive_all(part, url, path, checksum is not None)
    if difference := _difference(Path(part.name), checksum):
        _empty(part)
        raise failure(url, path, f"the server's is not the official file: its {difference}")


def _receive_all(part: IO[bytes], url: str, path: Path, verifiable: bool) -> None:
    """Request the rest of a file until all of it is there."""
    version, furthest, failures, reached = "", part.tell(), 0, False
    while True:
        have = part.tell()
        headers = {"Accept-Encoding": "identity"}
        if have and (version or verifiable):
            # If-Range: a server whose file has changed meanwhile sends all of it.
            headers |= {"Range": f"bytes={have}-"} | ({"If-Range": version} if version else {})
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
                reached = True
                if answer.status_code == requests.codes.range_not_satisfiable and have:
                    _empty(part)
                    continue
                answer.raise_for_status()
                version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
                version = "" if version.startswith("W/") else version  # RFC 9110 wants strong validators
                _append(part, answer, path.name)
                return
        except RequestException as error:
            refused = isinstance(error, HTTPError) and answer.status_code not in _BUSY
            offline = isinstance(error, ConnectionError) and not reached
            # A server that starts over each time, and is cut off each time, brings no new byte.
            failures = 0 if part.tell() > furthest else failures + 1
            furthest = max(furthest, part.tell())
            if refused or offline or failures >= ATTEMPTS:
                raise failure(url, path, _cause(error)) from None
            pause = PAUSE_S * 2 ** max(failures - 1, 0)
            logger.warning("%s: %s after %d bytes; retrying in %.0f s", url, _cause(error), part.tell(), pause)
            time.sleep(pause)


def _append(part: IO[bytes], answer: requests.Response, name: str) -> None:
    if answer.status_code != requests.codes.partial_content:
        _empty(part)
    have, length = part.tell(), int(answer.headers.get("Content-Length", 0))
    with progress(f"fetching {name}", have + length if length else 0, "B", logger, have) as bar:
        for chunk in answer.iter_content(_CHUNK_BYTES):
            part.write(chunk)
            bar.update(len(chunk))


def _empty(part: IO[bytes]) -> None:
    part.seek(0)
    part.truncate()


def _cause(error: BaseException) -> str:
    """The cause of a failed request, which requests and urllib3 wrap several times."""
    if isinstance(error, Timeout) or "timed out" in str(error):
        return f"the server sent nothing for {TIMEOUT_S:g} s"
    if isinstance(error, HTTPError):
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    while isinstance(inner := getattr(error, "reason", None) or (error.args or [None])[-1], BaseException):
        error = inner
    return str(error).rpartition(": ")[2]
