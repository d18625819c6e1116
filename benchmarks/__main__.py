"""`make bench`, or `python -m benchmarks [STAGE …]`: how fast each stage is, beside a baseline and what could be.

Each stage is measured in a process of its own. Once all are measured, the rows
are written to results/bench.json.
"""

from __future__ import annotations

import difflib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.common import ROOT, Row
from benchmarks.limits import peaks
from progsem.stages import RESULTS
from progsem.storage.files import write_json
from progsem.storage.inventory import BENCHMARK
from progsem.workflow.snakefile import prepare_environment

STAGES = ("corpus", "tokens", "training", "traces", "probes", "statistics", "jobs", "accuracy")
_PACKAGES = ("torch", "transformers", "numpy", "numba", "pyarrow", "snakemake")


def main(asked: list[str]) -> int:
    """Measure these stages, or all; returns the exit status."""
    for name in asked:
        if name not in STAGES:
            near = difflib.get_close_matches(name, STAGES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            print(f"benchmarks: given {name}, expected any of {', '.join(STAGES)}{hint}", file=sys.stderr)
            return 2
    started = time.monotonic()
    print(f"{machine()}\n{peaks()}", flush=True)
    # As jobs have it, and so that a stage's processes find this package, and draw no bars through the table.
    prepare_environment(ROOT / "src")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "TQDM_DISABLE": "1"}
    measured, failed = {}, []
    for name in asked or STAGES:
        found = _measured(name, environment)
        if found is None:
            failed.append(name)
            print(f"\n{name}: failed; what it said stands above", flush=True)
            continue
        measured[name] = found
        for row in found["rows"]:
            print("\n" + said(Row(**row)), flush=True)
    if grown := {name: found["growth"] for name, found in measured.items() if found["growth"]}:
        print("\n" + growth_table(grown))
    rows = [(Row(**row), found["growth"]) for found in measured.values() for row in found["rows"]]
    if not asked and not failed:
        path = Path(RESULTS) / BENCHMARK
        write_json(path, [entry(row, growth) for row, growth in rows])
        print(f"\nwritten to {path}")
    missed = [row.stage for row, _ in rows if not row.reached]
    print(f"\n{time.monotonic() - started:.0f} s; not reached: {', '.join(missed) or 'none'}")
    return 1 if failed else 0


def _measured(name: str, environment: dict[str, str]) -> dict | None:
    """What a stage's process has found; None if it has failed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        done = subprocess.run([sys.executable, "-m", "benchmarks.stage", name, path], env=environment)
        return json.loads(path.read_text(encoding="utf-8")) if done.returncode == 0 else None


def machine() -> str:
    """What is measured on: processor, cores, memory, versions."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if sys.platform == "linux" else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return f"{cores} cores of {model}, {memory:.0f} GB, Python {platform.python_version()}\n{versions}"


def said(row: Row) -> str:
    """A row of the table: figures, then what they are of."""
    sign = "<=" if row.reach_of == "ours" and row.unit == "s" else ">="
    reach = f"{sign} {number(row.reach)}{'x' if row.reach_of == 'ratio' else ' ' + row.unit}"
    return (
        f"{row.stage:<18} {number(row.ours):>12} {row.unit:<16} baseline {number(row.baseline):>10}"
        f"   ratio {row.ratio:7.1f}x   of the limit {row.limit_fraction:6.1%}"
        f"   {'reached' if row.reached else 'NOT REACHED'} ({reach})\n"
        f"    ours      {row.work}\n"
        f"    baseline  {row.baseline_work}\n"
        f"    limit     {number(row.limit)} {row.unit}: {row.limit_work}"
    )


def growth_table(grown: dict[str, dict]) -> str:
    """How cost grows: seconds and peak memory of each stage at three sizes, and the exponent, 1 where it is linear."""
    lines = [f"{'growth of':<12} {'sizes':>34} {'seconds':>26} {'exponent':>10} {'peak memory, MB':>20}"]
    for name, growth in grown.items():
        sizes = ", ".join(f"{size:,}" for size in growth["sizes"]) + f" {growth['unit']}"
        seconds = ", ".join(f"{one:.2f}" for one in growth["seconds"])
        peaks = ", ".join(map(str, growth["peak_mb"]))
        lines.append(f"{name:<12} {sizes:>34} {seconds:>26} {growth['exponent']:>10.2f} {peaks:>20}")
    return "\n".join(lines)


def number(value: float) -> str:
    """Three digits and more, with commas."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def entry(row: Row, growth: dict | None) -> dict:
    """A row as it stands in bench.json; `growth` is that of its module, if it has any."""
    return {
        "stage": row.stage,
        "unit": row.unit,
        "ours": row.ours,
        "baseline": row.baseline,
        "ratio": row.ratio,
        "limit_fraction": row.limit_fraction,
        "work": row.work,
        "baseline_work": row.baseline_work,
        "limit": row.limit,
        "limit_work": row.limit_work,
        "reach": row.reach,
        "reach_of": row.reach_of,
        "reached": row.reached,
        "growth": growth,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
