"""Stage `train`: one interval of language-model training, from a checkpoint to the next.

Next-token prediction on whole documents (paper, section on the model), in which the prompt's tokens may count
less than the program's: AdamW, linear warm-up, linear decay, clipped gradients. Which documents a step
sees follows from the seed and the step alone, so cutting the training into other
intervals leaves the weights unchanged to the bit (on CPU, with the same number
of threads). So does interrupting an interval: it goes on from its rolling state.
Several processes may share every batch; then the weights differ by rounding.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progsem.errors import UserError
from progsem.hardware import choose_device, choose_precision
from progsem.jobs.interruption import deferred
from progsem.jobs.job import Job
from progsem.jobs.progress import Progress, say
from progsem.lm import model as lm
from progsem.lm.language_model import LanguageModel
from progsem.lm.parallel import Team, together
from progsem.lm.resume import RollingState
from progsem.storage.files import copy_file, load_tensors, read_tables, save_tensors, write_csv, write_json
from progsem.study.config import LM
from progsem.study.vocabulary import METRICS
from progsem.warmup.transfer import transfer

_LOG_EVERY = 50  # steps averaged in a row of metrics.csv


def learning_rate(config: LM, step: int) -> float:
    """Of the step with that number (the first is 0): linear warm-up, then linear decay to `final_learning_rate`."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / (config.decay_steps - config.warmup_steps)
    return config.learning_rate + progress * (config.final_learning_rate - config.learning_rate)


def batches(documents: int, size: int, seed: int, first: int, last: int) -> Iterator[np.ndarray]:
    """Row numbers (size,) of the documents of steps first … last - 1.

    Every epoch is a permutation of all documents; a step may span two epochs.
    """
    epoch, order = -1, np.empty(0, np.int64)
    for step in range(first, last):
        rows = []
        at, stop = step * size, (step + 1) * size
        while at < stop:
            if at // documents != epoch:
                epoch = at // documents
                order = np.random.default_rng((seed, epoch)).permutation(documents)
            until = min(stop, (epoch + 1) * documents)
            rows.append(order[at - epoch * documents : until - epoch * documents])
            at = until
        yield np.concatenate(rows)


