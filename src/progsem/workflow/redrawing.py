"""When figures are drawn: where there are none, or those of another study or of earlier code.

Their folder has no digest in its name, so it does not tell Snakemake whether they are the study's.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from progsem.errors import UserError
from progsem.stages import FIGURES
from progsem.storage import manifest
from progsem.study.plan import Plan
from progsem.workflow.refusal import refuse_read_only

DRAWN = ".snakemake/figures_of_this_study"  # made by the job that draws
OUTDATED = ".snakemake/figures_are_outdated"  # an input of it that is newer than the figures


def are_outdated(plan: Plan, figures: Path) -> bool:
    """Whether a folder of figures is missing, or does not show this plan's results as the present code draws them."""
    try:
        return manifest.read(figures / manifest.NAME)["slice"] != json.loads(plan.figures_slice)
    except UserError:
        return True


def prepare(plan: Plan, in_place: Callable[[str], str]) -> bool:
    """Before Snakemake plans: give it a reason to draw if the figures are outdated; returns whether they are.

    `in_place` turns the path of a rule's file into the one where Snakemake looks for it.
    """
    figures, drawn, outdated = (Path(in_place(path)) for path in (FIGURES, DRAWN, OUTDATED))
    if not are_outdated(plan, figures):
        return False
    if figures.exists() and not os.access(figures, os.W_OK):
        refuse_read_only(figures)  # which Snakemake would say in many lines
    with contextlib.suppress(OSError):  # what cannot be written here is refused elsewhere
        drawn.unlink(missing_ok=True)
        outdated.parent.mkdir(parents=True, exist_ok=True)
        outdated.write_text(str(time.time_ns()), encoding="utf-8")  # another content each time
    return True
