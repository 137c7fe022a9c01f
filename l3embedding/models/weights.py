"""Weights of the released networks: where their files are, and how they get into a network of ours.

The files are HDF5 as Keras 2 wrote it, gzipped. They are read as data, never as code: a layer's
arrays are taken in the order in which the file lists the layers, since the names vary.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import keras
import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from l3embedding.models.frontend import OPENL3_REPRESENTATIONS, InputRepresentation, student_representation
from l3embedding.models.networks import TEACHER_FILTERS, Head, l3_audio_network
from l3embedding.settings import PAPER_STUDENTS
from l3embedding.utils.downloads import DownloadFailed, digest, failure, fetch_file, verify
from l3embedding.utils.errors import InputError

CACHE_VARIABLE = "L3EMBEDDING_CACHE"

_REPOSITORIES = {
    "openl3": "https://github.com/marl/openl3/raw/models/",
    "edgel3": "https://github.com/ksangeeta2429/edgel3/raw/models/",
}

GIT_BLOBS = {
    "openl3_audio_linear_env": "1cb1794ba105f7f8336ad7cca3631a88524d8e22",
    "openl3_audio_linear_env-v0_2_0": "cdd124b91391070897fbec62ccd8b6b0222c0b57",
    "openl3_audio_linear_env-v0_4_0": "7837407f033f3564c7e8d53fc4a4241fe160478b",
    "openl3_audio_linear_music": "10fc4beb453e1d621e61f13a62dedb3243265f43",
    "openl3_audio_linear_music-v0_2_0": "9365d8f01837fdfb57bead16917c03fcc88ab204",
    "openl3_audio_linear_music-v0_4_0": "4e2e61beb17865481c8b8791c72eac8307e2753a",
    "openl3_audio_mel128_env": "04012b3399858de0ce3216046535059a063f8120",
    "openl3_audio_mel128_env-v0_2_0": "ea27bc20cbb3b8ce6710302d71355cd09643f98d",
    "openl3_audio_mel128_env-v0_4_0": "8c3dfee140f7776373841e5938a3e76c54f28942",
    "openl3_audio_mel128_music": "93447b54001ec4c1df7f9a11946ba534908bbc19",
    "openl3_audio_mel128_music-v0_2_0": "1003bd14a895b3ee8541d91d88a04d1c152c51cf",
    "openl3_audio_mel128_music-v0_4_0": "73ff29de441865318c4b3a3f98c40763c4773e7c",
    "openl3_audio_mel256_env": "548e62e79251b81dcaf1c293f75f301cc8dd0b89",
    "openl3_audio_mel256_env-v0_2_0": "b5c5534c2a5132a7d63dfe674c5c08702e667095",
    "openl3_audio_mel256_env-v0_4_0": "34dbd7a91cdd2de6a3d6d036ac0a24d27d78e3cc",
    "openl3_audio_mel256_music": "138dcc0a9c95ba3c08605944a2d74901f634dcf6",
    "openl3_audio_mel256_music-v0_2_0": "a0f80c1c7e16aa908408286a3cb3d8b677ec7005",
    "openl3_audio_mel256_music-v0_4_0": "15e483646fa3d4091a463f0affbb706e6bbbb098",
    "edgel3_sea_ust_audio_emb_64": "f3535405c91fe8da71f6456adb8a061213324239",
    "edgel3_sea_ust_audio_emb_128": "162576876259e8267eb6cefe09470dbf153ed6fc",
    "edgel3_sea_ust_audio_emb_256": "6be46fee2c278b79d9f77f064146a9493eff2f83",
    "edgel3_sea_ust_audio_emb_512": "116703e97997cc316d7163ede5d2f5e4d4018f87",
    "edgel3_ft_audio_sparsity_53.5": "145a4a61614c1b0b9f68339a844a3c92a431e118",
    "edgel3_ft_audio_sparsity_63.5": "ce456a346803f8251505f137c8c3d04dcdcb8e67",
    "edgel3_ft_audio_sparsity_72.3": "3bee3a0a90c82d7cd5ff77f3012eb51f6b818ef8",
    "edgel3_ft_audio_sparsity_87.0": "a3537e20cd83b5d55708af7b1141a8e0c092488c",
    "edgel3_ft_audio_sparsity_95.45": "f04c05f436a6f95eea6f30573cb70c68841e16de",
    "edgel3_kd_audio_sparsity_53.5": "28681887520bd12b87221c13beab11a766cb10dd",
    "edgel3_kd_audio_sparsity_63.5": "c2bad561ef1f1cdd919f73f4c4f34f5672f58b4b",
    "edgel3_kd_audio_sparsity_72.3": "2bc10ef8b9cec44354c5564173106ca5128cdc92",
    "edgel3_kd_audio_sparsity_87.0": "04fd3b2bf1d461bd6bc9a33925651797705e8b56",
    "edgel3_kd_audio_sparsity_95.45": "ddefcd4c49a216f2ccec92db15105ed1499a6a35",
}
"""Official name to the git blob id of `NAME.h5.gz`: SHA-1 over `blob SIZE\\0` and the content."""


class WeightsNotFound(InputError):
    """Official weights are neither at hand nor to be had; the message says where to put them."""


@dataclass(frozen=True)
class Architecture:
    """Which network a file of weights belongs to, and what that network hears."""

    representation: InputRepresentation
    filters: tuple[int, ...]
    head: Head
    embedding_size: int | None = None

    def build(self) -> keras.Model:
        """Build the untrained network."""
        return l3_audio_network(self.representation.image_shape, self.filters, self.head, self.embedding_size)


def architecture_of(name: str) -> Architecture:
    """Tell the architecture of an official model by its name.

    Parameters
    ----------
    name
        A key of `GIT_BLOBS`, e.g. `openl3_audio_mel256_env` or `edgel3_sea_ust_audio_emb_64`.
    """
    parts = name.removesuffix("-v0_2_0").removesuffix("-v0_4_0").split("_")
    if name.startswith("edgel3_sea"):
        return Architecture(student_representation(), PAPER_STUDENTS[int(parts[-1])], "relu")
    # The sparse networks of edgel3 have the shape of openl3's mel256.
    representation = OPENL3_REPRESENTATIONS[parts[2] if parts[0] == "openl3" else "mel256"]
    if name.endswith("-v0_4_0"):
        representation = replace(representation, convention="kapre")
    return Architecture(representation, TEACHER_FILTERS, "openl3")


def official_name(path: Path) -> str | None:
    """The official name in a file's name, if there is one."""
    stem = path.name.removesuffix(".gz").removesuffix(".h5")
    return stem if stem in GIT_BLOBS else None


