"""A workflow that is killed again and again ends in the same artifacts. `python tests/kills.py` does it longer."""

from kills import KINDS, disturb
from tree import TINY, Tree


def test_random_kills_change_no_artifact(tree, tmp_path):
    """One kill of each kind: all at once, the workflow alone, a polite stop, Ctrl-C, one job."""
    killed = Tree.copied(tmp_path / "killed")
    assert len(tree.undisturbed) > 50
    counts = disturb(killed, ["--cores", "2", *TINY], tree.undisturbed, kills=len(KINDS), seed=3, longest=12)
    assert counts == dict.fromkeys(KINDS, 1)
    assert killed.planned(*TINY) == {}
