"""Programs as text, as trees and as codes.

    program    = "def" "run" "(" ")" block
    block      = "{" statement { ";" statement } "}"
    statement  = action "(" ")"
               | "if" test block
               | "ifelse" test block "else" block
               | "while" test block
               | "repeat" "(" count ")" block
    test       = "(" [ "not" ] condition "(" ")" ")"

with the actions and conditions named in `codes`, and counts from 0 to
`codes.MAX_REPEAT`. White space, newlines included, is free between words and
signs. A semicolon separates statements, so none follows the last one, and every
block holds at least one statement. Blocks nest at most `MAX_DEPTH` deep.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from progsem.errors import UserError
from progsem.languages.karel.codes import (
    ACTIONS,
    CLOSE,
    CODES,
    CONDITIONS,
    ELSE,
    FRONT,
    IF,
    IFELSE,
    KEYWORDS,
    MAX_REPEAT,
    NOT,
    NUMBER,
    OPEN,
    PAD,
    REPEAT,
    WHILE,
)

MAX_DEPTH = 100  # of nested blocks; well within Python's recursion limit
_CONTROL = tuple(KEYWORDS[code] for code in (IF, IFELSE, WHILE, REPEAT))
_TOKEN = re.compile(r"[A-Za-z0-9_]+|[(){};]|(?P<space>[ \t\r\n\f\v]+)|(?P<unknown>.)", re.DOTALL)


class KarelSyntaxError(UserError):
    """Text that is no program. `line` and `column` count from 1; `expected` says what may stand there."""

    def __init__(self, line: int, column: int, given: str, expected: str, hint: str = ""):
        self.line, self.column, self.expected = line, column, expected
        super().__init__(f"line {line}, column {column}: given {given}, expected {expected}{hint}")


@dataclass(frozen=True)
class Action:
    """A statement without control flow. `offset` says where in the text it stands; it does not count in comparisons."""

    name: str
    offset: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True)
class Condition:
    """What `if`, `ifelse` and `while` test."""

    name: str
    negated: bool = False


@dataclass(frozen=True)
class If:
    condition: Condition
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class IfElse:
    condition: Condition
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@dataclass(frozen=True)
class While:
    condition: Condition
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Repeat:
    count: int
    body: tuple[Statement, ...]


Statement = Action | If | IfElse | While | Repeat


@dataclass(frozen=True)
class Program:
    """The statements of `run`."""

    body: tuple[Statement, ...]


@dataclass(frozen=True)
class _Token:
    text: str  # "" at the end
    offset: int


class _Parser:
    """Recursive descent over the tokens of one text; each method reads one rule of the grammar."""

    def __init__(self, text: str):
        self._text = text
        self._tokens = [_Token(found[0], found.start()) for found in _TOKEN.finditer(text) if not found["space"]]
        self._tokens.append(_Token("", len(text)))
        self._at = 0
        self._depth = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _fail(self, expected: str, words: Iterable[str] = ()) -> KarelSyntaxError:
        token = self._next
        before = self._text[: token.offset]
        line, column = before.count("\n") + 1, token.offset - (before.rfind("\n") + 1) + 1
        given = repr(token.text if len(token.text) <= 40 else token.text[:40] + "…") if token.text else "end of text"
        close = difflib.get_close_matches(token.text[:40], list(words), n=1)
        return KarelSyntaxError(line, column, given, expected, f"; did you mean {close[0]}?" if close else "")

    def _take(self, *texts: str, expected: str | None = None) -> None:
        for text in texts:
            if self._next.text != text:
                raise self._fail(expected or f"'{text}'", [text])
            self._at += 1

    def program(self) -> Program:
        self._take("def", "run", "(", ")")
        body = self._block()
        if self._next.text:
            raise self._fail("the end of the program")
        return Program(body)

    def _block(self) -> tuple[Statement, ...]:
        if self._depth == MAX_DEPTH and self._next.text == "{":
            raise self._fail(f"at most {MAX_DEPTH} nested blocks")
        self._take("{")
        self._depth += 1
        statements = [self._statement()]
        while self._next.text == ";":
            self._at += 1
            if self._next.text == "}":
                raise self._fail("a statement after ';', which stands between statements only")
            statements.append(self._statement())
        self._take("}", expected="';' or '}'")
        self._depth -= 1
        return tuple(statements)

    def _statement(self) -> Statement:
        word, offset = self._next.text, self._next.offset
        if word in ACTIONS:
            self._at += 1
            self._take("(", ")")
            return Action(word, offset)
        if word not in _CONTROL:
            listed = ", ".join(f"{name}()" for name in ACTIONS) + ", " + ", ".join(_CONTROL)
            raise self._fail(f"a statement ({listed})", (*ACTIONS, *_CONTROL))
        self._at += 1
        if word == "repeat":
            return Repeat(self._count(), self._block())
        condition = self._test()
        body = self._block()
        if word == "if":
            return If(condition, body)
        if word == "while":
            return While(condition, body)
        self._take("else")
        return IfElse(condition, body, self._block())

    def _test(self) -> Condition:
        self._take("(")
        negated = self._next.text == "not"
        self._at += negated
        name = self._next.text
        if name not in CONDITIONS:
            listed = ", ".join(f"{name}()" for name in CONDITIONS)
            words = CONDITIONS if negated else (*CONDITIONS, "not")
            raise self._fail(f"a condition ({'' if negated else 'not, '}{listed})", words)
        self._at += 1
        self._take("(", ")", ")")
        return Condition(name, negated)

    def _count(self) -> int:
        self._take("(")
        digits = self._next.text
        # By length first: Python refuses to convert very long numbers. And `isdigit` knows other scripts' digits.
        if (
            not (digits.isascii() and digits.isdigit())
            or len(digits) > len(str(MAX_REPEAT))
            or int(digits) > MAX_REPEAT
        ):
            raise self._fail(f"a count from 0 to {MAX_REPEAT}")
        self._at += 1
        self._take(")")
        return int(digits)


def parse(text: str) -> Program:
    """The tree of a program's text; KarelSyntaxError says where the text is no program, and why."""
    return _Parser(text).program()


