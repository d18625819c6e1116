"""What the stages of `make bench` have in common: a row of the table, and how times are taken."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from progsem.study.config import Study, changed, load
from progsem.study.configfiles import read_config

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """One measurement: ours, a baseline measured in the same run, and the hardware's limit, all in one unit.

    unit: a rate such as "programs/s", where more is better, or "s", where less is.
    work, baseline_work: what was done, with sizes. limit_work: how the limit was measured or derived.
    reach: what is to be reached, by `reach_of`: "ours", or "ratio" of ours to the baseline.
    """

    stage: str
    work: str
    unit: str
    ours: float
    baseline: float
    baseline_work: str
    limit: float
    limit_work: str
    reach: float
    reach_of: str

    def __post_init__(self):
        if self.reach_of not in ("ours", "ratio"):
            raise ValueError(f"reach_of: given {self.reach_of!r}, expected 'ours' or 'ratio'")
        for name in ("ours", "baseline", "limit"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{self.stage}: {name} is {value}, expected a positive number of {self.unit}")

    @property
    def ratio(self) -> float:
        """How many times as fast as the baseline."""
        return self.baseline / self.ours if self.unit == "s" else self.ours / self.baseline

    @property
    def limit_fraction(self) -> float:
        """The share of the hardware's limit that is used, 1 at the limit."""
        return self.limit / self.ours if self.unit == "s" else self.ours / self.limit

    @property
    def reached(self) -> bool:
        """Whether what was to be reached is."""
        if self.reach_of == "ratio":
            return self.ratio >= self.reach
        return self.ours <= self.reach if self.unit == "s" else self.ours >= self.reach


def study(name: str | None, changes: dict) -> Study:
    """The default study, or the one in studies/NAME.yaml, with some keys changed."""
    config = read_config(ROOT / "config.yaml")
    if name:
        config = changed(config, read_config(ROOT / f"studies/{name}.yaml"))
    return load(changed(config, changes))


def in_turn(rounds: int, **functions: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each call of each function, by name; the functions take turns, so that all meet the same machine.

    Nothing is called beforehand: whoever has something to compile or to fill calls it once first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """How cost grows with size: the slope of log seconds over log size, by least squares; 1 is linear."""
    across, up = [math.log(size) for size in sizes], [math.log(value) for value in seconds]
    middle, height = sum(across) / len(across), sum(up) / len(up)
    products = sum((x - middle) * (y - height) for x, y in zip(across, up, strict=True))
    return products / sum((x - middle) ** 2 for x in across)
