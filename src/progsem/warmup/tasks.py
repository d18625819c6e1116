"""Formal tasks without any meaning, each as a sampler of sequences (Shinnick et al. 2026, arXiv 2601.21725).

Of most tasks a sequence is a drawn input, a separator, and the output that follows from it, which alone is to be
predicted; of bracket languages it is a word, of which everything is.

| task        | output, or word |
|-------------|-----------------|
| identity    | the input |
| reverse     | the input from its end |
| sort        | the input in ascending order |
| set         | the input's different symbols, in the order in which they come first |
| union       | the same of two inputs, with a separator between them |
| stack       | what is left of pushed symbols and pops: the stack from its top |
| dyck        | brackets of several kinds, which close in the order in which they nest |
| dyck_shuffle | brackets of several kinds, which close in any order |
| noise       | symbols that follow from nothing: a control that has nothing to teach |

N sequences; I symbols of an input, O of an output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from progsem.data.special_tokens import BEGIN_ID, END_ID, PADDING_ID, SPECIAL_TOKENS
from progsem.jobs.compiled import njit

SEPARATOR, POP = len(SPECIAL_TOKENS), len(SPECIAL_TOKENS) + 1
_FIRST = POP + 1  # id of the first symbol
SYMBOLS = 100
KINDS = 16  # of brackets: symbol k opens, symbol KINDS + k closes
VOCABULARY = _FIRST + SYMBOLS
_POPS = 0.4  # of a stack that is not empty: how often a symbol is taken off it


class Drawn(NamedTuple):
    """Inputs (N, I), outputs (N, O), and how long each of these is (N,)."""

    inputs: np.ndarray
    outputs: np.ndarray
    lengths: np.ndarray


class Documents(NamedTuple):
    """Documents (N, T) as the stage `tokens` writes them, `<bos>` … `<eos>`, their lengths (N,), and tokens of the
    prompt, which all have in common.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    prompt: int


def documents(task: str, count: int, length: int, rng: np.random.Generator) -> Documents:
    """So many documents of a task, of at most `length` tokens each."""
    inputs, outputs, lengths = TASKS[task](rng, count, length)
    prompt = 1 + inputs.shape[1] + (inputs.shape[1] > 0)
    tokens = np.full((count, prompt + outputs.shape[1] + 1), PADDING_ID, np.uint8)
    tokens[:, 0] = BEGIN_ID
    if inputs.shape[1]:
        tokens[:, 1 : prompt - 1] = inputs
        tokens[:, prompt - 1] = SEPARATOR
    place = np.arange(outputs.shape[1])
    tokens[:, prompt:-1] = np.where(place < lengths[:, None], outputs, PADDING_ID)
    ends = prompt + lengths
    tokens[np.arange(count), ends] = END_ID
    return Documents(tokens, ends + 1, prompt)


def _half(length: int) -> int:
    """Symbols of an input whose output is as long, beside `<bos>`, the separator and `<eos>`."""
    return (length - 3) // 2


def _drawn(rng: np.random.Generator, count: int, size: int, alphabet: int = SYMBOLS) -> np.ndarray:
    return _FIRST + rng.integers(alphabet, size=(count, size))


def _identity(rng: np.random.Generator, count: int, length: int) -> Drawn:
    inputs = _drawn(rng, count, _half(length))
    return Drawn(inputs, inputs, np.full(count, inputs.shape[1]))


def _reverse(rng: np.random.Generator, count: int, length: int) -> Drawn:
    inputs, outputs, lengths = _identity(rng, count, length)
    return Drawn(inputs, outputs[:, ::-1], lengths)


def _sort(rng: np.random.Generator, count: int, length: int) -> Drawn:
    inputs, outputs, lengths = _identity(rng, count, length)
    return Drawn(inputs, np.sort(outputs, axis=1), lengths)


def _set(rng: np.random.Generator, count: int, length: int) -> Drawn:
    inputs = _drawn_repeatedly(rng, count, _half(length))
    return Drawn(inputs, *_different(inputs))