def actions(program: Program) -> list[Action]:
    """The actions of a program, those in blocks included, in the order of its text."""
    return _body_actions(program.body)


def _body_actions(body: tuple[Statement, ...]) -> list[Action]:
    return [action for statement in body for action in _statement_actions(statement)]


def _statement_actions(statement: Statement) -> list[Action]:
    match statement:
        case Action():
            return [statement]
        case IfElse(_, body, otherwise):
            return _body_actions(body + otherwise)
        case If(_, body) | While(_, body) | Repeat(_, body):
            return _body_actions(body)


def unparse(program: Program) -> str:
    """The text of a program in its canonical form: one line, one space around braces and after semicolons."""
    return f"def run() {_block_text(program.body)}"


def _block_text(body: tuple[Statement, ...]) -> str:
    return "{ " + "; ".join(map(_statement_text, body)) + " }"


def _statement_text(statement: Statement) -> str:
    match statement:
        case Action(name):
            return f"{name}()"
        case Repeat(count, body):
            return f"repeat ({count}) {_block_text(body)}"
        case IfElse(condition, body, otherwise):
            return f"ifelse ({_condition_text(condition)}) {_block_text(body)} else {_block_text(otherwise)}"
        case If(condition, body) | While(condition, body):
            word = "if" if isinstance(statement, If) else "while"
            return f"{word} ({_condition_text(condition)}) {_block_text(body)}"


def _condition_text(condition: Condition) -> str:
    return f"not {condition.name}()" if condition.negated else f"{condition.name}()"


def encode(program: Program) -> list[int]:
    """A program as the codes of `codes`, unpadded."""
    return _body_codes(program.body)


def _body_codes(body: tuple[Statement, ...]) -> list[int]:
    return [code for statement in body for code in _statement_codes(statement)]


def _statement_codes(statement: Statement) -> list[int]:
    match statement:
        case Action(name):
            return [ACTIONS.index(name)]
        case Repeat(count, body):
            return [REPEAT, NUMBER + count, OPEN, *_body_codes(body), CLOSE]
        case IfElse(condition, body, otherwise):
            yes, no = _body_codes(body), _body_codes(otherwise)
            return [IFELSE, *_condition_codes(condition), OPEN, *yes, CLOSE, ELSE, OPEN, *no, CLOSE]
        case If(condition, body) | While(condition, body):
            code = IF if isinstance(statement, If) else WHILE
            return [code, *_condition_codes(condition), OPEN, *_body_codes(body), CLOSE]


def _condition_codes(condition: Condition) -> list[int]:
    return [NOT] * condition.negated + [FRONT + CONDITIONS.index(condition.name)]


# What each code contributes to the text; a program's codes spelled one after
# another, with semicolons between statements, are its text.
_SPELLING = {
    **{code: f"{name}() " for code, name in enumerate(ACTIONS)},
    **{FRONT + code: f"{name}()) " for code, name in enumerate(CONDITIONS)},
    **{NUMBER + count: f"({count}) " for count in range(MAX_REPEAT + 1)},
    NOT: "not ",
    IF: "if (",
    IFELSE: "ifelse (",
    WHILE: "while (",
    REPEAT: "repeat ",
    ELSE: "else ",
    OPEN: "{ ",
    CLOSE: "} ",
}
_ENDS = {*range(len(ACTIONS)), CLOSE}  # codes that end a statement
_STARTS = {*range(len(ACTIONS)), IF, IFELSE, WHILE, REPEAT}


def decode(codes: Iterable[int]) -> Program:
    """The program that codes stand for, up to the first `PAD`; ValueError if they stand for none."""
    text = "def run() { "
    before = None
    for code in map(int, codes):
        if code == PAD:
            break
        if code not in _SPELLING:
            raise ValueError(f"given code {code}, expected one below {CODES}")
        text += "; " if before in _ENDS and code in _STARTS else ""
        text += _SPELLING[code]
        before = code
    text += "}"
    try:
        return parse(text)
    except KarelSyntaxError as error:
        raise ValueError(f"the codes spell '{text}', which is no program: {error}") from None
