"""Stopping: signals obeyed, noted or ignored, workflows that end, time limits that come near, readers that are gone."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest
from tree import HANGS

from progsem.errors import UserError
from progsem.jobs import interruption

STOPPING = [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]


@pytest.fixture(autouse=True)
def handlers():
    """As Python sets them, and back: other tests share this process, and somebody may run them under `nohup`."""
    usual = {number: signal.SIG_DFL for number in STOPPING} | {signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ask(number: int) -> None:
    os.kill(os.getpid(), number)


def in_a_thread(function) -> list:
    """What `function` returns or raises when it runs outside the main thread."""
    outcome = []

    def call():
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return outcome


@pytest.mark.parametrize("number", STOPPING)
def test_stopping_runs_what_tidies_up(number):
    interruption.stop_cleanly()
    tidied = False
    with pytest.raises(SystemExit) as raised:
        try:
            ask(number)
        finally:
            tidied = True
    assert raised.value.code == 128 + number
    assert tidied


def test_outside_the_main_thread_nothing_is_handled():
    before = signal.getsignal(signal.SIGTERM)
    assert in_a_thread(interruption.stop_cleanly) == [None]
    assert signal.getsignal(signal.SIGTERM) is before

    def loop():
        with interruption.deferred() as asked:
            return asked(), signal.getsignal(signal.SIGTERM)

    assert in_a_thread(loop) == [(None, before)]


@pytest.mark.parametrize("number", [*STOPPING, signal.SIGINT])
def test_a_deferred_signal_is_only_noted(number):
    interruption.stop_cleanly()
    before = signal.getsignal(number)
    with interruption.deferred() as asked:
        assert asked() is None
        ask(number)
        assert asked() == number
        ask(signal.SIGTERM)
        assert asked() == number  # the first one
    assert signal.getsignal(number) is before


def test_a_second_interrupt_is_obeyed_at_once():
    with pytest.raises(KeyboardInterrupt), interruption.deferred():
        ask(signal.SIGINT)
        ask(signal.SIGINT)
        pytest.fail("the second SIGINT was only noted")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored():
    """As under `nohup`."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interruption.stop_cleanly()
    ask(signal.SIGHUP)
    with interruption.deferred() as asked:
        ask(signal.SIGHUP)
        assert asked() is None


@pytest.fixture(params=[True, False], ids=["told by the system", "looking"])
def told(request, monkeypatch):
    """Both ways of learning that a process has ended."""
    monkeypatch.setattr(interruption, "_LOOK_EVERY", 0.01)
    if not request.param:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("this system does not tell")
    return request.param


@pytest.fixture
def workflow():
    """A process that stands for the workflow."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def test_a_job_ends_with_its_workflow(told, workflow, monkeypatch, capfd):
    monkeypatch.setenv(interruption.WORKFLOW, str(workflow.pid))
    with interruption.deferred() as asked:
        interruption.follow_workflow()
        time.sleep(0.05)
        assert asked() is None
        workflow.kill()
        if not told:  # by looking, one that nobody has waited for seems alive
            workflow.wait()
        wait_for(asked)
        assert asked() == signal.SIGTERM
    assert f"the workflow (process {workflow.pid}) is gone" in capfd.readouterr().err


def test_a_workflow_that_ended_before_is_gone(told, monkeypatch):
    workflow = subprocess.Popen(["true"])
    workflow.wait()
    monkeypatch.setenv(interruption.WORKFLOW, str(workflow.pid))
    with interruption.deferred() as asked:
        interruption.follow_workflow()
        wait_for(asked)
        assert asked() == signal.SIGTERM


def wait_for(asked) -> None:
    """Until a signal has come; if none comes, the assertion after this says so."""
    until = time.monotonic() + HANGS
    while asked() is None and time.monotonic() < until:
        time.sleep(0.01)


@pytest.mark.parametrize("error, exists", [(PermissionError, True), (ProcessLookupError, False)])
def test_the_process_of_somebody_else_exists(monkeypatch, error, exists):
    def kill(process, number):
        assert number == 0
        raise error

    monkeypatch.setattr(os, "kill", kill)
    assert interruption._exists(4711) is exists


def test_without_a_workflow_nothing_is_followed(monkeypatch):
    monkeypatch.delenv(interruption.WORKFLOW, raising=False)
    threads = threading.active_count()
    interruption.follow_workflow()
    assert threading.active_count() == threads


@pytest.mark.parametrize("given", ["snakemake", "0", "-1"])
def test_what_is_not_a_process_is_said(monkeypatch, given):
    monkeypatch.setenv(interruption.WORKFLOW, given)
    with pytest.raises(UserError, match=f"PROGSEM_WORKFLOW is '{given}'; expected a process id"):
        interruption.follow_workflow()


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Call with a shell script: this process is in SLURM job 4711, and `squeue` is that script."""
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def write(script: str) -> None:
        (tmp_path / "squeue").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / "squeue").chmod(0o755)

    return write


