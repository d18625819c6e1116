"""How long a run is going to take, said before its jobs start."""

from __future__ import annotations

import sys
from pathlib import Path

from progsem.stages import STAGES
from progsem.storage.inventory import unit_of
from progsem.study.forecast import COSTS, elapsed, rounded, seconds_or_line
from progsem.study.plan import Plan
from progsem.workflow.redrawing import DRAWN


def say_how_long(plan: Plan, outputs: list[str], cores: int) -> None:
    """Before jobs that write these files start: say how many minutes they will take here, by stage and in all."""
    units = {unit_of(Path(output)) for output in outputs} - {None}
    jobs = seconds_or_line(plan, units) if units else None
    if jobs is None:
        return
    figures = COSTS["figures"].start * (DRAWN in outputs)
    by_stage = {stage: sum(time for unit, time in jobs.items() if unit.stage == stage) for stage in STAGES}
    each = ", ".join(f"{stage} {rounded(time)}" for stage, time in by_stage.items() if time >= 60)
    print(
        f"progsem: about {rounded(elapsed(plan, jobs, figures, cores))} on {cores} cores"
        + (f"; of one core {each}" if each else ""),
        file=sys.stderr,
    )
