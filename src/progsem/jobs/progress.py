"""What long work says on stderr: a bar where a person watches, sparse log lines where not.

Work outlives its audience: the `tee` behind stderr or the terminal may be gone,
by the same signal that asked the work to save what it has. Nothing said is ever
a reason to fail.
"""

from __future__ import annotations

import sys
import time

from progsem.jobs.streams import if_heard

_quiet = False


def be_quiet() -> None:
    """Let this process say nothing from now on: another one does the same work, and says it."""
    global _quiet
    _quiet = True


def say(line: str) -> None:
    """Print a line on stderr, if somebody still reads it."""
    if _quiet:
        return
    with if_heard():
        print(line, file=sys.stderr, flush=True)


class Progress:
    """Counts `unit`s of work; `update` says how many more are done and what to show beside.

    `done` of the `total` were done by an earlier process.
    """

    def __init__(self, what: str, total: int, unit: str, every: float = 30.0, done: int = 0):
        self._what, self._total, self._unit, self._every = what, total, unit, every
        self._done = self._before = done
        self._started = self._last = time.monotonic()
        self._bar = None
        if sys.stderr.isatty() and not _quiet:
            from tqdm import tqdm

            with if_heard():
                self._bar = tqdm(total=total, initial=done, desc=what, unit=unit, unit_scale=True, dynamic_ncols=True)

    def update(self, count: int, **shown: str) -> None:
        """`count` more units are done; `shown` is printed beside."""
        self._done += count
        if self._bar is not None:
            with if_heard():
                self._bar.update(count)
                self._bar.set_postfix(shown)
            return
        now = time.monotonic()
        if now - self._last >= self._every or self._done >= self._total:
            self._last = now
            rate = (self._done - self._before) / max(now - self._started, 1e-9)
            left = (self._total - self._done) / rate
            beside = "".join(f", {key} {value}" for key, value in shown.items())
            say(
                f"{self._what}: {self._done}/{self._total} {self._unit}, {rate:.4g} {self._unit}/s, "
                f"{left:.0f} s left{beside}"
            )

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            with if_heard():
                self._bar.close()
