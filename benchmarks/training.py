"""Stage `train`: training steps of the default study, against the model as the paper's authors configured it.

That is the stock CodeGenForCausalLM of the same layers, width and heads: the
vocabulary of a general model, attention in eager float32, and documents in the spaced
encoding, packed into blocks of 2048 tokens. Both sides train on the same programs and
worlds. Programs a second are tokens a second by the tokens that a program takes.
"""

from __future__ import annotations

import tempfile
import time
from functools import cache
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.common import Row, in_turn, study
from benchmarks.limits import matrix_rate, named
from progsem.data import corpus, tokens
from progsem.jobs.job import Job
from progsem.lm import train
from progsem.lm.codegen import model as codegen
from progsem.lm.traces import Specifications
from progsem.storage.files import read_table
from progsem.study.config import LM
from progsem.study.vocabulary import SPLITS

UNIT = "programs"
GROWTH = (1_024, 2_048, 4_096)
TRACED = {"train": 100, "validation": 100, "test": 1_000}  # specifications that a model can be asked

_THREADS = 1  # compute.threads of the default study: probes are fitted on the other core
_PROGRAMS = 20_000
_STEPS = 60  # of ours in a round
_BLOCK, _VOCABULARY = 2_048, 51_298
_BLOCKS = 3  # of the baseline in a round
_ROUNDS = 3


@cache
def documents(encoding: str, programs: int) -> tuple[np.ndarray, np.ndarray, dict, Specifications]:
    """Training documents of the default study: ids (N, T), lengths (N,), the table's metadata; and specifications."""
    changes = {"corpus": {"train": programs, "shard": max(programs, 10_000)}, "tokens": {"encoding": encoding}}
    slices = study(None, changes | {"traces": TRACED}).model_dump(mode="json")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs_of = {split: [folder / "corpus" / split] for split in SPLITS}
        texts = {split: [folder / "tokens" / split] for split in SPLITS}
        texts |= {name: [folder / "tokens" / name] for name in ("tokenizer", "tokenizer_config")}
        corpus.run(Job("corpus", slices, {}, programs_of))
        tokens.run(Job("tokens", slices, programs_of, texts))
        columns, metadata = read_table(texts["train"][0])
        specifications = Specifications.of(Job("traces", slices, programs_of, {}))
        return np.array(columns["tokens"]), np.array(columns["length"]), metadata, specifications


class Ours:
    """A trainer of the default study's model, as the stage `train` sets it up; `config` is another recipe for it."""

    def __init__(self, programs: int, config: LM | None = None, seed: int = 0):
        torch.set_num_threads(_THREADS)
        torch.set_flush_denormal(True)
        ids, self.lengths, metadata, self.specifications = documents("compact", programs)
        self.config, self.seed = config or study(None, {}).lm, seed
        shape = self.config.layers, self.config.width, self.config.heads, self.config.rotary
        self.model = codegen.CodeGen(codegen.Shape(metadata["vocabulary"], *shape))
        self.model.initialise(seed, self.config.initial_std)
        self.trainer = train.Trainer(self.config, self.model, ids, self.lengths, metadata)
        self.done = self.tokens = 0

    def steps(self, number: int) -> None:
        """So many further training steps."""
        first, self.done = self.done, self.done + number
        order = train.batches(len(self.lengths), self.config.batch, self.seed, first, self.done)
        for step, rows in enumerate(order, first):
            self.trainer.step(step, rows)
            self.tokens += int(self.lengths[rows].sum())

    def operations(self) -> float:
        """Floating-point operations a token: 6 a weight of the products, and attention to what comes before."""
        weights = sum(parameter.numel() for name, parameter in self.model.named_parameters() if parameter.dim() == 2)
        weights -= self.model.transformer["wte"].weight.numel()
        # Of T positions one sees T / 2 on average: two products, each 2 operations forward and 4 backward.
        return 6 * weights + self.config.layers * 6 * self.lengths.mean() * self.config.width


class Authors:
    """The stock model on packed blocks; a pass takes one block, which is the fastest here."""

    def __init__(self, programs: int):
        from transformers import CodeGenConfig, CodeGenForCausalLM

        ids, self.lengths, *_ = documents("spaced", programs)
        text = ids[np.arange(ids.shape[1]) < self.lengths[:, None]].astype(np.int64)
        self.blocks = torch.from_numpy(text[: len(text) // _BLOCK * _BLOCK]).view(-1, _BLOCK)
        recipe = study(None, {}).lm
        self.model = CodeGenForCausalLM(
            CodeGenConfig(
                vocab_size=_VOCABULARY,
                n_positions=_BLOCK,
                n_embd=recipe.width,
                n_layer=recipe.layers,
                n_head=recipe.heads,
                rotary_dim=recipe.rotary,
                attn_implementation="eager",
                use_cache=False,
            )
        ).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.next = count()

    def step(self, blocks: int) -> None:
        """One update from so many blocks."""
        for _ in range(blocks):
            block = self.blocks[next(self.next) % len(self.blocks)][None]
            (self.model(block, labels=block).loss / blocks).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def grow(size: int) -> float:
    """Seconds that training once on so many programs takes."""
    ours = Ours(size)
    ours.steps(3)
    started = time.perf_counter()
    ours.steps(size // ours.config.batch)
    return time.perf_counter() - started


def measure() -> list[Row]:
    """Rows `training` and `training_programs`."""
    ours, authors = Ours(_PROGRAMS), Authors(_PROGRAMS)
    ours.steps(5)
    authors.step(1)
    seconds = in_turn(_ROUNDS, ours=lambda: ours.steps(_STEPS), authors=lambda: authors.step(_BLOCKS))
    length, spaced = ours.lengths.mean(), authors.lengths.mean()
    speed = _STEPS * ours.config.batch * length / median(seconds["ours"])
    plain = _BLOCKS * _BLOCK / median(seconds["authors"])
    precision = ours.trainer.precision
    most = matrix_rate(precision, _THREADS) / ours.operations()
    shape = f"{ours.config.layers} x {ours.config.width}"
    rows = []
    for stage, unit, by, by_plain, reach in (
        ("training", "tokens/s", 1, 1, 30),
        ("training_programs", "programs/s", length, spaced, 60),
    ):
        rows.append(
            Row(
                stage=stage,
                work=f"{shape}, steps of {ours.config.batch} documents of {length:.1f} tokens; on one core, as the "
                "default study trains",
                unit=unit,
                ours=speed / by,
                baseline=plain / by_plain,
                baseline_work=f"stock CodeGen of the same shape, vocabulary {_VOCABULARY:,}, eager float32 attention, "
                f"{spaced:.1f} tokens a program; updates of {_BLOCKS} blocks of {_BLOCK}, one at a time; one core",
                limit=most / by,
                limit_work=f"{named(precision)} products of large matrices on one core, {ours.operations() / 1e6:.2f} "
                "million operations a token",
                reach=reach,
                reach_of="ratio",
            )
        )
    return rows
