"""A SLURM on this machine, for tests: one node that poses as several CPUs and GPUs, a partition for each kind.

    python tests/slurm/cluster.py up [--install]    start it; --install fetches Debian's packages if they are not there
    python tests/slurm/cluster.py down              stop it, and take away all that it wrote

Needs root. Everything lives in a folder of its own, but for three files in /etc/slurm, the
only place where Snakemake's jobs look for them. `down` takes those away: where they are left
behind without daemons, every call of Snakemake waits ten seconds for an answer. Files of
another SLURM are never touched.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where it is run as a program

import debian  # noqa: E402

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
DAEMONS = ("slurmd", "slurmctld", "munged")  # in the order in which they are stopped
ETC = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
MARK = "# A test cluster of progsem; tests/slurm/cluster.py down takes it away. It lives in "
FREEZER = Path("/sys/fs/cgroup/freezer")  # where SLURM keeps a job's processes together
NODE = "n1"
START_SECONDS = 60

SLURM_CONF = """\
ClusterName=progsem
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A job that is put back into the queue starts after these seconds; the default is two minutes.
AuthInfo=socket={folder}/munge/socket,cred_expire=10
MpiDefault=none
MailProg=/bin/true
# As on real clusters: nothing of a job survives it. Without cgroups, orphans go on writing.
ProctrackType=proctrack/cgroup
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
# Lets the node have more CPUs and memory than this machine.
SlurmdParameters=config_overrides
# A job that can never run is refused when it is submitted.
EnforcePartLimits=ALL
ReturnToService=2
# Seconds that squeue knows of a job that has ended, and from SIGTERM to SIGKILL.
MinJobAge=3600
KillWait=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
GresTypes=gpu
NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:a100:{gpus}
PartitionName=cpu Nodes={node} Default=YES DefaultTime=10 MaxTime=INFINITE
PartitionName=gpu Nodes={node} DefaultTime=10 MaxTime=INFINITE
"""

GRES_CONF = "NodeName={node} Name=gpu Type=a100 File={device}\n"

CGROUP_CONF = """\
CgroupPlugin=cgroup/v1
CgroupAutomount=no
CgroupMountpoint=/sys/fs/cgroup
ConstrainCores=no
ConstrainRAMSpace=no
"""


class ClusterError(Exception):
    """The cluster cannot be started here; the message says why in one line, and what the daemons said below it."""


def problem(install: bool = False) -> str | None:
    """Why no cluster can be started on this machine, in one line; None if it can.

    With `install`, packages that are not there are fetched first.
    """
    if sys.platform != "linux":
        return "SLURM runs on Linux"
    if os.geteuid() != 0:
        return "slurmd needs root"
    probe = FREEZER / f"progsem-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return f"SLURM needs the cgroup controller {FREEZER} to keep a job's processes together ({error.strerror})"
    missing = [program for program in PROGRAMS if not _which(program)]
    if missing and install:
        said = debian.install(*PACKAGES)
        missing = [program for program in PROGRAMS if not _which(program)]
        if missing:
            return f"{', '.join(missing)} not installed, and apt-get could not: {said}"
    if missing:
        return f"{', '.join(missing)} not installed: apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    return None


class Cluster:
    """A running cluster, as a context manager; `start` and `stop` do the same by hand.

    `cpus` and `gpus` are what the node poses as having; the jobs share the machine's real cores.
    """

    def __init__(self, cpus: int = 8, gpus: int = 2, memory_mb: int = 64_000):
        self.cpus, self.gpus, self.memory_mb = cpus, gpus, memory_mb
        self.folder: Path | None = None

    def __enter__(self) -> Cluster:
        self.start(owner=os.getpid())
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self, owner: int = 0) -> None:
        """Write the configs, start the daemons, wait until the node is idle; leaves nothing behind where that fails.

        `owner` is the process whose cluster it is: once that is dead, another start may take its place.
        """
        earlier = _present()
        if earlier:
            if not _abandoned(earlier):
                raise ClusterError(f"a test cluster is up already, in {earlier}; stop it: {Path(__file__).name} down")
            _stop(earlier)
        foreign = [str(ETC / name) for name in FILES if (ETC / name).exists()]
        if foreign:
            raise ClusterError(f"{', '.join(foreign)} belong to another SLURM, which is left alone")
        self.folder = Path(tempfile.mkdtemp(prefix="progsem-slurm-"))
        try:
            self._write(owner)
            self._run(
                "munged",
                *(f"--{name}={self.folder}/munge/{name}" for name in ("socket", "key-file", "seed-file")),
                f"--pid-file={self.folder}/munged.pid",
                f"--log-file={self.folder}/munged.log",
                "--force",
            )
            self._run("slurmctld")
            self._run("slurmd", "-N", NODE)
            self._wait_until_idle()
        except BaseException:  # Ctrl-C too
            self.stop()
            raise

    def stop(self) -> None:
        """Cancel all jobs, stop the daemons, remove what was written. Does nothing where nothing runs."""
        if self.folder:
            _stop(self.folder)
            self.folder = None

    def logs(self, lines: int = 30) -> str:
        """The ends of what the daemons have said."""
        said = []
        for path in sorted(self.folder.glob("*.log")):
            said += [f"--- {path.name}", *path.read_text(errors="replace", encoding="utf-8").splitlines()[-lines:]]
        return "\n".join(said)

    def _write(self, owner: int) -> None:
        folder = self.folder
        folder.chmod(0o755)  # clients go through it to munge's socket
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(mode=0o755)
        (folder / "owner").write_text(str(owner), encoding="utf-8")
        key = folder / "munge" / "key-file"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        for index in range(self.gpus):  # a GPU is a device file, here a second /dev/null
            os.mknod(folder / f"gpu{index}", 0o666 | stat.S_IFCHR, os.stat("/dev/null").st_rdev)
        device = folder / (f"gpu[0-{self.gpus - 1}]" if self.gpus > 1 else "gpu0")
        ETC.mkdir(exist_ok=True)
        facts = {"folder": folder, "node": NODE, "device": device, "ports": _free_ports(2)}
        facts |= {"cpus": self.cpus, "gpus": self.gpus, "memory_mb": self.memory_mb}
        for name, text in zip(FILES, (SLURM_CONF, GRES_CONF, CGROUP_CONF), strict=True):
            (ETC / name).write_text(f"{MARK}{folder}\n" + text.format(**facts), encoding="utf-8")

    def _run(self, program: str, *arguments: str) -> None:
        """Start a daemon, which comes back once it is in the background."""
        try:
            done = subprocess.run(
                [_which(program), *arguments], cwd="/", capture_output=True, encoding="utf-8", timeout=START_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{program} did not go into the background\n{self.logs()}") from None
        if done.returncode:
            raise ClusterError(f"{program} ended with {done.returncode}: {done.stderr.strip()}\n{self.logs()}")

    def _wait_until_idle(self) -> None:
        state, until = "no answer", time.monotonic() + START_SECONDS
        while state != "idle":
            if time.monotonic() > until:
                raise ClusterError(f"the node is not idle after {START_SECONDS} s but: {state}\n{self.logs()}")
            time.sleep(0.1)
            with contextlib.suppress(subprocess.TimeoutExpired):  # without a controller, sinfo waits for long
                asked = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, encoding="utf-8", timeout=5)
                state = ", ".join(sorted(set(asked.stdout.split()))) or asked.stderr.strip()


def _present() -> Path | None:
    """The folder of the test cluster that the files in /etc/slurm belong to, if they are a test cluster's."""
    for name in FILES:
        with contextlib.suppress(OSError):
            first = (ETC / name).read_text(encoding="utf-8").splitlines()[:1]
            if first and first[0].startswith(MARK):
                return Path(first[0].removeprefix(MARK))
    return None


