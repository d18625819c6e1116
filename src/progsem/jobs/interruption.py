"""Ending well: signals that ask a job to stop, a workflow that is gone, and a time limit that comes near.

SIGTERM and SIGUSR1 come from schedulers before the time is up, SIGHUP from a
terminal that is closed, SIGINT from Ctrl-C. A signal that was ignored when the
job started (`nohup`, a script's background job) stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

from progsem.errors import UserError
from progsem.jobs.progress import say

WORKFLOW = "PROGSEM_WORKFLOW"  # environment variable: process id of the workflow that started this job
_STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
_LOOK_EVERY = 2.0  # seconds between looks for the workflow, where the system does not tell when it ends
_LONGEST_ANSWER = 10.0  # seconds that SLURM may take to say how much time is left


def stop_cleanly() -> None:
    """From now on SIGTERM, SIGUSR1 and SIGHUP raise SystemExit(128 + number), so that `finally` blocks tidy up.

    Does nothing outside the main thread, where Python lets nobody handle signals.
    """

    def stop(number, frame):
        raise SystemExit(128 + number)

    _handle(_STOPPING, stop)


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], int | None]]:
    """For a loop that wants to finish its step: within it, signals to stop are only noted.

    Yields a function that returns the number of the first signal that came, or
    None. A second SIGINT raises KeyboardInterrupt at once. The earlier handlers
    are back at the end. Outside the main thread no signal is ever noted.
    """
    came: list[int] = []

    def note(number, frame):
        if number == signal.SIGINT and number in came:
            raise KeyboardInterrupt
        came.append(number)

    earlier = _handle((*_STOPPING, signal.SIGINT), note)
    try:
        yield lambda: came[0] if came else None
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _handle(numbers: tuple[signal.Signals, ...], handler: Callable) -> dict:
    """Let `handler` have these signals, but for ignored ones; returns the handlers it replaced."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    earlier = {number: signal.getsignal(number) for number in numbers}
    # None stands for a handler that was not set from Python and cannot be put back from it.
    earlier = {number: known for number, known in earlier.items() if known not in (signal.SIG_IGN, None)}
    for number in earlier:
        signal.signal(number, handler)
    return earlier


def follow_workflow() -> None:
    """Stop this process with SIGTERM when the workflow that started it ends, however it ends.

    The workflow's process id stands in the environment variable PROGSEM_WORKFLOW;
    without it, nothing is followed. Raises `UserError` if it is not a process id.
    """
    given = os.environ.get(WORKFLOW, "")
    if not given:
        return
    if not given.isdecimal() or int(given) == 0:
        raise UserError(f"{WORKFLOW} is {given!r}; expected a process id: unset it to run a job by hand")
    threading.Thread(target=_follow, args=(int(given),), name="follow-workflow", daemon=True).start()


def _follow(workflow: int) -> None:
    _wait_for_end(workflow)
    say(f"progsem: the workflow (process {workflow}) is gone; this job stops as well")
    os.kill(os.getpid(), signal.SIGTERM)


def _wait_for_end(process: int) -> None:
    """Return once a process, anybody's, has ended."""
    try:
        # On Linux. This also tells of a process that nobody has waited for, and of another one with its number.
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        while _exists(process):
            time.sleep(_LOOK_EVERY)
        return
    ended = select.poll()
    ended.register(handle, select.POLLIN)
    ended.poll()


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def heed_time_limit() -> None:
    """Under SLURM, send this process SIGUSR1 while there is time to save what it has before the job is killed.

    SLURM's own signals do not reach it: they go to a Snakemake that started this
    process, or to the shell around that. Elsewhere, and where a job has no limit,
    nothing happens; where SLURM does not say how much time is left, one line does.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    if job:
        threading.Thread(target=_heed, args=(job,), name="heed-time-limit", daemon=True).start()


def _heed(job: str) -> None:
    try:
        left = _time_left(job)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = str(error).splitlines()[0]
        say(f"progsem: SLURM does not say how much time is left ({reason}); job {job} may be killed at its time limit")
        return
    if left is None:
        return
    margin = _margin(left)
    time.sleep(left - margin)
    say(f"progsem: SLURM ends job {job} in {margin:.0f} s: it stops here; a retry asks for more time")
    os.kill(os.getpid(), signal.SIGUSR1)


def _margin(left: float) -> float:
    """Seconds before the limit at which to stop, where so many are left: enough to save, and never most of them."""
    return min(max(15, min(120, left / 10)), left / 2)


def _time_left(job: str) -> float | None:
    """Seconds until the time limit of the SLURM job that this process is in, at least 0; None if it has no limit."""
    end = os.environ.get("SLURM_JOB_END_TIME", "")  # since SLURM 23.02
    if end.isdecimal():
        return max(0.0, int(end) - time.time())
    said = subprocess.run(
        ["squeue", "--noheader", "--job", job, "--format", "%L"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=_LONGEST_ANSWER,
        check=True,
    ).stdout.strip()
    return _seconds(said)


def _seconds(said: str) -> float | None:
    """What `squeue` says is left, such as 1-02:03:04, 2:03:04 or 3:04, in seconds; None for no limit."""
    if said in ("UNLIMITED", "NOT_SET"):
        return None
    match = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", said)
    if not match:
        raise ValueError(f"squeue: given {said[:40]!r}, expected a time such as 2:03:04")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
