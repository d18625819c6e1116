"""Writers without a language model: what cheap proposals solve is what a model's are to be compared with.

uniform        every code that the grammar allows next is as likely
corpus         programs of the training corpus, drawn as they are frequent there
unigram        codes as likely as logistic regressions on the specification say of each place in a program
bigram         the same, which are also told the code before
enumeration    all programs, shorter ones first; the same ones for every specification

Those of a language are in its folder (`LANGUAGE.writers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
from scipy import sparse

from progsem.languages import LANGUAGE
from progsem.languages.grammar import ILLEGAL, NOTHING, Grammar
from progsem.lm.decoding import Followed, TokenGrammar
from progsem.synthesis.sampling import Proposals, pick


class Codes:
    """Programs spelled by their own codes: what `TokenGrammar` asks of an encoding."""

    def __init__(self):
        self.grammar: Grammar = LANGUAGE.grammar.GRAMMAR
        self.vocabulary = list(range(self.grammar.codes))
        self.expansions = {pair: [pair[1]] for pair in self.grammar.legal()}

    def decided(self, state: int, code: int) -> int:
        """Which token of an expansion decides it: the only one."""
        return 0


class Drawn:
    """Programs drawn code by code, from chances that a subclass gives.

    codes: most that a program may have; max_depth: of blocks.
    """

    def __init__(self, codes: int, max_depth: int):
        self.codes, self.max_depth = codes, max_depth
        self.grammar = TokenGrammar(Codes(), max_depth > 0)

    def logits(self, specification: np.ndarray, place: int, before: np.ndarray) -> np.ndarray:
        """Log-chances (S, C) of the code at a place of S programs, behind the codes `before` (S,)."""
        raise NotImplementedError

    def propose(self, specification: np.ndarray, count: int, seed: tuple[int, ...]) -> Proposals:
        """So many programs, independent of each other; `specification` is as `LANGUAGE.writers` describes it."""
        uniforms = np.stack([np.random.default_rng((*seed, sample)).random(self.codes + 1) for sample in range(count)])
        followed = Followed(self.grammar, count, self.codes, self.max_depth)
        before = np.full(count, LANGUAGE.codes.PAD)
        for place in range(self.codes + 1):
            rows = followed.going()
            if not len(rows):
                break
            chances = self.logits(specification, place, before[rows])
            chances = np.where(followed.legal(rows), chances, -np.inf)
            picked = pick(chances, uniforms[rows, place], 1.0, 1.0)
            followed.advance(rows, picked)
            before[rows] = picked
        return Proposals(np.where(followed.done[:, None], followed.codes, LANGUAGE.codes.PAD), followed.done)


class Uniform(Drawn):
    """Every code that may come next is as likely."""

    def logits(self, specification, place, before):
        """See `Drawn`."""
        return np.zeros((len(before), self.grammar.grammar.codes))


class Learned(Drawn):
    """Codes as a logistic regression on the specification says, one for each place in a program.

    specifications: (N, G) categories, as `LANGUAGE.writers.described` gives them; programs: (N, L) codes.
    With `context`, the code before is one more.
    """

    def __init__(self, codes: int, max_depth: int, specifications: np.ndarray, programs: np.ndarray, context: bool):
        super().__init__(codes, max_depth)
        self.context, self.kinds = context, int(specifications.max()) + 1
        closes, count = self.grammar.grammar.closes, self.grammar.grammar.codes
        lengths = (programs != LANGUAGE.codes.PAD).sum(axis=1)
        self.models: list[tuple[np.ndarray, object]] = []  # of each place: the codes that come there, what chooses
        self._asked: tuple[bytes, list[np.ndarray]] = (b"", [])
        for place in range(lengths.max() + 1):
            rows = np.flatnonzero(lengths >= place)
            ends = np.full(len(programs), closes)
            wanted = np.where(lengths > place, programs[:, place] if place < programs.shape[1] else ends, ends)[rows]
            before = programs[rows, place - 1].astype(int) if place else np.full(len(rows), count)
            self.models.append(self._fit(specifications[rows], before, wanted))

    def _fit(self, specifications: np.ndarray, before: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, object]:
        from sklearn.linear_model import LogisticRegression

        classes = np.unique(wanted)
        if len(classes) == 1:
            return classes, None
        model = LogisticRegression(max_iter=300)
        return classes, model.fit(self._inputs(specifications, before), wanted)

    def _inputs(self, specifications: np.ndarray, before: np.ndarray) -> sparse.csr_matrix:
        """(N, features): one for each category but 0 at each place, and for each code before, if there is a context.

        What two categories say is so one bit.
        """
        count, places = specifications.shape
        values = specifications != 0
        columns = specifications + np.arange(places) * self.kinds
        width = places * self.kinds
        if self.context:
            columns = np.concatenate([columns, width + np.minimum(before, self.grammar.grammar.codes)[:, None]], axis=1)
            values = np.pad(values, ((0, 0), (0, 1)), constant_values=True)
            width += self.grammar.grammar.codes + 1
        ends = np.arange(count + 1) * columns.shape[1]
        return sparse.csr_matrix((values.ravel().astype(float), columns.ravel(), ends), (count, width))

    def logits(self, specification, place, before):
        """See `Drawn`; behind all that has been seen, what comes at the last place."""
        if self._asked[0] != specification.tobytes():
            self._asked = specification.tobytes(), [self._table(specification, model) for model in self.models]
        table = self._asked[1][min(place, len(self.models) - 1)]
        return table[np.minimum(before, len(table) - 1)]

    def _table(self, specification: np.ndarray, fitted: tuple[np.ndarray, object]) -> np.ndarray:
        """Log-chances (codes + 1, codes) of a code behind each other one, and behind nothing."""
        classes, model = fitted
        count = self.grammar.grammar.codes
        table = np.full((count + 1, count), -30.0)  # what never comes, unless nothing else may
        if model is None:
            table[:, classes] = 0.0
        else:
            inputs = self._inputs(np.repeat(specification[None], count + 1, axis=0), np.arange(count + 1))
            table[:, classes] = model.predict_log_proba(inputs)
        return table


def drawn_from(programs: np.ndarray, codes: int, count: int, seed: tuple[int, ...]) -> Proposals:
    """So many programs, drawn from others (N, L) with replacement."""
    rows = [int(np.random.default_rng((*seed, sample)).integers(len(programs))) for sample in range(count)]
    return Proposals(_as_wide(programs[rows], codes), np.ones(count, bool))


def of_language(name: str, worlds, outputs, codes: int, count: int, seed: int) -> Callable[[int], Proposals]:
    """What a writer of the language's own proposes for each of N specifications: so many programs, independently.

    worlds, outputs: (N, K), those that are shown.
    """
    write, nothing = LANGUAGE.writers.WRITERS[name], np.empty(0, np.uint8)

    def propose(row: int) -> Proposals:
        streams = (np.random.default_rng((seed, row, sample)) for sample in range(count))
        found = [write(worlds.at(row), outputs.at(row), stream) for stream in streams]
        whole = np.array([program is not None for program in found])
        rows = [_as_wide((nothing if program is None else program)[None], codes) for program in found]
        return Proposals(np.concatenate(rows), whole)

    return propose


def enumerated(codes: int, max_depth: int, count: int) -> Proposals:
    """The first so many of all programs: shorter ones first, of one length in the order of their codes."""
    grammar = LANGUAGE.grammar.GRAMMAR
    every = (program for length in range(1, codes) for program in _of_length(grammar, length, max_depth))
    found = [np.array(program, np.uint8)[None] for program in islice(every, count)]
    whole = np.concatenate([_as_wide(program, codes) for program in found])
    return Proposals(whole, np.ones(len(whole), bool))


def _of_length(grammar: Grammar, length: int, max_depth: int) -> Iterator[list[int]]:
    """Programs of exactly so many codes."""

    def follow(state: int, stack: list[int], program: list[int]) -> Iterator[list[int]]:
        if len(program) == length:
            if not stack and grammar.next_state[state, grammar.closes] != ILLEGAL:
                yield program
            return
        for code in np.flatnonzero(grammar.next_state[state] != ILLEGAL).tolist():
            behind = int(grammar.pushes[code])
            if code == grammar.closes:
                if stack:
                    yield from follow(stack[-1], stack[:-1], [*program, code])
            elif behind == NOTHING:
                yield from follow(int(grammar.next_state[state, code]), stack, [*program, code])
            elif len(stack) < max_depth:
                yield from follow(int(grammar.next_state[state, code]), [*stack, behind], [*program, code])

    yield from follow(grammar.first, [], [])


def _as_wide(programs: np.ndarray, codes: int) -> np.ndarray:
    """Programs (N, L) with room for so many codes."""
    return np.pad(programs, ((0, 0), (0, codes - programs.shape[1])), constant_values=LANGUAGE.codes.PAD)
