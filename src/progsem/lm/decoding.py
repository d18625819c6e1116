"""Greedy decoding of programs under the grammar, with a record of what the model did.

The grammar over codes (`LANGUAGE.grammar`) becomes an automaton over tokens: each
state's legal codes are spelled by the encoding, and the spellings form a trie.
A node of the automaton is a state and a path into its trie; it follows the whole
batch with a few array lookups a step. A program that is finished leaves the batch.

Unconstrained decoding needs no second pass: as long as the model's own first
choice is legal, it and the constrained choice are the same, and once it is not,
the unconstrained output no longer parses.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from progsem.data.encodings import Encoding
from progsem.languages import LANGUAGE
from progsem.languages.grammar import NOTHING
from progsem.lm.language_model import Cache, Inference

UNDECIDED = 254  # in place of a code: none is decided or completed by this token


class TokenGrammar:
    """The automaton: tables of shape (nodes, vocabulary)."""

    def __init__(self, encoding: Encoding, blocks: bool):
        """blocks: whether programs may have any."""
        self.grammar = grammar = encoding.grammar
        opens = grammar.pushes != NOTHING
        spelled = {pair: ids for pair, ids in encoding.expansions.items() if blocks or not opens[pair[1]]}
        paths = {(state, ()) for state in range(grammar.states)}
        paths |= {(state, tuple(ids[:k])) for (state, _), ids in spelled.items() for k in range(1, len(ids))}
        self.nodes = {path: index for index, path in enumerate(sorted(paths))}
        self.roots = np.array([self.nodes[state, ()] for state in range(grammar.states)])
        shape = len(self.nodes), len(encoding.vocabulary)
        self.next_node = np.zeros(shape, np.int64)
        self.completes, self.decides = np.full((2, *shape), UNDECIDED, np.uint8)
        self.legal = np.zeros((2, *shape), bool)  # [1]: a further block may be opened
        for (state, code), ids in spelled.items():
            decided = encoding.decided(state, code)
            for k, token in enumerate(ids):
                node = self.nodes[state, tuple(ids[:k])]
                self.legal[1, node, token] = True
                self.legal[0, node, token] |= not opens[code]
                if k == decided:
                    self.decides[node, token] = code
                if k + 1 < len(ids):
                    self.next_node[node, token] = self.nodes[state, tuple(ids[: k + 1])]
                else:
                    self.completes[node, token] = code
                    self.next_node[node, token] = self.roots[grammar.next_state[state, code]]


class Followed:
    """Where each program of a batch stands in the grammar."""

    def __init__(self, grammar: TokenGrammar, batch: int, codes: int, max_depth: int):
        self.grammar = grammar
        self.max_depth = max_depth
        self.node = np.full(batch, grammar.roots[grammar.grammar.first])
        self.depth = np.zeros(batch, np.int64)
        self.stack = np.zeros((batch, max_depth + 1), np.uint8)  # the state behind the end of each open block
        self.codes = np.full((batch, codes), LANGUAGE.codes.PAD, np.uint8)
        self.count = np.zeros(batch, np.int64)
        self.done = np.zeros(batch, bool)

    def going(self) -> np.ndarray:
        """(R,) int64: the programs that are neither finished nor as long as they may be."""
        return np.flatnonzero(~self.done & (self.count < self.codes.shape[1]))

    def legal(self, rows: np.ndarray) -> np.ndarray:
        """(R, V) bool: tokens that may come next in programs `rows` (R,)."""
        return self.grammar.legal[(self.depth[rows] < self.max_depth).astype(np.int64), self.node[rows]]

    def decides(self, rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """(R,) bool: whether this token settles which action comes next."""
        return LANGUAGE.codes.is_action(self.grammar.decides[self.node[rows], tokens])

    def ends(self, rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """(R,) bool: whether this token ends programs `rows`."""
        closes = self.grammar.grammar.closes
        return (self.grammar.completes[self.node[rows], tokens] == closes) & (self.depth[rows] == 0)

    def at(self, rows: np.ndarray) -> Followed:
        """Copies of some of the programs."""
        copied = copy.copy(self)
        for name in ("node", "depth", "stack", "codes", "count", "done"):
            setattr(copied, name, getattr(self, name)[rows])
        return copied

    def advance(self, rows: np.ndarray, tokens: np.ndarray) -> None:
        """Read a legal token (R,) of each of programs `rows`."""
        grammar, (_, _, pushes, closes) = self.grammar, self.grammar.grammar
        completed = grammar.completes[self.node[rows], tokens]
        self.node[rows] = grammar.next_node[self.node[rows], tokens]
        closing = completed == closes
        self.done[rows] = closing & (self.depth[rows] == 0)
        writes = (completed != UNDECIDED) & ~self.done[rows]
        self.codes[rows[writes], self.count[rows[writes]]] = completed[writes]
        self.count[rows] += writes
        inner = rows[closing & ~self.done[rows]]
        self.depth[inner] -= 1
        self.node[inner] = grammar.roots[self.stack[inner, self.depth[inner]]]
        opens = np.flatnonzero(np.isin(completed, np.flatnonzero(pushes != NOTHING)))
        opening = rows[opens]
        self.stack[opening, self.depth[opening]] = pushes[completed[opens]]
        self.depth[opening] += 1


@dataclass
class Written:
    """What the model wrote for a batch of specifications.

    codes: (B, L) uint8; finished, parses_freely: (B,) bool; log_likelihood: (B,)
    float32 in nats; tokens: (B,) int16, closing brace included; activations:
    (B, L, S, C) float16, the state that emitted each action, for each of S states
    kept.
    """

    codes: np.ndarray
    finished: np.ndarray
    parses_freely: np.ndarray
    log_likelihood: np.ndarray
    tokens: np.ndarray
    activations: np.ndarray


def kept_states(states: list[Tensor], count: int) -> np.ndarray:
    """The mean over the layers' hidden states, and those of the last layers: (…, count, C) float16."""
    stacked = torch.stack(states, dim=-2).float()
    kept = torch.cat((stacked.mean(dim=-2, keepdim=True), stacked[..., len(states) - count + 1 :, :]), dim=-2)
    return kept.to(torch.float16).cpu().numpy()


