"""Training: the schedule, the order of documents, and intervals that change nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tree import default_signals

from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.lm import resume, train
from progsem.lm.codegen import model as codegen
from progsem.storage.files import write_table
from progsem.study import config

SECTION = {
    "layers": 2,
    "width": 32,
    "heads": 4,
    "rotary": 8,
    "batch": 8,
    "steps": 12,
    "checkpoint_every": 4,
    "decay_steps": 14,
    "warmup_steps": 3,
    "precision": "fp32",
    "prompt_weight": 1.0,
    "predict_inputs": True,
}
TOKENIZER = ("tokenizer", "tokenizer_config")  # files that a checkpoint has from the tokens


@pytest.fixture(autouse=True)
def denormals():
    """The stage flushes denormals in its whole process; other tests share this one."""
    yield
    torch.set_flush_denormal(False)


def test_learning_rate_rises_then_falls_linearly():
    section = config.LM.model_validate({**SECTION, "learning_rate": 1.0 - 1e-9, "final_learning_rate": 0.0})
    rates = [train.learning_rate(section, step) for step in range(15)]
    np.testing.assert_allclose(rates[:4], [1 / 3, 2 / 3, 1, 1], atol=1e-6)
    np.testing.assert_allclose(np.diff(rates[3:]), -1 / 11, atol=1e-6)
    assert rates[14] == pytest.approx(0)


def test_every_epoch_sees_every_document_once():
    rows = np.concatenate(list(train.batches(10, 4, seed=5, first=0, last=5)))
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert list(rows[:10]) != list(rows[10:])


def test_order_does_not_depend_on_where_an_interval_starts():
    whole = list(train.batches(10, 4, seed=5, first=0, last=9))
    cut = [*train.batches(10, 4, seed=5, first=0, last=4), *train.batches(10, 4, seed=5, first=4, last=9)]
    np.testing.assert_array_equal(whole, cut)


def documents(folder: Path) -> Path:
    random = np.random.default_rng(0)
    tokens = np.cumsum(random.integers(0, 3, (50, 12)), axis=1).astype(np.uint8) % 20 + 1
    lengths = random.integers(8, 13, 50).astype(np.uint16)
    tokens[np.arange(12)[None] >= lengths[:, None]] = 0
    path = folder / "00000.arrow"
    write_table(path, {"tokens": tokens, "length": lengths}, {"prompt_length": 5, "pad": 0, "vocabulary": 21})
    for name in TOKENIZER:
        (folder / name).write_text("{}", encoding="utf-8")
    return path


def tokenizer_inputs(data: Path) -> dict[str, list[Path]]:
    """What stands beside documents for the checkpoints to have."""
    return {name: [data.parent / name] for name in TOKENIZER}


def interval(data: Path, before: Path | None, target: Path, first: int, last: int, **changes) -> Job:
    """The job that trains from step `first`, in the folder `before`, to `last`, in the folder `target`."""
    inputs = {"train": [data], **tokenizer_inputs(data)}
    if before is not None:
        inputs |= {name: [before / name] for name in ("model", "config", "state")}
    return Job(
        "train",
        {"lm": {**SECTION, **changes}, "seed": 3, "from": first, "to": last},
        inputs,
        {
            "weights": [target / "model"],
            "metrics": [target / "metrics.csv"],
            **{name: [target / name] for name in ("config", "generation_config", *TOKENIZER, "state")},
        },
    )


def trained(folder: Path, cuts: list[int], **changes) -> dict[str, torch.Tensor]:
    """Weights after the intervals between `cuts`; the first cut is 0."""
    data = documents(folder)
    before = None
    for first, last in zip([0, *cuts], cuts, strict=False):
        target = folder / f"{'-'.join(map(str, cuts))}" / str(last)
        train.run(interval(data, before, target, first, last, **changes))
        before = target
    return load_file(before / "model")


def test_cutting_the_training_changes_no_bit(tmp_path):
    whole = trained(tmp_path, [0, 12])
    cut = trained(tmp_path, [0, 4, 7, 12])
    untrained = trained(tmp_path, [0])
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert not torch.equal(whole["lm_head.weight"], untrained["lm_head.weight"])


def test_training_lowers_the_loss_and_logs_it(tmp_path):
    trained(tmp_path, [0, 200], steps=200, checkpoint_every=200, decay_steps=200, learning_rate=3e-3)
    lines = (tmp_path / "0-200" / "200" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(train.METRICS)
    rows = [dict(zip(train.METRICS, map(float, line.split(",")), strict=True)) for line in lines[1:]]
    assert [row["step"] for row in rows] == [50, 100, 150, 200]
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[0]["programs"] == 50 * 8


def test_padding_is_not_learned_from(tmp_path):
    model = codegen.CodeGen(codegen.Shape(21, 1, 16, 4, 4))
    model.initialise(0, 0.2)
    tokens, loss = torch.tensor([[1, 2, 3, 4, 0, 0]]), train.Loss(model, 0, np.ones(2))
    torch.testing.assert_close(loss(tokens, 3), loss(tokens[:, :4], 3))


@pytest.mark.parametrize("weight", [1.0, 0.1, 0.0])
def test_tokens_of_a_prompt_count_less(weight):
    model = codegen.CodeGen(codegen.Shape(21, 1, 16, 4, 4))
    model.initialise(0, 0.2)
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6], [1, 7, 8, 9, 5, 0]])
    loss = train.Loss(model, 0, np.full(3, weight))
    scores = torch.log_softmax(model.logits(model(tokens[:, :-1])[-1]), 2)
    costs = -scores.gather(2, tokens[:, 1:, None])[..., 0]
    expected = (weight * costs[:, :2].sum() + costs[0, 2:].sum() + costs[1, 2:4].sum()) / (5 + weight * 4)
    assert loss.counted(np.array([6, 5])) == pytest.approx(5 + weight * 4)
    torch.testing.assert_close(loss(tokens, loss.counted(np.array([6, 5]))), expected)


def test_what_only_inputs_are_asked_of_is_not_computed():
    """Loss and gradients as if all was predicted and inputs counted nothing."""
    model = codegen.CodeGen(codegen.Shape(21, 2, 16, 4, 4))
    model.initialise(0, 0.2)
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 7, 8, 9, 5, 6, 5, 2, 0]])
    section = config.LM.model_validate(SECTION | {"prompt_weight": 0.5, "predict_inputs": False})
    weights = train.prompt_weights(section, {"prompt_length": 7, "inputs": [[0, 2], [4, 5]]})
    assert weights.tolist() == [0, 0, 0.5, 0.5, 0, 0.5, 0.5]
    loss = train.Loss(model, 0, weights)
    assert loss.first == 2
    lengths = np.array([9, 8])
    assert loss.counted(lengths) == pytest.approx(2 * 2 + 3)
    scores = torch.log_softmax(model.logits(model(tokens[:, :-1])[-1]), 2)
    costs = -scores.gather(2, tokens[:, 1:, None])[..., 0] * (tokens[:, 1:] != 0)
    expected = (costs * torch.tensor([0, 0.5, 0.5, 0, 0.5, 0.5, 1, 1])).sum() / 7
    found = loss(tokens, loss.counted(lengths))
    torch.testing.assert_close(found, expected)
    parameters = list(model.parameters())
    for one, other in zip(*(torch.autograd.grad(one, parameters) for one in (found, expected)), strict=True):
        torch.testing.assert_close(one, other)


def test_against_a_plain_loop(tmp_path):
    """The same weights as torch's own pieces put together by hand, step by step."""
    section = config.LM.model_validate(SECTION)
    path = documents(tmp_path)
    from progsem.storage.files import read_table

    columns, _ = read_table(path)
    model = codegen.CodeGen(codegen.Shape(21, 2, 32, 4, 8))
    model.initialise(3, section.initial_std)
    decayed = [p for n, p in model.named_parameters() if "ln_" not in n and not n.endswith("bias")]
    others = [p for n, p in model.named_parameters() if "ln_" in n or n.endswith("bias")]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=False, foreach=False)
    for step, rows in enumerate(train.batches(50, 8, 3, 0, 12)):
        for group in optimizer.param_groups:
            group["lr"] = train.learning_rate(section, step)
        losses = []
        for row in rows:
            tokens = torch.from_numpy(columns["tokens"][row, : columns["length"][row]].astype(np.int64))[None]
            logits = model.logits(model(tokens[:, :-1])[-1])[0]
            losses.append(-torch.log_softmax(logits, 1)[torch.arange(len(logits)), tokens[0, 1:]])
        torch.cat(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    ours = trained(tmp_path, [0, 12])
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=2e-5)


