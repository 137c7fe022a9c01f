"""The downstream data sets: titles, files to download, and readers.

A new data set is an entry of `DATASETS` and a reader; the setting `dataset.name` and everything else follow. The
module is light to import: readers are named here, and imported when they are first used.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

if typing.TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set, to download."""

    url: str
    checksum: str  # `md5:...`
    drifts: str = ""
    """Why the checksum may change without an error; empty if it may not."""

    @property
    def name(self) -> str:
        """Its file name, unique in the data set."""
        return self.url.rpartition("/")[2]

    @property
    def is_archive(self) -> bool:
        """Whether it is to be unpacked."""
        return self.name.endswith((".tar.gz", ".zip"))


@dataclass(frozen=True)
class Dataset:
    """A downstream data set."""

    title: str
    licence: str
    files: tuple[RemoteFile, ...]
    top: str
    """Top folder of the archives, which is stripped; empty if there is none."""
    clips: int
    """Number of clips of the complete data set."""
    download_gb: float
    unpacked_gb: float
    reader: str  # `module:function`, see `read`
    has_folds: bool = True
    """Whether it is evaluated fold by fold."""

    def read(self, root: Path) -> pd.DataFrame:
        """List the clips in its folder, one per row: `filename`, `path`; with folds, also `fold` and `category`."""
        module, _, function = self.reader.partition(":")
        return getattr(import_module(module), function)(root)


_ZENODO = "https://zenodo.org/record"
_SCENES = "https://archive.org/download/dcase2013_scene_classification/scenes_stereo.zip"
_AUDIO_MD5 = """
bbb4dbae7d2e58e18d24878b9ee1eb51 7c369ff37ac6a1fdd8493fdffe62e0a1 412241c063d7f196953d3dd1c44aeb5e
d2a872392d95993a2c238d305b940812 b15b0e0cb3f8584259ef0d24293a9be3 de745f887067433757a2f2c8f99f99bb
b0286c67468369d66336f6f5ddede31f ff300183ab7a9d3f2f74c3b730ffeb52 7be76b821fa6dbe20f6b50ca440e1024
959f7edfbb26eadad9865069f38aa9dd 84e94de273666c537a3e6b709ee88d9b 44fe1f43121a7d1178aa0cdf7477793b
a7eb21011f460b5ac289f8e285e875ab 27945a8b1008eec787f97213164951e6 fb8c7d81c3bde3a0c86c1e55e6a85a24
f6af9b65d876ef96d199b9e5f0473cb9 e8337c61a90c30989d500f950fbe443a 3e47e85eb4564a30fe7f442ee97ec7b9
c6b2ef4d0d5b7269d465c469cdbbdc4b
"""
_SONYC_UST_MD5 = {
    "annotations.csv": "70b507b15bb4cfcce4870925302f276b",
    "dcase-ust-taxonomy.yaml": "6c1cca1c4c383a6ebb0cb71cb74fe3a9",
} | {f"audio-{index}.tar.gz": md5 for index, md5 in enumerate(_AUDIO_MD5.split())}

DATASETS = {
    "sonyc_ust": Dataset(
        title="SONYC-UST 2.3",
        licence="CC BY 4.0",
        files=tuple(
            RemoteFile(f"{_ZENODO}/3966543/files/{name}", f"md5:{md5}") for name, md5 in _SONYC_UST_MD5.items()
        ),
        top="",
        clips=18_510,
        download_gb=13.3,
        unpacked_gb=17.8,
        reader="l3embedding.data.sonyc_ust:read_sonyc_ust",
        has_folds=False,
    ),
    "us8k": Dataset(
        title="UrbanSound8K",
        licence="CC BY-NC 3.0",
        files=(RemoteFile(f"{_ZENODO}/1203745/files/UrbanSound8K.tar.gz", "md5:9aa69802bbf37fb986f71ec1483a196e"),),
        top="UrbanSound8K",
        clips=8_732,
        download_gb=6.0,
        unpacked_gb=7.1,
        reader="l3embedding.data.urbansound8k:read_urbansound8k",
    ),
    "esc50": Dataset(
        title="ESC-50",
        licence="CC BY-NC 3.0",
        files=(
            RemoteFile(
                "https://github.com/karoldvl/ESC-50/archive/master.zip",
                "md5:7771e4b9d86d0945acce719c7a59305a",
                drifts="GitHub creates this archive from the current state of the branch",
            ),
        ),
        top="ESC-50-master",
        clips=2_000,
        download_gb=0.65,
        unpacked_gb=0.9,
        reader="l3embedding.data.esc50:read_esc50",
    ),
    "dcase2013": Dataset(
        title="DCASE 2013 scenes, development set",
        licence="CC BY 2.0 UK",
        files=(RemoteFile(_SCENES, "md5:abdefde136d84de33b0f20a0f13a6b97"),),
        top="",
        clips=100,
        download_gb=0.4,
        unpacked_gb=0.53,
        reader="l3embedding.data.dcase2013:read_dcase2013",
    ),
}
