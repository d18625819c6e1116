"""Probes of the residual stream behind one block, kept with their weights: to be read, to be followed, to be edited by.

They are fitted as those of the stage `probes`, to beginnings that are fed: states behind every statement of the corpus'
own programs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from progsem.editing.prefixes import Meaning
from progsem.editing.streams import Editable, Texts
from progsem.languages import LANGUAGE
from progsem.languages.labels import Head, spans
from progsem.lm.traces import positions_of_actions
from progsem.probing.controls import control_labels
from progsem.probing.fits import ProbeBatch, States, scale, standardised
from progsem.probing.probes import aligned
from progsem.study.config import Probes
from progsem.study.vocabulary import TEST, TRAIN


@dataclass(frozen=True)
class Fed:
    """The residual stream behind every statement of the corpus' own programs, with its labels.

    streams: by layer, (M, C) float32. program, statement: (M,), where each is. rows: (N,), those that have a label, and
    labels (N, heads), split (N,), final (N,) of these. so_far: (N, L) codes up to there.
    """

    streams: list[np.ndarray]
    program: np.ndarray
    statement: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    final: np.ndarray
    so_far: np.ndarray

    @classmethod
    def by(cls, editable: Editable, texts: Texts, meaning: Meaning, recipe: Probes, batch: int) -> Fed:
        """What a model has in it while it reads them, `batch` at a time."""
        specifications = texts.specifications
        programs, worlds = specifications.programs, specifications.worlds.at(np.s_[:, 0])
        program, position, statement = positions_of_actions(programs)
        ids, _, _, ends = texts.encoding.spell(programs)
        parts = []
        for first in range(0, len(programs), batch):
            rows = np.arange(first, min(first + batch, len(programs)))
            documents = np.concatenate([specifications.prompts(texts.encoding, rows), ids[rows]], axis=1)
            here = (program >= rows[0]) & (program <= rows[-1])
            at = program[here] - first, ends[program[here], position[here]]
            streams = editable.streams(documents, ids.shape[1])
            parts.append([stream.cpu().numpy()[at] for stream in streams])
        run = LANGUAGE.execution.trace(programs, worlds, meaning.step_limit, meaning.meanings)
        rows, target = aligned(run, program, statement, 0, recipe.drop_final)
        labels = LANGUAGE.features.labels(tuple(spans(meaning.heads)), run.states(program[rows], target))
        places = np.arange(programs.shape[1])
        so_far = np.where(places <= position[rows, None], programs[program[rows]], np.uint8(LANGUAGE.codes.PAD))
        return cls(
            streams=[np.concatenate(layer) for layer in zip(*parts, strict=True)],
            program=program,
            statement=statement,
            rows=rows,
            labels=labels,
            split=specifications.split[program[rows]],
            final=statement[rows] == run.actions[program[rows]] - 1,
            so_far=so_far,
        )

    def states(self, layer: int) -> States:
        """As the data that probes of block `layer`, from 1, are fitted to."""
        return States(f"stream {layer}", self.streams[layer - 1], self.rows, self.labels, self.split)

    def shuffled(self, layer: int, heads: list[Head]) -> States:
        """The same with labels that follow from the program so far, at random (`control_labels`)."""
        labels = control_labels(self.so_far, self.labels, self.split == TRAIN, heads)
        return replace(self.states(layer), labels=labels)


class Reader:
    """The probes of every depth for one block's residual stream; `right` (N', depths, heads) of the test states."""

    def __init__(self, data: States, heads: list[Head], recipe: Probes, device: torch.device):
        self.heads = heads
        self.mean, self.factor = (
            part.to(device) for part in scale(torch.from_numpy(data.activations[data.rows]), data.of(TRAIN))
        )
        inputs = [standardised(data, torch.float32)]
        batch = ProbeBatch([(data, 0)], inputs, heads, recipe.model_copy(update={"seeds": 1}), device)
        _, weights = batch.fit()
        (answers,) = batch.answers(TEST, weights)
        self.right = answers.classes == data.labels[data.of(TEST), None]
        self._weights = [[[part for part in layer if part is not None] for layer in layers] for layers in weights]
        self._seen = [np.unique(data.labels[data.of(TRAIN), head]) for head in range(len(heads))]

    def logits(self, stream: Tensor) -> Tensor:
        """(depths, heads, N, classes) of states (N, C), with their gradient."""
        inputs = F.pad((stream - self.mean) * self.factor, (0, 1), value=1.0)
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
        weights = first[0].view(len(self.heads), -1, first.shape[2])[..., :-1] * self.factor
        chosen = [weights[head, self._seen[head].astype(np.int64)] for head in range(span.start, span.stop)]
        return torch.cat([part - part.mean(0) for part in chosen])
