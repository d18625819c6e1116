"""The rolling state of a training interval: one file from which an interrupted interval goes on.

It lies beside the checkpoint that is being trained, is replaced every ten
minutes and when a signal asks the job to stop, and is gone once the checkpoint
and its manifest are written. It is either exactly what was saved, for exactly this interval, or it
is refused: nothing is trained from a state that is not known to be the right one.
"""

from __future__ import annotations

import hashlib
import json
import time

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.storage.files import canonical_json, clear_leftovers, save_tensors

SAVE_EVERY = 600.0  # seconds of training that a killed job may cost


class RollingState:
    """The file of one interval, which starts at step `first`."""

    def __init__(self, job: Job, first: int):
        self.path = job.output("weights").parent / "resume.safetensors"
        self._first = first
        # The slice has the config, the code and the interval; the inputs are the data and the checkpoint before.
        made_from = canonical_json({"slice": job.slice, "inputs": job.checksums})
        self._identity = hashlib.sha256(made_from.encode()).hexdigest()
        self._saved = time.monotonic()

    def is_due(self) -> bool:
        """Whether the last save, or the start, was SAVE_EVERY seconds ago."""
        return time.monotonic() - self._saved >= SAVE_EVERY

    def save(self, step: int, tensors: dict[str, Tensor], log: dict) -> None:
        """Replace the file by the state after `step` steps: tensors by name, and a log of JSON values.

        A full disk is a `UserError`, and the file stays as it was.
        """
        metadata = {"identity": self._identity, "step": str(step), "log": canonical_json(log)}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_tensors(self.path, tensors, {**metadata, "checksum": checksum(tensors, metadata)})
        self._saved = time.monotonic()

    def load(self) -> tuple[int, dict[str, Tensor], dict] | None:
        """What was saved last, tensors on the CPU; None if nothing was.

        What a process that was killed while it saved has left behind is deleted.
        Raises `UserError` for a file that is damaged, or that was saved with
        another config, code or data, or within another interval.
        """
        clear_leftovers(self.path)
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                metadata = dict(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError) as error:
            raise self._refusal(f"not readable ({str(error).splitlines()[0]}), expected a training state") from None
        said = metadata.pop("checksum", "none")
        found = checksum(tensors, metadata)
        if said != found:
            raise self._refusal(f"damaged (its checksum is {found[:12]}, expected {said[:12]})")
        if metadata.get("identity") != self._identity:
            found = metadata.get("identity", "none")
            raise self._refusal(
                f"saved with another config, code or data (it is {found[:12]}, expected {self._identity[:12]})"
            )
        return int(metadata["step"]), tensors, json.loads(metadata["log"])

    def _refusal(self, problem: str) -> UserError:
        return UserError(f"{self.path}: {problem}; delete it to start the interval at step {self._first} again")


def checksum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """SHA-256, in hexadecimal, of names, types, shapes and bytes of the tensors and of the metadata."""
    layout = {name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in tensors.items()}
    found = hashlib.sha256(canonical_json([metadata, layout]).encode())
    for name in sorted(tensors):
        found.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()
