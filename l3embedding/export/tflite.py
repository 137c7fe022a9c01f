"""Converting the student to 8-bit TFLite, and measuring what it needs on a board.

Only the network is quantised, log-mel image to embedding: a mel front end within the graph would lose accuracy under
full-integer quantisation, and boards have DSP libraries for it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fidelity:
    """How close one model's embeddings are to another's."""

    relative_l2_error: float  #: norm of all differences, divided by the norm of the reference
    mean_cosine: float  #: mean over frames


def convert(network: keras.Model, calibration: NDArray[np.float32] | None = None) -> bytes:
    """Convert a network to TFLite.

    Parameters
    ----------
    network
        Image `[batch, mels, windows, 1]` to embedding `[batch, d]`.
    calibration
        Images float32 `[n, mels, windows, 1]` that set the ranges of the full 8-bit model, with int8
        input and output; None converts to float32.

    Returns
    -------
    The content of a `.tflite` file, for a batch of one.

    Raises
    ------
    InputError
        Keras runs on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"TFLite models need TensorFlow, but Keras runs on {keras.backend.backend()}: set KERAS_BACKEND=tensorflow."
        )
    import tensorflow as tf

    # A Keras model with a fixed batch of one: from concrete functions, the converter silently drops the weights.
    image = keras.Input(batch_shape=(1, *network.input_shape[1:]), name="log_mel")
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, network(image)))
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[np.newaxis]] for image in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    # Keras describes the exported graph on stdout, at length.
    with contextlib.redirect_stdout(io.StringIO()), _native_output_discarded(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")
        return converter.convert()


def write_tflite(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a TFLite model, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def latency_ms(path: str | os.PathLike[str], repetitions: int = 50) -> float:
    """Median time to embed one image with LiteRT on one thread of this machine, ms."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - started)
    return round(1000 * float(np.median(times)), 3)


def arena_bytes(content: bytes, limit: int = 64_000_000) -> int | None:
    """Measure the RAM that TensorFlow Lite for Microcontrollers needs to run a model, bytes.

    None, with a warning, if the package `tflite-micro` is not installed.
    """
    try:
        from tflite_micro import runtime
    except ImportError:
        logger.warning("tflite-micro is not installed, so the arena is not measured: pip install tflite-micro")
        return None
    too_little, enough = 0, limit
    with _native_output_discarded():
        runtime.Interpreter.from_bytes(content, arena_size=enough)
        while enough - too_little > 1024:
            middle = (enough + too_little) // 2
            try:
                runtime.Interpreter.from_bytes(content, arena_size=middle)
                enough = middle
            except RuntimeError:
                too_little = middle
    return enough


def compare(embedding: NDArray[np.float32], reference: NDArray[np.float32]) -> Fidelity:
    """Compare embeddings `[n, d]` with the reference's for the same frames."""
    error = np.linalg.norm(embedding - reference) / np.linalg.norm(reference)
    norms = np.linalg.norm(embedding, axis=1) * np.linalg.norm(reference, axis=1)
    cosine = np.einsum("nd,nd->n", embedding, reference) / np.maximum(norms, np.finfo(np.float32).tiny)
    return Fidelity(float(error), float(cosine.mean()))


@contextlib.contextmanager
def _native_output_discarded() -> Iterator[None]:
    """Discard what TensorFlow's C++ code prints to file descriptor 2, past Python's stderr."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
