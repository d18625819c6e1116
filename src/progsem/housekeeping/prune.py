"""`progsem prune`: delete the results that no study needs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from progsem.errors import UserError
from progsem.housekeeping import common
from progsem.stages import FIGURES, LOGS, STAGES
from progsem.storage import manifest
from progsem.storage.inventory import Unit, is_figures_leftover, is_temporary, survey, unit_of
from progsem.workflow.lock import nobody_else

LEFTOVER = "left by a process that was killed"


def main(argv: list[str]) -> None:
    """List what no study needs, and delete it if asked to; raises `UserError` while Snakemake runs here."""
    parser = common.parser(
        "prune",
        "List the results that no study needs, with what they take, and delete them with --delete. Results of earlier "
        "code count as needed where a study has their config. Also goes: what killed processes left, training states "
        "that the next checkpoint has made superfluous, logs of results that go, and empty folders. "
        "results/figures stays. Refuses while a snakemake is running here.",
    )
    parser.add_argument(
        "studies", nargs="*", type=common.study_file, help="names or files (default: config.yaml and studies/*.yaml)"
    )
    parser.add_argument("--delete", action="store_true", help="delete them (default: list them)")
    parser.add_argument("--earlier-code", action="store_true", help="results of earlier code are not needed")
    asked = parser.parse_args(argv)
    given = common.studies(asked.studies)
    results = common.results_folder()
    with nobody_else():
        pruning = Pruning(Needs(given, asked.earlier_code), results)
        pruning.say()
        total = f"{common.human(pruning.bytes)}, not needed by: {', '.join(study.name for study in given)}"
        if not asked.delete:
            common.say(f"{total}. Nothing was deleted: add --delete to delete")
            return
        pruning.delete()
        common.say(f"deleted {total}")


class Needs:
    """What studies need: which units, and which states to go on training from."""

    def __init__(self, given: Sequence[common.Given], present_code_only: bool):
        planned = [unit for study in given for unit in study.plan.units()]
        self._present_code_only = present_code_only
        self._present = {(unit.key, *unit.result) for unit in planned}
        self._wanted = {unit.result for unit in planned}
        # Of each language model, by config digest: step -> the one after it; none after the last.
        self._next: dict[str, dict[int, int]] = {}
        for study in given:
            steps = study.plan.study.lm.every_step()
            self._next[study.plan.lm.config_digest] = dict(zip(steps, steps[1:], strict=False))

    def why_not(self, unit: Unit) -> str | None:
        """Why nobody needs a unit; None if somebody does."""
        if unit.result not in self._wanted:
            return "no study has it"
        if self._present_code_only and (unit.key, *unit.result) not in self._present:
            return "made by earlier code"
        return None

    def state(self, unit: Unit) -> bool:
        """Whether the training state of a needed checkpoint may still be gone on from."""
        seed, step = unit.checkpoint.split("/step-")
        after = self._next[unit.config].get(int(step))
        successor = replace(unit, checkpoint=f"{seed}/step-{after or 0:06d}")
        return unit.manifest() is None or (after is not None and successor.manifest() is None)


class Pruning:
    """What is not needed below a folder of results.

    `items` holds files and folders with the reason, `logs` those of results that
    are not needed, `foreign` what is not progsem's and stays; links are that.
    """

    def __init__(self, needs: Needs, results: Path):
        self._needs, self._results = needs, results
        units, self.foreign = survey(results, follow_links=False)
        self.items: list[tuple[Path, str]] = []
        for folder, group in groupby(sorted(units, key=lambda unit: unit.folder), key=lambda unit: unit.folder):
            self._look(folder, {unit: needs.why_not(unit) for unit in group})
        self.items += [(path, LEFTOVER) for path in sorted(results.iterdir()) if is_figures_leftover(path)]
        self.logs = self._find_logs()
        self._sizes = {path: common.bytes_below(path) for path in (*self.logs, *(path for path, _ in self.items))}
        self.bytes = sum(self._sizes.values())

    def _look(self, folder: Path, reasons: dict[Unit, str | None]) -> None:
        """Choose from an artifact's folder, given why its units are not needed."""
        if None not in reasons.values() and not any(folder in path.parents for path in self.foreign):
            self.items.append((folder, ", ".join(sorted(set(filter(None, reasons.values()))))))
            return
        for unit, reason in reasons.items():
            if reason is not None:
                self.items.append((unit.path, reason))
                continue
            self.items += [(path, LEFTOVER) for path in sorted(unit.path.iterdir()) if is_temporary(path)]
            state = unit.path / manifest.TEMPORARY
            if unit.stage == "lm" and state.exists() and not self._needs.state(unit):
                self.items.append((state, "training has gone on from it"))

    def _find_logs(self) -> list[Path]:
        folder = self._results / LOGS
        found = []
        for path in sorted(folder.rglob("*.log")) if not folder.is_symlink() else ():
            unit = unit_of(self._results / path.relative_to(folder).with_suffix(""), self._results)
            if unit is not None and unit.log == path and self._needs.why_not(unit):
                found.append(path)
        return found

    def say(self) -> None:
        """Print what is not needed, with sizes and reasons, and what is left alone."""
        rows = [(common.human(self._sizes[path]), str(path), why) for path, why in self.items]
        if self.logs:
            size = sum(self._sizes[path] for path in self.logs)
            rows.append((common.human(size), str(self._results / LOGS), f"{len(self.logs)} of results not needed"))
        if rows:
            common.say(common.table([("size", "path", "why"), *rows], right=("size",)))
        for path in self.foreign:
            common.say(f"left alone, as it is not progsem's: {path}")

    def delete(self) -> None:
        """Delete it all, and then folders that are empty; raises `UserError` where that is not allowed."""
        for path in (*(path for path, _ in self.items), *self.logs):
            try:
                _delete(path)
            except OSError as error:
                raise UserError(f"{path}: cannot be deleted ({error.strerror}); give access, and run again") from None
        for name in (*STAGES, LOGS):
            top = self._results / name
            if name != Path(FIGURES).name and not top.is_symlink():
                self._remove_empty(top)

    def _remove_empty(self, top: Path) -> None:
        """Remove a folder and those below it as far as they are empty and progsem's."""
        for name, _, _ in os.walk(top, topdown=False):
            folder = Path(name)
            if not any(path == folder or path in folder.parents for path in self.foreign):
                with contextlib.suppress(OSError):  # not empty
                    folder.rmdir()


def _delete(path: Path) -> None:
    """Delete a file or a folder; of a result the manifest first, so that it never looks whole without being it."""
    if not path.is_dir() or path.is_symlink():
        path.unlink()
        return
    for listed in sorted(path.rglob(manifest.NAME)):
        listed.unlink()
    shutil.rmtree(path)
