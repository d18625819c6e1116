"""Processes that train one model together: each takes its share of every batch, and all keep the same weights.

They say little to each other: gradients and losses are summed by the devices, and
now and then all agree whether to stop. A `Team` of one says nothing at all.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from progsem.jobs.progress import say

_AGREE_EVERY = 0.1  # seconds of training after which a signal is heard by all
_LONGEST_WAIT = timedelta(hours=1)  # for the others: one of them may read or save a large file meanwhile
LOST = 1  # exit status of a process whose others are gone
_SIGNS = ("gloo/transport", "Connection closed", "Connection reset", "Broken pipe")  # how gloo says so


class Team:
    """This process, the one with number `rank`, and the others; `size` in all."""

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size
        self._steps, self._last, self._wanted = 0, time.monotonic(), 1

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes files and says how far they are."""
        return self.rank == 0

    def share(self, rows: np.ndarray) -> np.ndarray:
        """Those rows of a batch that are this process's."""
        return rows if self.size == 1 else np.ascontiguousarray(rows[self.rank :: self.size])

    def wrap(self, loss: nn.Module) -> nn.Module:
        """The same module, but the gradients that it leaves are the mean over the team's.

        Each process must have read the same weights before.
        """
        if self.size == 1:
            return loss
        return DistributedDataParallel(loss, init_sync=False, forward_sync_buffers=False, gradient_as_bucket_view=True)

    def total(self, value: Tensor) -> Tensor:
        """The sum over the team; on a GPU without waiting for it."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def agree(self, signal: int | None, due: bool) -> tuple[int | None, bool]:
        """Called by all after each step: the signal that any of them got, and whether the leader's save is due.

        Asks the others after so many steps as take a tenth of a second; between, the
        answer is no. It goes from CPU to CPU, and no GPU has to finish its work for it.
        """
        if self.size == 1:
            return signal, due
        self._steps += 1
        if self._steps < self._wanted:
            return None, False
        pace = (time.monotonic() - self._last) / self._steps
        wanted = max(1, int(_AGREE_EVERY / max(pace, 1e-6)))
        votes = torch.tensor([signal or 0, int(due and self.leads), -wanted])
        distributed.all_reduce(votes, distributed.ReduceOp.MAX)
        heard, save, fewest = votes.tolist()
        self._steps, self._last, self._wanted = 0, time.monotonic(), -fewest
        return heard or None, bool(save)

    def wait(self) -> None:
        """Return when all have come here."""
        if self.size > 1:
            distributed.all_reduce(torch.zeros(1))


@contextlib.contextmanager
def together(rank: int, size: int, device: torch.device) -> Iterator[Team]:
    """The team of this process; the others are found as `torchrun` has told.

    Where one of the others is gone, this process ends with status LOST; why, the
    other says.
    """
    if size == 1:
        yield Team()
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, timeout=_LONGEST_WAIT)
        yield Team(rank, size)
    except SystemExit:  # agreed upon
        distributed.destroy_process_group()
        raise
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and not any(sign in str(error) for sign in _SIGNS):
            raise
        reason = " ".join(str(error).split()).split(". ")[0]
        say(f"progsem: lost the other processes that train this model ({reason})")
        raise SystemExit(LOST) from None
    distributed.destroy_process_group()