@torch.inference_mode()
def write_programs(
    inference: Inference,
    cache: Cache,
    grammar: TokenGrammar,
    states: list[Tensor],
    start: int,
    codes: int,
    tokens: int,
    max_depth: int,
    kept: int,
    begun: np.ndarray | None = None,
) -> Written:
    """Decode greedily behind prompts that are in `cache` up to position `start`.

    states: hidden states of the prompt's last position, layers + 1 tensors (B, C);
    codes, tokens: most that a program may take; max_depth: of blocks. A program that is
    not closed by then is not `finished`. `begun`, (B, t) tokens, are how programs begin that
    have been read already; their codes are among those that are returned, all else is of what is written.
    """
    batch = len(states[0])
    followed = Followed(grammar, batch, codes, max_depth)
    for column in [] if begun is None else begun.T:
        followed.advance(np.arange(batch), column)
    free = np.ones(batch, bool)
    length = np.zeros(batch, np.int16)
    log_likelihood = np.zeros(batch, np.float32)
    activations = np.zeros((batch, codes, kept, inference.width), np.float16)
    rows = followed.going()
    for step in range(tokens):
        logits = inference.logits(states[-1]).cpu().numpy()
        picked = np.where(followed.legal(rows), logits, -np.inf).argmax(axis=1)
        best = logits.argmax(axis=1)
        free[rows] &= best == picked
        log_likelihood[rows] += _log_probabilities(logits, picked)
        length[rows] += 1
        deciding = np.flatnonzero(followed.decides(rows, picked))
        activations[rows[deciding], followed.count[rows[deciding]]] = kept_states(
            [state[deciding] for state in states], kept
        )
        followed.advance(rows, picked)
        rows, before = followed.going(), rows
        if not len(rows):
            break
        read, among = map(torch.from_numpy, (picked[np.searchsorted(before, rows)], rows))
        states = inference.step(read.to(inference.device), cache, among.to(inference.device), start + step)
    return Written(
        codes=followed.codes,
        finished=followed.done,
        parses_freely=free & followed.done,
        log_likelihood=log_likelihood,
        tokens=length,
        activations=activations,
    )


def _log_probabilities(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Natural logarithms of the probabilities of tokens (R,), given logits (R, V) float32."""
    relative = logits - logits.max(axis=1, keepdims=True)
    return relative[np.arange(len(tokens)), tokens] - np.log(np.exp(relative).sum(axis=1))