def _union(rng: np.random.Generator, count: int, length: int) -> Drawn:
    both = _drawn_repeatedly(rng, count, _half(length - 1))
    return Drawn(np.insert(both, both.shape[1] // 2, SEPARATOR, axis=1), *_different(both))


def _drawn_repeatedly(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """From so few symbols that many come again."""
    return _drawn(rng, count, size, min(size, SYMBOLS))


def _different(symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row's different symbols in the order in which they come first, (N, I), and how many there are, (N,)."""
    first = np.argsort(symbols, axis=1, kind="stable")
    ascending = np.take_along_axis(symbols, first, axis=1)
    again = np.zeros(symbols.shape, bool)
    np.put_along_axis(again, first[:, 1:], ascending[:, 1:] == ascending[:, :-1], axis=1)
    kept_first = np.argsort(again, axis=1, kind="stable")
    return np.take_along_axis(symbols, kept_first, axis=1), (~again).sum(axis=1)


def _stack(rng: np.random.Generator, count: int, length: int) -> Drawn:
    inputs, outputs = _drawn(rng, count, _half(length)), np.zeros((count, _half(length)), np.int64)
    lengths = np.zeros(count, np.int64)
    _push_and_pop(inputs, rng.random(inputs.shape) < _POPS, outputs, lengths)
    return Drawn(inputs, outputs, lengths)


@njit(nogil=True, cache=True)
def _push_and_pop(inputs, pops, stacks, sizes):
    """Put pops into inputs where the stack is not empty; leaves each stack's symbols, its top first."""
    for n in range(inputs.shape[0]):
        size = 0
        for place in range(inputs.shape[1]):
            if pops[n, place] and size > 0:
                inputs[n, place] = POP
                size -= 1
            else:
                stacks[n, size] = inputs[n, place]
                size += 1
        sizes[n] = size
        for low in range(size // 2):
            stacks[n, low], stacks[n, size - 1 - low] = stacks[n, size - 1 - low], stacks[n, low]


def _dyck(rng: np.random.Generator, count: int, length: int, nested: bool = True) -> Drawn:
    size = (length - 2) // 2 * 2
    words = np.zeros((count, size), np.int64)
    _brackets(rng.random((count, size)), rng.random((count, size)), nested, words)
    return Drawn(words[:, :0], words, np.full(count, size))


def _dyck_shuffle(rng: np.random.Generator, count: int, length: int) -> Drawn:
    return _dyck(rng, count, length, nested=False)


@njit(nogil=True, cache=True)
def _brackets(opens, which, nested, words):
    """Words of brackets that all close; `opens` and `which` are uniform in [0, 1)."""
    unclosed = np.zeros(words.shape[1], np.int64)
    for n in range(words.shape[0]):
        depth = 0
        for place in range(words.shape[1]):
            left = words.shape[1] - place
            if depth == 0 or (depth < left and opens[n, place] < 0.5):
                unclosed[depth] = int(which[n, place] * KINDS)
                words[n, place] = _FIRST + unclosed[depth]
                depth += 1
            else:
                depth -= 1
                closed = depth if nested else int(which[n, place] * (depth + 1))
                words[n, place] = _FIRST + KINDS + unclosed[closed]
                unclosed[closed] = unclosed[depth]


def _noise(rng: np.random.Generator, count: int, length: int) -> Drawn:
    words = _drawn(rng, count, length - 2)
    return Drawn(words[:, :0], words, np.full(count, words.shape[1]))


TASKS: dict[str, Callable[[np.random.Generator, int, int], Drawn]] = {
    "identity": _identity,
    "reverse": _reverse,
    "sort": _sort,
    "set": _set,
    "union": _union,
    "stack": _stack,
    "dyck": _dyck,
    "dyck_shuffle": _dyck_shuffle,
    "noise": _noise,
}
