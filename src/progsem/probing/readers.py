"""Probes that are kept with their weights: to be asked about other states, to be followed, to be edited by.

They are fitted as those of the stage `probes`, one seed of every depth and head.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from progsem.languages.labels import Head
from progsem.probing.fits import ProbeBatch, States, whitened
from progsem.study.config import Probes
from progsem.study.vocabulary import TEST, TRAIN


class Reader:
    """The probes of every depth for one block's residual stream; `right` (N', depths, heads) of the test states."""

    def __init__(
        self,
        data: States,
        heads: list[Head],
        recipe: Probes,
        device: torch.device,
        progress: Callable[[int], object] | None = None,
    ):
        self.heads = heads
        inputs, self.whitening = whitened(data, device, torch.float32)
        batch = ProbeBatch([(data, 0)], [inputs], heads, recipe.model_copy(update={"seeds": 1}), device)
        _, weights = batch.fit(progress=progress)
        (answers,) = batch.answers(TEST, weights)
        self.right = answers.classes == data.labels[data.of(TEST), None]
        self._weights = [[[part for part in layer if part is not None] for layer in layers] for layers in weights]
        self._seen = [np.unique(data.labels[data.of(TRAIN), head]) for head in range(len(heads))]

    def logits(self, stream: Tensor) -> Tensor:
        """(depths, heads, N, classes) of states (N, C), with their gradient."""
        inputs = F.pad(self.whitening.of(stream), (0, 1), value=1.0)
        found = []
        for (first,), *others in self._weights:
            units = (first[0] @ inputs.T).view(len(self.heads), -1, len(stream))
            for weight, bias in others:
                units = torch.baddbmm(bias, weight, torch.relu(units))
            found.append(units.mT)
        return torch.stack(found)

    def reads(self, stream: Tensor) -> np.ndarray:
        """(N, depths, heads) uint8: what the probes read in states (N, C)."""
        with torch.no_grad():
            return self.logits(stream).argmax(3).permute(2, 0, 1).to(torch.uint8).cpu().numpy()

    def directions(self, depth: int, span: slice) -> Tensor:
        """Of the linear probes at `depth`, weights (rows, C) of the classes that occur, less their mean over classes.

        In units of the stream, heads one behind another; only differences between classes matter to what is read.
        """
        (first,) = self._weights[depth][0]
        weights = first[0].view(len(self.heads), -1, first.shape[2])[..., :-1] @ self.whitening.matrix.T
        chosen = [weights[head, self._seen[head].astype(np.int64)] for head in range(span.start, span.stop)]
        return torch.cat([part - part.mean(0) for part in chosen])
