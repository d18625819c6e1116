"""What a language model proposes for a specification: samples of its distribution, and its likeliest programs.

Sample i of a specification is the same whatever the batch, the number of threads or of samples: its random numbers
are drawn by specification and block of `BLOCK` samples, and it is always computed in the same row of a batch of that
size, because the last bits of a product depend on the size of its matrices.

Shapes: V vocabulary, L codes of a program, R rows of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from progsem.data.encodings import Encoding
from progsem.data.special_tokens import END_ID
from progsem.languages import LANGUAGE
from progsem.lm.decoding import Followed, TokenGrammar
from progsem.lm.language_model import Inference
from progsem.synthesis import BLOCK


@dataclass(frozen=True)
class Proposals:
    """What a writer proposes for one specification, in order: codes (S, L) uint8, and whether each is a program.

    What is none, because it is no text of the language or does not end within the limit, has PAD alone.
    """

    codes: np.ndarray
    whole: np.ndarray


def parsed(texts: list[np.ndarray], grammar: TokenGrammar, codes: int, max_depth: int) -> Proposals:
    """Texts as ids of tokens, each up to the end of its program, if it begins with one."""
    followed, everything = Followed(grammar, len(texts), codes, max_depth), np.arange(len(texts))
    for row, text in enumerate(texts):
        here = everything[row : row + 1]
        for token in text:
            if followed.done[row] or followed.count[row] == codes or not followed.legal(here)[0, token]:
                break
            followed.advance(here, token[None])
    return Proposals(np.where(followed.done[:, None], followed.codes, LANGUAGE.codes.PAD), followed.done)


def pick(logits: np.ndarray, uniforms: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    """A token (R,) of each distribution, by the inverse of its cumulative sums.

    logits: (R, V), -inf where a token may not come; uniforms: (R,) in [0, 1). top_p: only the likeliest tokens whose
    shares together reach it, after the temperature, may be picked (nucleus sampling, Holtzman et al. 2020).
    """
    scaled = logits.astype(np.float64) / temperature
    shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    if top_p < 1:
        shares /= shares.sum(axis=1, keepdims=True)
        order = np.argsort(-shares, axis=1, kind="stable")
        likeliest = np.take_along_axis(shares, order, axis=1)
        beyond = likeliest.cumsum(axis=1) - likeliest >= top_p
        np.put_along_axis(shares, order, np.where(beyond, 0.0, likeliest), axis=1)
    cumulative = shares.cumsum(axis=1)
    return (cumulative <= uniforms[:, None] * cumulative[:, -1:]).sum(axis=1)


class Proposer:
    """A language model that proposes programs, a specification at a time.

    codes: most that a program may have; max_depth: of blocks, 0 for none.
    """

    def __init__(self, inference: Inference, encoding: Encoding, codes: int, max_depth: int):
        self.inference, self.codes, self.max_depth = inference, codes, max_depth
        self.tokens = encoding.program_tokens(codes)
        self.grammar = TokenGrammar(encoding, max_depth > 0)
        self._prompt, self._cache = inference.cache(), inference.cache()

    @torch.inference_mode()
    def samples(
        self,
        prompt: np.ndarray,
        count: int,
        seed: tuple[int, ...],
        temperature: float = 1.0,
        top_p: float = 1.0,
        grammar: bool = True,
    ) -> Proposals:
        """So many programs behind a prompt (P,) of ids, independent of each other.

        `seed` names the specification's random numbers; `grammar`: only what may come next is picked from.
        """
        parts = []
        for block in range(-(-count // BLOCK)):
            uniforms = np.random.default_rng((*seed, block)).random((BLOCK, self.tokens))

            def choose(step: int, logits: np.ndarray, uniforms=uniforms) -> np.ndarray:
                return pick(logits, uniforms[:, step], temperature, top_p)

            parts.append(self._written(prompt, choose, grammar))
        return Proposals(*(np.concatenate(each)[:count] for each in zip(*parts, strict=True)))

    @torch.inference_mode()
    def greedy(self, prompt: np.ndarray, grammar: bool = True) -> Proposals:
        """The program of the likeliest next tokens."""
        codes, whole = self._written(prompt, lambda step, logits: logits.argmax(axis=1), grammar, 1)
        return Proposals(codes, whole)

    def _written(
        self, prompt: np.ndarray, choose: Callable[[int, np.ndarray], np.ndarray], grammar: bool, rows: int = BLOCK
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes (R, L) of what is written behind a prompt in every row, and whether it is a program, (R,).

        `choose` gets the number of a step and logits (R, V), and gives the next tokens (R,).
        """
        states, everything = self._begin(prompt, rows)
        followed = Followed(self.grammar, rows, self.codes, self.max_depth)
        going = np.ones(rows, bool)
        for step in range(self.tokens):
            logits = self.inference.logits(states[-1]).cpu().numpy()
            at = np.flatnonzero(going)
            legal = np.ones_like(logits, bool)
            legal[at] = followed.legal(at)
            picked = choose(step, np.where(legal, logits, -np.inf) if grammar else logits)
            going[at] &= legal[at, picked[at]]
            at = np.flatnonzero(going)
            followed.advance(at, picked[at])
            going &= ~followed.done & (followed.count < self.codes)
            if not going.any():
                break
            read = torch.from_numpy(picked).to(self.inference.device)
            states = self.inference.step(read, self._cache, everything, len(prompt) + step)
        return np.where(followed.done[:, None], followed.codes, LANGUAGE.codes.PAD), followed.done

    def _begin(self, prompt: np.ndarray, rows: int) -> tuple[list[Tensor], Tensor]:
        """Hidden states (R, C) behind a prompt, in every row the same; and the numbers of the rows."""
        device = self.inference.device
        document = torch.from_numpy(prompt).to(device).long()[None]
        states = self.inference.prefill(document, self._prompt, 1, len(prompt))
        everything = torch.arange(rows, device=device)
        room = len(prompt) + self.tokens + 1  # without the grammar, the end is a token as well
        self._cache.start_from(self._prompt, torch.zeros_like(everything), len(prompt), room)
        return [state[:, 0].expand(rows, -1) for state in states], everything

    @torch.inference_mode()
    def beams(self, prompt: np.ndarray, width: int, grammar: bool = True) -> Proposals:
        """The likeliest programs that beam search of this width finds, at most as many, likeliest first.

        At each step the `width` likeliest unfinished beginnings are gone on with, of the 2 `width` likeliest in all;
        one that ends is kept if it is among the first `width` of these. It ends with its brace under the grammar, with
        the end token without. No beginning that is less likely than `width` finished texts can become likelier.
        """
        states, everything = self._begin(prompt, width)
        followed = Followed(self.grammar, width, self.codes, self.max_depth)
        texts, scores = np.empty((width, 0), np.int64), np.full(width, -np.inf)
        scores[0] = 0.0  # all rows are the same at first
        finished: list[tuple[float, np.ndarray]] = []
        for step in range(self.tokens + (not grammar)):
            logits = self.inference.logits(states[-1]).double()
            if grammar:
                legal = torch.from_numpy(followed.legal(np.arange(width))).to(logits.device)
                logits = logits.masked_fill(~legal, -torch.inf)
            total = (scores[:, None] + torch.log_softmax(logits, dim=1).cpu().numpy()).ravel()
            best = np.argsort(-total, kind="stable")[: 2 * width]
            best = best[total[best] > -np.inf]
            rows, tokens = np.divmod(best, logits.shape[1])
            ends = followed.ends(rows, tokens) if grammar else tokens == END_ID
            for rank in np.flatnonzero(ends[:width]):
                finished.append((total[best[rank]], np.append(texts[rows[rank]], tokens[rank])))
            finished = sorted(finished, key=lambda one: -one[0])[:width]
            going = best[~ends][:width]
            if not len(going) or (len(finished) == width and total[going[0]] <= finished[-1][0]):
                break
            scores = np.full(width, -np.inf)
            scores[: len(going)] = total[going]
            rows, tokens = np.divmod(np.pad(going, (0, width - len(going)), mode="edge"), logits.shape[1])
            texts = np.concatenate([texts[rows], tokens[:, None]], axis=1)
            if grammar:
                followed = followed.at(rows)
                followed.advance(np.arange(width), tokens)
                scores[followed.count >= self.codes] = -np.inf
            goes_on = torch.from_numpy(rows).to(self.inference.device)
            self._cache.reorder(goes_on, len(prompt), len(prompt) + step)
            read = torch.from_numpy(tokens).to(self.inference.device)
            states = self.inference.step(read, self._cache, everything, len(prompt) + step)
        return parsed([text for _, text in finished], self.grammar, self.codes, self.max_depth)
