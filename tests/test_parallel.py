"""Processes that train one model together: the model is that of one process, and so is what may happen to it."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file
from test_train import SECTION, TOKENIZER, documents, tokenizer_inputs
from tree import default_signals

from progsem import hardware
from progsem.errors import UserError
from progsem.jobs import launch
from progsem.jobs.job import Job
from progsem.lm import train
from progsem.lm.codegen import model as codegen
from progsem.lm.parallel import Team
from progsem.storage import manifest
from progsem.storage.files import read_csv
from progsem.storage.sources import code_digest
from progsem.study import config

FIRST, LAST = 4, 504
LONG = {**SECTION, "steps": LAST, "checkpoint_every": LAST, "decay_steps": LAST, "learning_rate": 3e-3}
OUTPUTS = {"weights": "model", "metrics": "metrics.csv"}
OUTPUTS |= {name: name for name in ("config", "generation_config", *TOKENIZER, "state")}


def test_processes_have_to_share_a_batch_equally():
    with pytest.raises(UserError, match="^config: compute.processes is 3, which does not divide lm.batch 32; give"):
        config.load({"compute": {"processes": 3}})
    assert config.load({"compute": {"processes": 3}, "lm": {"batch": 33}}).compute.processes == 3


@pytest.mark.parametrize(
    "name, there, gpus, problem",
    [
        ("auto", 2, 2, None),
        ("auto", 0, 4, None),
        ("cpu", 2, 4, None),
        ("cuda", 2, 4, "compute.processes: given 4, each with a GPU of its own, but torch finds 2; "),
        ("auto", 2, 3, "compute.processes: given 3, each with a GPU of its own, but torch finds 2; "),
        ("cuda", 0, 1, "compute.device is cuda, but torch finds no CUDA device; "),
    ],
)
def test_each_process_needs_a_gpu_where_there_are_any(monkeypatch, name, there, gpus, problem):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    if problem is None:
        hardware.refuse_missing(name, gpus)
    else:
        with pytest.raises(UserError, match=f"^{problem}"):
            hardware.refuse_missing(name, gpus)


def test_each_process_uses_the_gpu_of_its_number(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert [hardware.choose_device("auto", gpu).type for gpu in range(4)] == ["cuda"] * 4
    assert chosen == [1, 2, 3]
    assert hardware.choose_device("cpu", 3).type == "cpu"


def test_shares_are_the_batch_and_their_losses_the_mean():
    model = codegen.CodeGen(codegen.Shape(21, 1, 16, 4, 4))
    model.initialise(0, 0.2)
    lengths = np.array([4, 9, 2, 7, 5, 3])
    tokens = np.random.default_rng(0).integers(1, 21, (6, 9))
    tokens[np.arange(9)[None] >= lengths[:, None]] = 0
    shares = [Team(rank, 3).share(np.arange(6)) for rank in range(3)]
    assert sorted(np.concatenate(shares)) == list(range(6))
    loss = train.Loss(model, 0, np.full(2, 0.5))
    of_shares = [loss(torch.from_numpy(tokens[rows]), loss.counted(lengths)) for rows in shares]
    torch.testing.assert_close(sum(of_shares), loss(torch.from_numpy(tokens), loss.counted(lengths)))


@dataclass
class Folder:
    """Documents with a manifest, as the workflow makes them, and an interval of training from step 4."""

    root: Path

    def job(self, first: int, last: int, target: str) -> Job:
        data = self.root / "tokens" / "00000.arrow"
        inputs = {"train": [data], **tokenizer_inputs(data)}
        if last > 0:
            before = self.root / str(first)
            inputs |= {"model": [before / "model"], "config": [before / "config"], "state": [before / "state"]}
        outputs = {name: [self.root / target / file] for name, file in OUTPUTS.items()}
        outputs["manifest"] = [self.root / target / "manifest.json"]
        slice = {"lm": LONG, "seed": 3, "from": first, "to": last, "code": code_digest("train")}
        return Job("train", slice, inputs, outputs)

    def command(self, *, target: str, first: int = FIRST, last: int = LAST) -> list[str]:
        """Arguments of `python -m progsem`."""
        job = self.job(first, last, target)
        words = ["train", "--slice", json.dumps(job.slice)]
        for way, files in (("--input", job.inputs), ("--output", job.outputs)):
            for name, paths in files.items():
                words += [way, name, *map(str, paths)]
        return words

    def files(self, target: str) -> dict[str, bytes]:
        return {name: (self.root / target / name).read_bytes() for name in OUTPUTS.values()}


def here(job: Job) -> None:
    """Do a job in this process alone, manifest and all."""
    job.checksums = manifest.verify_inputs(job)
    try:
        train.run(job)
    finally:
        torch.set_flush_denormal(False)
    made = [path for name, paths in job.outputs.items() for path in paths if name != "manifest"]
    manifest.write(job, job.output("manifest").parent, made)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Folder:
    """With what one process makes in `alone`, and two in `both`, from the state of one after the first step."""
    folder = Folder(tmp_path_factory.mktemp("parallel"))
    (folder.root / "tokens").mkdir()
    data = documents(folder.root / "tokens")
    made = [data, *(path for (path,) in tokenizer_inputs(data).values())]
    manifest.write(Job("tokens", {}, {}, {}), data.parent, made)
    here(folder.job(0, 0, "0"))
    here(folder.job(0, FIRST, str(FIRST)))
    here(folder.job(FIRST, LAST, "alone"))
    begun(folder, "both")
    with together(folder, "both") as process:
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert sum("steps/s" in line for line in said.splitlines()) == len(said.splitlines()) - 1 == 1
    return folder


def begun(folder: Folder, target: str) -> None:
    """Leave the rolling state of one process that was asked to stop in its first step."""
    step = train.Trainer.step
    job = folder.job(FIRST, LAST, target)
    job.checksums = manifest.verify_inputs(job)

    def stopped(self, number, rows):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self, number, rows)

    train.Trainer.step = stopped
    try:
        with pytest.raises(SystemExit):
            train.run(job)
    finally:
        train.Trainer.step = step
        torch.set_flush_denormal(False)


def together(folder: Folder, target: str, starter: tuple[str, ...] = ("-m", "progsem")) -> subprocess.Popen:
    """Two processes that train together."""
    more = ("--processes", "2") if starter == ("-m", "progsem") else ()
    return subprocess.Popen(
        [sys.executable, *starter, *folder.command(target=target), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=default_signals,
    )


def test_two_processes_train_the_model_of_one(folder):
    alone, both = (read_csv(folder.root / target / "metrics.csv") for target in ("alone", "both"))
    for name in ("step", "tokens", "programs", "learning_rate"):
        assert [row[name] for row in both] == [row[name] for row in alone]
    for name in ("loss", "gradient_norm"):
        values = [[float(row[name]) for row in rows] for rows in (both, alone)]
        np.testing.assert_allclose(*values, rtol=1e-4)
    alone, both = (load_file(folder.root / target / "model") for target in ("alone", "both"))
    for name in alone:
        torch.testing.assert_close(both[name], alone[name], rtol=1e-2, atol=1e-4)


def test_two_processes_learn(folder):
    losses = [float(row["loss"]) for row in read_csv(folder.root / "both" / "metrics.csv")]
    assert losses[-1] < 0.5 * losses[0]


def test_what_two_processes_made_is_said(folder):
    made = manifest.read(folder.root / "both" / "manifest.json")
    assert made["notes"]["processes"] == 2
    assert "processes" not in manifest.read(folder.root / "alone" / "manifest.json")["notes"]
    assert sorted(path.name for path in (folder.root / "both").iterdir()) == sorted(
        ["manifest.json", *OUTPUTS.values()]
    )


def goes_on(process: subprocess.Popen) -> int:
    """Wait until training has begun; the step that it begins at."""
    other = []
    for line in process.stderr:
        if line.startswith("progsem: training goes on at step "):
            return int(line.split()[6])
        other.append(line)
    pytest.fail("".join(other))


def test_two_processes_go_on_after_whatever_ends_them(folder):
    """A signal to the launcher, and a process of `torchrun`'s that is killed: the same bytes as undisturbed."""
    begun(folder, "disturbed")
    with together(folder, "disturbed") as process:
        assert goes_on(process) == FIRST + 1
        process.send_signal(signal.SIGUSR1)
        said = process.stderr.read()
    assert process.returncode == 128 + signal.SIGUSR1, said
    (line,) = said.splitlines()
    saved = int(line.removeprefix("progsem: SIGUSR1: training saved at step ").split(",")[0])
    assert saved > FIRST + 1

    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "progsem")
    with together(folder, "disturbed", torchrun) as process:
        assert goes_on(process) == saved
        psutil.Process(process.pid).children()[1].kill()
        process.stderr.read()
    assert process.returncode != 0

    with together(folder, "disturbed") as process:
        assert goes_on(process) == saved
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert folder.files("disturbed") == folder.files("both")
    assert not (folder.root / "disturbed" / "resume.safetensors").exists()


