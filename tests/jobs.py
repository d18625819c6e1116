"""Jobs of a finished study, run again by the command lines in its manifests, each in a process of its own."""

import json
import resource
import shlex
from dataclasses import dataclass
from pathlib import Path

from forks import Forks
from tree import Tree

from progsem.stages import MODULES


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
        variables = {"PYTHONPATH": str(tree.root / "src"), "MPLBACKEND": "agg"}
        self._forks = Forks(MODULES.values(), tree.environment() | variables)

    def close(self) -> None:
        """End the process that jobs are forks of."""
        self._forks.close()

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
        ended = self._forks.run("progsem", *arguments, cwd=self.root, together=True, largest=largest)
        return Answer(ended.returncode, ended.stdout)


def _is_output(option: str, word: str) -> bool:
    return option == "--output" and word.startswith("results/")
