"""Kill the workflow at random moments until it is done: its artifacts must be those of a run that nobody disturbed.

    python tests/kills.py --kills 50 --seed 0

runs the tiny study (with longer training) once undisturbed, then again and again
under kills, in temporary folders. After each kill every file under its final name
must already be the one of the undisturbed run; a file that differs is named, and
the status is 1.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from tree import HANGS, TINY, Tree, default_signals, say

# Enough training for kills to fall into it.
TRAINING = {"lm": {"steps": 600, "checkpoint_every": 300, "decay_steps": 600}}
TRIES = 20  # kills in turn that come too late, each at another moment
KINDS = ("power", "workflow", "terminate", "interrupt", "job")
# Measured times, and what is there only until a job is done.
TIMES = ("wall_seconds", "seconds_per_solution")
PASSING = ("manifest.json", "resume.safetensors", "state.safetensors")


def artifacts(tree: Tree) -> dict[str, str]:
    """SHA-256 by path of all results under their final names, measured times left out."""
    results = tree.root / "results"
    found = {}
    for path in results.rglob("*"):
        name = path.relative_to(results)
        hidden = any(part.startswith(".") for part in name.parts)
        if not path.is_file() or hidden or name.parts[0] == "logs" or path.name in PASSING:
            continue
        content = path.read_bytes()
        if path.name == "summary.json":
            summary = json.loads(content)
            content = json.dumps({key: value for key, value in summary.items() if key not in TIMES}).encode()
        found[str(name)] = hashlib.sha256(content).hexdigest()
    return found


def jobs_of(workflow: subprocess.Popen) -> list[psutil.Process]:
    """The running jobs of a Snakemake process."""
    try:
        children = psutil.Process(workflow.pid).children(recursive=True)
        return [child for child in children if "progsem" in child.cmdline() and "--slice" in child.cmdline()]
    except psutil.Error:
        return []


def kill(workflow: subprocess.Popen, kind: str, choice: random.Random) -> bool:
    """Kill in one way, a job as soon as there is one; whether there was something to kill."""
    try:
        if kind == "power":
            os.killpg(workflow.pid, signal.SIGKILL)
        elif kind == "workflow":
            workflow.kill()
        elif kind == "terminate":
            os.killpg(workflow.pid, signal.SIGTERM)
        elif kind == "interrupt":
            os.killpg(workflow.pid, signal.SIGINT)
        else:
            while not (jobs := jobs_of(workflow)):
                if workflow.poll() is not None:
                    return False
                time.sleep(0.05)
            choice.choice(jobs).kill()
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
    return True


def run_until_killed(tree: Tree, arguments: list[str], kind: str, delay: float, choice: random.Random) -> bool:
    """Start the workflow and kill it after `delay` seconds; whether that ended it before it was done."""
    with open(tree.root / "run.log", "a", encoding="utf-8") as log:
        workflow = subprocess.Popen(
            tree.command(*arguments),
            cwd=tree.root,
            env=tree.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=default_signals,
        )
    killed = False
    with contextlib.suppress(subprocess.TimeoutExpired):
        workflow.wait(delay)
    if workflow.poll() is None:
        killed = kill(workflow, kind, choice)
    try:
        # What is asked to stop gets the time to save and stop; what has lost a job ends by itself.
        status = workflow.wait(HANGS)
    finally:
        if workflow.poll() is None:
            os.killpg(workflow.pid, signal.SIGKILL)
    assert killed or status == 0, f"status {status}: {(tree.root / 'run.log').read_text(encoding='utf-8')[-4000:]}"
    return status != 0


def disturb(tree: Tree, arguments: list[str], expected: dict[str, str], kills: int, seed: int, longest: float) -> dict:
    """Kill `kills` times at random moments within `longest` seconds of a start, then let the workflow finish.

    Returns how often each kind of kill happened; raises AssertionError for an
    artifact that differs from `expected`, and for a kind of kill that never ends
    anything. A study that gets done before all kills have happened starts from nothing.
    """
    choice = random.Random(seed)
    counts = dict.fromkeys(KINDS, 0)
    in_vain = 0
    while sum(counts.values()) < kills:
        kind = KINDS[sum(counts.values()) % len(KINDS)]
        killed = run_until_killed(tree, arguments, kind, choice.uniform(0, longest), choice)
        counts[kind] += killed
        in_vain = 0 if killed else in_vain + 1
        assert in_vain < TRIES, f"{kind}: {TRIES} in turn ended nothing"
        compare(artifacts(tree), expected, f"after {counts}", whole=not killed)
        if not killed:
            subprocess.run(["rm", "-rf", tree.root / "results", tree.root / ".snakemake"], check=True)
        print(f"{sum(counts.values())} kills, the last: {kind}; {len(artifacts(tree))} artifacts there", flush=True)
    tree.snakemake(*arguments)
    compare(artifacts(tree), expected, "at the end", whole=True)
    return counts


def compare(found: dict[str, str], expected: dict[str, str], when: str, whole: bool) -> None:
    """Every artifact that is there must be the expected one; with `whole`, none may be missing."""
    differing = sorted(path for path, digest in found.items() if digest != expected.get(path))
    assert not differing, f"{when}: {len(differing)} artifacts differ: {differing[:5]}"
    missing = sorted(set(expected) - set(found)) if whole else []
    assert not missing, f"{when}: {len(missing)} artifacts missing: {missing[:5]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=25, help="seconds from a start to a kill, at most")
    asked = parser.parse_args()
    arguments = ["--cores", "2", *TINY, *say(TRAINING)]
    with tempfile.TemporaryDirectory() as folder:
        calm, tree = Tree.copied(Path(folder) / "calm"), Tree.copied(Path(folder) / "killed")
        calm.snakemake(*arguments)
        expected = artifacts(calm)
        print(f"undisturbed: {len(expected)} artifacts", flush=True)
        started = time.monotonic()
        counts = disturb(tree, arguments, expected, asked.kills, asked.seed, asked.longest)
        print(f"{counts}: 0 of {len(expected)} artifacts differ, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"kills: {error}")