def _abandoned(folder: Path) -> bool:
    """Whether nobody will stop this cluster: its daemons or the process that started it are dead."""
    if not any(_daemon(folder, name) for name in DAEMONS):
        return True
    try:
        owner = int((folder / "owner").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return owner != 0 and not Path(f"/proc/{owner}").exists()


def _stop(folder: Path) -> None:
    """Take a cluster away, whatever of it is there."""
    if _daemon(folder, "slurmctld") and _daemon(folder, "slurmd"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(["scancel", "--user=root"], capture_output=True, timeout=10)
            until = time.monotonic() + 15
            while time.monotonic() < until:
                left = subprocess.run(["squeue", "-h"], capture_output=True, encoding="utf-8", timeout=10)
                if not left.stdout.strip():
                    break
                time.sleep(0.2)
    for name in DAEMONS:
        for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
            process = _daemon(folder, name)
            if process is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
            until = time.monotonic() + seconds
            while _daemon(folder, name, process) and time.monotonic() < until:
                time.sleep(0.05)
    for name in FILES:
        path = ETC / name
        with contextlib.suppress(OSError):
            if path.read_text(encoding="utf-8").startswith(f"{MARK}{folder}\n"):
                path.unlink()
    with contextlib.suppress(OSError):
        _remove_cgroup(FREEZER / f"slurm_{NODE}")
    shutil.rmtree(folder, ignore_errors=True)


def _remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup and those in it; the system refuses where a process is left."""
    for path in cgroup.iterdir():
        if path.is_dir():
            _remove_cgroup(path)
    cgroup.rmdir()


def _daemon(folder: Path, name: str, process: int | None = None) -> int | None:
    """The process id in a daemon's pid file (or the one given), if it is that daemon and alive."""
    try:
        process = process or int((folder / f"{name}.pid").read_text(encoding="utf-8"))
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    comm, rest = state[state.index("(") + 1 : state.rindex(")")], state[state.rindex(")") + 2 :]
    return process if comm == name and not rest.startswith("Z") else None


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("--install", action="store_true", help="fetch Debian's packages where they are missing")
    parser.add_argument("--cpus", type=int, default=8, help="CPUs that the node poses as having")
    parser.add_argument("--gpus", type=int, default=2, help="and GPUs")
    asked = parser.parse_args()
    if asked.action == "down":
        folder = _present()
        if folder:
            _stop(folder)
        print("down" if folder else "nothing was up")
        return
    reason = problem(asked.install)
    if reason:
        sys.exit(f"cluster: {reason}")
    try:
        Cluster(asked.cpus, asked.gpus).start()
    except ClusterError as error:
        sys.exit(f"cluster: {error}")
    print(f"up; {Path(__file__).name} down stops it")
    subprocess.run(["sinfo"], timeout=20)


if __name__ == "__main__":
    main()
