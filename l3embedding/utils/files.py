"""Files that appear whole or not at all, JSON, and folders that are known to be writable."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from l3embedding.utils.errors import InputError

_PARTIAL = ".partial-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without an error.

    The folder is created. The temporary file is in it too, since a rename is atomic only within a file system; its
    name begins with `.partial-` and keeps the suffix, by which some writers choose their format.

    Raises
    ------
    InputError
        The folder cannot be created or written to, or its disk is full.
    """
    path = Path(path)
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f"{_PARTIAL}{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:  # on disk before the rename, or a power cut leaves an empty file
            os.fsync(written.fileno())
        # mkstemp creates private files, but results are shared within a lab, as far as its umask permits.
        os.umask(umask := os.umask(0))  # it can only be read by setting it
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        # HDF5's errors have no number, only the text.
        if error.errno not in _FULL and os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise InputError(
            f"{path} cannot be written: the disk or its quota is full. Make room and run it again; "
            "the earlier version is kept."
        ) from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file; an `InputError` names one that is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create the folder `path` and its parents, and return it; an `InputError` if it cannot be written to."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The output folder {path} cannot be created: {error.strerror}. Choose another.") from None
    if not os.access(path, os.W_OK):
        raise InputError(f"The output folder {path} cannot be written to. Choose another, or change its permissions.")
    return path


def remove_leftovers(folder: str | os.PathLike[str], before: float = math.inf) -> None:
    """Remove the temporary files that killed writers left directly in `folder`.

    Those modified at the time `before` (Unix seconds) or later stay: their writers may still be running.
    """
    for leftover in Path(folder).glob(f"{_PARTIAL}*"):
        with suppress(FileNotFoundError):
            if leftover.is_file() and leftover.stat().st_mtime < before:
                leftover.unlink()
