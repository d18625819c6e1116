"""`progsem plan`: what Snakemake would run, and how long that took last time or is going to take."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from progsem.errors import UserError
from progsem.housekeeping import common
from progsem.stages import FIGURES, RESULTS, STAGES
from progsem.storage import manifest
from progsem.storage.inventory import Unit, changed_files, duration, survey, unit_of
from progsem.study.checks import remark
from progsem.study.forecast import COSTS, available_cores, elapsed, rounded, seconds_or_line
from progsem.workflow.consent import CONSENT_SECONDS

_SHOWN_FILES = 4  # names of changed source files in a remark


@dataclass
class Row:
    """A stage: its jobs, those whose results are there, those to run, and what is known about them.

    Results that are missing and that nothing needs are not to be made.
    `times` are seconds of jobs to run, by what they make, as far as they are known; `seconds` is their sum, None where
    one is missing. `anew` is what results that exist already, made by earlier code, took.
    """

    stage: str
    jobs: int
    cached: int
    to_run: int
    times: dict[Unit, float] = field(default_factory=dict)
    seconds: float | None = 0.0
    estimated: bool = False
    anew: float = 0.0
    remark: str = ""


def main(argv: list[str]) -> None:
    """Print the table; raises `UserError` for a bad config."""
    parser = common.parser(
        "plan",
        "Say what snakemake would run for a study: by stage, how many jobs, how long they took last time "
        "(~: estimated from other jobs of the stage, or from the work and the speed of this machine) and why they "
        "run. Runs nothing.",
    )
    parser.add_argument("study", nargs="?", type=common.study_file, help=f"{common.A_STUDY} (default: config.yaml)")
    given = common.study(parser.parse_args(argv).study)
    outputs = outputs_to_make(given)
    stages = rows(given, outputs)
    common.say(_table(stages))
    if said := remark(given.plan.study):
        common.say(said)
    anew = sum(row.anew for row in stages)
    if any(row.to_run for row in stages) and all(row.seconds is not None for row in stages):
        jobs, cores = {unit: time for row in stages for unit, time in row.times.items()}, available_cores()
        wall = elapsed(given.plan, jobs, stages[-1].seconds, cores)
        common.say(f"in all about {rounded(wall)} on {common.times(cores, 'core')}")
    if not any(row.to_run for row in stages):
        common.say("nothing to be done")
    elif anew > CONSENT_SECONDS and not given.plan.study.compute.recompute:
        common.say(
            f"snakemake will ask for consent: the code has changed since results were made that took {duration(anew)}. "
            "`progsem keep` uses those, --config 'compute={recompute: true}' computes them anew beside them"
        )


def outputs_to_make(given: common.Given) -> list[Path]:
    """Outputs of all jobs that `snakemake` would run here, by a dry run of its own.

    It is run in a temporary folder, where empty files stand for the results: Snakemake
    asks no more than which are there, and even a dry run of it leaves `.snakemake`.
    """
    from snakemake.api import SnakemakeApi
    from snakemake.settings.enums import Quietness, RerunTrigger
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        ExecutionSettings,
        OutputSettings,
        ResourceSettings,
        SharedFSUsage,
        StorageSettings,
    )

    # These two kinds of quietness end a dry run once the plan is made. Errors come as exceptions.
    quiet = {Quietness.RULES, Quietness.PROGRESS}
    silent = OutputSettings(dryrun=True, quiet=quiet, log_level_override=logging.CRITICAL + 1)
    no_cache = StorageSettings(shared_fs_usage=SharedFSUsage.all() - {SharedFSUsage.SOURCE_CACHE})  # not in the home
    outputs: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="progsem-plan-") as folder, SnakemakeApi(silent) as api:
            _imitate(Path(RESULTS), Path(folder))
            workflow = api.workflow(
                resource_settings=ResourceSettings(),
                config_settings=ConfigSettings(configfiles=given.configfiles),
                storage_settings=no_cache,
                snakefile=common.repository() / "Snakefile",
                workdir=Path(folder),
            )
            workflow.dag(DAGSettings(rerun_triggers={RerunTrigger.MTIME})).execute_workflow(
                executor="dryrun", execution_settings=ExecutionSettings(lock=False), updated_files=outputs
            )
    except Exception as error:  # whatever is wrong with the rules
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"snakemake cannot plan ({reason[0]}); `snakemake -n` says more") from None
    return [Path(output) for output in outputs]


def _imitate(results: Path, folder: Path) -> None:
    """Put empty files and folders like those in results into a folder; of the figures' manifest, a copy."""
    for below, _, names in os.walk(results, followlinks=True):
        Path(folder, below).mkdir()
        for name in names:
            if Path(below, name) == Path(FIGURES, manifest.NAME):
                shutil.copyfile(Path(below, name), Path(folder, below, name))
            elif Path(below, name).exists():
                Path(folder, below, name).touch()


