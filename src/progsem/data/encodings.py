"""Documents as token ids: two encodings of one text.

The text of a document is

    Examples: INPUT OUTPUT … Code: def run() { move(); turn_left() }

between `<bos>` and `<eos>`, with every grid scanned in row order (border dropped), one
glyph a cell: `#` wall, `.` empty, `1`-`9` markers, `9` also more of them, `^ > v <` the
robot, which hides the markers of its cell.

- compact: a token a cell and a statement; the tokens of a program are exactly
  its codes (`karel.codes`), framed by `Code: def run() {` and `}`.
- spaced: the text cut into lexemes, every space a token of its own, as the
  authors' tokenizer does (paper, section on data).

The prompt, everything from `<bos>` up to `def run() {`, has the same number of tokens in
every document, because all worlds of a study have one size. A program is spelled
by a table: in each state of the grammar, each code has one expansion into tokens.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from progsem.data.special_tokens import BEGIN, END, END_ID, PADDING, PADDING_ID, SPECIAL_TOKENS, UNKNOWN
from progsem.jobs.compiled import njit
from progsem.languages.karel.codes import (
    ACTIONS,
    CLOSE,
    CODES,
    CONDITIONS,
    ELSE,
    FRONT,
    GLYPHS,
    IF,
    IFELSE,
    MAX_DIGIT,
    MAX_REPEAT,
    NO_MARKERS,
    NOT,
    NUMBER,
    OPEN,
    PAD,
    REPEAT,
    WHILE,
)
from progsem.languages.karel.grammar import CONTROL, FIRST, ILLEGAL, NEXT, NEXT_STATE, OTHERWISE, STATES

CELLS = ("#", ".", *"123456789", *GLYPHS)
EMPTY = CELLS.index(".")
# `generate` with `stop_strings` asks how each token is spelled behind this text, and fails with a tokenizer that
# cannot write it. It is a word of the vocabularies for that alone.
_STOP_STRING_PREFIX = "abcdef"
_HEAD = "Examples:"
_KEYWORDS = {NOT: "not", IF: "if", IFELSE: "ifelse", ELSE: "else", WHILE: "while", REPEAT: "repeat"}


def glyphs(cells: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Grids as indices into `CELLS`.

    cells: (N, K, H, W) uint8; poses: (N, K, 3) uint8. Returns (N, K, H * W) uint8.
    """
    count, worlds, height, width = cells.shape
    # A wall becomes 0, '#', no marker 1, '.', and so on.
    out = np.add(cells.reshape(count, worlds, height * width), np.uint8(1), order="C")
    np.minimum(out, np.uint8(CELLS.index(str(MAX_DIGIT))), out=out)
    place = poses[..., 0].astype(np.int64) * width + poses[..., 1]
    worlds_before = np.arange(count * worlds).reshape(count, worlds)
    out.reshape(-1)[worlds_before * (height * width) + place] = len(CELLS) - len(GLYPHS) + poses[..., 2]
    return out


def outputs_in_text(inputs: np.ndarray, outputs: np.ndarray, how: str) -> np.ndarray:
    """Output grids as they stand in a text that is traced; `how` is the config's `traces.outputs`.

    inputs, outputs: grids of one shape, as `glyphs` returns them. "blank" grids are empty floor.
    """
    return {"shown": outputs, "blank": np.full_like(inputs, EMPTY), "copied": inputs}[how]


@njit(nogil=True, cache=True)
def _spell(programs, next_state, expansions, sizes, decided, out, lengths, places, ends):
    """Write the tokens of each program; note where each code is decided and where it ends."""
    otherwise = np.zeros(64, np.bool_)
    for n in range(programs.shape[0]):
        state, depth, at = FIRST, 0, 0
        for position in range(programs.shape[1] + 1):
            code = programs[n, position] if position < programs.shape[1] else PAD
            last = code == PAD
            if last:
                code = CLOSE
            for k in range(sizes[state, code]):
                out[n, at + k] = expansions[state, code, k]
            if not last:
                places[n, position] = at + decided[state, code]
                ends[n, position] = at + sizes[state, code] - 1
            at += sizes[state, code]
            if last:
                break
            if code == CLOSE:
                depth -= 1
                state = OTHERWISE if otherwise[depth] else NEXT
                continue
            if code == ELSE:
                otherwise[depth] = False
                depth += 1
            elif code in CONTROL:
                otherwise[depth] = code == IFELSE
                depth += 1
            state = next_state[state, code]
        lengths[n] = at


