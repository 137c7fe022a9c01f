"""Training and embedding on Keras' other backends; each in a process of its own, since it is chosen at import."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from l3embedding.embedding import get_embedding, load_model
from tests.conftest import REPOSITORY

_TRAIN = """
import sys
from pathlib import Path
import keras, numpy as np
from l3embedding.embedding import get_embedding, load_model
from tests.distillation.test_distillation import _assert_equal, _train

assert keras.backend.backend() == sys.argv[1]
whole, parts = Path(sys.argv[2]) / "whole", Path(sys.argv[2]) / "parts"
history = _train(whole, epochs=3, loss="relational")
_train(parts, epochs=1, loss="relational")
_assert_equal((whole, history), parts, _train(parts, epochs=3, loss="relational"))
audio = np.random.default_rng(0).normal(0, 0.1, 6000)
embedding, _ = get_embedding(audio, 2000, load_model(whole), hop_size=0.5)
np.save(Path(sys.argv[2]) / "embedding.npy", embedding)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_student_is_trained_and_resumed_bit_for_bit_and_embeds_as_with_tensorflow(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", _TRAIN, backend, str(tmp_path)]
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    audio = np.random.default_rng(0).normal(0, 0.1, 6000)
    embedding, _ = get_embedding(audio, 2000, load_model(tmp_path / "whole"), hop_size=0.5)
    np.testing.assert_allclose(np.load(tmp_path / "embedding.npy"), embedding, rtol=1e-3, atol=1e-4)
