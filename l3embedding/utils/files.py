"""Files that appear whole or not at all, and folders that can be written to."""

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


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without an error.

    Parameters
    ----------
    path
        Where the finished file shall be. Its folder is made. The temporary name lies in the
        same folder (a rename is atomic only within a file system), begins with `.partial-` and
        keeps the suffix, since several writers choose their format by it.

    Raises
    ------
    InputError
        The folder cannot be made or written to, or its disk is full.
    """
    path = Path(path)
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f"{_PARTIAL}{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes private files; results are shared within a lab as its umask says.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if not _is_full(error):
            raise
        raise InputError(
            f"{path} cannot be written: the disk or its quota is full. Make room and run it again; "
            "what was there before is kept."
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
    """Read a JSON file.

    Raises
    ------
    InputError
        The file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make the folder `path` and its parents, and return it.

    Raises
    ------
    InputError
        It cannot be made or written to; the message says why.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The output folder {path} cannot be made: {error.strerror}. Choose another.") from None
    if not os.access(path, os.W_OK):
        raise InputError(f"The output folder {path} cannot be written to. Choose another, or change its permissions.")
    return path


def remove_leftovers(folder: str | os.PathLike[str], before: float = math.inf) -> None:
    """Remove the temporary files that a killed writer of `atomic_path` left directly in `folder`.

    Parameters
    ----------
    folder
        Where to look.
    before
        Unix seconds: what was written to since may belong to a writer at work, and stays.
    """
    for leftover in Path(folder).glob(f"{_PARTIAL}*"):
        with suppress(FileNotFoundError):
            if leftover.is_file() and leftover.stat().st_mtime < before:
                leftover.unlink()


def _is_full(error: OSError) -> bool:
    # HDF5 says it in words alone.
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or os.strerror(errno.ENOSPC) in str(error)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
