"""The residual stream behind every statement of the corpus' own programs, with the states of the programs there.

Probes that edits go by are fitted to it, as those of the stage `probes` are to what that reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from progsem.editing.prefixes import Meaning
from progsem.editing.streams import Editable, Texts
from progsem.languages import LANGUAGE
from progsem.languages.labels import Head
from progsem.lm.traces import positions_of_actions
from progsem.probing.controls import control_labels
from progsem.probing.fits import States
from progsem.probing.probes import labels_of
from progsem.study.config import Probes
from progsem.study.vocabulary import TRAIN


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
        rows, labels = labels_of(run, program, statement, 0, recipe)
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