def make_optimizer(model: LanguageModel, config: LM) -> torch.optim.AdamW:
    """AdamW, matrices decayed, biases and norms not; one fused update over all parameters."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
    )


def optimizer_tensors(model: LanguageModel, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """Moments of AdamW by parameter name: `first.NAME` and `second.NAME`; zeros before the first step."""
    tensors = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter, {})
        tensors[f"first.{name}"] = state.get("exp_avg", torch.zeros_like(parameter)).cpu()
        tensors[f"second.{name}"] = state.get("exp_avg_sq", torch.zeros_like(parameter)).cpu()
    return tensors


def restore_optimizer(
    model: LanguageModel, optimizer: torch.optim.AdamW, tensors: dict[str, Tensor], step: int
) -> None:
    """Put moments from `optimizer_tensors` back, as after `step` steps."""
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step), device=parameter.device),
            "exp_avg": tensors[f"first.{name}"].to(parameter.device),
            "exp_avg_sq": tensors[f"second.{name}"].to(parameter.device),
        }


class Loss(nn.Module):
    """Cross-entropy in nats of the next tokens, padding left out; a module, for a team to wrap.

    weights: (P,) what each token of a prompt counts; a program's count 1. Tokens before the first that counts are
    read, and not predicted.
    """

    def __init__(self, model: LanguageModel, pad: int, weights: np.ndarray):
        super().__init__()
        self.model, self.pad = model, pad
        counts = np.flatnonzero(weights[1:])  # nothing predicts the first
        self.first = 1 + int(counts[0]) if len(counts) else len(weights)
        weights = torch.from_numpy(weights[self.first :].astype(np.float32))
        self.register_buffer("weights", weights.to(next(model.parameters()).device), persistent=False)

    def counted(self, lengths: np.ndarray) -> float:
        """What the tokens that are predicted in documents of these lengths count together."""
        program = int(lengths.sum()) - len(lengths) * (self.first + len(self.weights))
        return program + len(lengths) * float(self.weights.sum())

    def forward(self, tokens: Tensor, of: float) -> Tensor:
        """The weighted sum over documents (B, T) int64, divided by what all tokens of the batch count."""
        wanted = tokens[:, self.first :]
        logits = self.model.logits(self.model(tokens[:, :-1], last=wanted.shape[1])[-1]).flatten(0, 1)
        losses = F.cross_entropy(logits, wanted.flatten(), ignore_index=self.pad, reduction="none")
        prompt, program = losses.view(wanted.shape).tensor_split([len(self.weights)], dim=1)
        return ((prompt @ self.weights).sum() + program.sum()) / of


def prompt_weights(config: LM, metadata: dict) -> np.ndarray:
    """What each token of a prompt counts in the loss: (P,); metadata are those of the documents."""
    weights = np.full(metadata["prompt_length"], config.prompt_weight)
    for start, stop in [] if config.predict_inputs else metadata["inputs"]:
        weights[start:stop] = 0.0
    return weights


@dataclass
class Log:
    """The rows of metrics.csv, and what the next one is the mean or the sum of."""

    rows: list[dict] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)  # scalars, on the device
    norms: list[Tensor] = field(default_factory=list)
    tokens: int = 0

    def add(self, loss: Tensor, norm: Tensor, tokens: int) -> None:
        """Note one step."""
        self.losses.append(loss)
        self.norms.append(norm)
        self.tokens += tokens

    def means(self, steps: int) -> tuple[float, float]:
        """Mean loss and gradient norm since the last row; raises `UserError` if either is not finite."""
        loss, norm = float(torch.stack(self.losses).mean()), float(torch.stack(self.norms).mean())
        if not (np.isfinite(loss) and np.isfinite(norm)):
            what = f"gradient's norm is {norm}" if np.isfinite(loss) else f"loss is {loss}"
            raise UserError(f"training: the {what} at step {steps}; lower lm.learning_rate or lm.clip")
        return loss, norm

    def finish_row(self, steps: int, config: LM) -> float:
        """Write the row that ends after that many steps; returns its loss."""
        loss, norm = self.means(steps)
        self.rows.append(
            {
                "step": steps,
                "tokens": self.tokens,
                "programs": len(self.losses) * config.batch,
                "loss": round(loss, 6),
                "learning_rate": learning_rate(config, steps - 1),
                "gradient_norm": round(norm, 6),
            }
        )
        self.losses, self.norms, self.tokens = [], [], 0
        return loss


class Trainer:
    """A model, its optimizer, the documents and the log, all on one device.

    `metadata` is that of the documents' files. In a team, every process has all of it, and it stays the same in all.
    """

    def __init__(
        self,
        config: LM,
        model: LanguageModel,
        documents: np.ndarray,
        lengths: np.ndarray,
        metadata: dict,
        team: Team | None = None,
    ):
        self.config, self.model, self.team = config, model, team or Team()
        loss = Loss(model, metadata["pad"], prompt_weights(config, metadata))
        self.counted, self.loss = loss.counted, self.team.wrap(loss)
        self.device = next(model.parameters()).device
        self.precision = choose_precision(config.precision, self.device)
        self.documents = torch.from_numpy(np.array(documents)).to(self.device)  # a copy: files are mapped read-only
        self.lengths = lengths
        self.optimizer = make_optimizer(model, config)
        self.log = Log()

    def step(self, number: int, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """One update from these documents; returns the loss and the gradient's norm, still on the device.

        In a team each process computes its share of the documents' mean loss.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, number)
        share = self.team.share(rows)
        index = torch.from_numpy(share).to(self.device, non_blocking=True)
        tokens = self.documents[index, : int(self.lengths[share].max())].long()
        bf16 = self.precision == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            loss = self.loss(tokens, self.counted(self.lengths[rows]))
            (loss * self.team.size).backward()  # the gradient of the sum, from the mean over the team
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return self.team.total(loss.detach()), norm

    def run(
        self, seed: int, first: int, last: int, done: int = 0, after: Callable[[int], None] = lambda steps: None
    ) -> float:
        """Steps first … last - 1, of which `done` are done already; fills the log.

        `after` is called after each step, with the number of steps since the
        training began. Returns tokens per second.
        """
        seen, shown, started = 0, first + done, time.monotonic()
        progress = Progress(f"training, steps {first}-{last}", last - first, "steps", done=done)
        with contextlib.closing(progress):
            order = batches(len(self.lengths), self.config.batch, seed, first + done, last)
            for steps, rows in enumerate(order, start=first + done + 1):
                loss, norm = self.step(steps - 1, rows)
                tokens = int(self.lengths[rows].sum())
                self.log.add(loss, norm, tokens)
                seen += tokens
                if len(self.log.losses) == _LOG_EVERY or steps == last:
                    mean = self.log.finish_row(steps, self.config)
                    speed = seen / (time.monotonic() - started)
                    progress.update(steps - shown, loss=f"{mean:.3f}", tokens=f"{speed:.0f}/s")
                    shown = steps
                after(steps)
        return seen / (time.monotonic() - started)

    def write_metrics(self, path: Path) -> None:
        """Write metrics.csv."""
        write_csv(path, METRICS, [[row[name] for name in METRICS] for row in self.log.rows])

    def refuse_divergence(self, steps: int) -> None:
        """Raise `UserError` if the training has diverged within that many steps."""
        if self.log.losses:
            self.log.means(steps)

    def state(self, steps: int) -> tuple[dict[str, Tensor], dict]:
        """What `restore` goes on from after that many steps: tensors by name, and JSON values."""
        log = self.log
        # Parameters once each: those that are tied have two names in `state_dict`.
        tensors = {f"weights.{name}": parameter for name, parameter in self.model.named_parameters()}
        tensors |= optimizer_tensors(self.model, self.optimizer)
        tensors |= {"losses": _column(log.losses), "norms": _column(log.norms)}
        return tensors, {"rows": log.rows, "tokens": log.tokens}

    def restore(self, steps: int, tensors: dict[str, Tensor], log: dict) -> None:
        """Put back what `state` gave."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[f"weights.{name}"])
        restore_optimizer(self.model, self.optimizer, tensors, steps)
        losses, norms = (list(tensors[name].to(self.device)) for name in ("losses", "norms"))
        self.log = Log(log["rows"], losses, norms, log["tokens"])


def _column(scalars: list[Tensor]) -> Tensor:
    return torch.stack(scalars) if scalars else torch.empty(0)


def train_interval(job: Job, trainer: Trainer, rolling: RollingState, asked: Callable[[], int | None]) -> None:
    """Train to the end of the interval, or up to a signal: then save the rolling state and exit with 128 + its number.

    `asked` returns the number of the signal that came, or None.
    """
    first, last, team = job.slice["from"], job.slice["to"], trainer.team
    start = first
    saved = rolling.load()
    if saved is None:
        if first > 0:
            restore_optimizer(trainer.model, trainer.optimizer, load_tensors(job.input("state"))[0], first)
    else:
        start = saved[0]
        trainer.restore(*saved)
        say(f"progsem: training goes on at step {start} of {first}-{last}, from {rolling.path}")

    def save_if_asked(steps: int) -> None:
        number, due = team.agree(asked(), rolling.is_due())
        if number is None and not due:
            return
        trainer.refuse_divergence(steps)
        if team.leads:
            rolling.save(steps, *trainer.state(steps))
        team.wait()
        if number is not None:
            name = signal.Signals(number).name
            say(f"progsem: {name}: training saved at step {steps}, in {rolling.path}; run again to go on from there")
            raise SystemExit(128 + number)

    speed = trainer.run(job.slice["seed"], first, last, start - first, save_if_asked)
    if start < last:
        job.notes["tokens_per_second"] = round(speed, 1)


def prepared(job: Job) -> torch.device:
    """Set up this process for a job's training; returns the device that it is done on.

    Raises `UserError` where the job's processes cannot share a batch.
    """
    batch = job.section("lm").batch
    if batch % job.processes:
        raise UserError(f"lm.batch is {batch}, which {job.processes} processes cannot share; start fewer")
    torch.set_num_threads(job.threads)
    torch.set_flush_denormal(True)
    return choose_device(job.device, job.gpu)


def train(
    job: Job, model: LanguageModel, columns: dict[str, np.ndarray], metadata: dict, save: Callable[[Trainer], None]
) -> None:
    """Train from step `slice["from"]` to `slice["to"]` on documents as `tokens` writes them, then `save`.

    Of several processes, the first one saves.
    """
    config, first, last = job.section("lm"), job.slice["from"], job.slice["to"]
    rolling = RollingState(job, first)
    with deferred() as asked:
        with together(job.rank, job.processes if last > first else 1, next(model.parameters()).device) as team:
            trainer = Trainer(config, model, columns["tokens"], columns["length"], metadata, team)
            if last > first:
                train_interval(job, trainer, rolling, asked)
        if job.rank > 0:
            return
        # A signal that comes from here on finds the interval done.
        save(trainer)
        job.obsolete.append(rolling.path)
    job.notes["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    job.notes["precision"] = str(trainer.precision).removeprefix("torch.")
    if job.processes > 1:
        job.notes["processes"] = job.processes


def run(job: Job) -> None:
    """Train one interval; one of no steps writes the untrained checkpoint, warmed up if the study asks for it.

    With `slice["folder"]`, the checkpoint is taken from there.
    """
    if "folder" in job.slice:
        from progsem.lm import checkpoints  # which imports transformers

        if job.rank == 0:
            checkpoints.run(job)
        return
    config, last = job.section("lm"), job.slice["to"]
    if last == 0 and job.rank > 0:
        return
    device = prepared(job)
    columns, metadata = read_tables(job.inputs["train"])
    before = lm.load(job.input("model"), job.input("config"), device) if job.inputs.get("model") else None
    if last == 0:
        model = lm.make(config, metadata["vocabulary"], job.slice["seed"]).to(device)
        if before is not None:
            transfer(before, model, config.warmup.transfer)
    else:
        model = before

    def save(trainer: Trainer) -> None:
        trainer.write_metrics(job.output("metrics"))
        save_tensors(job.output("state"), optimizer_tensors(model, trainer.optimizer))
        for name in ("tokenizer", "tokenizer_config"):
            copy_file(job.input(name), job.output(name))
        write_json(job.output("generation_config"), lm.generation_config(model))
        model.save(job.output("weights"), job.output("config"))

    train(job, model, columns, metadata, save)
