"""What a checkpoint writes for a specification of one's own, with which probabilities, and what probes read."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from progsem.api.names import chosen_layer
from progsem.api.pictures import Example, Execution, Program, World
from progsem.data.encodings import Encoding
from progsem.editing.streams import Editable, NextCodes, Texts
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.lm.traces import Specifications, Tracer, satisfied, state_columns, whole_programs
from progsem.study.vocabulary import GENERATED, LINEAR, ORIGINAL

if TYPE_CHECKING:
    from progsem.api.checkpoint import Checkpoint

END = "end"  # of a program, among what may come next


class Writing:
    """What a model writes for one specification. Made by `Checkpoint.write`.

    program: what it writes greedily under the grammar. finished: whether that came to an end. correct: for each
    example, whether the program leaves the output that is asked for. log_likelihood: of the program, in nats.
    """

    def __init__(self, checkpoint: Checkpoint, specification: Specifications, job: Job):
        self.checkpoint, self._specification, self._job = checkpoint, specification, job
        encoding = encoding_of(job)
        tracer = Tracer(checkpoint._own, encoding, job)
        written = tracer.write(specification.prompts(encoding, np.s_[:]))
        codes = whole_programs(written)
        step_limit = job.section("programs").step_limit
        language = checkpoint.study._language
        self.program = Program(codes[0], language, step_limit)
        self.finished = bool(written.finished[0])
        right = satisfied(codes, specification.worlds, specification.outputs, step_limit)[0]
        self.correct = tuple(bool(one) and self.finished for one in right)
        self.log_likelihood = float(written.log_likelihood[0])
        self._columns = state_columns(codes, written.activations, checkpoint._own.layers)

    @property
    def examples(self) -> list[Example]:
        """Input and output of each example."""
        language = self.checkpoint.study._language
        worlds, outputs = self._specification.worlds, self._specification.outputs
        pairs = ((worlds.at((0, k)), outputs.at((0, k))) for k in range(len(self.correct)))
        return [Example(World(one, language) for one in pair) for pair in pairs]

    @cached_property
    def probabilities(self) -> pd.DataFrame:
        """Of what may come next under the grammar, before each statement and before the end: a row a code.

        The index is the number of codes that have been written, a column is what may come, as text.
        """
        LANGUAGE.use(self.checkpoint.study._language.name)
        return next_statements(self.checkpoint, self._specification, self.program.codes, self._job)

    def states(self, layer: str | int | None = None) -> np.ndarray:
        """(S, C) float32: the hidden states that emitted each of the program's S statements; `layer` as for probes."""
        asked = self.checkpoint.study._plan.study.probes.layer if layer is None else layer
        known = [one for one in self._columns if one not in ("program", "position", "statement")]
        name = known[-1] if asked == "last" else chosen_layer(asked, known)
        return self._columns[name].astype(np.float32)

    def read(
        self, depth: str = LINEAR, semantics: str | Mapping[str, str] = ORIGINAL, layer: str | int | None = None
    ) -> Execution:
        """The program executed on the first example, and at each statement what the study's probe reads.

        The probe is that of `Checkpoint.probe` for programs that the model writes, at offset 0.
        """
        probe = self.checkpoint.probe(depth, GENERATED, layer, semantics)
        answers = probe.answers(self.states(layer))
        run = self.execution(semantics)
        world = self._specification.worlds.at((0, 0))
        reading = self.checkpoint.study._language.gallery.reading
        read = [
            statement | {"read": reading({feature: rows[number] for feature, rows in answers.items()}, world)}
            for number, statement in enumerate(run.statements)
        ]
        return replace(run, statements=tuple(read))

    def execution(self, semantics: str | Mapping[str, str] = ORIGINAL) -> Execution:
        """The program executed on the first example."""
        return self.program.run(self.examples[0][0], self.checkpoint.study._mapping(semantics))

    def __repr__(self) -> str:
        right = f"right on {sum(self.correct)} of {len(self.correct)}"
        return f"{self.checkpoint} writes: {self.program} ({right if self.finished else 'not finished'})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.execution()._repr_html_()}"


def encoding_of(job: Job) -> Encoding:
    """How a job's texts are spelled."""
    return LANGUAGE.text.ENCODINGS[job.section("tokens").encoding]()


def texts_of(specification: Specifications, job: Job) -> Texts:
    """What specifications and programs are as tokens, for a job of the stage `traces`."""
    extra = job.section("traces").extra_statements
    return Texts(specification, encoding_of(job), job.section("programs"), extra)


def next_statements(checkpoint: Checkpoint, specification: Specifications, codes: np.ndarray, job: Job) -> pd.DataFrame:
    """Probabilities of the next code before each code of a program (L,) and before its end."""
    editable, texts = Editable(checkpoint._own), texts_of(specification, job)
    rows = []
    for length in range(min(int((codes != LANGUAGE.codes.PAD).sum()) + 1, len(codes))):
        begun = spelled(texts, codes, length)
        after = texts.next_codes(begun)
        read = editable.read(texts.documents(np.zeros(1, np.int64), [begun]))
        rows.append(as_series(after, read.next_codes(after, None, read)[0].exp().cpu().numpy(), texts.encoding))
    return pd.DataFrame(rows).reset_index(drop=True).rename_axis("written")


def spelled(texts: Texts, codes: np.ndarray, length: int) -> np.ndarray:
    """The tokens (t,) of the first codes of a program (L,)."""
    if not length:
        return np.zeros(0, np.int64)
    beginning = np.where(np.arange(len(codes)) < length, codes, np.uint8(LANGUAGE.codes.PAD))
    return texts.tokens_of(beginning[None], np.array([length]))[0].astype(np.int64)


def as_series(after: NextCodes, probabilities: np.ndarray, encoding: Encoding) -> pd.Series:
    """Probabilities (codes,) by what each code is called."""
    texts = {code: "".join(encoding.expansion(*pair)) for pair in encoding.grammar.legal() for code in [pair[1]]}
    names = [END if code == encoding.grammar.closes else texts[int(code)].strip(" ;,") for code in after.codes.tolist()]
    return pd.Series(probabilities, index=names)
