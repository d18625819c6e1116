"""The residual stream of a language model behind beginnings of programs: read, changed, and gone on from.

What is edited is the residual stream (B, C) behind a block at one position, by default the last that has been read; the
blocks behind it, and all later positions, go on from there. Earlier positions cannot see it, so their keys and values
are kept, and one position is computed for each edit.

Shapes: B documents, T tokens that all of them have, P positions, C width, L layers, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from progsem.data.encodings import Encoding
from progsem.languages import LANGUAGE
from progsem.lm.decoding import UNDECIDED, Followed, TokenGrammar, Written, write_programs
from progsem.lm.language_model import Cache, LanguageModel, noting
from progsem.lm.traces import Specifications


@dataclass(frozen=True)
class Edit:
    """What is done to the residual stream behind block `layer` (from 1) at `position`: (B, C) to (B, C).

    onwards: at all later positions as well. `change` gets the stream (B, P, C), and at the same positions that of the
    documents that it is taken from.
    """

    layer: int
    position: int
    change: Callable[[Tensor, Tensor], Tensor]
    onwards: bool = False


class Texts:
    """What specifications and beginnings of programs are as tokens, for one study."""

    def __init__(self, specifications: Specifications, encoding: Encoding, programs, extra_statements: int):
        self.specifications, self.encoding = specifications, encoding
        self.max_depth = programs.depth
        self.codes = LANGUAGE.codes.most_codes(programs, extra_statements)
        self.tokens = encoding.program_tokens(self.codes)
        self.grammar = TokenGrammar(encoding, programs.control_flow > 0)
        self.prompt_length = specifications.prompts(encoding, np.s_[:1]).shape[1]

    def tokens_of(self, beginnings: np.ndarray, length: np.ndarray) -> list[np.ndarray]:
        """Beginnings (N, L) of so many statements, each spelled up to the end of its last one."""
        ids, _, _, ends = self.encoding.spell(beginnings)
        stop = ends[np.arange(len(beginnings)), length - 1] + 1
        return [row[:end] for row, end in zip(ids, stop, strict=True)]

    def documents(self, program: np.ndarray, spelled: list[np.ndarray]) -> np.ndarray:
        """(B, T) ids of the specifications with these numbers, each with a beginning behind it; all are as long."""
        return np.concatenate([self.specifications.prompts(self.encoding, program), np.stack(spelled)], axis=1)

    def next_codes(self, begun: np.ndarray) -> NextCodes:
        """What may come behind beginnings of which `begun` (t,) is one."""
        followed = Followed(self.grammar, 1, self.codes, self.max_depth)
        for token in begun:
            followed.advance(np.zeros(1, np.int64), token[None])
        return NextCodes.behind(self.grammar, int(followed.node[0]), bool(followed.depth[0] < self.max_depth))


@dataclass(frozen=True)
class NextCodes:
    """How a probability of the next code follows from those of tokens.

    paths: tokens up to each place where there is a choice, the first one none at all; terms: by code, for each
    such place on its way which one it is and which token is chosen there; legal: the tokens (n,) of each place.
    """

    codes: np.ndarray
    paths: list[list[int]]
    terms: list[list[tuple[int, int]]]
    legal: list[np.ndarray]

    @classmethod
    def behind(cls, grammar: TokenGrammar, node: int, blocks: bool) -> NextCodes:
        """At a node of the grammar's automaton; a further block may be opened, with `blocks`, or not."""
        paths, legal, found = [], [], {}

        def follow(node: int, path: list[int], terms: list[tuple[int, int]]) -> None:
            tokens = np.flatnonzero(grammar.legal[int(blocks), node])
            if len(tokens) > 1:
                place = len(paths)
                paths.append(path)
                legal.append(tokens)
            for token in tokens:
                here = [*terms, (place, int(np.searchsorted(tokens, token)))] if len(tokens) > 1 else terms
                code = int(grammar.decides[node, token])
                if code != UNDECIDED:
                    found[code] = here
                else:
                    follow(int(grammar.next_node[node, token]), [*path, int(token)], here)

        follow(node, [], [])
        return cls(np.array(list(found), np.uint8), paths, list(found.values()), legal)

    def log_probabilities(self, logits: list[Tensor]) -> Tensor:
        """(B, codes) in nats, of what is legal, from logits (B, V) at each place."""
        chosen = [
            torch.log_softmax(here[:, torch.from_numpy(legal)], dim=1)
            for here, legal in zip(logits, self.legal, strict=True)
        ]
        return torch.stack([sum(chosen[place][:, which] for place, which in terms) for terms in self.terms], dim=1)


class Editable:
    """A language model, in float32 and without gradients of its own, that reads beginnings and goes on from edits."""

    def __init__(self, model: LanguageModel):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.inference = model.inference(torch.float32)
        self.layers, self.device = model.layers, self.inference.device

    @torch.inference_mode()
    def streams(self, documents: np.ndarray, last: int) -> list[Tensor]:
        """The residual stream behind each block at the last positions of documents (B, T): L of (B, last, C)."""
        found: list[list[Tensor]] = [[] for _ in range(self.layers)]

        def keep(layer: int, stream: Tensor) -> Tensor:
            found[layer].append(stream[:, -last:].clone())
            return stream

        with self.inference.changed({layer + 1: partial(keep, layer) for layer in range(self.layers)}):
            tokens = torch.from_numpy(documents).to(self.device).long()
            self.inference.prefill(tokens, self.inference.cache(), last, documents.shape[1])
        return [torch.cat(parts) for parts in found]

    def read(self, documents: np.ndarray) -> Read:
        """Read documents (B, T), to edit them."""
        return Read(self, torch.from_numpy(documents).to(self.device).long())


