"""Several devices: each computes its part of a batch, and together they train as one does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

_TWO_DEVICES = """
import sys
from pathlib import Path
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from l3embedding.distillation.devices import ONE_DEVICE, Devices
from l3embedding.models.networks import l3_audio_network

def build(devices):
    with devices.scope():
        keras.utils.set_random_seed(0)
        network = l3_audio_network((16, 17, 1), filters=(2, 2, 3, 4), head="linear")
        network.compile(keras.optimizers.SGD(1e-3), loss="mse", metrics=["mse", "mae"], jit_compile=False)
    return network, *devices.steps(network)

rng = np.random.default_rng(0)
# Each row twice, so that both halves have the same statistics as the whole.
images = np.repeat(rng.normal(-40, 3, (16, 16, 17, 1)).astype("float32"), 2, axis=0)
targets = np.repeat(rng.normal(0, 1, (16, 4)).astype("float32"), 2, axis=0)
two = Devices(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
assert two.count == 2
(one_network, one_train, one_test), (two_network, two_train, two_test) = build(ONE_DEVICE), build(two)
for _ in range(3):
    for one_step, two_step in ((one_train, two_train), (one_test, two_test)):
        one, other = one_step(images, targets), two_step(images, targets)
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5)
for a, b in zip(one_network.get_weights(), two_network.get_weights(), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
try:
    two_train(images[:3], targets[:3])
except Exception as error:
    assert "cannot be shared equally among 2 devices" in str(error)
else:
    raise AssertionError("an odd batch was accepted")

# Each device has moving averages of its own, which a resumed run has to do without.
from tests.distillation.test_distillation import REPRESENTATION, SEED, SETTINGS, STUDENT, _pairs
from l3embedding.distillation.training import build_student, train_student

def run(folder, **changes):
    with two.scope():
        network = build_student(STUDENT, _pairs(0), SEED)
    settings = SETTINGS.model_copy(update=changes)
    history = train_student(
        network, REPRESENTATION, _pairs(0), _pairs(1, 20), settings, SEED, Path(sys.argv[1]) / folder, devices=two
    )
    return history[["train_loss", "valid_loss", "valid_mae"]], network.get_weights()

whole, weights = run("whole")
run("parts", epochs=2)
resumed, same = run("parts")
assert (whole == resumed).all(axis=None), (whole, resumed)
for a, b in zip(weights, same, strict=True):
    np.testing.assert_array_equal(a, b)
print("equal")
"""


def test_two_devices_train_like_one_and_resume_bit_for_bit(tmp_path):
    """In a process of its own: TensorFlow's devices are configured once per process."""
    pytest.importorskip("tensorflow")
    ended = subprocess.run(
        [sys.executable, "-c", _TWO_DEVICES, str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert "equal" in ended.stdout, ended.stderr
