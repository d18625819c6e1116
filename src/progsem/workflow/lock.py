"""Who runs in a folder: what a killed Snakemake has left is removed, and nothing is moved while one is alive.

Each Snakemake holds a shared lock on a file of ours, which the system takes away when the process ends, however it
ends. Another host's may not be seen: the file names the host that ran last.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from progsem.errors import UserError
from progsem.workflow.refusal import refuse_read_only

ALIVE = Path(".snakemake/progsem.alive")
# What a Snakemake that is killed leaves behind: locks, and marks of files that it was making, whole if they are there.
LOCKS, _MARKS = Path(".snakemake/locks"), Path(".snakemake/incomplete")


def remove_stale_locks() -> None:
    """Remove what a Snakemake that was killed in this folder has left of its own, if none is alive here.

    Only where this host ran last; else `snakemake --unlock` does it.
    """
    _hold(_remove_leftovers)


def hold_folder() -> None:
    """Be one that is alive here, and no more: what another workflow has left behind is not ours."""
    _hold(lambda: None)


def _remove_leftovers() -> None:
    shutil.rmtree(LOCKS, ignore_errors=True)
    shutil.rmtree(_MARKS, ignore_errors=True)
    _MARKS.mkdir(exist_ok=True)  # without it, Snakemake takes its records for those of an old version


def _hold(if_alone: Callable[[], None]) -> None:
    """Lock the folder until this process ends; first do what is to be done if nobody is alive here or elsewhere."""
    host = platform.node()
    try:
        LOCKS.parent.mkdir(exist_ok=True)
        if not os.access(LOCKS.parent, os.W_OK):
            refuse_read_only(LOCKS.parent)
        alive = open(ALIVE, "a+", encoding="utf-8")  # noqa: SIM115 - held until the process ends
        _held.append(alive)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alive.seek(0)
            if alive.read() == host:
                if_alone()
            if not any(LOCKS.glob("*.lock")):
                alive.truncate(0)
                alive.write(host)
                alive.flush()
        fcntl.flock(alive, fcntl.LOCK_SH)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.ENOSPC):
            refuse_read_only(LOCKS.parent)
        # Else it is a file system without such locks: Snakemake says what is to be done.


_held: list = []


@contextlib.contextmanager
def nobody_else() -> Iterator[None]:
    """Keep Snakemake from starting in this folder; raises `UserError` while one is running here."""
    with contextlib.ExitStack() as stack:
        try:
            ALIVE.parent.mkdir(exist_ok=True)
            alive = stack.enter_context(ALIVE.open("a+", encoding="utf-8"))
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alive.seek(0)
            host = alive.read()
        except BlockingIOError:
            raise UserError("a snakemake is running in this folder; wait until it is done, or stop it") from None
        except OSError as error:
            raise UserError(f"{ALIVE}: cannot be locked ({error.strerror}); run this where it can be written") from None
        # The lock of a process on another host may not be seen.
        if host != platform.node() and any(LOCKS.glob("*.lock")):
            raise UserError(
                f"a snakemake may be running in this folder on {host or 'another host'}; "
                "if it is not, say `snakemake --unlock`, and run this again"
            )
        yield