def rows(given: common.Given, outputs: list[Path]) -> list[Row]:
    """A row a stage, in order, where these outputs are to be made."""
    to_run = sorted({unit for unit in map(unit_of, outputs) if unit is not None})
    planned = given.plan.units()
    language = given.plan.study.language
    found = [_row(stage, [unit for unit in planned if unit.stage == stage], to_run, language) for stage in STAGES]
    known = {unit for row in found for unit in row.times}
    unknown = [unit for unit in to_run if unit not in known]
    forecast = seconds_or_line(given.plan, unknown) or {}
    for row in found:
        row.times |= {unit: time for unit, time in forecast.items() if unit.stage == row.stage}
        row.seconds = sum(row.times.values()) if len(row.times) == row.to_run else None
    return [*found[:-1], _figures_row(Path(FIGURES) in outputs)]


def _row(stage: str, planned: list[Unit], to_run: list[Unit], language: str) -> Row:
    units = [unit for unit in to_run if unit.stage == stage]
    there = {unit for unit in planned if (unit.path / manifest.NAME).exists()}
    row = Row(stage, len(planned), len(there - set(units)), len(units))
    codes: list[dict[str, str]] = []  # of the earlier results that are made anew
    reasons: Counter[str] = Counter()
    for unit in units:
        made, earlier = unit.manifest(), next((other.manifest() for other in unit.earlier()), None)
        if earlier:
            row.anew += earlier["seconds"]
        if made:
            whole = all((unit.path / name).exists() for name in made["files"])
            reasons["what it is made from is made again" if whole else "files are missing"] += 1
        elif earlier:
            reasons["changed"] += 1
            codes.append(earlier["code"])
        else:
            reasons["new"] += 1
        if made or earlier:
            row.times[unit] = (made or earlier)["seconds"]
    if reasons["new"]:
        means = _mean_seconds(stage, {unit.name for unit in units})
        row.estimated = True
        unknown = [unit for unit in units if unit not in row.times]
        row.times |= {unit: means[_step(unit)] for unit in unknown if _step(unit) in means}
    remarks = [
        (_changes(changed_files(codes, stage, language)) if reason == "changed" else reason, count)
        for reason, count in reasons.items()
        if count
    ]
    row.remark = "; ".join(f"{reason} ({count})" if count < len(units) else reason for reason, count in remarks)
    return row


def _changes(changed: set[str]) -> str:
    """Which source files have changed since results were made; none where those of other stages have."""
    if not changed:
        return "what it is made from has changed"
    names = sorted(changed)
    more = f" and {len(names) - _SHOWN_FILES} more" if len(names) > _SHOWN_FILES else ""
    return f"changed: {', '.join(names[:_SHOWN_FILES])}{more}"


def _mean_seconds(stage: str, names: set[str]) -> dict[str, float]:
    """By step, of the results of a stage with these names: much the same in size, whatever they were made from."""
    seconds: dict[str, list[float]] = {}
    for unit in survey(Path(RESULTS))[0] if Path(RESULTS).is_dir() else []:
        if unit.stage == stage and unit.name in names and (made := unit.manifest()):
            seconds.setdefault(_step(unit), []).append(made["seconds"])
    return {step: sum(found) / len(found) for step, found in seconds.items()}


def _step(unit: Unit) -> str:
    """Which checkpoint a result is of, whatever the language model; nothing if of none."""
    return unit.checkpoint.rpartition("/")[2]


def _figures_row(to_draw: bool) -> Row:
    if not to_draw:
        return Row("figures", 1, 1, 0)
    try:
        seconds = manifest.read(Path(FIGURES, manifest.NAME))["seconds"]
    except UserError:
        return Row("figures", 1, 0, 1, seconds=COSTS["figures"].start, estimated=True, remark="new")
    return Row("figures", 1, 0, 1, seconds=seconds, remark="drawn anew")


def _table(stages: list[Row]) -> str:
    known = [row.seconds for row in stages if row.seconds is not None]
    jobs, cached, to_run = (sum(getattr(row, name) for row in stages) for name in ("jobs", "cached", "to_run"))
    total = Row("total", jobs, cached, to_run, seconds=sum(known))
    total.estimated = any(row.estimated for row in stages)
    unknown = len(known) < len(stages)
    lines = [["stage", "jobs", "cached", "to run", "took", "why"]]
    for row in (*stages, total):
        took = "—" if row.seconds is None else f"{'~' * row.estimated}{duration(row.seconds)}"
        if row is total and unknown:
            took = "—" if not sum(known) else f"more than {took}"
        lines.append([row.stage, str(row.jobs), str(row.cached), str(row.to_run), took, row.remark])
        if not row.to_run:
            lines[-1][4] = ""
    return common.table(lines, right=("jobs", "cached", "to run", "took"))
