"""Edits that make probes read something else: the stream is moved along their gradient.

As Li et al. 2023, "Emergent world representations", arXiv:2210.13382, did with perceptrons that read an Othello board.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from progsem.probing.readers import Reader

SURE = 0.9  # probability that the probe gives to the target when enough has been done
STEPS = 100
STEP = 0.02  # of the stream's norm


def towards(reader: Reader, depth: int, span: slice, stream: Tensor, wanted: Tensor) -> Tensor:
    """What to add to states (N, C) for the probes at `depth` to read `wanted` (N, heads of the feature): (N, C).

    Each state takes steps of one length against the gradient of the probes' cross-entropy until every head is `SURE`,
    or has taken `STEPS` of them.
    """
    start, moved = stream.detach(), torch.zeros_like(stream)
    size = STEP * start.norm(dim=1, keepdim=True)
    for _ in range(STEPS):
        moved.requires_grad_()
        logits = reader.logits(start + moved)[depth, span]  # (heads, N, classes)
        scores = -F.cross_entropy(logits.flatten(0, 1), wanted.T.reshape(-1), reduction="none").view(len(logits), -1)
        waiting = (scores.exp() < SURE).any(0)
        if not waiting.any():
            break
        (gradient,) = torch.autograd.grad(scores.sum(), moved)
        step = size * gradient / gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
        moved = torch.where(waiting[:, None], moved.detach() + step, moved.detach())
    return moved.detach()