def test_divergence_is_said(tmp_path):
    model = codegen.CodeGen(codegen.Shape(21, 1, 16, 4, 4))
    model.initialise(0, 0.2)
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    section = config.LM.model_validate(SECTION)
    trainer = train.Trainer(
        section, model, np.ones((10, 6), np.uint8), np.full(10, 6, np.uint16), {"pad": 0, "prompt_length": 2}
    )
    with pytest.raises(UserError, match="lower lm.learning_rate"):
        trainer.run(0, 0, 4)


# ----------------------------------------------------------- interrupted intervals
# An interval from step 4 on, so that there are moments to restore at its start.

LONG = {"steps": 404, "checkpoint_every": 404, "decay_steps": 404}
STOPPING = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP]


class Interval:
    """An interval of training, what it gives when nothing interrupts it, and a folder to interrupt it in."""

    def __init__(self, folder: Path, last: int):
        self.folder, self.last = folder, last
        self.data, self.start = documents(folder), folder / "start"
        train.run(interval(self.data, None, folder / "untrained", 0, 0, **LONG))
        train.run(interval(self.data, folder / "untrained", self.start, 0, 4, **LONG))
        train.run(self.job("undisturbed"))

    def job(self, name: str = "interrupted", **changes) -> Job:
        return interval(self.data, self.start, self.folder / name, 4, self.last, **LONG | changes)

    @property
    def rolling(self) -> Path:
        return self.folder / "interrupted" / "resume.safetensors"

    def assert_same_bytes(self) -> None:
        files = {path.name: path.read_bytes() for path in (self.folder / "undisturbed").iterdir()}
        assert sorted(files) == sorted(["config", "generation_config", "metrics.csv", "model", "state", *TOKENIZER])
        found = {path.name: path.read_bytes() for path in (self.folder / "interrupted").iterdir()}
        found.pop("resume.safetensors", None)  # which goes once the manifest is there
        assert sorted(found) == sorted(files)
        assert [name for name in files if found[name] != files[name]] == []


