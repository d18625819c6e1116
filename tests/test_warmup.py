"""The warm-up: each task against its definition, what is kept of it, and whether it helps where it must."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import stdtrit
from synthetic import small_study, write_results
from tree import TINY, say, tiny

from progsem.data.special_tokens import BEGIN_ID, END_ID, PADDING_ID
from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.lm import model as lm
from progsem.lm.train import Trainer
from progsem.measures import statistics
from progsem.measures.milestones import first_reached
from progsem.plots.figures import read_rows
from progsem.storage.files import read_table
from progsem.study.config import LM, load
from progsem.study.plan import Plan
from progsem.study.vocabulary import ATTENTION, MLP, NORMS, TRANSFERRED, WARMUP_TASKS
from progsem.warmup import sequences, tasks
from progsem.warmup.tasks import KINDS, POP, SEPARATOR, SYMBOLS, VOCABULARY
from progsem.warmup.transfer import parts, transfer

FIRST = VOCABULARY - SYMBOLS
MAMBA = {"num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 8, "expand": 2}
WORDS = ("dyck", "dyck_shuffle", "noise")


def drawn(task: str, count: int = 200, length: int = 40) -> list[tuple[list[int], list[int]]]:
    """Inputs and outputs, once all that is around them has been checked."""
    found = tasks.documents(task, count, length, np.random.default_rng(3))
    assert found.tokens.shape[1] <= length and (found.tokens[:, 0] == BEGIN_ID).all()
    pairs = []
    for row, size in zip(found.tokens.tolist(), found.lengths.tolist(), strict=True):
        assert row[size - 1] == END_ID and set(row[size:]) <= {PADDING_ID} and PADDING_ID not in row[:size]
        inputs = row[1 : found.prompt]
        if task not in WORDS:
            assert inputs.pop() == SEPARATOR
        pairs.append((inputs, row[found.prompt : size - 1]))
    assert len({tuple(inputs + outputs) for inputs, outputs in pairs}) == count
    return pairs


# The tasks.


def test_all_tasks_are_known_to_the_config():
    assert tuple(tasks.TASKS) == WARMUP_TASKS


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("identity", lambda given: given),
        ("reverse", lambda given: given[::-1]),
        ("sort", sorted),
        ("set", lambda given: list(dict.fromkeys(given))),
        ("union", lambda given: list(dict.fromkeys(one for one in given if one != SEPARATOR))),
    ],
)
def test_outputs_follow_from_inputs(task, expected):
    pairs = drawn(task)
    for inputs, outputs in pairs:
        assert outputs == expected(inputs)
        assert all(FIRST <= one < VOCABULARY for one in inputs if one != SEPARATOR)
        assert inputs.count(SEPARATOR) == (task == "union")
    if task in ("set", "union"):
        assert len({len(outputs) for _, outputs in pairs}) > 3


def test_a_stack_is_what_pushes_and_pops_leave():
    pairs = drawn("stack")
    for inputs, outputs in pairs:
        stack = []
        for one in inputs:
            if one == POP:
                stack.pop()  # there is one
            else:
                stack.append(one)
        assert outputs == stack[::-1]
    assert any(POP in inputs for inputs, _ in pairs) and len({len(outputs) for _, outputs in pairs}) > 5


@pytest.mark.parametrize("nested", [True, False])
def test_all_brackets_close(nested):
    crossing = 0
    for _, word in drawn("dyck" if nested else "dyck_shuffle"):
        unclosed = []
        for one in word:
            if one - FIRST < KINDS:
                unclosed.append(one)
            else:
                opened = one - KINDS
                crossing += unclosed[-1] != opened
                unclosed.reverse()
                unclosed.remove(opened)  # the last one that was opened
                unclosed.reverse()
        assert unclosed == [] and len(word) == 38
    assert (crossing == 0) == nested


def test_noise_is_uniform():
    symbols = np.concatenate([word for _, word in drawn("noise", 2000)]) - FIRST
    counts = np.bincount(symbols, minlength=SYMBOLS)
    assert len(counts) == SYMBOLS and np.abs(counts / counts.mean() - 1).max() < 0.2


def sequences_job(folder, task="set", number=250, shard=100, seed=0) -> Job:
    asked = {"task": task, "sequences": number, "length": 30, "shard": shard, "seed": seed}
    paths = [folder / f"{index:05d}.arrow" for index in range(-(-number // shard))]
    return Job("sequences", {"warmup": asked}, {}, {"train": paths}, threads=2)


def test_shards_are_the_same_again_and_differ(tmp_path):
    jobs = [sequences_job(tmp_path / name, seed=seed) for name, seed in (("one", 0), ("again", 0), ("other", 1))]
    for job in jobs:
        sequences.run(job)
    one, again, other = ([path.read_bytes() for path in job.outputs["train"]] for job in jobs)
    assert one == again and not set(one) & set(other) and len(set(one)) == 3
    tables = [read_table(path) for path in jobs[0].outputs["train"]]
    assert [len(columns["length"]) for columns, _ in tables] == [100, 100, 50]
    assert tables[0][1]["vocabulary"] == VOCABULARY and tables[0][1]["prompt_length"] == 15


# What is kept.


def model(kind="codegen", seed=0, vocabulary=20, **config):
    sizes = {"layers": 2, "width": 32, "heads": 4, "rotary": 8}
    return lm.make(LM.model_validate({"model_type": kind, "config": config, **sizes}), vocabulary, seed)


@pytest.mark.parametrize("kind", ["codegen", "gpt2", "gpt_neox", "llama"])
@pytest.mark.parametrize("asked", [TRANSFERRED, (ATTENTION,), (MLP, NORMS)])
def test_what_is_asked_for_is_kept_and_nothing_else(kind, asked):
    warm, new, untouched = model(kind, 1, 50), model(kind, 2), model(kind, 2)
    with torch.no_grad():
        for parameter in warm.parameters():  # norms and biases begin as ones and zeros, whatever the seed
            parameter.add_(torch.rand_like(parameter))
    transfer(warm, new, asked)
    known = parts(new)
    kept = {name for part in asked for name in known[part]}
    theirs, before = dict(warm.named_parameters()), dict(untouched.named_parameters())
    for name, parameter in new.named_parameters():
        assert torch.equal(parameter, theirs[name] if name in kept else before[name]), name
    embeddings = {
        id(new.embedding.weight),
        *(id(one.weight) for one in new.modules() if type(one).__name__ == "Embedding"),
    }
    of_blocks = {name for names in known.values() for name in names}
    for name, parameter in new.named_parameters():
        assert (name in of_blocks) == (
            id(parameter) not in embeddings and "lm_head" not in name and "embed_out" not in name
        )


def test_a_part_that_an_architecture_lacks_is_said():
    with pytest.raises(UserError, match="^lm.warmup.transfer: given attention, .* it has mlp, norms$"):
        transfer(model("mamba2", 1, 50, **MAMBA), model("mamba2", **MAMBA), (ATTENTION,))


# Whether it helps.


def trained(start, data: tasks.Documents, steps: int) -> float:
    """Train a model on documents; returns the loss of its last steps."""
    schedule = {"steps": steps, "checkpoint_every": steps, "decay_steps": steps, "warmup_steps": 10}
    section = LM.model_validate({**schedule, "batch": 32, "learning_rate": 3e-3, "precision": "fp32"})
    about = {"prompt_length": data.prompt, "inputs": [(0, data.prompt)], "pad": PADDING_ID}
    trainer = Trainer(section, start, data.tokens, data.lengths, about)
    trainer.run(0, 0, steps)
    return trainer.log.rows[-1]["loss"]


def test_a_warm_up_that_is_the_corpus_helps_and_noise_does_not(one_thread):
    """The planted answer: before the task of reversing, reversing itself under another embedding, or noise."""
    rng = np.random.default_rng(0)
    corpus, same, noise = (
        tasks.documents(task, 32 * steps, 15, rng)
        for task, steps in (("reverse", 150), ("reverse", 400), ("noise", 400))
    )
    found = {}
    for name, warmed_on in (("none", None), ("same", same), ("noise", noise)):
        new = model(seed=1, vocabulary=VOCABULARY)
        if warmed_on is not None:
            warm = model(seed=2, vocabulary=VOCABULARY)
            trained(warm, warmed_on, 400)
            transfer(warm, new, TRANSFERRED)
        found[name] = trained(new, corpus, 150)
    assert found["same"] < 0.8 * found["none"], found
    assert found["noise"] > 0.95 * found["none"], found


# In a study.


def test_tokens_until_an_accuracy_is_reached():
    curve = [(0, 0.0), (100, 0.4), (200, 0.6), (300, 0.5), (400, 0.95)]
    assert first_reached(curve, 0.5) == pytest.approx(150)
    assert first_reached(curve, 0.9) == pytest.approx(300 + 100 * 0.4 / 0.45)
    assert first_reached(curve, 0.96) is None
    assert first_reached([(0, 0.7)], 0.5) == 0


def test_the_table_has_the_mean_of_models_that_get_there(tmp_path):
    """By hand, from the checkpoints; nothing where one of them does not."""
    job = write_results(tmp_path, small_study(lm={"steps": 600, "decay_steps": 600, "seeds": [3, 5, 8]}))
    statistics.run(job)
    checkpoints, rows = (read_rows(job.output(name)) for name in ("checkpoints", "milestones"))
    for share in (0.5, 0.9):
        reached = []
        for seed in (3, 5, 8):
            curve = [(row["tokens"], row["generative_accuracy"]) for row in checkpoints if row["lm_seed"] == seed]
            reached.append(first_reached(curve, share))
            (row,) = (row for row in rows if (row["lm_seed"], row["share"]) == (seed, share))
            assert row["tokens"] == (None if reached[-1] is None else pytest.approx(reached[-1], abs=1e-5))
            assert row["warmup_tokens"] == 0
        (row,) = (row for row in rows if (row["lm_seed"], row["share"]) == ("pooled", share))
        if None in reached:
            assert row["tokens"] is row["tokens_low"] is None
        else:
            reach = stdtrit(2, 0.975) * np.std(reached, ddof=1) / np.sqrt(3)
            assert row["tokens"] == pytest.approx(np.mean(reached), abs=1e-5)
            assert row["tokens_high"] == pytest.approx(np.mean(reached) + reach, abs=1e-5)
    assert any(row["tokens"] for row in rows)


@pytest.mark.parametrize(
    ("warmup", "said"),
    [
        ({"task": "sets"}, "lm.warmup.task: given 'sets', expected 'none', 'identity'"),
        ({"task": "set", "tokens": 100}, "lm.warmup.tokens is 100, but a step takes"),
        ({"task": "set", "transfer": []}, "lm.warmup.transfer"),
        ({"task": "set", "transfer": ["mlp", "mlp"]}, "lm.warmup.transfer ['mlp', 'mlp'] repeat"),
    ],
)
def test_a_warm_up_that_cannot_be_is_refused(warmup, said):
    with pytest.raises(UserError, match="^config: ") as raised:
        load({"lm": {"warmup": warmup}})
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_study_with_a_warm_up(tree):
    """It comes before the untrained checkpoint, which has its blocks; what is kept of it can be changed by itself."""
    changes = {"lm": {"warmup": {"task": "stack", "tokens": 20_000}}}
    plan = Plan(tiny(changes))
    ((seed, steps),) = plan.checkpoints(plan.warmup)
    planned = tree.planned(*TINY, *say(changes))
    assert planned["sequences"] == planned["warmup"] == 1 and planned["checkpoint"] == 3 and "tokens" not in planned
    last = plan.everywhere([plan.lm], "metrics")[1]
    tree.snakemake(last, "--cores", "2", *TINY, *say(changes))
    warm, first = (load_file(tree.root / plan.everywhere([one], "weights")[0]) for one in (plan.warmup, plan.lm))
    for name, weights in warm.items():
        same = first[name].shape == weights.shape and torch.equal(first[name], weights)
        assert same == name.startswith(("transformer.h.", "transformer.ln_f.")), name
    manifest = json.loads(
        (tree.root / plan.warmup.checkpoint_file("manifest.json").format(seed=seed, step=f"{steps:06d}")).read_text(
            encoding="utf-8"
        )
    )
    assert manifest["slice"]["to"] == steps > 10
    changes["lm"]["warmup"]["transfer"] = ["mlp"]
    assert not {"sequences", "warmup"} & set(tree.planned(*TINY, *say(changes)))
