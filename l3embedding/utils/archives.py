"""Safe unpacking of archives: nothing outside the folder, no links, each file whole or not at all."""

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
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path, remove_leftovers
from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)
_Member = tuple[tarfile.TarInfo, Callable[[], IO[bytes]]]


def extract(archive: Path, folder: Path, top: str = "") -> None:
    """Unpack a `.zip` or `.tar.gz` archive into `folder`, without the archive's folder `top` in the names.

    Files that exist with the right size are kept, so that an interrupted extraction resumes.

    Raises
    ------
    InputError
        The archive is damaged, or has a link, a device, or a file that would be outside `folder`.
    """
    for below, _, _ in os.walk(folder):
        remove_leftovers(below)
    members = _zip_members if archive.suffix == ".zip" else _tar_members
    try:
        size, done = archive.stat().st_size, 0
        with open(archive, "rb") as raw, progress(f"unpacking {archive.name}", size, "B", logger) as bar:
            for member, open_member in members(raw):
                if member.issym() or member.islnk():
                    raise InputError(f"{archive} has a link, {member.name}. Do not use it.")
                path = PurePosixPath(tarfile.data_filter(member, str(folder)).name)
                target = folder / (path.relative_to(top) if path.is_relative_to(top) else path)
                if member.isreg() and not (target.is_file() and target.stat().st_size == member.size):
                    with open_member() as source, atomic_path(target) as temporary, open(temporary, "wb") as file:
                        shutil.copyfileobj(source, file)
                bar.update(raw.tell() - done)
                done = raw.tell()
    except tarfile.FilterError as error:
        raise InputError(f"{archive}: {error}. Do not use it.") from None
    except (zipfile.BadZipFile, tarfile.ReadError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{archive} is damaged: {error}. Remove it, and fetch it again.") from None


def _tar_members(raw: IO[bytes]) -> Iterator[_Member]:
    with tarfile.open(fileobj=raw, mode="r:gz") as file:
        open_member = cast(Callable[[tarfile.TarInfo], IO[bytes]], file.extractfile)  # None only for what is no file
        yield from ((member, partial(open_member, member)) for member in file)


def _zip_members(raw: IO[bytes]) -> Iterator[_Member]:
    # As members of a tar file, since zipfile has no filter: it renames files that would be outside.
    with zipfile.ZipFile(raw) as file:
        raw.seek(0)  # for the progress: the table of contents is at the end
        for entry in file.infolist():
            member = tarfile.TarInfo(entry.filename)
            member.size = entry.file_size
            is_link = stat.S_ISLNK(entry.external_attr >> 16)
            member.type = tarfile.SYMTYPE if is_link else tarfile.DIRTYPE if entry.is_dir() else tarfile.REGTYPE
            yield member, partial(file.open, entry)
