"""Documents as token ids.

The text of a document is a specification, then a program, between `<bos>` and `<eos>`: for each example the glyphs of
the input world and those of the output world. What glyphs there are and how a program is spelled says the language
(`LANGUAGE.text`), in one or more encodings.

The prompt, everything from `<bos>` up to the program's first statement, has the same number of tokens in every
document, because all worlds of a study have one size. A program is spelled by a table: in each state of the grammar,
each code has one expansion into tokens.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from progsem.data.special_tokens import BEGIN, END_ID, PADDING_ID, SPECIAL_TOKENS, UNKNOWN
from progsem.jobs.compiled import njit
from progsem.languages import LANGUAGE
from progsem.languages.grammar import NOTHING, Grammar

# `generate` with `stop_strings` asks how each token is spelled behind this text, and fails with a tokenizer that
# cannot write it. It is a word of every vocabulary for that alone.
STOP_STRING_PREFIX = "abcdef"
_DEEPEST = 64  # more than any config lets blocks nest


@njit(nogil=True, cache=True)
def _spell(programs, grammar, expansions, sizes, decided, out, lengths, places, ends):
    """Write the tokens of each program; note where each code is decided and where it ends."""
    first, next_state, pushes, closes = grammar
    stack = np.zeros(_DEEPEST, np.uint8)
    for n in range(programs.shape[0]):
        state, depth, at = first, 0, 0
        for position in range(programs.shape[1] + 1):
            code = programs[n, position] if position < programs.shape[1] else NOTHING
            last = code >= len(pushes)
            if last:
                code = closes
            for k in range(sizes[state, code]):
                out[n, at + k] = expansions[state, code, k]
            if not last:
                places[n, position] = at + decided[state, code]
                ends[n, position] = at + sizes[state, code] - 1
            at += sizes[state, code]
            if last:
                break
            if code == closes:
                depth -= 1
                state = stack[depth]
                continue
            if pushes[code] != NOTHING:
                stack[depth] = pushes[code]
                depth += 1
            state = next_state[state, code]
        lengths[n] = at


class Encoding(ABC):
    """A vocabulary, and specifications and programs as rows of ids."""

    grammar: Grammar
    vocabulary: list[str]  # token of each id, `SPECIAL_TOKENS` first
    glyph: str  # the first of the glyphs, whose ids follow each other
    head: list[str]  # tokens before the first world
    behind: list[str]  # tokens behind each glyph
    begin: list[str]  # tokens between the last world and the first statement
    white_space = False  # whether white space has tokens of its own
    apart = True  # whether a word is one only where it is no part of a longer one

    @abstractmethod
    def expansion(self, state: int, code: int) -> list[str]:
        """Tokens that spell `code` in a state of the grammar."""

    @abstractmethod
    def finish(self, made) -> None:
        """Give a `tokenizers.Tokenizer` what it needs beyond its words: a normaliser and a decoder."""

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token to id."""
        return {token: index for index, token in enumerate(self.vocabulary)}

    @cached_property
    def expansions(self) -> dict[tuple[int, int], list[int]]:
        """(state, code) to the ids that spell it, for every legal pair."""
        return {pair: [self.ids[token] for token in self.expansion(*pair)] for pair in self.grammar.legal()}

    def decided(self, state: int, code: int) -> int:
        """Which token of an expansion is the first that no other code's in this state begins with as well."""
        spelled = self.expansions[state, code]
        others = [other for (s, c), other in self.expansions.items() if s == state and c != code]
        lengths = range(1, len(spelled) + 1)
        return next((n - 1 for n in lengths if all(other[:n] != spelled[:n] for other in others)), 0)

    @cached_property
    def _tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shape = self.grammar.next_state.shape
        ids = np.zeros((*shape, max(map(len, self.expansions.values()))), np.uint8)
        sizes, decided = np.zeros((2, *shape), np.int64)
        for (state, code), spelled in self.expansions.items():
            ids[state, code, : len(spelled)] = spelled
            sizes[state, code] = len(spelled)
            decided[state, code] = self.decided(state, code)
        return ids, sizes, decided

    def spell(self, programs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Programs and the ends of them as ids.

        programs: (N, L) uint8 codes. Returns ids (N, T) uint8 filled up with `PADDING_ID`,
        lengths (N,) int64, and for each code the index of the token that decides
        it and of the token that ends it, both (N, L) int64.
        """
        ids, sizes, decided = self._tables
        count, codes = programs.shape
        out = np.full((count, (codes + 1) * ids.shape[2]), PADDING_ID, np.uint8)
        lengths = np.empty(count, np.int64)
        places, ends = np.zeros((2, count, codes), np.int64)
        _spell(programs, self.grammar, ids, sizes, decided, out, lengths, places, ends)
        return out[:, : self.program_tokens(codes)], lengths, places, ends

    def program_tokens(self, codes: int) -> int:
        """Most tokens that a program of so many codes takes, its end included."""
        sizes = self._tables[1]
        return int(codes * sizes.max() + sizes[:, self.grammar.closes].max())

    def documents(self, prompts: np.ndarray, programs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whole documents: ids (N, T) uint8, filled up with `PADDING_ID`, and their lengths (N,) int64.

        prompts: (N, P) uint8, as `prompts` gives them; programs: (N, L) uint8 codes.
        """
        ids, lengths, _, _ = self.spell(programs)
        out = np.pad(np.concatenate([prompts, ids], axis=1), ((0, 0), (0, 1)), constant_values=PADDING_ID)
        ends = prompts.shape[1] + lengths
        out[np.arange(len(out)), ends] = END_ID
        return out, ends + 1

    def prompts(self, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Specifications as ids (N, P) uint8, up to where a program begins.

        inputs, outputs: the shown worlds, (N, K, A) uint8 as `LANGUAGE.text.glyphs` gives them, which may have more
        glyphs for the ones than for the others.
        """
        head, behind, begin = (
            np.array([self.ids[token] for token in tokens], np.uint8) for tokens in (self.head, self.behind, self.begin)
        )
        examples = np.concatenate([inputs, outputs], axis=2)
        length = examples[0].size * (1 + len(behind))
        out = np.empty((len(examples), len(head) + length + len(begin)), np.uint8)
        out[:, : len(head)] = head
        out[:, len(head) + length :] = begin
        grids = out[:, len(head) : len(head) + length].reshape(*examples.shape, 1 + len(behind))
        grids[..., 1:] = behind
        np.add(examples, np.uint8(self.ids[self.glyph]), out=grids[..., 0])
        return out

    def inputs(self, worlds: int, glyphs: int, both: int) -> list[tuple[int, int]]:
        """Where input worlds stand in a prompt of so many examples: first token, and the one behind the last.

        glyphs: of an input; both: of an input and its output. What is before the first world counts to it.
        """
        (size, step), head = (count * (1 + len(self.behind)) for count in (glyphs, both)), len(self.head)
        return [(head + step * n if n else 0, head + step * n + size) for n in range(worlds)]

    def tokenizer(self):
        """The encoding as a `tokenizers.Tokenizer` that turns the text into ids and back.

        `<bos>` is put in front. Text that is not in the vocabulary becomes `<unk>`, one for each word or sign, so
        that none is lost: ids without it say what the text does.
        """
        from tokenizers import Regex, Tokenizer, pre_tokenizers, processors
        from tokenizers.models import WordLevel

        made = Tokenizer(WordLevel(self.ids, unk_token=UNKNOWN))
        made.add_special_tokens(list(SPECIAL_TOKENS))
        made.post_processor = processors.TemplateProcessing(f"{BEGIN} $A", special_tokens=[(BEGIN, self.ids[BEGIN])])
        words = [word for word in self.vocabulary if word not in SPECIAL_TOKENS]
        whole = _whole if self.apart else re.escape
        spelled = "|".join(whole(word) for word in sorted(words, key=len, reverse=True))
        anything = r"[\s\S]" if self.white_space else r"\S"
        made.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{spelled}|\w+|{anything}"), behavior="removed", invert=True)
        self.finish(made)
        return made


def shown_grids(worlds, outputs, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Worlds (N, K) and their outputs as they stand in a text that is traced; `how` is the config's `traces.outputs`.

    Returns the glyphs of both, (N, K, A) uint8.
    """
    text = LANGUAGE.text
    inputs, shown = text.glyphs(worlds), text.glyphs(outputs)
    return inputs, {"shown": shown, "blank": np.full_like(shown, text.EMPTY), "copied": inputs}[how]


def _whole(word: str) -> str:
    """A pattern for a word of the vocabulary where it is not a part of a longer one."""
    before = r"(?<!\w)" if word[0].isalnum() else ""
    after = r"(?!\w)" if word[-1].isalnum() else ""
    return before + re.escape(word) + after
