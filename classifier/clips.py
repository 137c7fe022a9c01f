"""The clips of a training set: their features are in memory once, and are gathered batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from l3embedding.training import Arrays


@dataclass(frozen=True)
class Mixtures:
    """Synthetic clips, each a point between two real ones; the point is stored, and not its frames."""

    first: NDArray[np.int64]  # index of a real clip, [m]
    second: NDArray[np.int64]
    weight: NDArray[np.float32]  # of the first, [m]; the second has the rest
    targets: NDArray[np.float32]  # 0, 1 or -1, [m, tags]

    def __len__(self) -> int:
        return len(self.first)

    def renumbered(self, clips: NDArray[np.int64]) -> Mixtures:
        """The same mixtures of `clips[first]` and `clips[second]`."""
        return replace(self, first=clips[self.first], second=clips[self.second])


@dataclass(frozen=True)
class Clips:
    """Clips with their features and targets."""

    features: NDArray[np.floating]  # [clips, frames, ...], in memory or mapped from a file
    targets: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # by output, [clips, ...]
    context: NDArray[np.float32] | None = None  # features of the whole clip, [clips, k]

    def __len__(self) -> int:
        return len(self.features)

    def frames(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Frames of some clips, float32 `[n, frames, ...]`; a copy."""
        return self.features[index].astype(np.float32, copy=False)

    def inputs(self, index: NDArray[np.int64]) -> Arrays:
        """The network's input for some clips: their frames, or frames and context."""
        frames = self.frames(index)
        return frames if self.context is None else {"frames": frames, "context": self.context[index]}

    def batch(self, index: NDArray[np.int64], output: str | None = None) -> tuple[Arrays, Arrays]:
        """Inputs of some clips, and the targets of one output or, by name, of all."""
        targets = {name: values[index] for name, values in self.targets.items()}
        return self.inputs(index), targets if output is None else targets[output]


@dataclass(frozen=True)
class MixedClips(Clips):
    """Real clips, followed by synthetic ones, which are mixed when a batch needs them."""

    mixtures: Mixtures = field(kw_only=True)

    @classmethod
    def of(cls, clips: Clips, mixtures: Mixtures, output: str) -> MixedClips:
        """Append mixtures to clips that have the targets of one output only."""
        # Framewise targets have an axis of one in place of the frames.
        shape = (-1, *clips.targets[output].shape[1:])
        targets = np.concatenate([clips.targets[output], mixtures.targets.reshape(shape)])
        context = clips.context
        if context is not None:
            # One-hot times do not mix: a mixture gets the place and time of the clip of greater weight.
            nearer = np.where(mixtures.weight >= 0.5, mixtures.first, mixtures.second)
            context = np.concatenate([context, context[nearer]])
        return cls(clips.features, {output: targets}, context, mixtures=mixtures)

    def __len__(self) -> int:
        return len(self.features) + len(self.mixtures)

    def frames(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Frames of some clips, float32 `[n, frames, ...]`; a copy."""
        mixed, first = index >= len(self.features), index.copy()
        at = index[mixed] - len(self.features)
        first[mixed] = self.mixtures.first[at]
        frames = super().frames(first)
        if mixed.any():
            weight = self.mixtures.weight[at].reshape(-1, *[1] * (frames.ndim - 1))
            frames[mixed] = weight * frames[mixed] + (1 - weight) * super().frames(self.mixtures.second[at])
        return frames
