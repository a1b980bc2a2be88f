"""A Slurm of one node, started in a folder of its own and stopped again."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun")
CONFIG = """
ClusterName=aqabench
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CryptoType=crypto/munge
# credentials that end soon: a job that was put back in the queue waits until its old one has ended
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={control}
SlurmdPort={node}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
JobRequeue=1
KillWait=2
MaxArraySize=6
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
PATIENCE = 60.0


class Site:
    """Its folder and its daemons."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "slurm.conf"
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, daemon: str) -> None:
        """Start a daemon.

        Raises:
            RuntimeError: it ended at once; says why.
        """
        folder = self.folder
        arguments = {
            "munged": [
                "--foreground", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.sock",
                f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
                f"--seed-file={folder}/munge.seed",
            ],
            "slurmctld": ["-D", "-f", str(self.config)],
            "slurmd": ["-D", "-f", str(self.config)],
        }  # fmt: skip
        program = where(daemon)
        assert program is not None
        with (folder / f"{daemon}.out").open("ab") as out:
            process = subprocess.Popen([program, *arguments[daemon]], stdout=out, stderr=out)
        self.running[daemon] = process
        time.sleep(0.5)
        if process.poll() is not None:
            said = (folder / f"{daemon}.out").read_text().strip().splitlines()
            raise RuntimeError(f"{daemon} ends at once: {said[-1] if said else 'no reason given'}")

    def stop(self, daemon: str) -> None:
        """End a daemon."""
        process = self.running.pop(daemon)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def ready(self) -> None:
        """Wait until jobs can run.

        Raises:
            RuntimeError: they cannot.
        """
        deadline = time.monotonic() + PATIENCE
        while (said := self.ask("sinfo", "--noheader", "--format=%T")).strip() != "idle":
            if time.monotonic() > deadline:
                raise RuntimeError(f"its node is not idle but {said.strip() or 'unreachable'}")
            time.sleep(0.2)

    def ask(self, *command: str) -> str:
        """Return what a program of Slurm's says."""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def queue(self, form: str = "%i %T", *more: str) -> list[str]:
        """Return a line for each job that is queued or running."""
        return self.ask("squeue", "--noheader", "--array", f"--format={form}", *more).splitlines()


def where(program: str) -> str | None:
    """Return the path of a program; daemons are not on everybody's path."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def slurm_site() -> Iterator[Site]:
    """Start a site that this process and its children use; skip the test where that cannot be."""
    absent = [name for name in (*DAEMONS, *CLIENTS) if where(name) is None]
    if absent:
        pytest.skip(
            f"no Slurm on this machine: {', '.join(absent)} not found "
            "(Debian: apt install slurmctld slurmd slurm-client munge)"
        )
    folder = Path(tempfile.mkdtemp(prefix="aqabench-slurm-"))  # short: sockets have short names
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    site = Site(folder)
    control, node = _free_ports()
    host = socket.gethostname().partition(".")[0]
    site.config.write_text(
        CONFIG.format(folder=folder, host=host, user=getpass.getuser(), control=control, node=node)
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:
            patch.delenv(name)
        patch.setenv("SLURM_CONF", str(site.config))
        try:
            try:
                for daemon in DAEMONS:
                    site.start(daemon)
                site.ready()
            except (RuntimeError, OSError) as error:
                pytest.skip(f"Slurm cannot be started here: {error}")
            yield site
        finally:
            if "slurmctld" in site.running:
                site.ask("scancel", "--signal=KILL", "--full", f"--user={getpass.getuser()}")
                site.ask("scancel", f"--user={getpass.getuser()}")
                deadline = time.monotonic() + PATIENCE
                while site.queue() and time.monotonic() < deadline:
                    time.sleep(0.2)
            for daemon in reversed([*site.running]):
                site.stop(daemon)
            shutil.rmtree(folder, ignore_errors=True)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]
