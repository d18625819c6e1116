"""`make env`: made once, whatever name the clone is reached by, and never taken away from what runs in it."""

import re
import shutil
import subprocess
from pathlib import Path

import flit_core
import pytest

ROOT = Path(__file__).resolve().parents[1]
MAKING = "making .venv from requirements.lock (a minute or two)\n"


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A folder with what `make env` needs, whose package is built from here. Each test may change the lock."""
    root = tmp_path_factory.mktemp("environment") / "a {clone}'s"
    for name in ("Makefile", "workflow/environment.py", "LICENSE", "src/progsem/__init__.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    (root / "requirements.lock").write_text("# nothing\n", encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    built = re.sub(r"requires = .*", 'requires = []\nbackend-path = ["."]', project, count=1)
    (root / "pyproject.toml").write_text(built, encoding="utf-8")
    shutil.copytree(Path(flit_core.__file__).parent, root / "flit_core")
    return root


def start(folder: Path, target: str = "env") -> subprocess.Popen:
    """`make env` in a folder, by the name that it is given here."""
    command = ["sh", "-c", 'cd "$1" && exec make --no-print-directory "$2"', "sh", folder, target]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")


def make(folder: Path, target: str = "env") -> str:
    """What `make env` says, which must succeed."""
    process = start(folder, target)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return re.sub(r"WARNING: Requirements file \[\S+\] contains no requirements\.\n", "", said)


def test_a_clone_of_two_names_has_one_environment(clone, tmp_path):
    make(clone)
    made = (clone / ".venv").stat()
    other = tmp_path / "other"
    other.symlink_to(clone)
    assert make(other) == make(clone) == ""
    assert (clone / ".venv").stat() == made


def test_what_runs_keeps_its_environment(clone):
    """The lock changes meanwhile: modules are loaded later, and processes started, from what was there before."""
    make(clone)
    environment = (clone / ".venv").resolve()
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "later.py").write_text("print('loaded')", encoding="utf-8")
    code = (
        "import subprocess, sys; print('begun', flush=True); input(); import later\n"
        "subprocess.run([sys.executable, '-c', 'import later'], check=True)"
    )
    with subprocess.Popen(
        [environment / "bin" / "python", "-uc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as running:
        running.stdout.readline()
        lock = clone / "requirements.lock"
        before = lock.read_text(encoding="utf-8")
        lock.write_text("# another one\n", encoding="utf-8")
        said = make(clone)
        assert said.startswith(MAKING) and "earlier environments, which may be deleted when nothing runs" in said
        assert not [*(clone / ".venv").glob("lib/python*/site-packages/later.py")]
        assert running.communicate("\n")[0] == "loaded\nloaded\n"
    assert running.returncode == 0
    lock.write_text(before, encoding="utf-8")
    assert make(clone) == ""
    assert (clone / ".venv").resolve() == environment


def test_two_at_the_same_time_make_one(clone):
    (clone / "requirements.lock").write_text("# one that two are after\n", encoding="utf-8")
    both = [start(clone), start(clone)]
    said = "".join(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0], said
    assert said.count(MAKING) == 1
    assert make(clone) == ""


def test_what_was_not_finished_is_no_environment(clone):
    """The package cannot be installed at first; a folder that somebody made by hand is moved away, whole."""
    (clone / "requirements.lock").write_text("# one that fails\n", encoding="utf-8")
    (clone / ".venv").unlink(missing_ok=True)
    (clone / ".venv").mkdir()
    (clone / ".venv" / "own").touch()
    hidden = (clone / "LICENSE").rename(clone / "hidden")
    broken = start(clone)
    broken.communicate()
    assert broken.returncode and (clone / ".venv" / "own").exists()
    hidden.rename(clone / "LICENSE")
    assert make(clone).startswith(MAKING)
    assert make(clone) == ""
    assert len([*clone.glob(".venvs/*/own")]) == 1


def test_other_tools_have_an_environment_of_their_own(clone):
    """Beside a lock of their own, with this package in it; the main one stays as it is."""
    make(clone)
    before, place = (clone / ".venv").resolve(), clone / "tests" / "interop"
    place.mkdir(parents=True)
    (place / "requirements.lock").write_text("# nothing\n", encoding="utf-8")
    said = make(clone, "env-interop")
    assert said == "making tests/interop/.venv from tests/interop/requirements.lock (a minute or two)\n"
    assert make(clone, "env-interop") == "" and (clone / ".venv").resolve() == before
    python = (place / ".venv").resolve() / "bin" / "python"
    assert python.is_relative_to(place / ".venvs")
    subprocess.run([python, "-c", "import progsem"], check=True, cwd=place)