def licence_of(name: str) -> str:
    """Licence of an official model's weights, as an SPDX identifier in small letters.

    References
    ----------
    marl/openl3, README, "Model Weights License"; ksangeeta2429/edgel3, LICENSE, which is all that it says.
    """
    return "cc-by-4.0" if name.startswith("openl3") else "mit"


def cache_dir() -> Path:
    """Folder of downloaded weights: `$L3EMBEDDING_CACHE`, or the platform's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_path("l3embedding"))


def locate_weights(name: str, search: Sequence[str | os.PathLike[str]] = (), download: bool = True) -> Path:
    """Find the file of an official model, downloading it into the cache if need be.

    Parameters
    ----------
    name
        A key of `GIT_BLOBS`.
    search
        Folders looked into before the cache.
    download
        Whether to fetch what is not at hand.

    Raises
    ------
    WeightsNotFound
        The file is not at hand and cannot be fetched.
    InputError
        A file of that name has other content than the official one.
    """
    file_name = f"{name}.h5.gz"
    for folder in (*map(Path, search), cache_dir()):
        if (folder / file_name).is_file():
            verify_git_blob(folder / file_name, GIT_BLOBS[name])
            return folder / file_name
    url = _REPOSITORIES[name.split("_")[0]] + file_name
    return fetch_weights(url, cache_dir() / file_name, f"git:{GIT_BLOBS[name]}", download)


def fetch_weights(url: str, path: Path, checksum: str | None, download: bool) -> Path:
    """Fetch a file of weights into the cache, as `l3embedding.utils.downloads.fetch_file` does.

    Raises
    ------
    WeightsNotFound
        It cannot be fetched, or `download` says that it shall not.
    """
    try:
        if not download:
            raise failure(url, path, "it is not at hand")
        return fetch_file(url, path, checksum)
    except DownloadFailed as error:
        raise WeightsNotFound(f"{error} A folder that holds it may be named in weights_dirs, too.") from None


def verify_git_blob(path: Path, blob: str) -> None:
    """Refuse a file whose content is not that of a git blob.

    Raises
    ------
    InputError
        It is not; the remedy is to remove the file.
    """
    verify(path, f"git:{blob}")


def sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    return digest(path, "sha256")


def read_keras2_weights(path: Path) -> list[tuple[str, list[NDArray[np.float32]]]]:
    """Read the layers of a Keras 2 HDF5 file, plain or gzipped.

    Returns
    -------
    Name and arrays of each layer with weights, in the file's order. The spectrogram layers' arrays
    (DFT kernels and filter bank, none of them one-dimensional) are left out.

    Raises
    ------
    InputError
        The file is truncated, or is not such a file.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        with h5py.File(io.BytesIO(content), "r") as file:
            group = file.get("model_weights", file)
            names = [_text(name) for name in group.attrs["layer_names"]]
            layers = [(name, _arrays(group[name])) for name in names]
    except (OSError, EOFError, zlib.error, KeyError) as error:
        raise InputError(f"{path} is no Keras 2 weights file, or is damaged: {error}") from None
    return [(name, arrays) for name, arrays in layers if any(array.ndim == 1 for array in arrays)]


def load_keras2_weights(network: keras.Model, path: Path) -> None:
    """Put the weights of a Keras 2 file into a network.

    Parameters
    ----------
    network
        From `l3embedding.models.networks.l3_audio_network`.
    path
        `.h5` or `.h5.gz`.

    Raises
    ------
    InputError
        The file is damaged, or belongs to another network; the first layer that differs is named.
    """
    stored = read_keras2_weights(path)
    layers = [layer for layer in network.layers if layer.weights]
    for (name, arrays), layer in zip(stored, layers, strict=False):
        found = [array.shape for array in arrays]
        needed = [tuple(weight.shape) for weight in layer.weights]
        if found != needed:
            raise InputError(
                f"{path} belongs to another network: its layer {name} has arrays {found}, "
                f"where {layer.name} needs {needed}. Choose the weights of this model."
            )
    if len(stored) != len(layers):
        raise InputError(
            f"{path} belongs to another network: it has {len(stored)} layers with weights, not {len(layers)}."
        )
    for (_, arrays), layer in zip(stored, layers, strict=True):
        layer.set_weights(arrays)


def _arrays(layer: h5py.Group) -> list[NDArray[np.float32]]:
    return [layer[_text(name)][()] for name in layer.attrs["weight_names"]]


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
