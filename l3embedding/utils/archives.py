"""Unpacking archives that others made: nothing outside the folder, no links, each file whole or not at all."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path, remove_leftovers
from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Member:
    """A file within an archive: its name, its size in bytes, and how it is opened."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def extract(archive: Path, folder: Path, top: str = "") -> None:
    """Unpack a `.zip` or `.tar.gz` archive; files of the right size that are there already are left alone.

    Parameters
    ----------
    archive
        The file.
    folder
        Where it is unpacked.
    top
        Folder within the archive that is left out of the names.

    Raises
    ------
    InputError
        The archive is damaged, or holds something that is neither a file nor a folder, or that would lie
        outside `folder`.
    """
    for below, _, _ in os.walk(folder):
        remove_leftovers(below)
    members = _zip_members if archive.suffix == ".zip" else _tar_members
    try:
        with open(archive, "rb") as raw:
            title = f"unpacking {archive.name}"
            with progress(title, archive.stat().st_size, "B", logger) as bar:
                said = 0
                for member in members(raw, archive, folder):
                    _write(member, folder / _without(member.name, top))
                    bar.update(max(0, raw.tell() - said))
                    said = raw.tell()
    except (zipfile.BadZipFile, tarfile.ReadError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{archive} is damaged: {error}. Remove it, and fetch it again.") from None


def _write(member: _Member, target: Path) -> None:
    if target.is_file() and target.stat().st_size == member.size:
        return
    with member.open() as source, atomic_path(target) as temporary, open(temporary, "wb") as file:
        shutil.copyfileobj(source, file)


def _without(name: str, top: str) -> str:
    path = PurePosixPath(name)
    return str(path.relative_to(top) if top and path.is_relative_to(top) else path)


def _zip_members(raw: IO[bytes], archive: Path, folder: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(raw) as file:
        for info in file.infolist():
            path = PurePosixPath(info.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
                raise InputError(f"{archive} holds {info.filename}, which would lie outside {folder}. Do not use it.")
            if stat.S_ISLNK(info.external_attr >> 16):
                raise InputError(f"{archive} holds {info.filename}, which is a link. Do not use it.")
            if not info.is_dir():
                yield _Member(info.filename, info.file_size, lambda info=info: file.open(info))


def _tar_members(raw: IO[bytes], archive: Path, folder: Path) -> Iterator[_Member]:
    with tarfile.open(fileobj=raw, mode="r:gz") as file:
        for info in file:
            try:
                info = tarfile.data_filter(info, str(folder))
            except tarfile.FilterError as error:
                raise InputError(f"{archive}: {error}. Do not use it.") from None
            if info.issym() or info.islnk():
                raise InputError(f"{archive} holds {info.name}, which is a link. Do not use it.")
            if info.isreg():
                yield _Member(info.name, info.size, lambda info=info: file.extractfile(info))
