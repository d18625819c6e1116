"""Training: the schedule, the order of documents, and intervals that change nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from progsem import config, train
from progsem import model as lm
from progsem.artifacts import write_table
from progsem.errors import UserError
from progsem.job import Job

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
}


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
    return path


def trained(folder: Path, cuts: list[int], **changes) -> dict[str, torch.Tensor]:
    """Weights after the intervals between `cuts`; the first cut is 0."""
    data = documents(folder)
    before = None
    for first, last in zip([0, *cuts], cuts, strict=False):
        target = folder / f"{'-'.join(map(str, cuts))}" / str(last)
        inputs = {"train": [data]}
        if before is not None:
            inputs |= {name: [before / f"{name}"] for name in ("model", "config", "state")}
        job = Job(
            "train",
            {"lm": {**SECTION, **changes}, "seed": 3, "from": first, "to": last},
            inputs,
            {
                "weights": [target / "model"],
                "config": [target / "config"],
                "metrics": [target / "metrics.csv"],
                "state": [target / "state"],
            },
        )
        train.run(job)
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
    lines = (tmp_path / "0-200" / "200" / "metrics.csv").read_text().splitlines()
    assert lines[0] == ",".join(train.METRICS)
    rows = [dict(zip(train.METRICS, map(float, line.split(",")), strict=True)) for line in lines[1:]]
    assert [row["step"] for row in rows] == [50, 100, 150, 200]
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[0]["programs"] == 50 * 8
    assert all(row["tokens_per_second"] > 0 for row in rows)


def test_padding_is_not_learned_from(tmp_path):
    model = lm.CodeGen(lm.Shape(21, 1, 16, 4, 4))
    model.initialise(0, 0.2)
    tokens = torch.tensor([[1, 2, 3, 4, 0, 0]])
    with_padding = train.next_token_loss(model, tokens, pad=0)
    torch.testing.assert_close(with_padding, train.next_token_loss(model, tokens[:, :4], pad=0))


def test_against_a_plain_loop(tmp_path):
    """The same weights as torch's own pieces put together by hand, step by step."""
    section = config.LM.model_validate(SECTION)
    path = documents(tmp_path)
    from progsem.artifacts import read_table

    columns, _ = read_table(path)
    model = lm.CodeGen(lm.Shape(21, 2, 32, 4, 8))
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
            logits = model.logits(model(tokens[:, :-1]))[0]
            losses.append(-torch.log_softmax(logits, 1)[torch.arange(len(logits)), tokens[0, 1:]])
        torch.cat(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    ours = trained(tmp_path, [0, 12])
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=2e-5)


def test_divergence_is_said(tmp_path):
    model = lm.CodeGen(lm.Shape(21, 1, 16, 4, 4))
    model.initialise(0, 0.2)
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    section = config.LM.model_validate(SECTION)
    trainer = train.Trainer(section, model, np.ones((10, 6), np.uint8), np.full(10, 6, np.uint16), 0)
    with pytest.raises(UserError, match="lower lm.learning_rate"):
        trainer.run(0, 0, 4)
