"""What the commands share: their parser, the studies they are given, sizes and tables."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import progsem
from progsem.errors import UserError
from progsem.jobs.streams import say as say
from progsem.stages import RESULTS
from progsem.study.config import changed, load
from progsem.study.configfiles import read_config
from progsem.study.plan import Plan

A_STUDY = "a study's name, as in studies/NAME.yaml, or its file"
_BASE = Path("config.yaml")  # the study that the others are differences to


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are `UserError`s: one line, status 2."""

    def error(self, message: str):
        raise UserError(f"{message}; see {self.prog} --help")


def parser(command: str, description: str) -> Parser:
    """The parser of `progsem COMMAND`."""
    return Parser(prog=f"progsem {command}", description=description, allow_abbrev=False)


@dataclass(frozen=True)
class Given:
    """A study as it was given: `name` for tables, its plan, and what Snakemake takes as --configfile."""

    name: str
    plan: Plan
    configfiles: tuple[Path, ...]


def repository() -> Path:
    """The folder with the Snakefile and config.yaml: this one, or else the one that this package lies in."""
    package = Path(progsem.__file__).resolve().parent
    here = Path.cwd()
    if (here / "Snakefile").is_file() and (here / "src" / "progsem").is_dir():
        if not package.samefile(here / "src" / "progsem"):  # which may be reached by several names
            raise UserError(
                f"given the progsem in {package}, expected the one in {here / 'src'}, which Snakemake uses here; "
                "run .venv/bin/progsem"
            )
        return here
    root = package.parents[1]
    if not (root / "Snakefile").is_file():
        raise UserError(f"there is no Snakefile in {here}; run this in the folder of the workflow")
    return root


def study_file(given: str) -> Path:
    """The file of a study that is given by its name or as a file; else a `UserError` with the nearest name."""
    known = {path.stem: path for folder in (repository(), Path()) for path in sorted(folder.glob("studies/*.yaml"))}
    path = known.get(given, Path(given))
    if path.exists():
        return path
    near = difflib.get_close_matches(path.stem, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UserError(f"given the study {given!r}, expected a file or one of {', '.join(known)}{hint}")


def study(path: Path | None) -> Given:
    """The study in a file, or without one that of config.yaml, here or else in the repository."""
    base = (repository() / _BASE).resolve()
    if path is None and _BASE.is_file():
        path = _BASE
    if path is None or path.resolve() == base:
        return Given(_BASE.stem, _plan(None), ())
    return Given(path.stem, _plan(path), (path,))


def studies(paths: Sequence[Path]) -> list[Given]:
    """The studies in these files; without any, config.yaml and every study in studies/, here and in the repository."""
    if not paths:
        folders = (Path(), repository())
        found = [path for folder in folders for path in (folder / _BASE, *sorted(folder.glob("studies/*.yaml")))]
        paths = [path for path in found if path.is_file()]
    return [study(path) for path in {path.resolve(): path for path in reversed(paths)}.values()][::-1]


def _plan(path: Path | None) -> Plan:
    """The plan of config.yaml with the changes in a file, put together as Snakemake does."""
    base = read_config(repository() / _BASE)
    if path is None:
        return Plan(load(base))
    try:
        return Plan(load(changed(base, read_config(path))))
    except UserError as error:
        text = str(error).removeprefix("config: ").removeprefix(f"{path} ").removeprefix(f"{path}: ")
        raise UserError(f"{path}: {text}") from None


def results_folder(path: str = RESULTS) -> Path:
    """A folder of results that is there, else a `UserError`."""
    if not Path(path).is_dir():
        raise UserError(f"{path}: there is no such folder; run this where the results are")
    return Path(path)


def bytes_below(path: Path) -> int:
    """Bytes in a file, or in all files below a folder; what links point to does not count."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_symlink() or not file.is_dir())


def human(count: float) -> str:
    """A number of bytes in decimal units: `1.3 GB`, `87 kB`, `12 B`."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while round(count) >= 1000 and len(units) > 1:
        count /= 1000
        del units[0]
    return f"{count:.1f} {units[0]}" if count < 9.95 and units[0] != "B" else f"{count:.0f} {units[0]}"


def times(count: int, what: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def table(rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Rows in columns, two spaces apart; the columns whose titles, in the first row, are in `right` end there."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    at_right = [title in right for title in rows[0]]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if end else cell.ljust(width)
            for cell, width, end in zip(row, widths, at_right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