@pytest.fixture
def short(tmp_path) -> Interval:
    """64 steps: a row of metrics.csv, and a part of one."""
    return Interval(tmp_path, 68)


@pytest.fixture
def signalled(monkeypatch):
    """Call with {step: signal}: the process gets that signal within that step."""
    original = train.Trainer.step
    # In the background of a shell SIGINT is ignored, under nohup SIGHUP, and what is ignored stops nothing.
    ignored = [number for number in STOPPING if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)

    def at(signals: dict[int, int]):
        def step(self, number, rows):
            if number in signals:
                os.kill(os.getpid(), signals[number])
            return original(self, number, rows)

        monkeypatch.setattr(train.Trainer, "step", step)

    yield at
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def test_an_interrupted_interval_gives_the_same_bytes(short, signalled, capsys):
    """Stopped in its first step, within a row, at its end, right after it, and in the last step."""
    handlers = [signal.getsignal(number) for number in STOPPING]
    at = dict(zip([4, 20, 53, 54, 67], [*STOPPING, signal.SIGTERM], strict=True))
    signalled(at)
    for step, number in at.items():
        with pytest.raises(SystemExit) as raised:
            train.run(short.job())
        assert raised.value.code == 128 + number
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"progsem: {signal.Signals(number).name}: training saved at step {step + 1}, in ")
        assert str(short.rolling) in said and "run again to go on from there" in said
        assert [path.name for path in short.rolling.parent.iterdir()] == ["resume.safetensors"]
    job = short.job()
    train.run(job)
    assert f"training goes on at step 68 of 4-68, from {short.rolling}" in capsys.readouterr().err
    assert "tokens_per_second" not in job.notes  # of no steps
    assert job.obsolete == [short.rolling]
    short.assert_same_bytes()
    assert [signal.getsignal(number) for number in STOPPING] == handlers


def test_saving_at_each_step_changes_no_byte(short, monkeypatch):
    monkeypatch.setattr(resume, "SAVE_EVERY", 0)
    saved = []
    original = resume.RollingState.save
    monkeypatch.setattr(resume.RollingState, "save", lambda *given: (saved.append(given[1]), original(*given)))
    job = short.job()
    train.run(job)
    assert saved == list(range(5, 69))
    assert job.notes["tokens_per_second"] > 0
    short.assert_same_bytes()


def test_a_signal_while_outputs_are_written_finds_the_interval_done(short, monkeypatch):
    def save(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*given)

    original = codegen.CodeGen.save
    monkeypatch.setattr(codegen.CodeGen, "save", save)
    train.run(short.job())
    short.assert_same_bytes()


def test_only_the_rolling_state_of_this_interval_is_used(short, signalled):
    signalled({20: signal.SIGTERM})
    with pytest.raises(SystemExit):
        train.run(short.job())
    whole = short.rolling.read_bytes()
    other_data = short.job()
    other_data.checksums = {str(short.data): "1f" * 32}
    for job in (short.job(clip=0.5), other_data):
        with pytest.raises(UserError, match="saved with another config, code or data .* to start the .* step 4 again$"):
            train.run(job)
    damaged = bytearray(whole)
    damaged[-1] ^= 1
    for content, problem in ((bytes(damaged), "damaged"), (whole[:-1], "not readable")):
        short.rolling.write_bytes(content)
        with pytest.raises(UserError, match=f"{short.rolling}: {problem} .* to start the interval at step 4 again$"):
            train.run(short.job())
        assert short.rolling.read_bytes() == content
    short.rolling.write_bytes(whole)
    train.run(short.job())
    short.assert_same_bytes()


