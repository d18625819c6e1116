"""What stands in results/: which results there are, and which were made by earlier code.

A unit is what one job makes: a folder with a manifest, such as a corpus or one
checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from progsem.errors import UserError
from progsem.stages import FIGURES, LOGS, RESULTS, STAGES
from progsem.storage import manifest
from progsem.storage.sources import code_files

BENCHMARK = "bench.json"  # what `make bench` has measured
REPORT = "report.zip"  # what `make report` has made
_KEY = re.compile(r".+-[0-9a-f]{8}-[0-9a-f]{8}")
_LEVELS = (_KEY, re.compile(r"seed-\d+"), re.compile(r"step-\d{6}"))  # folders down to a unit
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}(\.\w+)?")  # as `artifacts.replacing` names them


@dataclass(frozen=True, order=True)
class Unit:
    """What one job makes: the folder `RESULTS/STAGE/NAME-CONFIG-CODE`, or one checkpoint's below it.

    `key` is NAME-CONFIG-CODE, `checkpoint` is `seed-S/step-N` or empty, `results`
    the folder of all results.
    """

    stage: str
    key: str
    checkpoint: str
    results: Path = Path(RESULTS)

    @property
    def folder(self) -> Path:
        """The artifact's folder."""
        return self.results / self.stage / self.key

    @property
    def path(self) -> Path:
        """The unit's own folder."""
        return self.folder / self.checkpoint

    @property
    def name(self) -> str:
        """What a person tells it by: a language model's shape, an alternative's name."""
        return self.key.rsplit("-", 2)[0]

    @property
    def config(self) -> str:
        """Digest of the config that went into it."""
        return self.key.split("-")[-2]

    @property
    def code(self) -> str:
        """Digest of the source files in its name."""
        return self.key.split("-")[-1]

    @property
    def result(self) -> tuple[str, str, str]:
        """Stage, config digest and checkpoint: the same for the same result made by other code."""
        return self.stage, self.config, self.checkpoint

    @property
    def log(self) -> Path:
        """What the job that makes it has said."""
        name = Path(self.results, LOGS, self.stage, self.key, self.checkpoint)
        return name.with_name(f"{name.name}.log")

    def manifest(self) -> dict | None:
        """Its manifest; None while it is unfinished, and for a damaged one."""
        try:
            return manifest.read(self.path / manifest.NAME)
        except UserError:
            return None

    def earlier(self) -> list[Unit]:
        """The same result made by other code, newest first, unfinished ones left out."""
        pattern = Path(f"*-{self.config}-*", self.checkpoint, manifest.NAME)
        found = {unit_of(path, self.results): path for path in (self.results / self.stage).glob(str(pattern))}
        made = {unit: path.stat().st_mtime for unit, path in found.items() if unit and unit.result == self.result}
        return sorted(made.keys() - {self}, key=made.get, reverse=True)


def unit_of(path: Path, results: Path = Path(RESULTS)) -> Unit | None:
    """The unit that a file or folder belongs to; None for one that is not below a unit of these results."""
    try:
        stage, *parts = path.relative_to(results).parts
    except ValueError:
        return None
    if stage not in STAGES:
        return None
    levels = _LEVELS[: 3 if STAGES[stage].checkpoints else 1]
    if len(parts) < len(levels) or not all(level.fullmatch(part) for level, part in zip(levels, parts, strict=False)):
        return None
    return Unit(stage, parts[0], "/".join(parts[1 : len(levels)]), results)


def survey(results: Path, follow_links: bool = True) -> tuple[list[Unit], list[Path]]:
    """All units that stand below a folder of results, finished or not, and the paths there that are not progsem's.

    `figures`, `logs`, `bench.json` and `report.zip` are neither. Without `follow_links`, symbolic
    links are not progsem's.
    """
    units: list[Unit] = []
    foreign: list[Path] = []

    def look(folder: Path, levels: tuple[re.Pattern, ...]) -> None:
        for path in sorted(folder.iterdir()):
            is_folder = path.is_dir() and (follow_links or not path.is_symlink())
            if not is_folder or not levels[0].fullmatch(path.name):
                foreign.append(path)
            elif unit := unit_of(path, results):
                units.append(unit)
            else:
                look(path, levels[1:])

    for path in sorted(results.iterdir()):
        if path.name in (LOGS, BENCHMARK, REPORT, Path(FIGURES).name) or is_figures_leftover(path):
            continue
        if path.name in STAGES and path.is_dir() and (follow_links or not path.is_symlink()):
            look(path, _LEVELS)
        else:
            foreign.append(path)
    return units, foreign


def is_temporary(path: Path) -> bool:
    """Whether a name is one that a file or folder has only while it is written."""
    return _TEMPORARY.fullmatch(path.name) is not None


def is_figures_leftover(path: Path) -> bool:
    """Whether a path is the folder that a process which was killed was drawing figures into."""
    return is_temporary(path) and path.name.startswith(f".{Path(FIGURES).name}.")


def was_kept(unit: Unit, made: dict) -> bool:
    """Whether a unit's manifest says that it was made under another name, by earlier code."""
    return unit.key not in made["command"]


def changed_files(codes: Iterable[dict[str, str]], stage: str, language: str) -> set[str]:
    """Source files of a stage for a language that are not, or no longer, as in each of `codes` (path: SHA-256)."""
    now = code_files(STAGES[stage].job, language)
    return {path for code in codes for path in {*code, *now} if code.get(path) != now.get(path)}


def duration(seconds: float) -> str:
    """Two units at most: `3 d 4 h`, `2 h 5 min`, `8 min 23 s`, `4 s`."""
    left = round(seconds)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:2] if len(parts) == 1 or not part.startswith("0 "))
