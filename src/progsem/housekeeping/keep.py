"""`progsem keep`: use results of earlier code for the plan as it is now, by giving them its names.

What is kept fits together: a result is left where it is if what it was made from
is not what stands, or has just been put, under the present names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from pathlib import Path

from progsem.errors import UserError
from progsem.housekeeping import common
from progsem.storage import manifest
from progsem.storage.files import file_digest
from progsem.storage.inventory import Unit, changed_files, duration, is_temporary, unit_of
from progsem.study.plan import Plan
from progsem.workflow.lock import nobody_else


def main(argv: list[str]) -> None:
    """Give earlier results their present names and say which; raises `UserError` while Snakemake runs here."""
    parser = common.parser(
        "keep",
        "Use results that were made by earlier code for a study as it is planned now, instead of computing them anew: "
        "their folders are given the present names. Manifests still say which code made them. "
        "Refuses while a snakemake is running here.",
    )
    parser.add_argument("study", nargs="?", type=common.study_file, help=f"{common.A_STUDY} (default: config.yaml)")
    given = common.study(parser.parse_args(argv).study)
    with nobody_else():
        keeping = Keeping(given.plan)
        try:
            keeping.run()
        finally:
            keeping.say()


class Keeping:
    """Earlier results on their way to their present names.

    `moves` counts units by (old folder, new folder, source files that differ),
    `left` counts those that stay by (folder, reason).
    """

    def __init__(self, plan: Plan):
        self._planned, self._language = plan.units(), plan.study.language
        self._present = {unit.result: unit for unit in self._planned}
        self._manifests: dict[Unit, dict] = {}
        self.moves: Counter[tuple[Path, Path, tuple[str, ...]]] = Counter()
        self.left: Counter[tuple[Path, str]] = Counter()
        self._seconds = 0.0

    def run(self) -> None:
        """Rename what there is for each unit that is missing, makers before what is made from them."""
        for unit in self._planned:
            if not (unit.path / manifest.NAME).exists():
                self._find(unit)

    def _find(self, unit: Unit) -> None:
        reasons = []
        for earlier in unit.earlier():
            made = earlier.manifest()
            reason = "its manifest is damaged" if made is None else self._why_not(earlier, made, unit)
            if reason is None:
                changed = changed_files([made["code"]], unit.stage, self._language)
                _rename(earlier, unit)
                self.moves[earlier.folder, unit.folder, tuple(sorted(changed))] += 1
                self._seconds += made["seconds"]
                return
            reasons.append((earlier.folder, reason))
        self.left.update(reasons)

    def _why_not(self, earlier: Unit, made: dict, unit: Unit) -> str | None:
        """Why an earlier unit, with its manifest, cannot stand for `unit`; None if it can."""
        for name in made["files"]:
            if name != manifest.TEMPORARY and not (earlier.path / name).is_file():
                return f"{name} is missing"
        for path, checksum in (item for paths in made["inputs"].values() for item in paths.items()):
            maker = unit_of(Path(path))
            now = self._present.get(maker.result) if maker else None
            if now is None or checksum is None:
                continue
            found = self._checksum(now, Path(path).relative_to(maker.path).as_posix())
            if found is None and now.earlier():
                return f"the {maker.stage} that it was made from was left as well"
            if found not in (None, checksum):
                return f"it was made from another {maker.stage} than {now.folder}"
        if any(not path.is_dir() and not is_temporary(path) for path in unit.path.rglob("*")):
            return f"{unit.folder} has been begun anew; delete that to use this"
        return None

    def _checksum(self, unit: Unit, name: str) -> str | None:
        """SHA-256 of a unit's file as its manifest says; None if the unit is not there."""
        if unit not in self._manifests:
            made = unit.manifest()
            if made is None:
                return None
            self._manifests[unit] = made
        if name == manifest.NAME:
            return file_digest(unit.path / name)
        return self._manifests[unit]["files"].get(name, "not one of its files")

    def say(self) -> None:
        """Print what was renamed and what was not."""
        for (old, new, changed), count in self.moves.items():
            differs = f"differs: {', '.join(changed)}" if changed else "its own code is the same"
            common.say(f"{old} -> {new}: {common.times(count, 'result')}; {differs}")
        for (old, reason), count in self.left.items():
            common.say(f"{old}: {common.times(count, 'result')} left there: {reason}")
        total = sum(self.moves.values())
        if total:
            common.say(f"{common.times(total, 'result')} kept, which took {duration(self._seconds)}")
        else:
            common.say(
                "nothing kept" if self.left else "nothing to keep: earlier code made nothing that is missing now"
            )


def _rename(earlier: Unit, unit: Unit) -> None:
    """Give a unit and its log another name, in place of empty folders and temporaries; folders left empty go."""
    try:
        if unit.path.exists():
            shutil.rmtree(unit.path)
        unit.path.parent.mkdir(parents=True, exist_ok=True)
        earlier.path.rename(unit.path)
        if earlier.log.is_file() and not unit.log.exists():
            unit.log.parent.mkdir(parents=True, exist_ok=True)
            earlier.log.rename(unit.log)
    except OSError as error:
        raise UserError(f"{earlier.path}: cannot be renamed to {unit.path} ({error.strerror})") from None
    for path in (earlier.path, earlier.log):
        _remove_empty(path.parent, within=earlier.results)


def _remove_empty(folder: Path, within: Path) -> None:
    """Remove a folder and those above it, up to the one of a stage, as far as they are empty."""
    with contextlib.suppress(OSError):  # not empty
        while within in folder.parents and folder.parent != within:
            os.rmdir(folder)
            folder = folder.parent
