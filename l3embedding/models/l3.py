"""The released L3 networks, openl3's and edgel3's: their architectures and what their registry entries share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l3embedding.models import registry
from l3embedding.models.representation import InputRepresentation
from l3embedding.utils.errors import InputError

if TYPE_CHECKING:
    from l3embedding.models.networks import Head

TEACHER_FILTERS = (64, 128, 256, 512)


@dataclass(frozen=True)
class Architecture:
    """The network that weights belong to, and its input representation."""

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
class L3Model(registry.Pretrained):
    """A released L3 network, whose weights are `NAME.h5.gz` in a branch of its project's repository."""

    architecture: Architecture

    @classmethod
    def of(cls, name: str, blob: str, source: str, licence: str, architecture: Architecture, *sizes: int) -> L3Model:
        """Make an entry.

        `source` is the project's URL, `blob` the git blob id of `NAME.h5.gz`: SHA-1 over `blob SIZE\\0` and the
        content. `sizes` are the embedding sizes, if they are not the last block's width alone.
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


def architecture_of(name: str) -> Architecture:
    """The architecture of an official L3 model, e.g. `openl3_audio_mel256_env` or `edgel3_sea_ust_audio_emb_64`.

    Raises
    ------
    InputError
        There is no such model, or it is not an L3 network.
    """
    model = registry.find(name)
    if not isinstance(model, L3Model):
        raise InputError(f"{name} is not an L3 network.")
    return model.architecture
