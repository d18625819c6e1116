"""The workflow on a real SLURM, through slurm/config.yaml: whatever happens, its artifacts are those of a local run."""

import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from cluster import NODE
from kills import artifacts, compare
from tree import TINY, Tree, default_signals, say, tiny

from progsem.study.plan import Plan

# This cluster has no accounting, so its jobs are asked for with squeue; and tests are in a hurry.
HERE = ("--slurm-status-command=squeue", "--slurm-init-seconds-before-status-checks=1", "--latency-wait=10")
IMPATIENT = Path(__file__).with_name("impatient.py")
PARTITIONS = """\
partitions:
  cpu: {}
  gpu: {max_gpu: 2}
"""
# Some twenty seconds of training in one interval; after that much of them, it is past its imports and not at its end.
LONG = {"lm": {"steps": 2500, "checkpoint_every": 2500, "decay_steps": 2500, "extra_checkpoints": []}}
MIDDLE = 8
LONGEST = 900  # seconds that anything may take


class Job(NamedTuple):
    """What SLURM says of a job; Snakemake puts the rule and its wildcards into the comment."""

    number: str
    state: str
    partition: str
    comment: str


class Run:
    """A Snakemake that submits its jobs to the cluster, in a copy of the repository."""

    def __init__(self, tree: Tree, *arguments: str):
        self.tree, self.began = tree, time.monotonic()
        (tree.root / "partitions.yaml").write_text(PARTITIONS, encoding="utf-8")
        self.output = tree.root / "run.log"
        with open(self.output, "w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                [sys.executable, IMPATIENT, "--profile", "slurm", *HERE, *arguments],
                cwd=tree.root,
                env={**tree.environment(), "SNAKEMAKE_SLURM_PARTITIONS": "partitions.yaml"},
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=default_signals,
            )

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # it cancels its jobs
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def text(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def status(self) -> int:
        """Wait for its end, and return its exit status."""
        return self.process.wait(LONGEST)

    def succeed(self) -> str:
        """Wait for its end, which must be a good one; returns what it printed."""
        status = self.status()
        assert status == 0, f"status {status}\n{self.text()[-6000:]}"
        return self.text()

    def jobs(self) -> list[Job]:
        """Every job of this run's folder, also those that have ended, in order."""
        asked = subprocess.run(
            ["squeue", "-h", "--states=all", "--sort=i", "--format=%i|%T|%P|%Z|%k"],
            capture_output=True,
            encoding="utf-8",
            timeout=30,
            check=True,
        )
        lines = (line.split("|", 4) for line in asked.stdout.splitlines())
        return [Job(*job, comment.strip()) for *job, where, comment in lines if where == str(self.tree.root)]

    def find(self, state: str, comment: str) -> Job | None:
        """The first job in that state whose comment has these words in it."""
        return next((job for job in self.jobs() if job.state == state and comment in job.comment), None)

    def wait_for(self, what: Callable, *arguments):
        """Wait until `what(*arguments)` is true, and return it; Snakemake must still be running by then."""
        until = time.monotonic() + LONGEST
        while not (answer := what(*arguments)):
            assert self.process.poll() is None and time.monotonic() < until, f"{arguments}\n{self.text()[-6000:]}"
            time.sleep(0.1)
        return answer

    def seconds(self) -> str:
        return f"{time.monotonic() - self.began:.0f} s"


class Onlooker(threading.Thread):
    """Notes the stage, the environment and the processes above each program that runs below a folder."""

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self.folder, self.over = folder, threading.Event()
        self.seen: dict[int, tuple[str, dict[str, str], list[int]]] = {}

    def __enter__(self) -> "Onlooker":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.join()

    def run(self) -> None:
        while not self.over.wait(0.2):
            for stage, process in programs(self.folder):
                try:
                    above = [parent.pid for parent in process.parents()]
                    self.seen[process.pid] = (stage, process.environ(), above)
                except psutil.Error:
                    pass  # it has ended meanwhile


def programs(folder: Path) -> list[tuple[str, psutil.Process]]:
    """Programs of ours that run in a folder, with the stage that each computes."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()  # once: it is empty as soon as the process has ended
            if "--slice" in command and process.cwd() == str(folder):
                found.append((command[command.index("--slice") - 1], process))
        except psutil.Error:
            pass
    return found


def program_in(job: Job, folder: Path) -> psutil.Process | None:
    """The program of ours that runs in a job."""
    for _, process in programs(folder):
        try:
            if process.environ().get("SLURM_JOB_ID") == job.number:
                return process
        except psutil.Error:
            pass
    return None


@pytest.fixture
def copied(tmp_path) -> Tree:
    """A copy of the repository without results."""
    return Tree.copied(tmp_path / "progsem")


def test_the_study_is_that_of_a_local_run(cluster, slow_training, tree, copied, tell):
    with Onlooker(copied.root) as onlooker, Run(copied, *TINY) as run:
        run.succeed()
    compare(artifacts(copied), tree.undisturbed, "on the cluster", whole=True)
    tell(f"the tiny study: {run.seconds()}")

    jobs = run.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    # The corpus and its tokens are one job, and so are all that reads a checkpoint.
    rules = [job.comment.removeprefix("rule_").split("_")[0] for job in jobs]
    alone = [
        "data",
        "edits",
        "edits",
        "generalisation",
        "playground",
        "statistics",
        "synthesis",
        "transcoders",
        "transcoders",
        "writers",
    ]
    assert sorted(rules) == sorted(["checkpoint"] * 3 + ["probing"] * 3 + alone)
    partitions = {rule: job.partition for rule, job in zip(rules, jobs, strict=True)}
    gpu = dict.fromkeys(("checkpoint", "edits", "generalisation", "probing", "synthesis", "transcoders"), "gpu")
    assert partitions == dict.fromkeys(("data", "playground", "statistics", "writers"), "cpu") | gpu
    assert {stage for stage, *_ in onlooker.seen.values()} >= {"train", "traces", "probes", "statistics"}
    for stage, environment, above in onlooker.seen.values():
        if stage == "figures":
            assert "SLURM_JOB_ID" not in environment and run.process.pid in above
            continue
        has_gpu = environment.get("CUDA_VISIBLE_DEVICES") in ("0", "1")
        assert has_gpu == (stage not in ("corpus", "tokens", "writers", "statistics", "playground")), stage
        # A job follows the Snakemake on its own node that started it, not the one that submitted it.
        assert int(environment["PROGSEM_WORKFLOW"]) in above and run.process.pid not in above


def test_a_node_that_is_drained_and_jobs_that_are_cancelled(cluster, tree, copied, tell):
    """Probes of alternatives and controls are there already, and no figures are drawn, which no node would do."""
    for stage in ("interventions", "controls"):
        shutil.copytree(tree.root / "results" / stage, copied.root / "results" / stage)
    with Run(copied, *TINY, "--until", "statistics", "playground") as run:
        run.wait_for(run.find, "RUNNING", "data")
        set_node("State=DRAIN", "Reason=test")
        waiting = run.wait_for(run.find, "PENDING", "checkpoint")
        set_node("State=RESUME")
        for comment in ("checkpoint_wildcards_0_000010", "probing"):
            job = run.wait_for(run.find, "RUNNING", comment)
            run.wait_for(program_in, job, copied.root)
            subprocess.run(["scancel", job.number], check=True, timeout=30)
        run.succeed()
    expected = {path: digest for path, digest in tree.undisturbed.items() if not path.startswith("figures/")}
    compare(artifacts(copied), expected, "after a drained node and cancelled jobs", whole=True)
    ends = {job.number: job.state for job in run.jobs()}
    assert ends[waiting.number] == "COMPLETED"
    assert sorted(ends.values()) == ["CANCELLED"] * 2 + ["COMPLETED"] * 16
    tell(f"the same with a node drained and two jobs cancelled: {run.seconds()}")


def test_a_job_that_fails_says_why_and_where(cluster, tree, copied, tell):
    shutil.copytree(tree.root / "results", copied.root / "results")
    plan = Plan(tiny())
    probes = plan.everywhere([plan.probes], "predictions")[1]
    damaged = plan.everywhere([plan.traces], "generated")[1]
    whole = (copied.root / damaged).read_bytes()
    (copied.root / damaged).write_bytes(whole[:-100])
    shutil.rmtree((copied.root / probes).parent)
    with Run(copied, probes, *TINY, "--retries=1") as run:
        assert run.status() == 1
    said = run.text()
    assert f"progsem: {damaged}" in said
    log = f"results/logs/probes/{Path(probes).relative_to('results/probes').parent}.log"
    assert log in said
    failed = [job.number for job in run.jobs() if job.state == "FAILED"]
    assert len(failed) == 2  # at first, and once again
    assert all(f"/{number}.log" in said for number in failed)
    tell(f"a job that fails twice: {run.seconds()}")

    (copied.root / damaged).unlink()
    with Run(copied, probes, *TINY) as run:
        run.succeed()
    compare(artifacts(copied), tree.undisturbed, "after the damage", whole=True)
    tell(f"and once what it named is deleted: {run.seconds()}")


def test_training_goes_on_after_its_time_limit(slow_training):
    run, local = slow_training.result(LONGEST)
    compare(artifacts(run.tree), artifacts(local), "after the time limit", whole=True)
    # Once on most processors; a slow or busy one comes to the limit again.
    *cut, last = [job.state for job in run.jobs() if "0_002500" in job.comment]
    assert cut and set(cut) == {"FAILED"} and last == "COMPLETED"
    (log,) = (run.tree.root / "results" / "logs" / "lm").rglob("step-002500.log")
    assert "progsem: training goes on at step " in log.read_text(encoding="utf-8")
    assert re.search(r"progsem: SIGUSR1: training saved at step \d+", run.text())


@pytest.fixture(scope="module")
def slow_training(cluster, tree, tmp_path_factory) -> Iterator[Future]:
    """Training that comes to its time limit, while the other tests run; then its run, and a local one.

    After `tree`, so that kernels are compiled.
    """
    with ThreadPoolExecutor(1) as one:
        yield one.submit(train_slowly, tmp_path_factory.mktemp("slow"))


def train_slowly(folder: Path) -> tuple[Run, Tree]:
    plan = Plan(tiny(LONG))
    target = plan.everywhere([plan.lm], "weights")[-1]
    local, submitted = Tree.copied(folder / "local"), Tree.copied(folder / "submitted")
    arguments = (target, *TINY, *say(LONG))
    # Not by `local.snakemake`, which would have the tests wait for its end.
    command, variables = local.command("--cores=1", *arguments), local.environment()
    alone = subprocess.run(command, cwd=local.root, env=variables, capture_output=True, encoding="utf-8")
    assert alone.returncode == 0, alone.stderr[-6000:]
    with Run(submitted, *arguments, "--set-resources", "checkpoint:runtime=1") as run:
        job = run.wait_for(run.find, "RUNNING", "checkpoint_wildcards_0_002500")
        program = run.wait_for(program_in, job, submitted.root)
        run.wait_for(lambda: program.cpu_times().user > MIDDLE)
        program.suspend()  # as if it took longer than its minute
        run.wait_for(lambda: seconds_left(job) < 13)  # at 15, it has to stop
        program.resume()
        run.succeed()
    return run, local


def seconds_left(job: Job) -> int:
    """Seconds until the job's time limit of a minute."""
    left = subprocess.run(
        ["squeue", "-h", "-j", job.number, "-o", "%L"], capture_output=True, encoding="utf-8", timeout=30
    )
    minutes, seconds = left.stdout.strip().split(":")
    return 60 * int(minutes) + int(seconds)


def set_node(*changes: str) -> None:
    """Change what SLURM thinks of its node."""
    subprocess.run(["scontrol", "update", f"NodeName={NODE}", *changes], check=True, timeout=30)