def test_a_diverged_state_is_not_saved(short, monkeypatch):
    original = train.Trainer.step

    def diverging(self, number, rows):
        loss, norm = original(self, number, rows)
        return loss, norm * (float("inf") if number == 7 else 1)

    monkeypatch.setattr(resume, "SAVE_EVERY", 0)
    monkeypatch.setattr(train.Trainer, "step", diverging)
    with pytest.raises(UserError, match="gradient's norm is inf at step 8; lower lm.learning_rate or lm.clip"):
        train.run(short.job())
    assert resume.RollingState(short.job(), 4).load()[0] == 7


def test_a_damaged_optimizer_state_is_said(short):
    state = short.start / "state"
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"^{state}: [^\\n]*$"):
        train.run(short.job())


# The same in real processes, where a signal comes at any moment of a step.

PROCESS = """
import json, signal, sys
from progsem.jobs import interruption
from progsem.lm import resume, train
from progsem.jobs.job import Job
from pathlib import Path

given = json.loads(sys.argv[1])
files = ({name: [Path(path)] for name, path in given[way].items()} for way in ("inputs", "outputs"))
job = Job("train", given["slice"], *files)
resume.SAVE_EVERY = given["save_every"]
step = train.Trainer.step

def said(self, number, rows):
    print(number, flush=True)
    return step(self, number, rows)

train.Trainer.step = said
interruption.stop_cleanly()
interruption.follow_workflow()
interruption.heed_time_limit()
train.run(job)
"""


def started(job: Job, save_every: float = 600.0, **environment: str) -> subprocess.Popen:
    """A process that trains, and prints the number of each step when it begins."""
    given = {
        "slice": job.slice,
        "inputs": {name: str(path) for name, (path,) in job.inputs.items()},
        "outputs": {name: str(path) for name, (path,) in job.outputs.items()},
        "save_every": save_every,
    }
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, json.dumps(given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, **environment},
        preexec_fn=default_signals,
    )


def steps_until(process: subprocess.Popen, count: int) -> list[int]:
    """The first steps that the process begins, that many."""
    return [int(process.stdout.readline()) for _ in range(count)]


@pytest.fixture
def long(tmp_path) -> Interval:
    """400 steps: time to send signals in."""
    return Interval(tmp_path, 404)


def test_signals_at_any_moment_cost_at_most_a_step(long):
    with started(long.job(), save_every=0) as process:
        killed_in = steps_until(process, 23)[-1]
        process.kill()
    at_least = killed_in
    for number, steps in ((signal.SIGTERM, 40), (signal.SIGUSR1, 17), (signal.SIGINT, 60)):
        with started(long.job()) as process:
            begun = steps_until(process, steps)
            assert begun[0] >= at_least
            process.send_signal(number)
            begun += [int(line) for line in process.stdout]
            last = process.stderr.read().splitlines()[-1]
        assert process.returncode == 128 + number
        assert f"training saved at step {begun[-1] + 1}, in {long.rolling}" in last
        at_least = begun[-1] + 1
    train.run(long.job())
    long.assert_same_bytes()


def test_a_job_whose_workflow_was_killed_saves_though_nobody_reads_what_it_says(long):
    """As when Snakemake and `tee` are killed: the workflow's process is gone, and so is the end of the pipe."""
    workflow = subprocess.Popen(["sleep", "1000"])
    try:
        with started(long.job(), PROGSEM_WORKFLOW=str(workflow.pid)) as process:
            begun = steps_until(process, 20)
            process.stderr.close()
            workflow.kill()
            begun += [int(line) for line in process.stdout]
    finally:
        workflow.kill()
        workflow.wait()
    assert process.returncode == 128 + signal.SIGTERM
    assert resume.RollingState(long.job(), 4).load()[0] == begun[-1] + 1
    train.run(long.job())
    long.assert_same_bytes()


def test_a_job_near_its_time_limit_saves_and_its_retry_goes_on(short, tmp_path):
    (tmp_path / "bin").mkdir()
    squeue = tmp_path / "bin" / "squeue"
    squeue.write_text("#!/bin/sh\necho 0:20\n", encoding="utf-8")
    squeue.chmod(0o755)
    path = f"{squeue.parent}{os.pathsep}{os.environ['PATH']}"
    slow = short.job(steps=100_000, checkpoint_every=100_000, decay_steps=100_000)
    slow.slice["to"] = 100_000
    with started(slow, SLURM_JOB_ID="17", PATH=path) as process:
        begun = [int(line) for line in process.stdout]
        *_, near, saved = process.stderr.read().splitlines()
    assert process.returncode == 128 + signal.SIGUSR1
    assert near.startswith("progsem: SLURM ends job 17 in ")
    assert saved.startswith(f"progsem: SIGUSR1: training saved at step {begun[-1] + 1}, in {short.rolling}")
    with started(slow) as process:
        assert steps_until(process, 1) == [begun[-1] + 1]
        process.terminate()
        process.stdout.read()
