"""Measure one stage in a process of its own: `python -m benchmarks.stage NAME FILE` writes what it found as JSON."""

from __future__ import annotations

import importlib
import sys
from dataclasses import asdict
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from types import ModuleType

from benchmarks.common import exponent
from progsem.storage.files import write_json


def main(name: str, path: str) -> None:
    """Measure the stage and, where there are sizes to it, how its cost grows."""
    module = importlib.import_module(f"benchmarks.{name}")
    # Sizes first: they are measured in copies of this process, which has then done nothing but import.
    growth = _growth(module) if hasattr(module, "grow") else None
    write_json(Path(path), {"growth": growth, "rows": [asdict(row) for row in module.measure()]})


def _growth(module: ModuleType) -> dict:
    """Seconds and peak memory at each of three sizes."""
    measured = [_in_a_copy(module, size) for size in module.GROWTH]
    seconds = [one for one, _ in measured]
    return {
        "unit": module.UNIT,
        "sizes": list(module.GROWTH),
        "seconds": [round(one, 4) for one in seconds],
        "exponent": round(exponent(module.GROWTH, seconds), 3),
        "peak_mb": [round(kilobytes / 1024) for _, kilobytes in measured],
    }


def _in_a_copy(module: ModuleType, size: int) -> tuple[float, int]:
    """Seconds and peak kilobytes of one size, in a copy of this process."""
    context = get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_grow, args=(module, size, there))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        raise RuntimeError(f"grow({size}) of {module.__name__} has ended without a result") from None
    finally:
        process.join()


def _grow(module: ModuleType, size: int, answer: Connection) -> None:
    seconds = module.grow(size)
    answer.send((seconds, max(_peak(), getrusage(RUSAGE_CHILDREN).ru_maxrss)))


def _peak() -> int:
    """Most kilobytes of memory that this process has had."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main(*sys.argv[1:])
