"""Run a real SLURM on this machine, as root: a controller and two nodes of two cores each.

Debian's packages slurm-wlm and munge. Nodes are daemons n1 and n2; jobs of the partition `urgent`
take the place of those of `main`, which are put back into the queue.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

CONF = """\
ClusterName=onemachine
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmctldTimeout=15
SlurmdTimeout=15
JobRequeue=0
MpiDefault=none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=1000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=1000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=2
"""
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "unmunge", "flock")
HOSTS = Path("/etc/hosts")
NAMES = "127.0.0.1 n1 n2  # of a SLURM on one machine\n"  # jax asks the first node's name


def missing() -> str:
    """Return why SLURM cannot run here, or ""."""
    if os.geteuid():
        return "a SLURM of one machine has to be started by root"
    absent = [program for program in PROGRAMS if not shutil.which(program)]
    return f"no {', '.join(absent)}: apt-get install slurm-wlm munge" if absent else ""


class Cluster:
    """The daemons of a cluster, with their files in `folder`; they run from `start` to `stop`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {"SLURM_CONF": f"{folder}/slurm.conf"}

    def start(self) -> None:
        with_munge()
        if NAMES not in HOSTS.read_text():
            HOSTS.write_text(HOSTS.read_text() + NAMES)
        conf = CONF.format(folder=self.folder, host=socket.gethostname(), ports=free_ports(3))
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "state").mkdir()
        self.run("slurmctld")
        for node in ("n1", "n2"):
            (self.folder / f"spool-{node}").mkdir()
            self.revive(node)
        self.wait(lambda: self.run("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "2", 60)

    def stop(self) -> None:
        """End all jobs and the daemons."""
        HOSTS.write_text(HOSTS.read_text().replace(NAMES, ""))
        for node in ("n1", "n2"):
            tell(self.processes_of(node), signal.SIGKILL)
        for pid in [*self.folder.glob("*.pid")]:
            kill(pid, signal.SIGTERM)
        self.wait(lambda: not [*self.folder.glob("*.pid")], 30)

    def run(self, *command: str) -> str:
        """Run a program of SLURM and return what it prints."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def revive(self, node: str) -> None:
        """Start the daemon of a node."""
        self.run("slurmd", "-N", node)

    def lose(self, node: str, dead: bool = True) -> None:
        """Kill all processes of a node; if not `dead`, only its daemon, while its jobs continue."""
        kill(self.folder / f"{node}.pid", signal.SIGKILL)
        if dead:
            tell(self.processes_of(node), signal.SIGKILL)

    def processes_of(self, node: str) -> set[int]:
        """Return the processes of the jobs on a node, and of the daemons that hold them."""
        found = set()
        ours = {f"SLURMD_NODENAME={node}", f"SLURM_CONF={self.environment['SLURM_CONF']}"}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                if ours <= set((folder / "environ").read_text().split("\0")):
                    parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                    held = "slurmstepd" in Path(f"/proc/{parent}/comm").read_text()
                    found |= {int(folder.name), parent} if held else {int(folder.name)}
        return found

    def job(self, number: str) -> dict[str, str]:
        """Return what the controller reports about a job."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def hurry(self, number: str) -> None:
        """Make a requeued job start now instead of in two minutes."""
        job = self.job(number)
        if job["JobState"] == "PENDING" and job["Reason"] in ("BeginTime", "None"):
            self.run("scontrol", "update", f"JobId={number}", "StartTime=now")

    def wait(self, happened: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition holds; fail after a number of seconds."""
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline, (self.folder / "slurmctld.log").read_text()[-3000:]
            time.sleep(0.2)


def with_munge() -> None:
    """Start munge's daemon if it does not run."""
    asked = subprocess.run("munge -n | unmunge", shell=True, capture_output=True)
    if asked.returncode:
        user = pwd.getpwnam("munge")
        Path("/run/munge").mkdir(exist_ok=True)
        os.chown("/run/munge", user.pw_uid, user.pw_gid)
        subprocess.run(["munged"], user="munge", check=True)


def tell(pids: Iterable[int], number: int) -> None:
    """Send a signal to the processes that still exist."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def kill(pid_file: Path, number: int) -> None:
    os.kill(int(pid_file.read_text()), number)
    if number == signal.SIGKILL:
        pid_file.unlink()
