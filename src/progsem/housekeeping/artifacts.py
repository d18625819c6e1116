"""`progsem artifacts`: a table of the folders in results/, what they cost, and which studies use them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby

from progsem.housekeeping import common
from progsem.stages import STAGES
from progsem.storage import manifest
from progsem.storage.inventory import Unit, duration, survey, was_kept
from progsem.study.plan import Plan

_TITLES = ("stage", "folder", "jobs", "size", "age", "took", "studies", "code")


def main(argv: list[str]) -> None:
    """Print the table; raises `UserError` for a bad config."""
    parser = common.parser(
        "artifacts",
        "List the folders in results/: jobs done, size, age of the newest result, the time it took to make them, which "
        "studies use them (-: none), and whether the code that made them is the present one, an earlier one, or an "
        "earlier one whose results were kept.",
    )
    parser.add_argument(
        "studies", nargs="*", type=common.study_file, help="names or files (default: config.yaml and studies/*.yaml)"
    )
    given = common.studies(parser.parse_args(argv).studies)
    units, foreign = survey(common.results_folder())
    folders = [list(group) for _, group in groupby(sorted(units, key=_order), key=lambda unit: unit.folder)]
    sizes = [common.bytes_below(group[0].folder) for group in folders]
    planned = [(study.name, study.plan.units()) for study in given]
    rows = [row(group, size, planned, given[0].plan) for group, size in zip(folders, sizes, strict=True)]
    if rows:
        common.say(common.table([_TITLES, *rows], right=("jobs", "size", "age", "took")))
    common.say(f"{common.times(len(rows), 'folder')}, {common.human(sum(sizes))}")
    for path in foreign:
        common.say(f"not progsem's: {path}")


def row(units: Sequence[Unit], size: int, planned: Sequence[tuple[str, list[Unit]]], plan: Plan) -> tuple[str, ...]:
    """What the table says about one folder: its units, its bytes, the units of each study, and any plan."""
    made = {unit: found for unit in units if (found := unit.manifest())}
    same = [(name, [unit.result for unit in of if unit.result[:2] == units[0].result[:2]]) for name, of in planned]
    users = [name for name, results in same if results]
    jobs = len({unit.result for unit in units}.union(*(results for _, results in same)))
    newest = max(((unit.path / manifest.NAME).stat().st_mtime for unit in made), default=None)
    return (
        units[0].stage,
        units[0].key,
        str(jobs) if len(made) == jobs else f"{len(made)} of {jobs}",
        common.human(size),
        "-" if newest is None else duration(max(time.time() - newest, 0)),
        duration(sum(found["seconds"] for found in made.values())) if made else "-",
        ", ".join(users) or "-",
        _code(units[0], made, plan),
    )


def _code(unit: Unit, made: dict[Unit, dict], plan: Plan) -> str:
    """Whether a folder's name has the present code, and its results were made by that."""
    if unit.code != plan.codes[unit.stage]:
        return "earlier"
    return "kept" if any(was_kept(one, found) for one, found in made.items()) else "present"


def _order(unit: Unit) -> tuple:
    return list(STAGES).index(unit.stage), unit
