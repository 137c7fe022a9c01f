"""The command `sea fetch`: official weights into the cache, data sets into a folder."""

from __future__ import annotations

import argparse
import fcntl
import logging
import shutil
import typing
from pathlib import Path
from typing import Any

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import make_folder, read_json, write_json

if typing.TYPE_CHECKING:
    from l3embedding.data.datasets import Dataset, RemoteFile

logger = logging.getLogger(__name__)

FETCHED = ".fetched.json"
"""In a data set's folder: the files that were fetched and unpacked, by their checksums."""
_LOCK = ".lock"


def add_command(commands: Any) -> None:
    """Add `fetch` to the parser of `sea`."""
    fetch = commands.add_parser("fetch", help="fetch official weights, or data sets", description=fetch_all.__doc__)
    fetch.set_defaults(action=fetch_all)
    fetch.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help="sonyc-ust, us8k, esc50, dcase2013; openl3, edgel3, vggish, or names as `sea models` has them",
    )
    fetch.add_argument("--to", metavar="DIR", type=Path, help="folder of the data sets (default: datasets)")
    fetch.add_argument("--keep-archives", action="store_true", help="leave the archives beside what was in them")


def fetch_all(arguments: argparse.Namespace) -> None:
    """Fetch official weights into the cache, or data sets into DIR/NAME; what is there already is verified and kept."""
    from l3embedding.data.datasets import DATASETS
    from l3embedding.models.vggish import NAMES as VGGISH_NAMES
    from l3embedding.models.vggish import load_vggish, locate_vggish
    from l3embedding.models.weights import GIT_BLOBS, cache_dir, locate_weights

    groups = {
        "openl3": [name for name in GIT_BLOBS if name.startswith("openl3") and name.endswith("-v0_4_0")],
        "edgel3": [name for name in GIT_BLOBS if name.startswith("edgel3")],
    }
    for asked in arguments.names:
        key = asked.replace("-", "_")
        if key not in DATASETS and asked not in (*groups, *GIT_BLOBS, *VGGISH_NAMES):
            known = ", ".join([*(name.replace("_", "-") for name in DATASETS), *groups, VGGISH_NAMES[0]])
            raise InputError(f"{asked!r} is neither one of {known} nor a name that `sea models` lists.")
        if key in DATASETS:
            fetch_dataset(DATASETS[key], (arguments.to or Path("datasets")) / key, arguments.keep_archives)
            continue
        if arguments.to:
            raise InputError(f"--to is for data sets; weights go to {cache_dir()}, which $L3EMBEDDING_CACHE replaces.")
        if asked in VGGISH_NAMES:
            path = locate_vggish()
            load_vggish(path)  # of which the names and shapes are all that can be verified
            print(path)
            continue
        for name in groups.get(asked, [asked]):
            print(locate_weights(name))


def fetch_dataset(dataset: Dataset, root: Path, keep_archives: bool = False) -> None:
    """Fetch a data set and unpack it; what is there already, in part or in full, is left alone.

    Parameters
    ----------
    dataset
        One of `l3embedding.data.datasets.DATASETS`.
    root
        Its folder.
    keep_archives
        Whether the archives stay once they are unpacked.

    Raises
    ------
    InputError
        There is too little room, a file cannot be had or is another one, or clips are missing in the end.
    """
    with open(make_folder(root) / _LOCK, "a", encoding="utf-8") as lock:
        # Another process that fetches the same is waited for; what it brings is there then.
        fcntl.flock(lock, fcntl.LOCK_EX)
        _fetch_missing(dataset, root, keep_archives)
    clips = dataset.read(root)
    if len(clips) < dataset.clips:
        raise InputError(
            f"{root} has {len(clips)} of the {dataset.clips} clips of {dataset.title}. "
            f"Remove {root / FETCHED}, and fetch it again."
        )
    folds = f" in {clips['fold'].nunique()} folds" if dataset.has_folds else ""
    print(f"{dataset.title} ({dataset.licence}), {len(clips)} clips{folds}: dataset_root={root.resolve()}")


def _fetch_missing(dataset: Dataset, root: Path, keep_archives: bool) -> None:
    from l3embedding.utils.archives import extract
    from l3embedding.utils.downloads import digest, fetch_file

    fetched: dict[str, str] = read_json(root / FETCHED) if (root / FETCHED).is_file() else {}
    todo = [] if _is_complete(dataset, root) else [file for file in dataset.files if file.name not in fetched]
    if todo:
        _say_room(dataset, todo, root, keep_archives)
    for file in todo:
        path = fetch_file(file.url, root / file.name, None if file.drifts else file.checksum)
        if file.drifts and (found := digest(path, "md5")) != file.checksum.removeprefix("md5:"):
            logger.warning("%s: its md5 is %s, not %s as once: %s.", file.name, found, file.checksum, file.drifts)
        if file.is_archive:
            extract(path, root, dataset.top)
            if not keep_archives:
                path.unlink()
        fetched[file.name] = file.checksum
        write_json(root / FETCHED, fetched)


def _is_complete(dataset: Dataset, root: Path) -> bool:
    """Whether a folder, however it came there, holds the whole data set."""
    from l3embedding.data.audio import AUDIO_SUFFIXES

    if sum(path.suffix in AUDIO_SUFFIXES for path in root.rglob("*")) < dataset.clips:
        return False
    try:
        return len(dataset.read(root)) >= dataset.clips
    except InputError:
        return False


def _say_room(dataset: Dataset, todo: list[RemoteFile], root: Path, keep_archives: bool) -> None:
    """Say how much is fetched and how much room it takes.

    Raises
    ------
    InputError
        There is less.
    """
    archives = sum(file.is_archive for file in dataset.files)
    left = sum(file.is_archive for file in todo) / archives
    download, unpacked = left * dataset.download_gb, left * dataset.unpacked_gb
    needed = unpacked + (download if keep_archives else dataset.download_gb / archives)
    free = shutil.disk_usage(root).free / 1e9
    logger.info(
        "%s: about %.1f GB to fetch; it takes about %.1f GB of the %.1f GB that are free in %s",
        dataset.title,
        download,
        needed,
        free,
        root,
    )
    if free < needed:
        raise InputError(f"{root} has {free:.1f} GB free, but {dataset.title} takes {needed:.1f} GB. Choose --to.")