class Encoding(ABC):
    """A vocabulary, and programs and worlds as rows of ids."""

    name: str
    vocabulary: list[str]  # token of each id
    _head: list[str]  # tokens before the first grid
    _behind: list[str]  # tokens behind each cell
    _begin: list[str]  # tokens between the last grid and the first statement

    @abstractmethod
    def expansion(self, state: int, code: int) -> list[str]:
        """Tokens that spell `code` in a state of the grammar."""

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token to id."""
        return {token: index for index, token in enumerate(self.vocabulary)}

    @cached_property
    def expansions(self) -> dict[tuple[int, int], list[int]]:
        """(state, code) to the ids that spell it, for every legal pair."""
        return {
            (state, code): [self.ids[token] for token in self.expansion(state, code)]
            for state in range(STATES)
            for code in range(CODES)
            if NEXT_STATE[state, code] != ILLEGAL
        }

    def decided(self, state: int, code: int) -> int:
        """Which token of an expansion is the first that no other code's in this state begins with as well."""
        spelled = self.expansions[state, code]
        others = [other for (s, c), other in self.expansions.items() if s == state and c != code]
        lengths = range(1, len(spelled) + 1)
        return next((n - 1 for n in lengths if all(other[:n] != spelled[:n] for other in others)), 0)

    @cached_property
    def _tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        longest = max(map(len, self.expansions.values()))
        ids = np.zeros((STATES, CODES, longest), np.uint8)
        sizes = np.zeros((STATES, CODES), np.int64)
        decided = np.zeros((STATES, CODES), np.int64)
        for (state, code), spelled in self.expansions.items():
            ids[state, code, : len(spelled)] = spelled
            sizes[state, code] = len(spelled)
            decided[state, code] = self.decided(state, code)
        return ids, sizes, decided

    def spell(self, programs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Programs and their closing braces as ids.

        programs: (N, L) uint8 codes. Returns ids (N, T) uint8 filled up with `PADDING_ID`,
        lengths (N,) int64, and for each code the index of the token that decides
        it and of the token that ends it, both (N, L) int64.
        """
        ids, sizes, decided = self._tables
        count, codes = programs.shape
        out = np.full((count, (codes + 1) * ids.shape[2]), PADDING_ID, np.uint8)
        lengths = np.empty(count, np.int64)
        places, ends = np.zeros((2, count, codes), np.int64)
        _spell(programs, NEXT_STATE, ids, sizes, decided, out, lengths, places, ends)
        return out[:, : self.program_tokens(codes)], lengths, places, ends

    def program_tokens(self, codes: int) -> int:
        """Most tokens that a program of so many codes takes, closing brace included."""
        sizes = self._tables[1]
        return int(codes * sizes.max() + sizes[NEXT, CLOSE])

    def documents(self, prompts: np.ndarray, programs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whole documents: ids (N, T) uint8, filled up with `PADDING_ID`, and their lengths (N,) int64.

        prompts: (N, P) uint8, as `prompts` gives them; programs: (N, L) uint8 codes.
        """
        ids, lengths, _, _ = self.spell(programs)
        out = np.pad(np.concatenate([prompts, ids], axis=1), ((0, 0), (0, 1)), constant_values=PADDING_ID)
        ends = prompts.shape[1] + lengths
        out[np.arange(len(out)), ends] = END_ID
        return out, ends + 1

    def prompts(self, cells: np.ndarray, poses: np.ndarray, out_cells: np.ndarray, out_poses: np.ndarray) -> np.ndarray:
        """Specifications as ids, up to `def run() {`.

        cells, out_cells: (N, K, H, W) uint8, the shown worlds; poses, out_poses:
        (N, K, 3) uint8. Returns (N, P) uint8.
        """
        return self.prompts_of_grids(glyphs(cells, poses), glyphs(out_cells, out_poses))

    def prompts_of_grids(self, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """The same from grids: inputs, outputs (N, K, H * W) uint8 indices into `CELLS`."""
        head, behind, begin = (
            np.array([self.ids[token] for token in tokens], np.uint8)
            for tokens in (self._head, self._behind, self._begin)
        )
        count, worlds, area = inputs.shape
        length = 2 * worlds * area * (1 + len(behind))
        out = np.empty((count, len(head) + length + len(begin)), np.uint8)
        out[:, : len(head)] = head
        out[:, len(head) + length :] = begin
        grids = out[:, len(head) : len(head) + length].reshape(count, worlds, 2, area, 1 + len(behind))
        grids[..., 1:] = behind
        for number, given in enumerate((inputs, outputs)):  # the ids of cells are in the order of CELLS
            np.add(given, np.uint8(self.ids[CELLS[0]]), out=grids[:, :, number, :, 0])
        return out


class Compact(Encoding):
    """One token a cell, one a statement."""

    name = "compact"
    _head, _behind, _begin = [BEGIN, _HEAD], [], ["Code: def run() {"]

    def __init__(self):
        calls = [f"{name}()" for name in ACTIONS + CONDITIONS]
        words = [{**_KEYWORDS, OPEN: "{", CLOSE: "}"}[code] for code in range(NOT, NUMBER)]
        self._codes = [*calls, *words, *(f"({n}" for n in range(MAX_REPEAT + 1))]
        self.vocabulary = [*SPECIAL_TOKENS, _HEAD, *self._begin, *CELLS, *self._codes, _STOP_STRING_PREFIX]

    def expansion(self, state, code):
        return [self._codes[code]]


class Spaced(Encoding):
    """Lexemes, every space a token of its own."""

    name = "spaced"
    _head = [BEGIN, "Examples", ":", " "]
    _behind = [" "]
    _begin = ["Code", ":", " ", "def", " ", "run", "(", ")", " ", "{"]

    def __init__(self):
        words = ["Examples", "Code", "def", "run", *ACTIONS, *CONDITIONS, *_KEYWORDS.values(), _STOP_STRING_PREFIX]
        numbers = [str(n) for n in range(MAX_REPEAT + 1) if str(n) not in CELLS]
        self.vocabulary = [*SPECIAL_TOKENS, " ", ":", "(", ")", "{", "}", ";", *CELLS, *numbers, *words]

    def expansion(self, state, code):
        before = {FIRST: [" "], NEXT: [";", " "]}.get(state, [])
        if code < len(ACTIONS):
            return [*before, ACTIONS[code], "(", ")"]
        if FRONT <= code <= NO_MARKERS:
            return [CONDITIONS[code - FRONT], "(", ")", ")"]
        if code >= NUMBER:
            return [str(code - NUMBER), ")"]
        if code == NOT:
            return ["not", " "]
        if code in (OPEN, CLOSE):
            return [" ", "{" if code == OPEN else "}"]
        if code == ELSE:
            return [" ", "else"]
        return [*before, _KEYWORDS[code], " ", "("]


ENCODINGS: dict[str, type[Encoding]] = {"compact": Compact, "spaced": Spaced}


def tokenizer(encoding: Encoding):
    """The encoding as a `tokenizers.Tokenizer` that turns the text into ids and back.

    `<bos>` is put in front. Text that is not in the vocabulary becomes `<unk>`, one for each word or sign, so that
    none is lost: ids without it say what the text does. White space counts in the spaced encoding only; the compact
    one, whose tokens imply them, also does without `;` between statements and parentheses around conditions and counts.
    """
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordLevel

    made = Tokenizer(WordLevel(encoding.ids, unk_token=UNKNOWN))
    made.add_special_tokens(list(SPECIAL_TOKENS))
    made.post_processor = processors.TemplateProcessing(f"{BEGIN} $A", special_tokens=[(BEGIN, encoding.ids[BEGIN])])
    words = [word for word in encoding.vocabulary if word not in SPECIAL_TOKENS]
    spelled = "|".join(_whole(word) for word in sorted(words, key=len, reverse=True))
    spaced = encoding.name == "spaced"
    anything = r"[\s\S]" if spaced else r"\S"
    made.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{spelled}|\w+|{anything}"), behavior="removed", invert=True)
    if spaced:
        made.decoder = decoders.Fuse()
        return made
    made.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"(?<=\)|\})\s*;(?=\s*[a-z])"), " "),
            normalizers.Replace(Regex(r"(?<=\bif|\bifelse|\bwhile)\s*\((?=\s*[a-z])"), " "),
            normalizers.Replace(Regex(r"(?<=clear\(\)|esent\(\)|\(\d|\(\d\d)\s*\)(?=\s*\{)"), " "),
        ]
    )
    made.decoder = decoders.Sequence(
        [
            # Behind all that was decoded before, so that what is written can be put behind its prompt's text.
            decoders.Replace(Regex(rf"\A(?!{_HEAD}|{BEGIN}|{END}|{PADDING})"), " "),
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<=clear\(\)|esent\(\)) \{"), ") {"),
            decoders.Replace(Regex(r"(?<=\(\d|\(\d\d) \{"), ") {"),
            decoders.Replace(Regex(r"(?<= if| ifelse| while) (?=\w)"), " ("),
            decoders.Replace(Regex(r"(?<=\)|\}) (?=[a-z])(?!else)"), "; "),
        ]
    )
    return made


def _whole(word: str) -> str:
    """A pattern for a word of the vocabulary where it is not a part of a longer one."""
    before = r"(?<!\w)" if word[0].isalnum() else ""
    after = r"(?!\w)" if word[-1].isalnum() else ""
    return before + re.escape(word) + after
