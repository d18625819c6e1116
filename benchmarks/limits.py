"""What the hardware allows, as it is measured here: matrix products, memory, disk.

Each is measured once in a process, the best of a few attempts: a limit is what
can be had, not what is had on average.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_ATTEMPTS = 5
# Of the square matrices: large enough that all but the products is negligible; the first where these take seconds, as
# in bfloat16 on a processor that has no units for it.
_SIDES = (256, 2048)
_COPIED = 1 << 28  # bytes, far beyond the caches
_WRITTEN = 1 << 28


def _fastest(function: Callable[[], object]) -> float:
    """Seconds of the fastest of a few calls, after one that is not counted."""
    function()
    seconds = []
    for _ in range(_ATTEMPTS):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@cache
def matrix_rate(dtype: torch.dtype, threads: int) -> float:
    """Floating-point operations a second of products of large square matrices on the CPU, on so many threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rate = math.inf
        for side in _SIDES:
            if 2 * side**3 / rate < 1:
                left, right = torch.randn(2, side, side).to(dtype)
                out = torch.empty_like(left)
                with torch.no_grad():
                    rate = 2 * side**3 / _fastest(partial(torch.mm, left, right, out=out))
        return rate
    finally:
        torch.set_num_threads(before)


def named(dtype: torch.dtype) -> str:
    """A type without the library's name."""
    return str(dtype).removeprefix("torch.")


def peaks() -> str:
    """Rates of large matrix products on one core in both precisions that a study may have, and which `auto` takes."""
    import torch

    from progsem.hardware import choose_precision

    rates = ", ".join(f"{named(dtype)} {matrix_rate(dtype, 1) / 1e9:.3g}" for dtype in (torch.float32, torch.bfloat16))
    auto = named(choose_precision("auto", torch.device("cpu")))
    return f"products of large matrices on one core, GFLOP/s: {rates}; lm.precision auto is {auto}"


@cache
def memory_bandwidth(threads: int = 1) -> float:
    """Bytes read and written a second when so many threads copy arrays that fit in no cache."""
    sources = [np.ones(_COPIED // threads, np.uint8) for _ in range(threads)]
    targets = [np.empty_like(source) for source in sources]
    with ThreadPoolExecutor(threads) as pool:
        return 2 * _COPIED / _fastest(lambda: list(pool.map(np.copyto, targets, sources)))


@cache
def disk_rate(folder: Path, durable: bool = True) -> float:
    """Bytes a second that a new file in a folder takes; durable: until the disk says that it has them.

    Otherwise until the system has them in memory, which is when a job goes on.
    """
    block = np.random.default_rng(0).bytes(1 << 24)

    def write() -> None:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(_WRITTEN // len(block)):
                file.write(block)
            file.flush()
            if durable:
                os.fsync(file.fileno())

    return _WRITTEN / _fastest(write)
