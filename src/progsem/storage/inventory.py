"""What stands in results/: which results there are for a plan, and which were made by earlier code.

A unit is what one job makes: a folder with a manifest, such as a corpus or one
checkpoint.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from progsem.errors import UserError
from progsem.storage import manifest
from progsem.storage.sources import code_files
from progsem.study.plan import FIGURES, MODULES, RESULTS, STAGES, Plan

CONSENT_SECONDS = 3600  # what took longer is computed anew only with consent
LOGS = "logs"
BENCHMARK = "bench.json"  # what `make bench` has measured
REPORT = "report.zip"  # what `make report` has made
CHECKPOINTED = ("lm", "traces", "probes", "interventions", "controls", "generalisation")  # a job a checkpoint
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
    levels = _LEVELS[: 3 if stage in CHECKPOINTED else 1]
    named = stage in STAGES and len(parts) >= len(levels)
    if not named or not all(level.fullmatch(part) for level, part in zip(levels, parts, strict=False)):
        return None
    return Unit(stage, parts[0], "/".join(parts[1 : len(levels)]), results)


def planned_units(plan: Plan) -> list[Unit]:
    """Every unit of a study, figures left out, in the order of the stages and of training."""
    paths = (Path(name) for stage, names in plan.jobs().items() if stage != "figures" for name in sorted(names))
    return [unit for unit in map(unit_of, paths) if unit is not None]


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


def figures_are_stale(plan: Plan) -> bool:
    """Whether results/figures shows something else than this plan's results, drawn by the code as it is."""
    if not Path(FIGURES).exists():
        return False
    try:
        return manifest.read(Path(FIGURES, manifest.NAME))["slice"] != json.loads(plan.figures_slice)
    except UserError:
        return True


def say_what_is_made_anew(plan: Plan, outputs: list[str]) -> None:
    """Before jobs that write these files start: say which results exist already, made by other code.

    Ends the process with status 2 where those took more than an hour and the
    config does not consent.
    """
    replaced: dict[str, list[dict]] = {}
    for unit in {unit_of(Path(output)) for output in outputs} - {None}:
        earlier = next(iter(unit.earlier()), None)
        made = earlier and earlier.manifest()
        if made:
            replaced.setdefault(unit.stage, []).append(made)
    total = 0.0
    for stage in sorted(replaced, key=STAGES.index):
        changed = changed_files([made["code"] for made in replaced[stage]], stage)
        what = ", ".join(sorted(changed)) or "what it is made from"
        times = [made["seconds"] for made in replaced[stage]]
        total += sum(times)
        print(
            f"progsem: the code of {stage} has changed ({what}): {len(times)} results that took "
            f"{duration(sum(times))} are made anew, beside the earlier ones; `progsem keep` uses those instead",
            file=sys.stderr,
        )
    if total > CONSENT_SECONDS and not plan.study.compute.recompute:
        print(
            f"progsem: given no consent to spend {duration(total)} again, expected --config "
            "'compute={recompute: true}' to do so, or `progsem keep` to use what there is",
            file=sys.stderr,
        )
        raise SystemExit(2)


def changed_files(codes: Iterable[dict[str, str]], stage: str) -> set[str]:
    """Source files of a stage that are not, or no longer, as in each of `codes` (path: SHA-256)."""
    now = code_files(MODULES[stage])
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
