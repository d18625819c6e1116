"""Jobs of a finished study, run again by the command lines in its manifests, each in a process of its own.

The processes are forks of one that has imported all stages, which saves each job
the two seconds that imports take.
"""

import importlib
import json
import os
import resource
import shlex
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from tree import Tree


@dataclass(frozen=True)
class Answer:
    """How a job ended: its status and all that it said."""

    status: int
    said: str

    @property
    def line(self) -> str:
        """The only line that was said; raises AssertionError if there are others, or another status than 2."""
        lines = self.said.splitlines()
        assert self.status == 2 and len(lines) == 1, f"status {self.status}:\n{self.said}"
        return lines[0]


class Jobs:
    """The jobs of the tiny study in a folder that has a copy of its `results/`."""

    def __init__(self, tree: Tree, root: Path):
        self.root = root
        self._said = root / "said.txt"
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            cwd=root,
            env={**tree.environment(), "PYTHONPATH": str(tree.root / "src"), "MPLBACKEND": "agg"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def close(self) -> None:
        """End the process that jobs are forks of."""
        self._server.communicate()

    def manifest(self, pattern: str) -> dict:
        """The manifest of the only result whose path below `results/` has that pattern."""
        (path,) = (self.root / "results").glob(f"{pattern}/manifest.json")
        return json.loads(path.read_text(encoding="utf-8"))

    def arguments(self, pattern: str, outputs: str = "results") -> list[str]:
        """Command line of the job that has made a result, with `outputs` in place of the folder `results`."""
        words, option = [], ""
        for word in shlex.split(self.manifest(pattern)["command"])[3:]:
            option = word if word.startswith("--") else option
            words.append(outputs + word.removeprefix("results") if _is_output(option, word) else word)
        return words

    def ask(self, arguments: list[str], largest: int = resource.RLIM_INFINITY) -> Answer:
        """Run `progsem` with these arguments, unable to write files of more than `largest` bytes."""
        request = {"arguments": arguments, "largest": largest, "said": str(self._said)}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        status = json.loads(self._server.stdout.readline())
        return Answer(status, self._said.read_text(encoding="utf-8"))


def _is_output(option: str, word: str) -> bool:
    return option == "--output" and word.startswith("results/")


def serve() -> None:
    """Import every stage, then run each request in a fork; prints its status."""
    from progsem.stages import MODULES

    for stage in MODULES.values():
        importlib.import_module(stage)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run(arguments: list[str], largest: int, said: str) -> None:
    """Run a command line in this process, and end it."""
    from progsem.__main__ import main

    target = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    sys.argv = ["progsem", *arguments]
    status = 1
    try:
        main()
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
