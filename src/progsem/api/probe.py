"""A probe that is fitted as the study's are, and can be asked about any hidden state."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from progsem.api.states import as_classes
from progsem.errors import UserError
from progsem.languages import LANGUAGE
from progsem.languages.labels import spans
from progsem.probing.probes import DataSet, Traced
from progsem.probing.readers import Reader
from progsem.study.config import Probes
from progsem.study.vocabulary import TEST


class Probe:
    """Probes of one depth, one for each head. Made by `Checkpoint.probe`.

    features: what they read. layer, depth: out of what, and how. accuracy: by feature, the share of the test states
    that are read right on all of its heads.
    """

    def __init__(
        self, data: DataSet, traced: Traced, recipe: Probes, device: torch.device, progress: Callable[[int], None]
    ):
        (self.depth,) = recipe.depths
        self.features, self.layer = tuple(recipe.features), traced.layer
        self._heads = traced.heads
        self._classes = LANGUAGE.features.classes(self.features, traced.metadata)
        self._reader = Reader(data.states, traced.heads, recipe, device, progress)
        self._device, self._width = device, data.states.activations.shape[1]
        right = self._reader.right[:, 0]
        self.accuracy = pd.Series(
            {feature: right[:, span].all(1).mean() for feature, span in spans(self._heads).items()}, name="accuracy"
        )
        self.states = len(data.states.of(TEST))

    def predict(self, X: np.ndarray) -> pd.DataFrame:
        """What is read in hidden states (N, C) of the same layer: a frame as `States.y`."""
        return as_classes(self._answers(X)[0], self._heads, self._classes)

    def confidence(self, X: np.ndarray) -> pd.DataFrame:
        """The probability that the probe gives to its answer, over all heads of a feature: a column a feature."""
        sure = self._answers(X)[1]
        return pd.DataFrame({feature: sure[:, span].prod(1) for feature, span in spans(self._heads).items()})

    def answers(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """By feature the classes that are read, (N, heads) uint8."""
        found = self._answers(X)[0]
        return {feature: found[:, span] for feature, span in spans(self._heads).items()}

    def _answers(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Classes (N, heads) uint8 and their probabilities, (N, heads) float32."""
        given = (
            np.array(X, np.float32, ndmin=2) if isinstance(X, np.ndarray | list | pd.DataFrame) else np.zeros((0, 0))
        )
        if given.ndim != 2 or given.shape[1] != self._width:
            what = f"of shape {given.shape}" if given.size else repr(X)[:60]
            raise UserError(f"given {what}, expected hidden states (N, {self._width}), such as X of Checkpoint.states")
        states = torch.from_numpy(given).to(self._device)
        with torch.no_grad():
            sure, read = self._reader.logits(states)[0].softmax(2).max(2)
        return read.T.to(torch.uint8).cpu().numpy(), sure.T.cpu().numpy()

    def __repr__(self) -> str:
        read = ", ".join(f"{feature} {share:.1%}" for feature, share in self.accuracy.items())
        return f"Probe ({self.depth}) of {self.layer}: right for {self.states} test states: {read}"
