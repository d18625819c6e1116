"""The residual stream of a language model behind beginnings of programs: read, changed, and gone on from.

What is edited is the residual stream (B, C) behind a block at one position, by default the last that has been read; the
blocks behind it, and all later positions, go on from there. Earlier positions cannot see it, so their keys and values
are kept, and one position is computed for each edit.

Shapes: B documents, T tokens that all of them have, P positions, C width, L layers, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from progsem.data.encodings import Encoding
from progsem.languages import LANGUAGE
from progsem.lm.decoding import UNDECIDED, Followed, TokenGrammar, Written, write_programs
from progsem.lm.inference import Inference, KeyValueCache
from progsem.lm.model import CodeGen, changed
from progsem.lm.operations import causal, rotate
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
        return NextCodes.behind(self.grammar, int(followed.node[0]), self.max_depth > 0)


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
        """At a node of the grammar's automaton; `blocks` may be opened or not."""
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


class Behind:
    """Attention of new positions (`model.Attend`) to those read before, with its gradient.

    keys, values: (L, B, T', H, D) of the positions before the first new one, rotated.
    """

    def __init__(self, keys: Tensor, values: Tensor, turns: Tensor):
        self.keys, self.values, self.turns = keys, values, turns

    def __call__(self, layer: int, qvk: Tensor, last: int) -> Tensor:
        start = self.keys.shape[2]
        turns = self.turns[start : start + qvk.shape[1]]
        query, value, key = (part.flatten(2, 3) for part in qvk.unbind(3))
        keys = torch.cat([self.keys[layer], rotate(key, turns)], dim=1)
        values = torch.cat([self.values[layer], value], dim=1)
        return causal(rotate(query, turns)[:, -last:], keys, values)


class Editable:
    """A language model, in float32 and without gradients of its own, that reads beginnings and goes on from edits."""

    def __init__(self, model: CodeGen):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.inference = Inference(model, torch.float32)
        self.layers, self.device = model.shape.layers, self.inference.device

    @torch.inference_mode()
    def streams(self, documents: np.ndarray, last: int) -> list[Tensor]:
        """The residual stream behind each block at the last positions of documents (B, T): L of (B, last, C)."""
        found: list[list[Tensor]] = [[] for _ in range(self.layers)]

        def keep(layer: int, stream: Tensor) -> Tensor:
            found[layer].append(stream[:, -last:].clone())
            return stream

        with ExitStack() as hooks:
            for layer in range(self.layers):
                hooks.enter_context(self.inference.changed(layer + 1, partial(keep, layer)))
            tokens = torch.from_numpy(documents).to(self.device).long()
            self.inference.prefill(tokens, self.inference.cache(), last, documents.shape[1])
        return [torch.cat(parts) for parts in found]

    def read(self, documents: np.ndarray) -> Read:
        """Read documents (B, T), to edit them."""
        cache, tokens = self.inference.cache(), torch.from_numpy(documents).to(self.device).long()
        self.inference.prefill(tokens, cache, 1, tokens.shape[1])
        # Copies, as what has been made in inference mode may take no part in gradients.
        keys, values = (
            kept[:, : len(tokens), : tokens.shape[1]].clone().float() for kept in (cache.keys, cache.values)
        )
        return Read(self, tokens, keys, values)


class Read:
    """Documents (B, T) that a model has read, with keys and values of all positions: (L, B, T, H, D)."""

    def __init__(self, editable: Editable, tokens: Tensor, keys: Tensor, values: Tensor):
        self.editable, self.tokens, self.keys, self.values = editable, tokens, keys, values
        self._streams: dict[tuple, list[Tensor]] = {}
        self._cache: KeyValueCache | None = None

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
            model, found = self.editable.model, []
            more = torch.tensor(path, dtype=torch.int64, device=self.tokens.device).expand(len(self), len(path))
            with ExitStack() as hooks:
                for layer in range(self.editable.layers):
                    hooks.enter_context(changed(model, layer + 1, partial(_noted, found)))
                model(torch.cat([self.tokens[:, position:], more], dim=1), self._attend(position))
            self._streams[position, path] = found
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
            streams[edit.layer - 1], attend = stream, self._attend(edit.position, rows)
            for block in self.editable.model.transformer["h"][edit.layer :]:
                stream = block(*block.positionwise(stream), attend)
                streams[block.layer] = stream
        return streams

    def next_codes(self, codes: NextCodes, edit: Edit | None, taken_from: Read, rows=np.s_[:]) -> Tensor:
        """Log-probabilities (B, codes) of what comes next."""
        model, logits = self.editable.model, []
        for path in codes.paths:
            last = self.edited(edit, taken_from, tuple(path), rows)[-1][:, -1]
            logits.append(model.logits(model.transformer["ln_f"](last)))
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

    def _attend(self, position: int, rows=np.s_[:]) -> Behind:
        keys, values = (kept[:, rows, :position] for kept in (self.keys, self.values))
        return Behind(keys, values, self.editable.model.turns)

    def room(self, texts: Texts) -> KeyValueCache:
        """What has been read, and room for what is written: one for all edits, each of which writes over the others."""
        if self._cache is None:
            self._cache = self.editable.inference.cache()
            self._cache.begin(len(self), self.tokens.shape[1] + texts.tokens)
        self._cache.keys[:, :, : self.tokens.shape[1]] = self.keys
        self._cache.values[:, :, : self.tokens.shape[1]] = self.values
        return self._cache


class _Writer:
    """`Inference` as `write_programs` asks for it, under an edit.

    Where the edit goes on with what is written, the documents that it is taken from read the same.
    """

    def __init__(self, read: Read, texts: Texts, edit: Edit | None, taken_from: Read):
        self.inference, self.edit, self.taken_from = read.editable.inference, edit, taken_from
        self.shape, self.device, self.logits = self.inference.shape, self.inference.device, self.inference.logits
        self.cache = read.room(texts)
        if edit is not None:
            self.streams = taken_from.streams(edit.position)[edit.layer - 1]
            self.source = taken_from.room(texts) if edit.onwards else None

    def step(self, tokens: Tensor, cache: KeyValueCache, rows: Tensor, position: int) -> list[Tensor]:
        """As `Inference.step`."""
        edit = self.edit
        if edit is None or (position > edit.position and not edit.onwards):
            return self.inference.step(tokens, cache, rows, position)
        there = self._there(tokens, rows, position)
        with self.inference.changed(edit.layer, lambda stream: edit.change(stream, there)):
            return self.inference.step(tokens, cache, rows, position)

    def _there(self, tokens: Tensor, rows: Tensor, position: int) -> Tensor:
        """The stream (R, 1, C) of the other documents at a position: as it was read, or behind the same tokens."""
        after = position - self.edit.position
        if position <= self.taken_from.last:
            return self.streams[rows, after : after + 1]
        found: list[Tensor] = []
        with self.inference.changed(self.edit.layer, partial(_noted, found)):
            self.inference.step(tokens, self.source, rows, position)
        return found[0]


def _noted(found: list[Tensor], stream: Tensor) -> Tensor:
    found.append(stream)
    return stream
