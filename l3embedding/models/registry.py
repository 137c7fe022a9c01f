"""The registry of pretrained models: what is known of each before its weights are loaded, and where they are.

`load_model`, `sea models` and `sea fetch` all read it. A family of models is a module of
`l3embedding.models.pretrained` that declares `FAMILY`; importing this one needs neither Keras nor TensorFlow.
"""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from l3embedding.models.representation import InputRepresentation
from l3embedding.utils.errors import InputError

if TYPE_CHECKING:
    from l3embedding.models.interface import EmbeddingModel
    from l3embedding.models.networks import Head

CACHE_VARIABLE = "L3EMBEDDING_CACHE"
DEFAULT_MODEL = "edgel3_sea_ust_audio_emb_128"
"""Default of programs: edgel3's own."""
TEACHER_FILTERS = (64, 128, 256, 512)


class WeightsNotFound(InputError):
    """A pretrained model's weights were not found and cannot be fetched; the message names the place to put them."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A pretrained model.

    Attributes
    ----------
    licence
        Of the weights: an SPDX identifier in small letters.
    sample_rate, bins
        Its input: Hz, and frequency bins.
    dimensions
        Dimensions of the embedding, several where there is a choice.
    url, files
        Where the weights are fetched from, and the names of files that may hold them; fetched, they get the first.
    checksum
        `git:...`, `sha256:...` or `md5:...`. Where none is published it is None, and only loading the weights
        verifies them, by the names and shapes of their arrays.
    loader
        `module:function`, imported when the model is loaded:
        `function(path, model, batch_size, **options) -> EmbeddingModel`.
    options
        Further arguments of `load_model` that the loader takes: `embedding_size`, `frontend`.
    patterns
        File names by which a file of weights is recognised as this model's.
    """

    name: str
    licence: str
    sample_rate: int
    bins: int
    dimensions: tuple[int, ...]
    parameters: int
    url: str
    files: tuple[str, ...]
    checksum: str | None = None
    loader: str
    options: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    def load(self, path: Path, batch_size: int = 32, **options: Any) -> EmbeddingModel:
        """Load the model from a file of weights; `options` that are not the model's are ignored."""
        module, _, function = self.loader.partition(":")
        load = getattr(importlib.import_module(module), function)
        chosen = {name: value for name, value in options.items() if name in self.options}
        return load(path, self, batch_size, **chosen)

    def locate(self, search: Sequence[str | os.PathLike[str]] = (), download: bool = True) -> Path:
        """Find the weights in the folders `search` or the cache; `download` them into the cache if they are missing.

        Raises
        ------
        WeightsNotFound
            The weights are missing and cannot be fetched.
        InputError
            A file of that name has other content than the official one.
        """
        from l3embedding.utils.downloads import DownloadFailed, failure, fetch_file, verify

        for path in (Path(folder, name) for folder in (*search, cache_dir()) for name in self.files):
            if path.is_file():
                verify(path, self.checksum)
                return path
        path = cache_dir() / self.files[0]
        try:
            if not download:
                raise failure(self.url, path, "it is missing")
            return fetch_file(self.url, path, self.checksum)
        except DownloadFailed as error:
            raise WeightsNotFound(
                f"{error} An experiment may name the folder that holds it in teacher.weights_dirs."
            ) from None

    @property
    def is_cached(self) -> bool:
        """Whether the weights are in the cache."""
        return any((cache_dir() / name).is_file() for name in self.files)


@dataclass(frozen=True)
class Architecture:
    """The L3 network that weights belong to, and its input representation."""

    representation: InputRepresentation
    filters: tuple[int, ...] = TEACHER_FILTERS
    head: Head = "openl3"
    embedding_size: int | None = None

    def build(self) -> Any:
        """Build the untrained Keras network."""
        from l3embedding.models.networks import l3_audio_network

        return l3_audio_network(self.representation.image_shape, self.filters, self.head, self.embedding_size)

    @property
    def parameters(self) -> int:
        """Number of parameters, counted without Keras."""
        total, width = 4, 1  # the image's normalisation
        for block in self.filters:
            # Two convolutions of 3 x 3 with a bias, each followed by a normalisation, which has four arrays.
            total += 9 * width * block + 9 * block * block + 2 * (block + 4 * block)
            width = block
        # openl3's last convolution is not normalised.
        return total - 4 * width if self.head == "openl3" else total


@dataclass(frozen=True, kw_only=True)
class L3Model(Pretrained):
    """A released L3 network, whose weights are `NAME.h5.gz` in a branch of its project's repository."""

    architecture: Architecture

    @classmethod
    def of(cls, name: str, blob: str, source: str, licence: str, architecture: Architecture, *sizes: int) -> L3Model:
        """Make an entry.

        `source` is the project's URL, `blob` the git blob id of `NAME.h5.gz`. `sizes` are the embedding sizes, if
        they are not the last block's width alone.
        """
        return cls(
            name=name,
            licence=licence,
            sample_rate=architecture.representation.sample_rate,
            bins=architecture.representation.image_shape[0],
            dimensions=sizes or (architecture.filters[-1],),
            parameters=architecture.parameters,
            url=f"{source}/raw/models/{name}.h5.gz",
            files=(f"{name}.h5.gz",),
            checksum=f"git:{blob}",
            loader="l3embedding.models.weights:load_l3",
            options=("embedding_size", "frontend"),
            patterns=tuple(name + ending for ending in ("", ".gz", ".h5", ".h5.gz")),
            architecture=architecture,
        )


@dataclass(frozen=True)
class Family:
    """Pretrained models of one origin: the URL `source` of the project that released them.

    `sea fetch` fetches the models `fetched` for the family's name.
    """

    name: str
    source: str
    models: tuple[Pretrained, ...]
    fetched: tuple[str, ...]


@cache
def families() -> dict[str, Family]:
    """All families by name, in the alphabetical order of their modules."""
    package = importlib.import_module("l3embedding.models.pretrained")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    found = (importlib.import_module(f"{package.__name__}.{name}").FAMILY for name in names)
    return {family.name: family for family in found}


@cache
def models() -> dict[str, Pretrained]:
    """All pretrained models by name."""
    return {model.name: model for family in families().values() for model in family.models}


def find(name: str) -> Pretrained:
    """The pretrained model of a name.

    Raises
    ------
    InputError
        There is none.
    """
    if name not in models():
        raise InputError(f"There is no pretrained model {name}; there are {nearest_first(name, models())}.")
    return models()[name]


def architecture_of(name: str) -> Architecture:
    """The architecture of an official L3 model, e.g. `openl3_audio_mel256_env` or `edgel3_sea_ust_audio_emb_64`.

    Raises
    ------
    InputError
        There is no such model, or it is not an L3 network.
    """
    model = find(name)
    if not isinstance(model, L3Model):
        raise InputError(f"{name} is not an L3 network.")
    return model.architecture


def of_file(path: Path) -> Pretrained | None:
    """The pretrained model that a file holds by its name, if any."""
    named = (model for model in models().values() if any(fnmatchcase(path.name, each) for each in model.patterns))
    return next(named, None)


def nearest_first(name: str, known: Iterable[str]) -> str:
    """Join known names for an error message, those most similar to an unknown one first."""
    known = list(known)
    return ", ".join(dict.fromkeys([*difflib.get_close_matches(name, known, n=3), *known]))


def cache_dir() -> Path:
    """Folder of downloaded weights: `$L3EMBEDDING_CACHE`, or the platform's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_path("l3embedding"))
