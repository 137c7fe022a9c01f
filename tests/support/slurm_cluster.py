"""A real Slurm cluster on this machine: munged, slurmctld and a few slurmd, all below one folder.

    with SlurmCluster(folder, nodes=2) as cluster:
        subprocess.run(["sinfo"], env=cluster.environment)

It needs no systemd and no accounting. Each slurmd is the child of a *keeper*, a process that adopts
whatever the node starts (Slurm's steps leave their daemon), so that a node can lose its power and the
cluster ends exactly what it began.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
_SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A requeued job may start again when its old credential has expired: 120 s unless told otherwise.
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=512
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
GresTypes=gpu
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
KillWait=3
MessageTimeout=10
MinJobAge=3600
JobRequeue=1
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,bf_min_age_reserve=0
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports} CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus}
PartitionName=main Nodes={nodes} Default=YES MaxTime=INFINITE DefaultTime=10 PriorityTier=10 GraceTime=20 State=UP
PartitionName=urgent Nodes={nodes} MaxTime=INFINITE DefaultTime=10 PriorityTier=100 PreemptMode=OFF State=UP
"""


class SlurmCluster:
    """A cluster of `nodes` nodes below `folder`, whose path must be short: Unix sockets lie there.

    Attributes
    ----------
    environment
        For the programs that are to talk to it.
    """

    def __init__(self, folder: Path, nodes: int = 2, cpus: int = 2, gpus: int = 2) -> None:
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _SBIN}
        self._names = [f"n{index}" for index in range(nodes)]
        self._shape = {"cpus": cpus, "gpus": gpus}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> SlurmCluster:
        if missing := [name for name in PROGRAMS if shutil.which(name, path=_SBIN) is None]:
            raise RuntimeError(f"{', '.join(missing)} not found; apt-get install munge slurmctld slurmd slurm-client")
        self._configure()
        try:
            self._start_munge()
            self.start_controller()
            for name in self._names:
                self.start_node(name)
            _wait(
                lambda: self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%t").split() == ["idle"] * len(self._names),
                "nodes",
                60,
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.environment["SLURM_TIMEOUT"] = "5"
        subprocess.run(["scancel", "--full", "--signal=KILL", "--me"], env=self.environment, timeout=30, check=False)
        for name in list(self._daemons):
            if name in self._names:
                self.kill_node(name)
            else:
                _end(self._daemons.pop(name))

    def run(self, *command: str) -> str:
        """Run one of Slurm's commands; returns what it printed."""
        ended = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        return ended.stdout

    def is_idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self.run("squeue", "--noheader").strip()

    def wait_until(self, condition: Callable[[], bool], seconds: float = 300) -> None:
        """Wait until what its jobs do has come so far."""
        _wait(condition, "what the jobs were to do", seconds)

    def wait_until_idle(self, seconds: float = 300) -> None:
        """Wait until nothing waits or runs."""
        _wait(self.is_idle, "the end of all jobs", seconds)

    def start_controller(self) -> None:
        """Start slurmctld."""
        self._start("slurmctld", ["slurmctld", "-D", "-f", str(self.folder / "slurm.conf")])

    def stop_controller(self) -> None:
        """End slurmctld in order; the nodes and their jobs go on."""
        _end(self._daemons.pop("slurmctld"))

    def start_node(self, name: str) -> None:
        """Start a slurmd with its keeper."""
        (self.folder / f"spool-{name}").mkdir(exist_ok=True)
        self._start(name, [sys.executable, __file__, name])

    def kill_node(self, name: str) -> None:
        """Let a node lose its power: kill its slurmd and all that its jobs started."""
        keeper = self._daemons.pop(name)
        _kill_below(keeper.pid)
        keeper.wait(timeout=20)

    def _configure(self) -> None:
        for name in ("state", "dev"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (self.folder / "munge.key").chmod(0o600)
        first = _free_ports(len(self._names) + 1)
        last = len(self._names) - 1
        memory = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20 * 0.9)
        configuration = _CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            port=first,
            user=pwd.getpwuid(os.getuid()).pw_name,
            folder=self.folder,
            nodes=f"n[0-{last}]",
            ports=f"[{first + 1}-{first + 1 + last}]",
            memory=memory,
            **self._shape,
        )
        (self.folder / "slurm.conf").write_text(configuration)
        devices = []
        for index in range(self._shape["gpus"]):
            device = self.folder / "dev" / f"gpu{index}"
            device.touch()
            devices.append(f"NodeName=n[0-{last}] Name=gpu File={device}\n")
        (self.folder / "gres.conf").write_text("".join(devices))

    def _start_munge(self) -> None:
        # As root, munged refuses the modes of parent folders unless forced.
        command = ["munged", "--foreground", "--force"]
        for option, name in (("key-file", "key"), ("socket", "sock"), ("pid-file", "pid"), ("seed-file", "seed")):
            command.append(f"--{option}={self.folder / f'munge.{name}'}")
        self._start("munged", command)
        _wait((self.folder / "munge.sock").exists, "munged", 10)

    def _start(self, name: str, command: list[str]) -> None:
        with open(self.folder / f"{name}.out", "ab") as out:
            self._daemons[name] = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies, however it does."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM, 0, 0, 0)


def _keep(node: str) -> None:
    """Be a node's keeper: start its slurmd, and stay until all that it started has ended."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: _kill_below(os.getpid()))
    os.spawnvpe(os.P_NOWAIT, "slurmd", ["slurmd", "-D", "-N", node], os.environ)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _kill_below(root: int) -> None:
    while below := _descendants(root):
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _descendants(root: int) -> list[int]:
    """Processes that live below `root`, by their parents."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(status.parent.name))
    found, todo = [], [root]
    while todo:
        todo += (below := children.get(todo.pop(), []))
        found += below
    return found


def _free_ports(count: int) -> int:
    """The first of `count` neighbouring ports that are free."""
    for _ in range(100):
        first = 20_000 + secrets.randbelow(10_000)
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, each in enumerate(sockets):
                each.bind(("127.0.0.1", first + offset))
            return first
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise RuntimeError("no free ports")


def _wait(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)


if __name__ == "__main__":
    _keep(sys.argv[1])
