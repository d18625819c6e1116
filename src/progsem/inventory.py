"""What stands in results/: which results there are for a plan, and which were made by earlier code.

A unit is what one job makes: a folder with a manifest, such as a corpus or one
checkpoint.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from progsem import manifest
from progsem.errors import UserError
from progsem.plan import FIGURES, MODULES, Plan
from progsem.sources import code_files

CONSENT_SECONDS = 3600  # what took longer is computed anew only with consent


def figures_are_stale(plan: Plan) -> bool:
    """Whether results/figures shows something else than this plan's results, drawn by the code as it is."""
    if not Path(FIGURES).exists():
        return False
    try:
        return manifest.read(Path(FIGURES, manifest.NAME))["slice"] != json.loads(plan.figures_slice)
    except UserError:
        return True


def earlier_units(unit: Path) -> list[Path]:
    """Folders with the same result made by other code, `results/STAGE/NAME-CONFIG-CODE/…`, newest first."""
    results, stage, key, *rest = unit.parts
    config = key.split("-")[-2]
    others = Path(results, stage).glob("/".join([f"*-{config}-*", *rest, manifest.NAME]))
    found = [path.parent for path in others if path.parent != unit]
    return sorted(found, key=lambda folder: (folder / manifest.NAME).stat().st_mtime, reverse=True)


def say_what_is_made_anew(plan: Plan, outputs: list[str]) -> None:
    """Before jobs that write these files start: say which results exist already, made by other code.

    Ends the process with status 2 where those took more than an hour and the
    config does not consent.
    """
    seconds: dict[str, list[float]] = {}
    changed: dict[str, set[str]] = {}
    for output in map(Path, outputs):
        if output.name != manifest.NAME:
            continue
        stage = output.parts[1]
        for unit in earlier_units(output.parent)[:1]:
            try:
                earlier = manifest.read(unit / manifest.NAME)
            except UserError:
                continue  # damaged: not a result that could be used instead
            seconds.setdefault(stage, []).append(earlier["seconds"])
            changed.setdefault(stage, set()).update(changed_files(earlier["code"], stage))
    for stage, times in seconds.items():
        what = ", ".join(sorted(changed[stage])) or "what it is made from"
        print(
            f"progsem: the code of {stage} has changed ({what}): {len(times)} results that took "
            f"{duration(sum(times))} are made anew, beside the earlier ones; `progsem keep` uses those instead",
            file=sys.stderr,
        )
    total = sum(map(sum, seconds.values()))
    if total > CONSENT_SECONDS and not plan.study.compute.recompute:
        print(
            f"progsem: given no consent to spend {duration(total)} again, expected --config "
            "'compute={recompute: true}' to do so, or `progsem keep` to use what there is",
            file=sys.stderr,
        )
        raise SystemExit(2)


def changed_files(code: dict[str, str], stage: str) -> set[str]:
    """Source files of a stage that are not, or no longer, as in `code` (path: SHA-256)."""
    now = code_files(MODULES[stage])
    return {path for path in {*code, *now} if code.get(path) != now.get(path)}


def duration(seconds: float) -> str:
    """Two units at most: `3 d 4 h`, `2 h 5 min`, `8 min 23 s`, `4 s`."""
    left = round(seconds)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:2] if len(parts) == 1 or not part.startswith("0 "))
