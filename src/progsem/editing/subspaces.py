"""Where a feature may be kept in a residual stream: subspaces, and edits that exchange what is in them.

A subspace is an orthonormal basis (C, d). To interchange is to take the part of the stream that lies in it from
another document, and to leave the rest (Geiger et al. 2021, arXiv:2106.02997).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

_RANK = 1e-4  # of the largest singular value: what is below is rounding
Change = Callable[[Tensor, Tensor], Tensor]


def basis(rows: Tensor) -> Tensor:
    """An orthonormal basis (C, d) of what rows (n, C) span, in float32."""
    _, values, directions = torch.linalg.svd(rows.double(), full_matrices=False)
    return directions[values > _RANK * values.max()].T.float()


def pattern(directions: Tensor, states: Tensor) -> Tensor:
    """What states (N, C) look like where the outputs of `directions` (n, C) vary: (n, C).

    The activation pattern of a linear readout, the covariance of the states times its weights (Haufe et al. 2014,
    NeuroImage 87). Weights also point to where noise can be subtracted; patterns only to where the signal is.
    """
    centred = states.double() - states.double().mean(0)
    return (directions.double() @ (centred.T @ centred) / (len(states) - 1)).float()


def class_means(states: Tensor, labels: np.ndarray) -> Tensor:
    """Means of states (N, C) by class of each head, labels (N, heads), less the mean of all: (n, C)."""
    found = []
    for column in labels.T:
        for value in np.unique(column):
            found.append(states[torch.from_numpy(column == value)].mean(0))
    return torch.stack(found) - states.mean(0)


def random_basis(width: int, dimension: int, generator: torch.Generator) -> Tensor:
    """A subspace drawn uniformly: (C, d)."""
    return torch.linalg.qr(torch.randn(width, dimension, generator=generator))[0]


def interchange(subspace: Tensor | None) -> Change:
    """Take what lies in a subspace (C, d) from the other documents; all of the stream without one."""

    def change(stream: Tensor, source: Tensor) -> Tensor:
        return source if subspace is None else stream + (source - stream) @ subspace @ subspace.T

    return change


def sham(change: Change, subspace: Tensor) -> Change:
    """In place of another change one as large, of what differs in a random subspace (C, d).

    Both documents may be alike in it; then a direction of it that is the same for all is taken.
    """

    def changed(stream: Tensor, source: Tensor) -> Tensor:
        size = (change(stream, source) - stream).norm(dim=-1, keepdim=True)
        move = (source - stream) @ subspace @ subspace.T
        length = move.norm(dim=-1, keepdim=True)
        move = torch.where(length > 0, move / length.clamp_min(1e-12), subspace[:, 0])
        return stream + size * move

    return changed


def shift(by: Tensor) -> Change:
    """Add `by`, (B, C), whatever the other documents are."""
    return lambda stream, source: stream + by[:, None]
