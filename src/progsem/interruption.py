"""Ending well: signals that ask a job to stop, and a workflow that is gone.

SIGTERM and SIGUSR1 come from schedulers before the time is up, SIGHUP from a
terminal that is closed, SIGINT from Ctrl-C. A signal that was ignored when the
job started (`nohup`, a script's background job) stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator

from progsem.errors import UserError
from progsem.progress import say

WORKFLOW = "PROGSEM_WORKFLOW"  # environment variable: process id of the workflow that started this job
_STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
_LOOK_EVERY = 2.0  # seconds between looks for the workflow, where the system does not tell when it ends


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
