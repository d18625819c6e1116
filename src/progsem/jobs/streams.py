"""Standard streams that are closed, full or unread, and text whatever the locale."""

from __future__ import annotations

import contextlib
import errno
import locale
import os
import sys
from collections.abc import Iterator

from progsem.errors import UserError


def prepare() -> None:
    """Keep files that are opened later from taking the place of a closed stream, and let any text be written.

    Reading from a closed stream or writing to it still fails, but for standard error:
    nothing said there is a reason to fail. From now on, files that a library opens
    without an encoding are UTF-8; what the encoding of a stream lacks is escaped.
    """
    # The null device, opened the wrong way round, takes the lowest number that is free: the stream's own, unless
    # a file has taken that already.
    for number, name, access in ((0, "stdin", os.O_WRONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:  # it was closed when Python started
            descriptor = os.open(os.devnull, access)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, open(descriptor, "w" if number else "r", encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")


def say(line: str) -> None:
    """Print a line on standard output, at once; where it cannot be written, a `UserError`."""
    with _writing():
        print(line, flush=True)


def flush() -> None:
    """Write what standard output still holds; where it cannot be written, a `UserError`."""
    with _writing():
        sys.stdout.flush()


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # not a failure: `progsem` ends quietly
        raise
    except OSError as error:
        discard(sys.stdout)
        remedy = "open it" if error.errno == errno.EBADF else "make room"
        raise UserError(f"standard output: cannot be written ({error.strerror}); {remedy}, and run again") from None


@contextlib.contextmanager
def if_heard() -> Iterator[None]:
    """Where nobody reads standard error any more, send all further output to it nowhere."""
    try:
        yield
    except OSError:
        discard(sys.stderr)


def discard(stream) -> None:
    """Send what is written to a stream nowhere, also what it still holds: Python would complain when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
