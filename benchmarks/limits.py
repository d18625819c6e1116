"""What the hardware allows, as it is measured here: matrix products, memory, disk.

Each is measured once in a process, the best of a few attempts: a limit is what
can be had, not what is had on average.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_ATTEMPTS = 5
_SIDE = 2048  # of the square matrices: large enough that all but the products is negligible
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
        left, right = torch.randn(2, _SIDE, _SIDE).to(dtype)
        out = torch.empty_like(left)
        with torch.no_grad():
            return 2 * _SIDE**3 / _fastest(lambda: torch.mm(left, right, out=out))
    finally:
        torch.set_num_threads(before)


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
