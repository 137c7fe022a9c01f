"""Training on one device, on all GPUs of a machine, or on those of several machines.

Keras itself trains on one device, with any backend. Several need TensorFlow: each device holds a copy of the network
and computes its part of every batch, and the gradients are added up. Machines find each other through files in a
folder that all of them can read, as Slurm's nodes can.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import typing
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from l3embedding.training import Arrays, Row, Step, on_batch
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path, make_folder

if typing.TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger(__name__)

_MEET_S = 600.0
"""Time that tasks wait for each other, s; the slowest node may still be loading its modules."""


@dataclass(frozen=True)
class Devices:
    """The devices to train on.

    Attributes
    ----------
    strategy
        TensorFlow's, for several devices; None for one.
    is_chief
        Whether this process writes the results. Exactly one does.
    gpus
        Number of GPUs among them.
    """

    strategy: tf.distribute.Strategy | None = None
    is_chief: bool = True
    gpus: int = 0

    @property
    def count(self) -> int:
        """Number of devices, on all machines."""
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    def scope(self) -> AbstractContextManager[object]:
        """Scope to build and compile networks in, so that every device has a copy."""
        return self.strategy.scope() if self.strategy else nullcontext()

    def steps(self, network: keras.Model) -> tuple[Step, Step]:
        """Make the steps that train and evaluate a compiled network.

        Raises
        ------
        InputError
            From a step: the batch cannot be shared equally.
        """
        if self.strategy is None:
            return on_batch(network.train_on_batch), on_batch(network.test_on_batch)
        with self.strategy.scope():
            # The variables of optimizer and metrics must exist before a step is traced.
            network.optimizer.build(network.trainable_variables)
            inputs = [np.zeros((self.count, *each.shape[1:]), np.float32) for each in (network.input, network.output)]
            _run_replicas(self.strategy, network.test_step, network)(*inputs)
        train, test = (_run_replicas(self.strategy, step, network) for step in (network.train_step, network.test_step))
        trained = True

        def train_step(images: Arrays, targets: Arrays) -> Row:
            nonlocal trained
            trained = True
            return train(images, targets)

        def test_step(images: Arrays, targets: Arrays) -> Row:
            nonlocal trained
            if trained:
                # Each device has moving averages of its own, of which only one would be saved. So all get the mean,
                # which a variable reads as within the scope; with several machines, each one's devices get theirs.
                with self.scope():
                    for variable in network.non_trainable_variables:
                        variable.assign(keras.ops.convert_to_numpy(variable))
            trained = False
            return test(images, targets)

        return train_step, test_step


ONE_DEVICE = Devices()


def find_devices(folder: Path) -> Devices:
    """Use all devices of this process's allocation: of its machine, and of the Slurm step if that has several tasks.

    Parameters
    ----------
    folder
        Readable by all tasks; they write their addresses there.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if keras.backend.backend() != "tensorflow":
        if tasks > 1:
            raise InputError(f"Keras' {keras.backend.backend()} backend trains in one task only; request one.")
        return ONE_DEVICE
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        cores = os.environ.get("SLURM_CPUS_PER_TASK") or os.cpu_count()
        logger.info("no GPU in this allocation: training on %s CPU cores", cores)
    if tasks > 1:
        rank = int(os.environ["SLURM_PROCID"])
        step = (
            f"{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"
        )
        devices = _meet(folder / f"tasks-{step}", rank, tasks, len(gpus))
    elif len(gpus) > 1:
        devices = Devices(tf.distribute.MirroredStrategy(), gpus=len(gpus))
    else:
        return Devices(gpus=len(gpus))
    logger.info("training on %d devices in %d tasks, each batch shared among them", devices.count, tasks)
    return devices


def _meet(folder: Path, rank: int, tasks: int, gpus: int) -> Devices:
    """Publish the address of this task, and wait for those of the others.

    The first task makes the folder, once it has locked the stage's.
    """
    import tensorflow as tf

    deadline = time.monotonic() + _MEET_S
    if rank == 0:
        make_folder(folder)
    _wait(folder.is_dir, folder, deadline)
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    with atomic_path(folder / f"{rank}.txt") as temporary:
        temporary.write_text(f"{socket.gethostname()}:{port}")
    _wait(lambda: all((folder / f"{other}.txt").is_file() for other in range(tasks)), folder, deadline)
    addresses = [(folder / f"{other}.txt").read_text() for other in range(tasks)]
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": addresses}), task_type="worker", task_id=rank, rpc_layer="grpc"
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    return Devices(strategy, is_chief=rank == 0, gpus=gpus * tasks)


def _wait(condition: Callable[[], bool], folder: Path, deadline: float) -> None:
    while not condition():
        if time.monotonic() > deadline:
            raise InputError(f"Not all tasks of the step reached {folder} within {_MEET_S:.0f} s.")
        time.sleep(0.2)


def _run_replicas(strategy: tf.distribute.Strategy, step: Callable[..., Any], network: keras.Model) -> Step:
    import tensorflow as tf

    n = strategy.num_replicas_in_sync

    @tf.function
    def run(parts: Any) -> None:
        strategy.run(step, args=(parts,))

    def on_all_devices(images: Arrays, targets: Arrays) -> Row:
        assert isinstance(images, np.ndarray) and isinstance(targets, np.ndarray)
        if len(images) % n:
            raise InputError(f"A batch of {len(images)} cannot be shared equally among {n} devices; change batch_size.")

        def part(context: tf.distribute.ValueContext) -> tuple[tf.Tensor, tf.Tensor]:
            mine = slice(context.replica_id_in_sync_group, None, n)
            return tf.constant(images[mine]), tf.constant(targets[mine])

        network.reset_metrics()
        run(strategy.experimental_distribute_values_from_function(part))
        return {name: float(value) for name, value in network.get_metrics_result().items()}

    return on_all_devices
