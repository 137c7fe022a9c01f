"""Embedding files: the whole program beside the network alone and beside torchopenl3's flow, and its memory.

The limit is the network's own forward speed at its best batch. The peer is torchopenl3's flow on the
same weights: one file after the other is read, resampled and cut, and batches of 32 windows, of as many
files as fill one, go through spectrogram and network in PyTorch. It is given soxr and torch.stft, which
are faster than its resampy and its DFT by convolution. Needs `pip install -e ".[benchmark]"`.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.timing import peak_mb, seconds
from l3embedding.audio_files import embed_files, list_jobs
from l3embedding.data.audio import frame_audio, read_audio, resample
from l3embedding.models.networks import student_network
from l3embedding.models.registry import architecture_of
from l3embedding.models.representation import student_representation
from l3embedding.models.teachers import KerasEmbeddingModel
from l3embedding.settings import StudentSettings

FILES, FILE_S, RATE, HOP_S = 10, 10, 44100, 0.5
BATCHES = (8, 16, 32, 64)
MANY = 10_000


def main() -> None:
    """Print each figure beside its limit or its peer."""
    logging.getLogger("l3embedding").setLevel(logging.ERROR)
    rng = np.random.default_rng(0)
    # First, since the peak of what follows would hide it.
    _memory(rng)
    architecture = architecture_of("openl3_audio_mel256_env-v0_4_0")
    network = architecture.build()
    network.set_weights([np.abs(rng.normal(0.02, 0.02, weight.shape)) for weight in network.get_weights()])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(FILES):
            soundfile.write(folder / f"{index}.wav", rng.normal(0, 0.1, FILE_S * RATE), RATE)
        best, limit = _forward(network)
        model = KerasEmbeddingModel("mel256", architecture.representation, network, batch_size=best)
        jobs = list_jobs([folder], folder / "ours", None)
        ours = _speed(lambda: embed_files(jobs, model, hop_size=HOP_S, overwrite=True), folder)
        print(f"mel256, files to .npz: {ours:.2f} frames/s; the network alone {limit:.2f} in batches of {best}")
        print(f"{ours / limit:.2f} of the network's own speed")
        _beside_torch(folder, network, architecture.representation, ours)


def _forward(network) -> tuple[int, float]:
    """The best batch, and the frames/s of the network alone."""
    network.compile(jit_compile=False)
    speeds = {}
    for size in BATCHES:
        images = np.random.default_rng(0).normal(-40, 20, (size, *network.input_shape[1:])).astype(np.float32)
        network.predict_on_batch(images)
        speeds[size] = size / seconds(partial(network.predict_on_batch, images))
    best = max(speeds, key=speeds.__getitem__)
    return best, speeds[best]


def _speed(work: Callable[[], object], folder: Path) -> float:
    """Frames/s of embedding the files, without the first compilation."""
    work()
    took = seconds(work)
    return sum(len(np.load(path)["timestamps"]) for path in folder.glob("*/*.npz")) / took


def _beside_torch(folder: Path, network, representation, ours: float) -> None:
    try:
        import torch
    except ImportError:
        print('torchopenl3\'s flow is left out: PyTorch is missing, pip install -e ".[benchmark]"')
        return
    peer = _torch_network(torch, network)
    window, mel = torch.hann_window(representation.n_fft), torch.from_numpy(representation.mel_filter_bank())

    def spectrogram(frames):
        padded = torch.nn.functional.pad(frames, representation.padding)
        options = {"window": window, "center": False, "return_complex": True}
        magnitude = torch.stft(padded, representation.n_fft, representation.hop_length, **options).abs()
        decibel = 10 * torch.log10(torch.clamp(magnitude.transpose(1, 2) @ mel, min=1e-10)).transpose(1, 2)
        return torch.clamp(decibel - decibel.amax((1, 2), keepdim=True), min=-80)[:, None]

    def embed(waiting: list[tuple[Path, np.ndarray]]) -> None:
        frames = torch.from_numpy(np.concatenate([each for _, each in waiting]))
        with torch.no_grad():
            embedded = torch.cat([peer(spectrogram(batch)) for batch in frames.split(32)]).numpy()
        ends = np.cumsum([len(each) for _, each in waiting])
        for (path, each), part in zip(waiting, np.split(embedded, ends[:-1]), strict=True):
            np.savez(folder / "theirs" / f"{path.stem}.npz", embedding=part, timestamps=np.arange(len(each)) * HOP_S)

    def process() -> None:
        waiting: list[tuple[Path, np.ndarray]] = []
        files = sorted(folder.glob("*.wav"))
        for path in files:
            audio = resample(*read_audio(path), representation.sample_rate)
            hop_length = round(HOP_S * representation.sample_rate)
            waiting.append((path, frame_audio(audio, representation.frame_length, hop_length, center=True)))
            if sum(len(each) for _, each in waiting) >= 32 or path == files[-1]:
                embed(waiting)
                waiting = []

    for path in folder.glob("ours/*.npz"):
        path.rename(folder / path.name)
    (folder / "theirs").mkdir()
    theirs = _speed(process, folder)
    errors = []
    for path in folder.glob("theirs/*.npz"):
        expected, found = np.load(folder / path.name)["embedding"], np.load(path)["embedding"]
        errors.append(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    print(f"torchopenl3's flow: {theirs:.2f} frames/s, the same embeddings within {max(errors):.1e}")
    print(f"{ours / theirs:.2f} times torchopenl3's flow")


def _torch_network(torch, network):
    """The same network in PyTorch, with the same weights."""
    layers = []
    for layer in network.layers:
        kind, weights = type(layer).__name__, [torch.from_numpy(np.array(each)) for each in layer.get_weights()]
        if kind == "Conv2D":
            made = torch.nn.Conv2d(*weights[0].shape[2:], 3, padding=1)
            made.weight.data, made.bias.data = weights[0].permute(3, 2, 0, 1).contiguous(), weights[1]
        elif kind == "BatchNormalization":
            made = torch.nn.BatchNorm2d(len(weights[0]), eps=layer.epsilon)
            made.weight.data, made.bias.data, made.running_mean, made.running_var = weights
        elif kind in ("ReLU", "Activation"):
            made = torch.nn.ReLU()
        elif kind == "MaxPooling2D" and layer.name.startswith("pool_"):
            made = torch.nn.MaxPool2d(2)
        else:
            continue
        layers.append(made)
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveMaxPool2d(1), torch.nn.Flatten()).eval()


def _memory(rng: np.random.Generator) -> None:
    """Peak memory after the first files of a large folder, and at its end."""
    student = StudentSettings(dim=64, head="relu")
    model = KerasEmbeddingModel("student", student_representation(student), student_network(student))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(MANY):
            soundfile.write(folder / f"{index:05d}.wav", rng.normal(0, 0.1, 4000), 8000)
        jobs = list_jobs([folder], folder / "out", None)
        embed_files(jobs[:500], model, hop_size=1.0)
        before, started = peak_mb(), time.perf_counter()
        embed_files(jobs, model, hop_size=1.0)
        took = time.perf_counter() - started
    print(f"{MANY} files: {peak_mb():.0f} MB at most, {before:.0f} MB after the first 500; {MANY / took:.0f} files/s")


if __name__ == "__main__":
    main()
