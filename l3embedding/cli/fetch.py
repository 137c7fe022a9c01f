"""The command `sea fetch`: downloads pretrained weights into the cache, data sets into a folder."""

from __future__ import annotations

import argparse
import fcntl
import logging
import shutil
from pathlib import Path
from typing import Any

from l3embedding.data.datasets import DATASETS, Dataset, RemoteFile
from l3embedding.models import registry
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import make_folder, read_json, write_json

logger = logging.getLogger(__name__)

FETCHED = ".fetched.json"
"""In a data set's folder: names and checksums of the files that were fetched and unpacked."""
_LOCK = ".lock"


def add_command(commands: Any) -> None:
    """Add `fetch` to the parser of `sea`."""
    fetch = commands.add_parser("fetch", help="fetch pretrained weights, or data sets", description=fetch_all.__doc__)
    fetch.set_defaults(action=fetch_all)
    known = ", ".join(_groups())
    fetch.add_argument("names", metavar="NAME", nargs="+", help=f"{known}, or a model that `sea models` lists")
    fetch.add_argument("--to", metavar="DIR", type=Path, help="folder of the data sets (default: datasets)")
    fetch.add_argument("--keep-archives", action="store_true", help="keep the archives after unpacking them")


def fetch_all(arguments: argparse.Namespace) -> None:
    """Fetch pretrained weights into the cache, or data sets into DIR/NAME; files that exist are verified and kept."""
    for name in arguments.names:
        key, models = name.replace("-", "_"), registry.models()
        if key not in DATASETS and name not in models and name not in registry.families():
            known = registry.nearest_first(name, _groups())
            raise InputError(f"{name!r} is neither one of {known} nor a model that `sea models` lists.")
        if key in DATASETS:
            fetch_dataset(DATASETS[key], (arguments.to or Path("datasets")) / key, arguments.keep_archives)
            continue
        if arguments.to:
            folder = registry.cache_dir()
            raise InputError(f"--to is for data sets; weights go to {folder}, or to $L3EMBEDDING_CACHE if it is set.")
        for model in [models[name]] if name in models else map(registry.find, registry.families()[name].fetched):
            path = model.locate()
            if model.checksum is None:
                model.load(path)  # the names and shapes of the arrays are all that can be verified
            print(path)


def _groups() -> list[str]:
    return [*(name.replace("_", "-") for name in DATASETS), *registry.families()]


def fetch_dataset(dataset: Dataset, root: Path, keep_archives: bool = False) -> None:
    """Fetch a data set into the folder `root`, unpack it, and count its clips; files that exist are kept."""
    with open(make_folder(root) / _LOCK, "a", encoding="utf-8") as lock:
        # If another process fetches the same, wait for it, and keep what it fetched.
        fcntl.flock(lock, fcntl.LOCK_EX)
        _fetch_missing(dataset, root, keep_archives)
    clips = dataset.read(root)
    if len(clips) < dataset.clips:
        raise InputError(
            f"{root} has {len(clips)} of the {dataset.clips} clips of {dataset.title}. "
            f"Remove {root / FETCHED}, and fetch it again."
        )
    folds = f" in {clips['fold'].nunique()} folds" if dataset.has_folds else ""
    print(f"{dataset.title} ({dataset.licence}), {len(clips)} clips{folds}: dataset.root={root.resolve()}")


def _fetch_missing(dataset: Dataset, root: Path, keep_archives: bool) -> None:
    from l3embedding.utils.archives import extract
    from l3embedding.utils.downloads import digest, fetch_file

    fetched: dict[str, str] = read_json(root / FETCHED) if (root / FETCHED).is_file() else {}
    todo = [] if _is_complete(dataset, root) else [file for file in dataset.files if file.name not in fetched]
    if todo:
        _check_space(dataset, todo, root, keep_archives)
    for file in todo:
        path = fetch_file(file.url, root / file.name, None if file.drifts else file.checksum)
        if file.drifts and (found := digest(path, "md5")) != file.checksum.removeprefix("md5:"):
            logger.warning("%s: its md5 is %s, no longer %s: %s.", file.name, found, file.checksum, file.drifts)
        if file.is_archive:
            extract(path, root, dataset.top)
            if not keep_archives:
                path.unlink()
        fetched[file.name] = file.checksum
        write_json(root / FETCHED, fetched)


def _is_complete(dataset: Dataset, root: Path) -> bool:
    """Whether a folder, perhaps fetched by other means, holds the whole data set."""
    from l3embedding.data.audio import AUDIO_SUFFIXES

    # The count of files is quick, and rules most folders out before their tables are read.
    if sum(path.suffix in AUDIO_SUFFIXES for path in root.rglob("*")) < dataset.clips:
        return False
    try:
        return len(dataset.read(root)) >= dataset.clips
    except InputError:
        return False


def _check_space(dataset: Dataset, todo: list[RemoteFile], root: Path, keep_archives: bool) -> None:
    """Log the download's size and the disk space it needs, and refuse it if there is less."""
    archives = sum(file.is_archive for file in dataset.files)
    left = sum(file.is_archive for file in todo) / archives
    download, unpacked = left * dataset.download_gb, left * dataset.unpacked_gb
    needed = unpacked + (download if keep_archives else dataset.download_gb / archives)
    free = shutil.disk_usage(root).free / 1e9
    message = "%s: about %.1f GB to fetch, which needs about %.1f GB of the %.1f GB free in %s"
    logger.info(message, dataset.title, download, needed, free, root)
    if free < needed:
        raise InputError(
            f"{root} has {free:.1f} GB free, but {dataset.title} needs {needed:.1f} GB. Choose another folder: --to."
        )
