"""Consent to compute anew what earlier code has made."""

from __future__ import annotations

import sys
from pathlib import Path

from progsem.stages import STAGES
from progsem.storage.inventory import changed_files, duration, unit_of
from progsem.study.plan import Plan
from progsem.workflow.refusal import refuse

CONSENT_SECONDS = 3600  # what took longer is computed anew only with consent


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
    for stage in filter(replaced.get, STAGES):
        changed = changed_files([made["code"] for made in replaced[stage]], stage, plan.study.language)
        what = ", ".join(sorted(changed)) or "what it is made from"
        times = [made["seconds"] for made in replaced[stage]]
        total += sum(times)
        print(
            f"progsem: the code of {stage} has changed ({what}): {len(times)} results that took "
            f"{duration(sum(times))} are made anew, beside the earlier ones; `progsem keep` uses those instead",
            file=sys.stderr,
        )
    if total > CONSENT_SECONDS and not plan.study.compute.recompute:
        refuse(
            f"given no consent to spend {duration(total)} again, expected --config 'compute={{recompute: true}}' "
            "to do so, or `progsem keep` to use what there is"
        )
