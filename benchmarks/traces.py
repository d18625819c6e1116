"""Decoding and reading hidden states, against `model.generate` of the stock CodeGen with a grammar mask.

Both sides get the same specifications and the same weights, and return for each
specification the program that is written greedily under the grammar, the mean over
layers of the states that wrote its statements, the same of the reference program fed
to the model, and both log-likelihoods. The weights are random: training would take
longer than all else here, and what a token costs does not depend on them. What does
matter is how long the programs are that they write, so the closing brace is made as
likely as it takes for these to be as long as the corpus's.
"""

from __future__ import annotations

import tempfile
import time
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.common import Row, in_turn
from benchmarks.limits import matrix_rate
from progsem.data import corpus
from progsem.hardware import choose_precision
from progsem.jobs.job import Job
from progsem.languages.karel.codes import ACTIONS, CLOSE, PAD
from progsem.languages.karel.grammar import NEXT
from progsem.languages.karel.text import ENCODINGS
from progsem.lm import traces
from progsem.lm.codegen import model as codegen
from progsem.study import config

UNIT = "specifications"
GROWTH = (2_000, 4_000, 8_000)

_CPU = torch.device("cpu")
_OURS, _ONE_BY_ONE, _BATCHED = 16_000, 48, 512  # specifications of a round
_BATCH = 32  # of the baseline that generates several programs at once: of 16 … 256 the fastest
_ROUNDS = 3
_AGREEING = 0.99  # share of programs that must be the same, both sides in float32


class Case:
    """Specifications of the default study, a model of its shape, and what reads them."""

    def __init__(self, specifications: int, precision: str = "auto"):
        counts = {"train": specifications - 200, "validation": 100, "test": 100}
        study = config.load({"corpus": counts, "traces": counts, "lm": {"precision": precision}})
        self.study, self.encoding = study, ENCODINGS[study.tokens.encoding]()
        slices = study.model_dump(mode="json") | {"step": 0, "seed": 0}
        with tempfile.TemporaryDirectory() as folder:
            shards = -(-study.corpus.train // study.corpus.shard)
            files = {"train": [Path(folder) / f"{shard}.arrow" for shard in range(shards)]}
            files |= {split: [Path(folder) / f"{split}.arrow"] for split in ("validation", "test")}
            corpus.run(Job("corpus", slices, {}, files))
            job = Job("traces", slices, files, {})
            self.specifications = traces.Specifications.of(job)
        self.job = job
        self.prompts = self.specifications.prompts(self.encoding, slice(None))
        size = study.lm
        shape = codegen.Shape(len(self.encoding.vocabulary), size.layers, size.width, size.heads, size.rotary)
        self.model = codegen.CodeGen(shape).eval()
        self.model.initialise(0, 0.3)
        self._shorten()
        self.tracer = traces.Tracer(self.model, self.encoding, job)

    def _shorten(self) -> None:
        """Bias the closing brace until programs are about as long as the corpus's."""
        (close,) = self.encoding.expansions[NEXT, CLOSE]
        wanted = (self.specifications.programs != PAD).sum(axis=1).mean()
        few = self.prompts[:256]
        low, high = -20.0, 20.0
        for _ in range(8):
            middle = (low + high) / 2
            with torch.no_grad():
                self.model.lm_head.bias[close] = middle
            written = traces.Tracer(self.model, self.encoding, self.job).write(few)
            length = (written.codes != PAD).sum(axis=1).mean()
            low, high = (low, middle) if length < wanted else (middle, high)

    def read(self, threads: int) -> list[tuple]:
        """All specifications, the way the stage does."""
        torch.set_num_threads(1)
        return list(self.tracer.read_all(self.specifications, self.study.compute.trace_batch, threads))


class Baseline:
    """A script around `generate` of `CodeGenForCausalLM`, as its documentation has one write it."""

    def __init__(self, case: Case):
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        encoding = case.encoding
        with tempfile.TemporaryDirectory() as folder:
            case.model.save(Path(folder) / "model.safetensors", Path(folder) / "config.json")
            self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.start = case.prompts.shape[1]
        self.prompts = torch.from_numpy(case.prompts).long()
        ids, self.lengths, _, self.ends = encoding.spell(case.specifications.programs)
        self.references = torch.from_numpy(ids).long()
        self.codes = case.specifications.programs
        self.statements = [encoding.ids[f"{name}()"] for name in ACTIONS]
        self.close = encoding.ids["}"]
        self.longest = case.tracer.codes

    def allowed(self, row: int, ids: torch.Tensor) -> list[int]:
        """The grammar of straight-line programs: a statement, and behind the first one the closing brace as well."""
        return self.statements if len(ids) == self.start else [*self.statements, self.close]

    def read(self, first: int, count: int) -> list[tuple]:
        """Programs, log-likelihoods and states of specifications first … first + count, `count` at a time."""
        prompts = self.prompts[first : first + count]
        with torch.no_grad():
            out = self.model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=self.longest,
                do_sample=False,
                prefix_allowed_tokens_fn=self.allowed,
                eos_token_id=self.close,
                pad_token_id=0,
                return_dict_in_generate=True,
                output_hidden_states=True,
                output_logits=True,
            )
            references = self.references[first : first + count]
            forced = self.model(torch.cat([prompts, references], dim=1), output_hidden_states=True)
        written = out.sequences[:, self.start :]
        steps = written.shape[1]
        # Of each step, layers + 1 times (B, T or 1, C).
        emitting = [torch.stack([state[:, -1] for state in step]).mean(dim=0) for step in out.hidden_states]
        states = torch.stack(emitting, dim=1)
        scores = torch.log_softmax(torch.stack(out.logits, dim=1), dim=2).gather(2, written[..., None])[..., 0]
        means = torch.stack([state[:, self.start :] for state in forced.hidden_states]).mean(dim=0)
        likely = torch.log_softmax(forced.logits[:, self.start - 1 : -1], dim=2).gather(2, references[..., None])[
            ..., 0
        ]
        results = []
        for row in range(count):
            closed = (written[row] == self.close).nonzero()
            length = int(closed[0]) if len(closed) else steps
            program = [self.statements.index(int(token)) for token in written[row, :length]]
            tokens = self.lengths[first + row]
            places = self.ends[first + row][self.codes[first + row] != PAD]
            results.append(
                (
                    program,
                    float(scores[row, : length + len(closed[:1])].sum()),
                    states[row, :length].half().numpy(),
                    float(likely[row, :tokens].sum()),
                    means[row, places].half().numpy(),
                )
            )
        return results


