"""Start the processes that do one job together, as `torchrun` does, and end as they do.

What comes to the launcher goes to all of them: a signal, and the end of the
workflow. They end with the launcher, however it ends. `torchrun`'s own report of a
failure is left out: each says in one line what went wrong.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable

from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from progsem.hardware import refuse_missing
from progsem.jobs.interruption import WORKFLOW
from progsem.jobs.progress import say
from progsem.lm.parallel import LOST

_FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
_LONGEST_SAVE = 300  # seconds from a signal until processes that are still there are killed


def launch(processes: int, device: str, argv: list[str], is_done: Callable[[], bool]) -> int:
    """Run `python -m progsem ARGV` in that many processes on this machine, a GPU for each if `device` says so.

    Returns the exit status: that of a process that failed; after a signal 128 + its
    number, unless `is_done` says that the work was done all the same.
    """
    refuse_missing(device, processes)
    logging.disable()  # the launcher's reports
    os.environ[WORKFLOW] = str(os.getpid())
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"progsem-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
        signals_to_handle=",".join(name for name in _FORWARDED if _is_heeded(name)),
        shutdown_timeout=_LONGEST_SAVE,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "progsem", *argv)
        _ignore(_FORWARDED)
    except ChildFailedError as error:
        return _status(processes, {rank: failure.exitcode for rank, failure in error.failures.items()})
    except SignalException as stop:
        _wait_for_all()
        return 0 if is_done() else 128 + stop.sigval
    return 0


def _status(processes: int, ended: dict[int, int]) -> int:
    """The exit status that tells most, of those that processes have ended with; says which one was killed."""
    for rank, status in ended.items():
        # A killed one says nothing itself; SIGTERM the others get after a failure.
        if status < 0 and status != -signal.SIGTERM:
            hint = "; if not by you, it needs more memory" if -status == signal.SIGKILL else ""
            say(f"progsem: process {rank + 1} of {processes} was killed ({signal.Signals(-status).name}){hint}")
            return 128 - status
    return next((status for status in ended.values() if status > 0 and status != LOST), LOST)


def _is_heeded(name: str) -> bool:
    """Whether a signal was not ignored when the job started."""
    return signal.getsignal(signal.Signals[name]) is not signal.SIG_IGN


def _ignore(names: tuple[str, ...]) -> None:
    for name in names:
        signal.signal(signal.Signals[name], signal.SIG_IGN)


def _wait_for_all() -> None:
    """Return once no process is left, even if another signal has cut the launcher's own waiting short."""
    _ignore(tuple(name for name in _FORWARDED if name != "SIGINT"))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return
