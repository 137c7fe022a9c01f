"""The clips that a classifier learns from: features that are held once, and gathered batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mixtures:
    """Synthetic clips, each a point between two real ones; only that point is stored, never its frames.

    Attributes
    ----------
    first, second
        The real clips, int64 `[m]`.
    weight
        Share of the first, float32 `[m]`.
    targets
        0, 1 or -1, float32 `[m, tags]`.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weight: NDArray[np.float32]
    targets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.first)

    def renumbered(self, clips: NDArray[np.int64]) -> Mixtures:
        """The same of `clips[first]` and `clips[second]`."""
        return replace(self, first=clips[self.first], second=clips[self.second])


@dataclass(frozen=True)
class Clips:
    """Clips with their features and targets.

    Attributes
    ----------
    features
        `[clips, frames, ...]`, of any floating type, in memory or mapped from a file.
    targets
        Name of an output to float32 `[clips, ...]`.
    context
        Features of the whole clip, float32 `[clips, k]`.
    """

    features: NDArray[np.floating]
    targets: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    context: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.features)

    def inputs(self, index: NDArray[np.int64]) -> Any:
        """What the network takes of some clips: float32 frames, or frames and context."""
        return self._with_context(self.features[index].astype(np.float32, copy=False), index)

    def batch(self, index: NDArray[np.int64]) -> tuple[Any, dict[str, NDArray[np.float32]]]:
        """Inputs and targets of some clips."""
        return self.inputs(index), {name: values[index] for name, values in self.targets.items()}

    def _with_context(self, frames: NDArray[np.float32], index: NDArray[np.int64]) -> Any:
        return frames if self.context is None else {"frames": frames, "context": self.context[index]}


@dataclass(frozen=True)
class MixedClips(Clips):
    """Real clips, and behind them synthetic ones that are mixed when their turn comes."""

    mixtures: Mixtures = field(kw_only=True)

    @classmethod
    def of(cls, clips: Clips, mixtures: Mixtures, output: str) -> MixedClips:
        """Put mixtures behind clips whose only targets are those of one output."""
        # Framewise targets have an axis of one for the frames.
        shape = (-1, *clips.targets[output].shape[1:])
        targets = np.concatenate([clips.targets[output], mixtures.targets.reshape(shape)])
        context = clips.context
        if context is not None:
            # Half an hour is neither: a mixture has the place and time of its greater part.
            nearer = np.where(mixtures.weight >= 0.5, mixtures.first, mixtures.second)
            context = np.concatenate([context, context[nearer]])
        return cls(clips.features, {output: targets}, context, mixtures=mixtures)

    def __len__(self) -> int:
        return len(self.features) + len(self.mixtures)

    def inputs(self, index: NDArray[np.int64]) -> Any:
        """What the network takes of some clips."""
        n = len(self.features)
        mixed = index >= n
        at = index[mixed] - n
        first = index.copy()
        first[mixed] = self.mixtures.first[at]
        frames = self.features[first].astype(np.float32, copy=False)
        if mixed.any():
            weight = self.mixtures.weight[at].reshape(-1, *[1] * (frames.ndim - 1))
            other = self.features[self.mixtures.second[at]].astype(np.float32, copy=False)
            frames[mixed] = weight * frames[mixed] + (1 - weight) * other
        return self._with_context(frames, index)