def agreement(ours: list[tuple], theirs: list[tuple]) -> float:
    """The share of specifications that both write the same program for; what belongs to those must agree."""
    written, reference_scores, _, forced = ours[0]
    same = 0
    for row, (program, score, states, reference_score, reference_states) in enumerate(theirs):
        codes = written.codes[row]
        np.testing.assert_allclose(reference_scores[row], reference_score, rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(forced[row, : len(reference_states), 0], reference_states, rtol=1e-2, atol=1e-2)
        if codes[codes != PAD].tolist() == program:
            same += 1
            np.testing.assert_allclose(written.log_likelihood[row], score, rtol=1e-3, atol=1e-2)
            np.testing.assert_allclose(written.activations[row, : len(program), 0], states, rtol=1e-2, atol=1e-2)
    return same / len(theirs)


def operations(case: Case, written: float) -> float:
    """Of the products that reading a specification takes, and writing a program of `written` tokens behind it.

    Two a weight and token, for those products that nobody could look up: the first block's queries,
    keys, values and MLP follow from the token, and of the last block the prompt needs keys and values
    only. Four for each position that a query looks at, in every dimension.
    """
    shape, prompt = case.model.shape, case.prompts.shape[1]
    square = shape.width**2
    blocks = {1: [11]}.get(shape.layers, [1, *[12] * (shape.layers - 2), 12])
    behind = case.specifications.programs.shape[1] + 1 + written  # forced, and written
    skipped = 10 if shape.layers > 1 else 0
    products = 2 * square * (sum(blocks) * (prompt + behind) - skipped * (prompt - 1))
    looks = prompt * prompt / 2 * (shape.layers - 1) + behind * prompt * shape.layers
    return products + 4 * shape.width * looks


def measure() -> list[Row]:
    """Specifications a second on two cores."""
    exact = Case(_BATCHED, "fp32")
    theirs = Baseline(exact).read(0, 256)
    share = agreement(exact.read(1), theirs)
    if share < _AGREEING:
        raise ValueError(f"of programs written by both sides in float32 only {share:.1%} are the same")
    case = Case(_OURS)
    baseline = Baseline(case)
    ours = case.read(2)
    length = float(np.mean([batch[0].tokens.mean() for batch in ours]))

    def one_by_one(threads: int) -> None:
        torch.set_num_threads(threads)
        for row in range(_ONE_BY_ONE):
            baseline.read(row, 1)

    def batched() -> None:
        torch.set_num_threads(2)
        for first in range(0, _BATCHED, _BATCH):
            baseline.read(first, _BATCH)

    seconds = in_turn(
        _ROUNDS,
        ours=lambda: case.read(2),
        one=lambda: one_by_one(1),
        two=lambda: one_by_one(2),
        batched=batched,
    )
    times = {name: median(values) for name, values in seconds.items()}
    rates = {name: _ONE_BY_ONE / times[name] for name in ("one", "two")}
    together = _BATCHED / times["batched"]
    precision = choose_precision("auto", _CPU)
    limit = matrix_rate(precision, 2) / operations(case, length)
    size = case.model.shape
    return [
        Row(
            stage="traces",
            work=f"{_OURS:,} specifications of {case.prompts.shape[1]} tokens, programs of {length:.1f} tokens, "
            f"{size.layers} x {size.width}; random weights; the same programs as the baseline for {share:.1%}",
            unit="specifications/s",
            ours=_OURS / times["ours"],
            baseline=max(rates.values()),
            baseline_work="stock CodeGen in fp32: generate with hidden states and a mask a token, then the reference; "
            f"one specification after the other ({_BATCH} at once: {together:,.0f}/s)",
            limit=limit,
            limit_work=f"products that cannot be looked up, at the measured {precision} rate".replace("torch.", ""),
            reach=20,
            reach_of="ratio",
        )
    ]


@cache
def _case(size: int) -> Case:
    return Case(size)


def grow(size: int) -> float:
    """Seconds for so many specifications, on two cores."""
    case = _case(size)
    case.tracer.write(case.prompts[:2])
    started = time.perf_counter()
    case.read(2)
    return time.perf_counter() - started