ANSWERS = {
    "1-02:03:04": 93784,
    "12:03:04": 43384,
    "2:03:04": 7384,
    "59:59": 3599,
    "3:04": 184,
    "0:00": 0,
    "UNLIMITED": None,
    "NOT_SET": None,
}


@pytest.mark.parametrize("said, left", ANSWERS.items())
def test_slurm_is_asked_how_much_time_is_left(squeue, said, left):
    squeue(f'[ "$*" = "--noheader --job 4711 --format %L" ] && echo {said}')
    assert interruption._time_left("4711") == left


def test_the_end_that_newer_versions_of_slurm_say_is_used(squeue, monkeypatch):
    squeue("exit 1")
    for ahead, expected in ((10_000, 10_000), (-5, 0)):
        monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + ahead))
        assert interruption._time_left("4711") == pytest.approx(expected, abs=600)


def test_the_margin_is_enough_to_save_and_never_most_of_the_time():
    margins = {left: interruption._margin(left) for left in (0, 10, 30, 60, 150, 600, 3600, 100_000)}
    assert margins == {0: 0, 10: 5, 30: 15, 60: 15, 150: 15, 600: 60, 3600: 120, 100_000: 120}


def test_a_job_is_asked_to_stop_before_its_time_limit(squeue, capfd):
    squeue("echo 0:01")
    with interruption.deferred() as asked:
        interruption.heed_time_limit()
        assert asked() is None
        wait_for(asked)
        assert asked() == signal.SIGUSR1
    assert capfd.readouterr().err == "progsem: SLURM ends job 4711 in 0 s: it stops here; a retry asks for more time\n"


PROBLEMS = {
    "echo INVALID": "squeue: given 'INVALID', expected a time such as 2:03:04",
    ":": "squeue: given '', expected a time such as 2:03:04",
    "echo 'invalid job' >&2; exit 1": "returned non-zero exit status 1.",
    "exec sleep 1000": "timed out after 0.2 seconds",
    "": "No such file or directory: 'squeue'",
}


@pytest.mark.parametrize("script, problem", PROBLEMS.items())
def test_a_limit_that_is_not_known_is_said_in_one_line(squeue, capfd, monkeypatch, tmp_path, script, problem):
    if "sleep" in script:
        monkeypatch.setattr(interruption, "_LONGEST_ANSWER", 0.2)
    squeue(script)
    if not script:
        (tmp_path / "squeue").unlink()
        monkeypatch.setenv("PATH", str(tmp_path))
    with interruption.deferred() as asked:
        interruption.heed_time_limit()
        for thread in threading.enumerate():
            if thread.name == "heed-time-limit":
                thread.join()
        assert asked() is None
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("progsem: SLURM does not say how much time is left (")
    assert line.endswith(f"{problem}); job 4711 may be killed at its time limit")


@pytest.mark.parametrize("script", ["echo UNLIMITED", "echo NOT_SET"])
def test_without_a_limit_nothing_is_said(squeue, capfd, script):
    squeue(script)
    interruption._heed("4711")
    assert capfd.readouterr().err == ""


def test_outside_slurm_nobody_is_asked(squeue, monkeypatch):
    squeue("echo 0:00")
    monkeypatch.delenv("SLURM_JOB_ID")
    threads = threading.active_count()
    interruption.heed_time_limit()
    assert threading.active_count() == threads


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_nobody_has_to_read_what_is_said(terminal):
    """`tee` is gone, or the terminal: no error where something is said, and none when Python flushes at its end."""
    code = """
import sys
from progsem.jobs.progress import Progress, say
progress = Progress("work", 3, "steps", every=0)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(3):
    progress.update(1)
    say("done")
progress.close()
print("went on")
"""
    reader, writer = pty.openpty() if terminal else os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer, encoding="utf-8"
    )
    os.close(writer)
    assert child.stdout.readline() == "ready\n"
    os.close(reader)
    assert child.communicate("\n")[0] == "went on\n"
    assert child.returncode == 0