@pytest.mark.parametrize(
    "ended, status, said",
    [
        ({0: 138, 1: 138}, 138, ""),
        ({1: 2}, 2, ""),
        ({0: 1, 1: 2}, 2, ""),
        (
            {0: 1, 2: -15, 1: -9},
            137,
            "progsem: process 2 of 3 was killed (SIGKILL); if not by you, it needs more memory",
        ),
        ({0: -11}, 139, "progsem: process 1 of 3 was killed (SIGSEGV)"),
        ({0: -15}, 1, ""),
    ],
)
def test_the_status_that_tells_most_is_the_launchers(capsys, ended, status, said):
    assert launch._status(3, ended) == status
    assert capsys.readouterr().err.strip() == said


LAUNCHER = """
import signal, subprocess, sys
from progsem.jobs import launch

def stopped(config, python):
    def start(*arguments):
        subprocess.Popen([python, "-c", "import time; time.sleep(0.2); print('ended', flush=True)"])
        raise launch.SignalException("stopped", signal.SIGTERM)
    return start

launch.elastic_launch = stopped
status = launch.launch(2, "cpu", [], lambda: sys.argv[1] == "done")
print(status, flush=True)
"""


@pytest.mark.parametrize("done, status", [("done", 0), ("not yet", 128 + signal.SIGTERM)])
def test_a_stopped_launcher_waits_for_all_and_does_not_fail_what_was_done(done, status):
    answer = subprocess.run([sys.executable, "-c", LAUNCHER, done], capture_output=True, encoding="utf-8", check=True)
    assert answer.stdout.split() == ["ended", str(status)]


def test_what_all_processes_refuse_is_said_once(folder):
    target = folder.root / "refused"
    target.mkdir()
    (target / "resume.safetensors").write_bytes(b"half")
    with together(folder, "refused") as process:
        (line,) = process.stderr.read().splitlines()
    assert process.returncode == 2
    assert line.startswith(f"progsem: {target / 'resume.safetensors'}: not readable ")
