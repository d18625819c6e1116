"""Greedy decoding of programs under the grammar, with a record of what the model did.

The grammar over codes (`karel.grammar`) becomes an automaton over tokens: each
state's legal codes are spelled by the encoding, and the spellings form a trie.
A node of the automaton is a state and a path into its trie; it follows the whole
batch with a few array lookups a step.

Unconstrained decoding needs no second pass: as long as the model's own first
choice is legal, it and the constrained choice are the same, and once it is not,
the unconstrained output no longer parses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from progsem.encodings import Encoding
from progsem.karel.codes import ACTIONS, CLOSE, ELSE, IFELSE, PAD
from progsem.karel.grammar import CONTROL, FIRST, NEXT, NEXT_STATE, OTHERWISE, STATES
from progsem.model import Cache, CodeGen

_NONE = 254  # no code is decided or completed by this token


class TokenGrammar:
    """The automaton: tables of shape (nodes, vocabulary)."""

    def __init__(self, encoding: Encoding, control_flow: bool):
        spelled = {
            (state, code): ids
            for (state, code), ids in encoding.expansions.items()
            if control_flow or code < len(ACTIONS) or code == CLOSE
        }
        paths = {(state, ()) for state in range(STATES)}
        paths |= {(state, tuple(ids[:k])) for (state, _), ids in spelled.items() for k in range(1, len(ids))}
        self.nodes = {path: index for index, path in enumerate(sorted(paths))}
        self.roots = np.array([self.nodes[state, ()] for state in range(STATES)])
        shape = len(self.nodes), len(encoding.vocabulary)
        self.next_node = np.zeros(shape, np.int64)
        self.completes, self.decides = np.full((2, *shape), _NONE, np.uint8)
        self.legal = np.zeros((2, *shape), bool)  # [1]: a further block may be opened
        for (state, code), ids in spelled.items():
            decided = encoding.decided(state, code)
            for k, token in enumerate(ids):
                node = self.nodes[state, tuple(ids[:k])]
                self.legal[1, node, token] = True
                self.legal[0, node, token] |= code not in CONTROL
                if k == decided:
                    self.decides[node, token] = code
                if k + 1 < len(ids):
                    self.next_node[node, token] = self.nodes[state, tuple(ids[: k + 1])]
                else:
                    self.completes[node, token] = code
                    self.next_node[node, token] = self.nodes[int(NEXT_STATE[state, code]), ()]


class Followed:
    """Where each program of a batch stands in the grammar."""

    def __init__(self, grammar: TokenGrammar, batch: int, codes: int, max_depth: int):
        self.grammar = grammar
        self.max_depth = max_depth
        self.node = np.full(batch, grammar.nodes[FIRST, ()])
        self.depth = np.zeros(batch, np.int64)
        self.otherwise = np.zeros((batch, max_depth + 1), bool)
        self.codes = np.full((batch, codes), PAD, np.uint8)
        self.count = np.zeros(batch, np.int64)
        self.done = np.zeros(batch, bool)

    def legal(self) -> np.ndarray:
        """(B, V) bool: tokens that may come next."""
        return self.grammar.legal[(self.depth < self.max_depth).astype(np.int64), self.node]

    def decides(self, tokens: np.ndarray) -> np.ndarray:
        """(B,) bool: whether this token settles which action comes next."""
        return self.grammar.decides[self.node, tokens] < len(ACTIONS)

    def advance(self, tokens: np.ndarray, going: np.ndarray) -> None:
        """Read a legal token (B,) of each program that is still `going`."""
        grammar = self.grammar
        completed = np.where(going, grammar.completes[self.node, tokens], _NONE)
        self.node = np.where(going, grammar.next_node[self.node, tokens], self.node)
        closing = completed == CLOSE
        self.done |= closing & (self.depth == 0)
        writes = (completed != _NONE) & ~self.done
        self.codes[np.flatnonzero(writes), self.count[writes]] = completed[writes]
        self.count += writes
        inner = np.flatnonzero(closing & ~self.done)
        self.depth[inner] -= 1
        afterwards = np.where(self.otherwise[inner, self.depth[inner]], OTHERWISE, NEXT)
        self.node[inner] = grammar.roots[afterwards]
        opening = np.flatnonzero(np.isin(completed, (ELSE, *CONTROL)))
        self.otherwise[opening, self.depth[opening]] = completed[opening] == IFELSE
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
    activations: Tensor


def kept_states(states: list[Tensor], each: bool) -> Tensor:
    """Hidden states of every layer as (B, T, S, C) float32: their mean first, then each one if wanted."""
    stacked = torch.stack([state.float() for state in states], dim=2)
    mean = stacked.mean(dim=2, keepdim=True)
    return torch.cat((mean, stacked), dim=2) if each else mean


def write_programs(
    model: CodeGen,
    grammar: TokenGrammar,
    cache: Cache,
    last_states: list[Tensor],
    start: int,
    codes: int,
    tokens: int,
    max_depth: int,
    each_layer: bool,
) -> Written:
    """Decode greedily behind prompts that `cache` holds up to position `start`.

    last_states: hidden states of the prompt's last position, layers + 1 tensors
    (B, 1, C); codes, tokens: most that a program may take; max_depth: of blocks.
    A program that is not closed by then is not `finished`.
    """
    batch, device = last_states[0].shape[0], last_states[0].device
    followed = Followed(grammar, batch, codes, max_depth)
    free = np.ones(batch, bool)
    length = np.zeros(batch, np.int16)
    log_likelihood = torch.zeros(batch, device=device)
    kept = model.shape.layers + 2 if each_layer else 1
    activations = torch.zeros(batch, codes, kept, model.shape.width, dtype=torch.float16, device=device)
    states = last_states
    for step in range(tokens):
        logits = model.logits(states[-1][:, -1])
        legal = torch.from_numpy(followed.legal()).to(device)
        chosen = logits.masked_fill(~legal, -torch.inf).argmax(dim=1)
        going = ~followed.done & (followed.count < codes)
        scores = torch.log_softmax(logits, dim=1).gather(1, chosen[:, None])[:, 0]
        log_likelihood += scores * torch.from_numpy(going).to(device)
        picked = chosen.cpu().numpy()
        free &= ~going | (logits.argmax(dim=1) == chosen).cpu().numpy()
        length += going
        rows = np.flatnonzero(going & followed.decides(picked))
        at = torch.from_numpy(followed.count[rows])
        rows = torch.from_numpy(rows)
        activations[rows, at] = kept_states(states, each_layer)[rows, -1].to(torch.float16)
        followed.advance(picked, going)
        if not (~followed.done & (followed.count < codes)).any():
            break
        states = model(chosen[:, None], cache, start + step, every_layer=True)
    return Written(
        codes=followed.codes,
        finished=followed.done,
        parses_freely=free & followed.done,
        log_likelihood=log_likelihood.cpu().numpy(),
        tokens=length,
        activations=activations,
    )