class Read:
    """Documents (B, T) that a model has read."""

    def __init__(self, editable: Editable, tokens: Tensor):
        self.editable, self.tokens = editable, tokens
        self.past = editable.inference.past(tokens, editable.model)
        self._streams: dict[tuple, list[Tensor]] = {}
        self._cache: Cache | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def last(self) -> int:
        """Number of the last position."""
        return self.tokens.shape[1] - 1

    @torch.no_grad()
    def streams(self, position: int | None = None, path: tuple[int, ...] = ()) -> list[Tensor]:
        """The stream behind each block from a position on, by default the last, and behind it at tokens of `path`.

        L of (B, P, C), without an edit; kept, since every edit begins with it.
        """
        position = self.last if position is None else position
        if (position, path) not in self._streams:
            tokens = self._tokens(position, path)
            self._streams[position, path] = self.past.streams(tokens, position, np.s_[:])
        return self._streams[position, path]

    def edited(self, edit: Edit | None, taken_from: Read, path: tuple[int, ...] = (), rows=np.s_[:]) -> list[Tensor]:
        """The same under an edit, from its position on; `rows` are some of the documents.

        `taken_from` has as many, of the same number of tokens.
        """
        position = None if edit is None else edit.position
        streams = [stream[rows] for stream in self.streams(position, path)]
        if edit is not None:
            count = len(path) + self.tokens.shape[1] - edit.position if edit.onwards else 1
            here, there = (read.streams(position, path)[edit.layer - 1][rows] for read in (self, taken_from))
            stream = torch.cat([edit.change(here[:, :count], there[:, :count]), here[:, count:]], dim=1)
            tokens, from_it = self._tokens(edit.position, path)[rows], (edit.layer, stream)
            behind = self.past.streams(tokens, edit.position, rows, from_it)[edit.layer - 1 :]
            streams[edit.layer - 1 :] = behind
        return streams

    def next_codes(self, codes: NextCodes, edit: Edit | None, taken_from: Read, rows=np.s_[:]) -> Tensor:
        """Log-probabilities (B, codes) of what comes next."""
        model, logits = self.editable.model, []
        for path in codes.paths:
            last = self.edited(edit, taken_from, tuple(path), rows)[-1][:, -1]
            logits.append(model.logits(model.norm(last)))
        return codes.log_probabilities(logits)

    def write(self, texts: Texts, edit: Edit | None, taken_from: Read) -> Written:
        """Let the model go on with each program, greedily under the grammar, under an edit."""
        writer = _Writer(self, texts, edit, taken_from)
        everything = torch.arange(len(self), device=self.tokens.device)
        with torch.inference_mode():
            for position in range(self.last if edit is None else edit.position, self.tokens.shape[1]):
                states = writer.step(self.tokens[:, position], writer.cache, everything, position)
            return write_programs(
                writer,
                writer.cache,
                texts.grammar,
                states,
                self.tokens.shape[1],
                texts.codes,
                texts.tokens,
                texts.max_depth,
                kept=1,
                begun=self.tokens[:, texts.prompt_length :].cpu().numpy(),
            )

    def room(self, texts: Texts) -> Cache:
        """What has been read, and room for what is written: one for all edits, each of which writes over the others."""
        if self._cache is None:
            self._cache = self.editable.inference.cache()
        everything = torch.arange(len(self), device=self.tokens.device)
        positions = self.tokens.shape[1]
        self._cache.start_from(self.past.cache, everything, positions, positions + texts.tokens)
        return self._cache

    def _tokens(self, position: int, path: tuple[int, ...]) -> Tensor:
        """The documents' tokens from a position on, and those of `path` behind them: (B, P)."""
        more = torch.tensor(path, dtype=torch.int64, device=self.tokens.device).expand(len(self), len(path))
        return torch.cat([self.tokens[:, position:], more], dim=1)


class _Writer:
    """`Inference` as `write_programs` asks for it, under an edit.

    Where the edit goes on with what is written, the documents that it is taken from read the same.
    """

    def __init__(self, read: Read, texts: Texts, edit: Edit | None, taken_from: Read):
        self.inference, self.edit, self.taken_from = read.editable.inference, edit, taken_from
        self.width, self.device, self.logits = self.inference.width, self.inference.device, self.inference.logits
        self.cache = read.room(texts)
        if edit is not None:
            self.streams = taken_from.streams(edit.position)[edit.layer - 1]
            self.source = taken_from.room(texts) if edit.onwards else None

    def step(self, tokens: Tensor, cache: Cache, rows: Tensor, position: int) -> list[Tensor]:
        """As `Inference.step`."""
        edit = self.edit
        if edit is None or (position > edit.position and not edit.onwards):
            return self.inference.step(tokens, cache, rows, position)
        there = self._there(tokens, rows, position)
        with self.inference.changed({edit.layer: lambda stream: edit.change(stream, there)}):
            return self.inference.step(tokens, cache, rows, position)

    def _there(self, tokens: Tensor, rows: Tensor, position: int) -> Tensor:
        """The stream (R, 1, C) of the other documents at a position: as it was read, or behind the same tokens."""
        after = position - self.edit.position
        if position <= self.taken_from.last:
            return self.streams[rows, after : after + 1]
        found: list[Tensor] = []
        with self.inference.changed({self.edit.layer: noting(found)}):
            self.inference.step(tokens, self.source, rows, position)
        return found[0]
