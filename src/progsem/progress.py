"""Progress of long work: a bar where a person watches, sparse log lines where not."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts `unit`s of work; `update` says how many more are done and what to show beside."""

    def __init__(self, what: str, total: int, unit: str, every: float = 30.0):
        self._what, self._total, self._unit, self._every = what, total, unit, every
        self._done = 0
        self._started = self._last = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=what, unit=unit, unit_scale=True, dynamic_ncols=True)

    def update(self, count: int, **shown: str) -> None:
        """`count` more units are done; `shown` is printed beside."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
            self._bar.set_postfix(shown)
            return
        now = time.monotonic()
        if now - self._last >= self._every or self._done >= self._total:
            self._last = now
            rate = self._done / max(now - self._started, 1e-9)
            left = (self._total - self._done) / rate
            beside = "".join(f", {key} {value}" for key, value in shown.items())
            print(
                f"{self._what}: {self._done}/{self._total} {self._unit}, {rate:.4g} {self._unit}/s, "
                f"{left:.0f} s left{beside}",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
