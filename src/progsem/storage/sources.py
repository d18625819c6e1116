"""The source files that a stage is made of: what it imports within the package, and a digest of them.

Found by parsing, so that nothing heavy is imported and imports inside functions
count, as do the modules of the language that a stage asks for (`progsem.languages`), and
all modules of a package whose modules are listed by `pkgutil.iter_modules`. What
asks for results, runs jobs and keeps their files (`NOT_COUNTED`) cannot change what a
result is, and is no part of a stage. A page, script or style sheet beside a module,
`NAME.html` beside `NAME.py`, is part of that module. A digest of what the files do names
the code in an artifact's folder, so a change of any of them leaves earlier results where
they are. Of a module its syntax tree counts: comments, docstrings, layout and line ends
make no difference.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

import progsem
from progsem.languages import LANGUAGE
from progsem.stages import MODULES
from progsem.storage.files import digest

_PACKAGE = Path(progsem.__file__).parent
# Packages and modules, with all below them; * is the language. What they give to a stage is in its slice of the config,
# or no more than what columns mean.
NOT_COUNTED = (
    "progsem.study",
    "progsem.languages.*.config",
    "progsem.jobs",
    "progsem.stages",
    "progsem.errors",
    "progsem.storage.manifest",
    "progsem.storage.columns",
    "progsem.storage.sources",
)
_PARTS = (".py", ".html", ".js", ".css")
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def closure(module: str, language: str | None = None) -> tuple[Path, ...]:
    """Source files of a module and of what it imports within the package, with their pages, sorted.

    Without what is `NOT_COUNTED`; modules of a language are those of that one, by default the job's. Raises ValueError
    for a module that is not there.
    """
    return _closure(module, language or LANGUAGE.name, NOT_COUNTED)


@cache
def _closure(module: str, language: str, not_counted: tuple[str, ...]) -> tuple[Path, ...]:
    found: set[Path] = set()
    seen: set[str] = set()
    waiting = _with_packages(module)
    if _source(module) is None:
        raise ValueError(f"there is no module {module} in {_PACKAGE}")
    while waiting:
        name = waiting.pop().replace("*", language)
        if name in seen:
            continue
        seen.add(name)
        if any(f"{name}.".startswith(f"{other}.".replace("*", language)) for other in not_counted):
            continue
        path = _source(name)
        if path is not None:
            found.update(file for file in map(path.with_suffix, _PARTS) if file.is_file())
            waiting.extend(_imports(path))
    return tuple(sorted(found))


def said_by(module: str, language: str | None = None) -> dict[str, str]:
    """SHA-256 of what each file of the closure says, by its path inside the package, as the files are now."""
    return {path.relative_to(_PACKAGE).as_posix(): _digest(path) for path in closure(module, language)}


def code_files(stage: str, language: str | None = None) -> dict[str, str]:
    """What the files of a stage say (`said_by`) that is about programs in a language, by default the job's."""
    return said_by(MODULES[stage], language)


def code_digest(stage: str, language: str | None = None) -> str:
    """Eight hexadecimal digits for what all files of a stage say, as they are now."""
    return digest(code_files(stage, language))


def _digest(path: Path) -> str:
    """SHA-256 of a module's syntax tree, in hexadecimal; of a page, that of its text."""
    return _digest_of_code(_text(path)) if path.suffix == ".py" else hashlib.sha256(_text(path)).hexdigest()


def _text(path: Path) -> bytes:
    return path.read_bytes().replace(b"\r\n", b"\n")


@cache
def _digest_of_code(text: bytes) -> str:
    words: list[str] = []
    _write_down(_parsed(text), words)
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def _write_down(node, words: list[str]) -> None:
    """Add a syntax tree, without docstrings and what is empty: on the rest, other versions of Python agree."""
    if isinstance(node, list):
        words.append("[")
        for item in node:
            _write_down(item, words)
        words.append("]")
    elif isinstance(node, ast.AST):
        words.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if name == "body" and isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, False) is not None:
                value = value[1:]
            if value is not None and value != []:
                words.append(name)
                _write_down(value, words)
        words.append(".")
    else:
        words.append(repr(node))


@cache
def _parsed(text: bytes) -> ast.Module:
    return ast.parse(text)


def _name(path: Path) -> str:
    """The name of the package in a folder."""
    return ".".join((_PACKAGE.name, *path.relative_to(_PACKAGE).parts))


def _source(name: str) -> Path | None:
    """The file of a module of this package; None for a name that is not a module."""
    stem = _PACKAGE.joinpath(*name.split(".")[1:])
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


@cache
def _imports(path: Path) -> list[str]:
    """Names within the package that a file imports, and the packages they are in."""
    names = set()
    waiting: list[ast.AST] = [_parsed(_text(path))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "LANGUAGE":
            names.add(f"progsem.languages.*.{node.attr}")  # whichever it is, see `progsem.languages`
        elif isinstance(node, ast.Attribute) and node.attr == "iter_modules":
            names.update(f"{_name(path.parent)}.{other.stem}" for other in path.parent.glob("*.py"))
        waiting.extend(ast.iter_child_nodes(node))
    inside = [name for name in names if name.split(".")[0] == "progsem"]
    return sorted({part for name in inside for part in _with_packages(name)})


def _with_packages(name: str) -> list[str]:
    """A module's name and those of the packages that it is in."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
