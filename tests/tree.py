"""A copy of the repository in which Snakemake is run, for tests of the whole workflow."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from forks import Forks, instead_of_python
from snakemake.utils import update_config

from progsem.stages import MODULES
from progsem.study import configfiles
from progsem.study.config import Study, changed, load

ROOT = Path(__file__).resolve().parents[1]
TINY = ("--configfile", "studies/tiny.yaml")
RULES = {"lm": "checkpoint", "interventions": "probes"}  # stage -> rule, where their names differ
HANGS = 3600  # seconds after which a process is held to hang, however busy the machine is


def default_signals() -> None:
    """To be called in a child before it runs its program: tests may run in the background of a script or under `nohup`.

    What a process ignores, those that it starts ignore as well.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


@functools.cache
def of_snakemake() -> Forks:
    """Forks of a process that has imported Snakemake, and nothing of progsem. It ends with this process."""
    return Forks(["snakemake.cli"], variables() | jobs_as_forks())


def jobs_as_forks() -> dict[str, str]:
    """Variables with which jobs that shells start are forks as well, of `of_jobs`."""
    return {"BASH_ENV": str(instead_of_python(of_jobs()))}


@functools.cache
def of_jobs() -> Forks:
    """Forks of a process that has imported what jobs import; modules of progsem are each job's own."""
    own = {"MPLBACKEND": "agg", "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return Forks(MODULES.values(), variables() | own | {"PYTHONPATH": str(ROOT / "src")}, fresh=True)


def variables() -> dict[str, str]:
    """Environment variables of a user: without what the tests were started with."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


class Tree:
    """A folder with the Snakefile, the sources and the studies, and the results that come about in it.

    `undisturbed` holds the digests of its artifacts after its first run, where somebody took them.
    """

    def __init__(self, root: Path):
        self.root = root
        self.undisturbed: dict[str, str] = {}

    @classmethod
    def copied(cls, target: Path) -> "Tree":
        """A copy of this repository, without results, in a folder that is not there yet."""
        # __pycache__ comes along: it holds the compiled kernels, and saves compiling them anew.
        unwanted = (
            ".venv",
            ".venvs",
            "results",
            ".git",
            ".snakemake",
            ".pytest_cache",
            ".hypothesis",
            ".ruff_cache",
            "shared",
        )
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*unwanted))
        return cls(target)

    def command(self, *arguments: str) -> list[str]:
        """The command line of Snakemake."""
        return [sys.executable, "-m", "snakemake", *arguments]

    def environment(self) -> dict[str, str]:
        """Variables that Snakemake is started with."""
        return variables()

    def ask(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run Snakemake; its output and errors come together, as text."""
        return of_snakemake().run("snakemake", *arguments, cwd=self.root, together=True)

    def snakemake(self, *arguments: str) -> str:
        """Run Snakemake, which must succeed; returns all that it printed."""
        answer = self.ask(*arguments)
        assert answer.returncode == 0, answer.stdout[-6000:]
        return answer.stdout

    def planned(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule would run, from a dry run."""
        text = self.snakemake(*arguments, "-n", "--quiet", "rules")
        if "Nothing to be done" in text:
            return {}
        table = text.split("Job stats:\n")[1].split("\n\n")[0].splitlines()[2:]
        counts = {line.split()[0]: int(line.split()[1]) for line in table}
        return {rule: count for rule, count in counts.items() if rule not in ("total", "all")}

    def files(self) -> dict[str, int]:
        """Every artifact by path, with the time it was written; figures, which have one place, left out."""
        results = self.root / "results"
        return {
            str(path.relative_to(results)): path.stat().st_mtime_ns
            for path in results.rglob("*")
            if path.is_file() and path.relative_to(results).parts[0] not in ("figures", "logs")
        }


def tiny(changes: dict | None = None) -> Study:
    """The tiny study with changes on top of it, put together as Snakemake does with --config and --configfile."""
    own = configfiles.read_config(ROOT / "studies" / "tiny.yaml")
    update_config(own, changes or {})
    return load(changed(configfiles.read_config(ROOT / "config.yaml"), own))


def say(changes: dict) -> list[str]:
    """Changes as command-line arguments."""
    return ["--config", *(f"{section}={json.dumps(keys)}" for section, keys in changes.items())]
