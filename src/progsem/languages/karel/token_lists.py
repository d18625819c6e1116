"""Programs as the public Karel data sets spell them, in lists of tokens (Devlin et al. 2017; Bunel et al. 2018).

    program    = DEF run m( statement { statement } m)
    statement  = move | turnLeft | turnRight | pickMarker | putMarker
               | IF test i( … i)
               | IFELSE test i( … i) ELSE e( … e)
               | WHILE test w( … w)
               | REPEAT R=count r( … r)
    test       = c( condition c) | c( not c( condition c) c)

where a condition is frontIsClear, leftIsClear, rightIsClear, markersPresent or noMarkersPresent, and a count 0 to
`codes.MAX_REPEAT`. Blocks are as in `syntax`: none is empty, and they nest at most `syntax.MAX_DEPTH` deep.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from progsem.errors import UserError
from progsem.languages.karel.codes import ACTIONS, CONDITIONS, MAX_REPEAT
from progsem.languages.karel.syntax import MAX_DEPTH, Action, Condition, If, IfElse, Program, Repeat, Statement, While


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


_ACTIONS = {_camel(name): name for name in ACTIONS}
_CONDITIONS = {_camel(name): name for name in CONDITIONS}
_CONTROL = ("IF", "IFELSE", "WHILE", "REPEAT")
_COUNTS = {f"R={count}": count for count in range(MAX_REPEAT + 1)}


class _Parser:
    """Recursive descent over tokens; each method reads one rule of the grammar."""

    def __init__(self, tokens: Sequence[str]):
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    @property
    def _next(self) -> str:
        """The token to be read, "" at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _fail(self, expected: str, words: Iterable[str] = ()) -> UserError:
        token = self._next
        given = repr(token if len(token) <= 40 else token[:40] + "…") if token else "the end"
        close = difflib.get_close_matches(token[:40], list(words), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return UserError(f"token {self._at + 1}: given {given}, expected {expected}{hint}")

    def _take(self, *tokens: str, expected: str | None = None) -> None:
        for token in tokens:
            if self._next != token:
                raise self._fail(expected or f"'{token}'", [token])
            self._at += 1

    def program(self) -> Program:
        self._take("DEF", "run")
        body = self._block("m")
        if self._at < len(self._tokens):
            raise self._fail("the end of the program")
        return Program(body)

    def _block(self, sign: str) -> tuple[Statement, ...]:
        opening, closing = f"{sign}(", f"{sign})"
        if self._depth == MAX_DEPTH and self._next == opening:
            raise self._fail(f"at most {MAX_DEPTH} nested blocks")
        self._take(opening)
        self._depth += 1
        statements = [self._statement()]
        while self._next in _ACTIONS or self._next in _CONTROL:
            statements.append(self._statement())
        self._take(closing, expected=f"a statement or '{closing}'")
        self._depth -= 1
        return tuple(statements)

    def _statement(self) -> Statement:
        word = self._next
        if word not in _ACTIONS and word not in _CONTROL:
            raise self._fail(f"a statement ({', '.join((*_ACTIONS, *_CONTROL))})", (*_ACTIONS, *_CONTROL))
        offset = self._at
        self._at += 1
        if word in _ACTIONS:
            return Action(_ACTIONS[word], offset)
        if word == "REPEAT":
            if self._next not in _COUNTS:
                raise self._fail(f"a count from R=0 to R={MAX_REPEAT}")
            count = _COUNTS[self._next]
            self._at += 1
            return Repeat(count, self._block("r"))
        condition = self._test()
        if word == "WHILE":
            return While(condition, self._block("w"))
        body = self._block("i")
        if word == "IF":
            return If(condition, body)
        self._take("ELSE")
        return IfElse(condition, body, self._block("e"))

    def _test(self) -> Condition:
        self._take("c(")
        negated = self._next == "not"
        if negated:
            self._take("not", "c(")
        name = self._next
        if name not in _CONDITIONS:
            words = _CONDITIONS if negated else ("not", *_CONDITIONS)
            raise self._fail(f"a condition ({', '.join(words)})", words)
        self._at += 1
        self._take(*["c)"] * (1 + negated))
        return Condition(_CONDITIONS[name], negated)


def parse(tokens: Sequence[str]) -> Program:
    """The tree of a program; a `UserError` says at which token it is none, counted from 1, and why."""
    return _Parser(tokens).program()
