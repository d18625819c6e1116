"""Stage `train`: one interval of language-model training, from a checkpoint to the next.

Plain next-token prediction on whole documents (paper, section on the model):
AdamW, linear warm-up, linear decay, clipped gradients. Which documents a step
sees follows from the seed and the step alone, so cutting the training into other
intervals leaves the weights unchanged to the bit (on CPU, with the same number
of threads).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from progsem import model as lm
from progsem.artifacts import read_tables, replacing, write_csv
from progsem.config import LM
from progsem.errors import UserError
from progsem.hardware import choose_device, choose_precision
from progsem.job import Job
from progsem.progress import Progress

_LOG_EVERY = 50  # steps averaged in a row of metrics.csv
METRICS = ("step", "tokens", "programs", "loss", "learning_rate", "gradient_norm", "tokens_per_second")


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


def make_optimizer(model: lm.CodeGen, config: LM) -> torch.optim.AdamW:
    """AdamW, matrices decayed, biases and norms not; one fused update over all parameters."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
    )


def optimizer_tensors(model: lm.CodeGen, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """Moments of AdamW by parameter name: `first.NAME` and `second.NAME`; zeros before the first step."""
    tensors = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter, {})
        tensors[f"first.{name}"] = state.get("exp_avg", torch.zeros_like(parameter)).cpu()
        tensors[f"second.{name}"] = state.get("exp_avg_sq", torch.zeros_like(parameter)).cpu()
    return tensors


def restore_optimizer(model: lm.CodeGen, optimizer: torch.optim.AdamW, tensors: dict[str, Tensor], step: int) -> None:
    """Put moments from `optimizer_tensors` back, as after `step` steps."""
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step), device=parameter.device),
            "exp_avg": tensors[f"first.{name}"].to(parameter.device),
            "exp_avg_sq": tensors[f"second.{name}"].to(parameter.device),
        }


def next_token_loss(model: lm.CodeGen, tokens: Tensor, pad: int) -> Tensor:
    """Mean cross-entropy in nats over all tokens but padding; tokens: (B, T) int64."""
    logits = model.logits(model(tokens[:, :-1]))
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=pad)


class Trainer:
    """A model, its optimizer and the documents, all on one device."""

    def __init__(self, config: LM, model: lm.CodeGen, documents: np.ndarray, lengths: np.ndarray, pad: int):
        self.config, self.model, self.pad = config, model, pad
        self.device = next(model.parameters()).device
        self.precision = choose_precision(config.precision, self.device)
        self.documents = torch.from_numpy(np.array(documents)).to(self.device)  # a copy: files are mapped read-only
        self.lengths = lengths
        self.optimizer = make_optimizer(model, config)

    def step(self, number: int, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """One update from these documents; returns the loss and the gradient's norm, still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, number)
        index = torch.from_numpy(rows).to(self.device, non_blocking=True)
        tokens = self.documents[index, : int(self.lengths[rows].max())].long()
        bf16 = self.precision == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            loss = next_token_loss(self.model, tokens, self.pad)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach(), norm

    def run(self, seed: int, first: int, last: int) -> list[dict]:
        """Steps first … last - 1; returns the rows of metrics.csv."""
        rows, losses, norms = [], [], []
        tokens_before = 0
        started = time.monotonic()
        progress = Progress(f"training, steps {first}-{last}", last - first, "steps")
        for number, chosen in enumerate(batches(len(self.lengths), self.config.batch, seed, first, last), start=first):
            loss, norm = self.step(number, chosen)
            losses.append(loss)
            norms.append(norm)
            tokens_before += int(self.lengths[chosen].sum())
            if len(losses) == _LOG_EVERY or number + 1 == last:
                mean = float(torch.stack(losses).mean())
                if not np.isfinite(mean):
                    raise UserError(
                        f"training: the loss is {mean} at step {number + 1}; lower lm.learning_rate or lm.clip"
                    )
                seconds = time.monotonic() - started
                rows.append(
                    {
                        "step": number + 1,
                        "tokens": tokens_before,
                        "programs": len(losses) * self.config.batch,
                        "loss": round(mean, 6),
                        "learning_rate": learning_rate(self.config, number),
                        "gradient_norm": round(float(torch.stack(norms).mean()), 6),
                        "tokens_per_second": round(tokens_before / seconds, 1),
                    }
                )
                progress.update(len(losses), loss=f"{mean:.3f}", tokens=f"{tokens_before / seconds:.0f}/s")
                losses, norms, tokens_before = [], [], 0
                started = time.monotonic()
        progress.close()
        return rows


def run(job: Job) -> None:
    """Train from step `slice["from"]` to `slice["to"]`; equal ones write the untrained checkpoint."""
    config, seed = job.section("lm"), job.slice["seed"]
    first, last = job.slice["from"], job.slice["to"]
    torch.set_num_threads(job.threads)
    torch.set_flush_denormal(True)
    device = choose_device(job.device)
    columns, metadata = read_tables(job.inputs["train"])
    if last == 0:
        model = lm.CodeGen(lm.Shape(metadata["vocabulary"], config.layers, config.width, config.heads, config.rotary))
        model.initialise(seed, config.initial_std)
        model.to(device)
    else:
        model = lm.load(job.input("model"), job.input("config"), device)
    trainer = Trainer(config, model, columns["tokens"], columns["length"], metadata["pad"])
    rows = []
    if last > 0:
        restore_optimizer(model, trainer.optimizer, load_file(job.input("state")), first)
        rows = trainer.run(seed, first, last)
    write_csv(job.output("metrics"), METRICS, [[row[name] for name in METRICS] for row in rows])
    with replacing(job.output("state")) as temporary:
        save_file(optimizer_tensors(model, trainer.optimizer), temporary)
    lm.save(model, job.output("weights"), job.output("config"))
    job.notes["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    job.notes["precision"] = str(trainer.precision).removeprefix("torch.")
