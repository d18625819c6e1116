"""A workflow that is killed again and again ends in the same artifacts. `python tests/kills.py` does it longer."""

import random
import shutil
import signal
import subprocess
import sys

import pytest
from kills import KINDS, disturb, run_until_killed
from tree import TINY, Tree, default_signals


def test_random_kills_change_no_artifact(tree, tmp_path):
    """One kill of each kind: all at once, the workflow alone, a polite stop, Ctrl-C, one job.

    Probes of alternatives and controls are there already: they are fitted and written as those of the original are.
    """
    killed = Tree.copied(tmp_path / "killed")
    for stage in ("interventions", "controls"):
        shutil.copytree(tree.root / "results" / stage, killed.root / "results" / stage)
    assert len(tree.undisturbed) > 50
    counts = disturb(killed, ["--cores", "2", *TINY], tree.undisturbed, kills=len(KINDS), seed=3, longest=12)
    assert counts == dict.fromkeys(KINDS, 1)
    assert killed.planned(*TINY) == {}


class Standin(Tree):
    """A tree whose workflow is a line of Python."""

    def __init__(self, root, code: str):
        super().__init__(root)
        self.code = code

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", self.code, *arguments]


@pytest.fixture
def ignored():
    """As in the background of a script, and under `nohup`."""
    numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("kind", ["terminate", "interrupt"])
def test_a_kill_ends_a_workflow_though_the_tests_ignore_it(tmp_path, ignored, kind):
    tree = Standin(tmp_path, "import time; time.sleep(1000)")
    assert run_until_killed(tree, [], kind, 0.5, random.Random(0)) is True


@pytest.mark.parametrize("kind", ["terminate", "interrupt", "job"])
def test_a_kill_that_ends_nothing_is_none(tmp_path, kind):
    """The workflow gets done all the same: it ignores the signal, and has no jobs."""
    code = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; time.sleep(%d)"
    assert run_until_killed(Standin(tmp_path, code % 6), [], kind, 3, random.Random(0)) is False


def test_children_obey_what_the_tests_ignore(ignored):
    for number in ignored:
        with subprocess.Popen(["sleep", "1000"], preexec_fn=default_signals) as child:
            child.send_signal(number)
        assert child.returncode == -number
