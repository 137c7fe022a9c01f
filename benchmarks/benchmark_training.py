"""Training Student 2 from shards on disk, compared with its limit and its peers.

The limit is the same step on one batch in memory. The peers are a plain PyTorch loop, whose `DataLoader` reads the
same shards and computes the image of each sample in two workers (left out where PyTorch is not installed:
`pip install torch`), and the authors' way: one Python generator, which computes the features sample by sample between
the steps.

    python -m benchmarks.benchmark_training
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path

import h5py
import numpy as np

from benchmarks.timing import alone

FRAMES, SHARDS, RATE, SIZE, BATCH = 4096, 8, 8000, 128, 64
ROUNDS = 2
PRECISIONS = ("float32", "mixed_bfloat16")
FILTERS = (32, 64, 128, 128)


def main() -> None:
    """Print the samples per second of each, the best of alternating rounds."""
    with tempfile.TemporaryDirectory() as folder:
        _write_shards(Path(folder))
        ways = [partial(_ours, precision=precision) for precision in PRECISIONS]
        best: dict[str, float] = {}
        for way in [*ways, _pytorch, _generator] * ROUNDS:
            for name, rate in alone(way, Path(folder)).items():
                best[name] = max(best.get(name, 0.0), rate)
    for name, rate in best.items():
        print(f"{name:40} {rate:6.0f} samples/s")
    for precision in PRECISIONS:
        ours = best[f"ours, {precision}"]
        peers = [f"{ours / best[f'step in memory, {precision}']:.2f} of the step (target 0.9)"]
        if "PyTorch, DataLoader" in best:
            peers.append(f"{ours / best['PyTorch, DataLoader']:.2f} times PyTorch (target 1.3)")
        peers.append(f"{ours / best['one generator, features by sample']:.2f} times the generator")
        print(f"ours, {precision}: {', '.join(peers)}")


def _write_shards(folder: Path) -> None:
    rng = np.random.default_rng(0)
    n = FRAMES // SHARDS
    for kind in ("audio", "embedding"):
        (folder / kind).mkdir()
    for index in range(SHARDS):
        with h5py.File(folder / "audio" / f"s-{index:02}.h5", "w") as file:
            file["audio"] = rng.integers(-3000, 3000, (n, RATE)).astype(np.int16)
        with h5py.File(folder / "embedding" / f"s-{index:02}.h5", "w") as file:
            file["pca"] = rng.normal(size=(n, SIZE)).astype(np.float32)


def _timed(batches: Iterator, step: Callable[..., object], warm_up: int = 4) -> float:
    """Samples per second of taking a step on each batch, after the first few."""
    for _ in range(warm_up):
        step(*next(batches))
    started, samples = time.perf_counter(), 0
    for images, targets in batches:
        step(images, targets)
        samples += len(images)
    return samples / (time.perf_counter() - started)


def _ours(folder: Path, precision: str) -> dict[str, float]:
    import keras

    from l3embedding.distillation.devices import ONE_DEVICE
    from l3embedding.distillation.pairs import epoch_rows, load_pairs, match_shards
    from l3embedding.distillation.training import build_student
    from l3embedding.models.frontend import student_representation
    from l3embedding.models.networks import with_precision
    from l3embedding.settings import StudentSettings
    from l3embedding.training import Pass

    representation = student_representation()
    pairs = load_pairs(match_shards(folder / "audio", folder / "embedding"), representation, folder / "cache")
    network = with_precision(build_student(StudentSettings(filters=FILTERS), pairs, 0), precision)
    network.compile(keras.optimizers.Adam(1e-4), "mse", metrics=["mse", "mae"], jit_compile=False)
    step, _ = ONE_DEVICE.steps(network)
    rows = epoch_rows(len(pairs), BATCH, FRAMES, 0, epoch=1)
    return {
        f"step in memory, {precision}": _timed(iter([pairs.batch(rows[0])] * len(rows)), step),
        f"ours, {precision}": _timed(Pass(rows, pairs.batch, step, threads=2).ahead(), step),
    }


def _generator(folder: Path) -> dict[str, float]:
    import keras
    from librosa import power_to_db, stft
    from librosa.filters import mel

    from l3embedding.models.networks import l3_audio_network

    bank = mel(sr=RATE, n_fft=1024, n_mels=64, htk=True)

    def image(audio: np.ndarray) -> np.ndarray:
        power = np.abs(stft(audio / 32768, n_fft=1024, hop_length=160, center=True)[:, :50]) ** 2
        return power_to_db(np.sqrt(bank @ power), ref=np.max)[..., np.newaxis]

    def generate() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        images, targets = [], []
        for path in sorted((folder / "audio").iterdir()):
            with h5py.File(path) as audio, h5py.File(folder / "embedding" / path.name) as embedding:
                for row in range(len(audio["audio"])):
                    images.append(image(audio["audio"][row]))
                    targets.append(embedding["pca"][row])
                    if len(images) == BATCH:
                        yield np.stack(images).astype(np.float32), np.stack(targets)
                        images, targets = [], []

    network = l3_audio_network((64, 50, 1), FILTERS, "linear")
    network.compile(keras.optimizers.Adam(1e-4), "mse", metrics=["mae"], jit_compile=False)
    return {"one generator, features by sample": _timed(generate(), network.train_on_batch)}


def _pytorch(folder: Path) -> dict[str, float]:
    try:
        import torch
    except ImportError:
        return {}
    network = _torch_network()
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)

    def step(images: torch.Tensor, targets: torch.Tensor) -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(network(images), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    loader = torch.utils.data.DataLoader(_TorchShards(folder), BATCH, shuffle=True, num_workers=2, drop_last=True)
    return {"PyTorch, DataLoader": _timed(iter(loader), step)}


class _TorchShards:
    """A PyTorch data set as one would write it: one row of a shard and its image at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return FRAMES

    @cached_property
    def opened(self) -> tuple[list[tuple[h5py.Dataset, h5py.Dataset]], object]:
        """Audio and embeddings of each shard, and the mel filter bank; each worker has its own."""
        import torch
        from librosa.filters import mel

        torch.set_num_threads(1)
        names = sorted(path.name for path in (self.folder / "audio").iterdir())
        kinds = (("audio", "audio"), ("embedding", "pca"))
        files = [tuple(h5py.File(self.folder / kind / name)[key] for kind, key in kinds) for name in names]
        return files, torch.from_numpy(mel(sr=RATE, n_fft=1024, n_mels=64, htk=True))

    def __getitem__(self, index: int) -> tuple[object, object]:
        import torch

        files, bank = self.opened
        (audio, embedding), row = files[index // (FRAMES // SHARDS)], index % (FRAMES // SHARDS)
        samples = torch.from_numpy(audio[row].astype(np.float32) / 32768)
        power = torch.stft(samples, 1024, 160, window=torch.hann_window(1024), return_complex=True).abs()[:, :50] ** 2
        decibels = 10 * torch.log10(torch.clamp(torch.sqrt(bank @ power), min=1e-10))
        return torch.clamp(decibels - decibels.max(), min=-80)[None], torch.from_numpy(embedding[row])


def _torch_network():
    from torch import nn

    layers, width = [nn.BatchNorm2d(1)], 1
    for block, filters in enumerate(FILTERS):
        layers += [nn.MaxPool2d(2)] if block else []
        for inputs in (width, filters):
            layers += [nn.Conv2d(inputs, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]
        width = filters
    return nn.Sequential(*layers[:-1], nn.AdaptiveMaxPool2d(1), nn.Flatten())


if __name__ == "__main__":
    main()
