"""Stage `finetuning`: the model in `lm.pretrained` learns the study's text, by the trainer of `transformers`.

Specification to program (`progsem.lm.pretrained`), loss on the program's tokens alone; AdamW, linear warm-up over a
twentieth of the steps, linear decay to 0, gradients clipped to norm 1. Documents are the first of the training, as many
as the steps take, in an order that follows from the seed. A training that is cut short begins anew.

Writes a folder that `AutoModel…` and `AutoTokenizer` load: the tokenizer as it was given; in generation_config.json
`max_new_tokens`, enough for the longest program that may be written. metrics.csv has the mean loss of some steps a row.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import GenerationConfig, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from progsem.data.encodings import Encoding
from progsem.errors import UserError
from progsem.hardware import choose_device, choose_precision
from progsem.jobs.job import Job
from progsem.jobs.progress import Progress
from progsem.languages import LANGUAGE
from progsem.lm.pretrained import CHECKED, Documents, Pretrained
from progsem.storage.files import copy_file, read_tables, write_csv
from progsem.study.pretrained import checksums

METRICS = ("step", "loss", "learning_rate")
_ROWS = 100  # of metrics.csv, about
_WARM_UP = 0.05  # of the steps


class _Log(TrainerCallback):
    """Rows of metrics.csv, and how far the training is."""

    def __init__(self, steps: int):
        self.rows: list[list] = []
        self.progress = Progress("fine-tuning", steps, "steps")

    def on_step_end(self, args, state, control, **more) -> None:
        self.progress.update(1, **({"loss": f"{self.rows[-1][1]:.3f}"} if self.rows else {}))

    def on_log(self, args, state, control, logs, **more) -> None:
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise UserError(
                f"fine-tuning: the loss is {loss} at step {state.global_step}; lower finetuning.learning_rate"
            )
        self.rows.append([state.global_step, round(loss, 6), float(logs["learning_rate"])])


def train(job: Job, documents: Documents, device: torch.device, scratch: str) -> list[list]:
    """Train the model of these documents in place; returns the rows of metrics.csv."""
    config = job.section("finetuning")
    arguments = TrainingArguments(
        output_dir=scratch,
        max_steps=config.steps,
        per_device_train_batch_size=config.batch,
        learning_rate=config.learning_rate,
        warmup_steps=_WARM_UP,
        seed=config.seed,
        bf16=choose_precision(job.section("lm").precision, device) == torch.bfloat16,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        logging_steps=max(1, config.steps // _ROWS),
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # else batches grow with the number of GPUs that there are
    log, pretrained = _Log(config.steps), documents.pretrained
    trainer = Trainer(
        pretrained.model, arguments, data_collator=pretrained.batch, train_dataset=documents, callbacks=[log]
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    log.progress.close()
    return log.rows


def most_new_tokens(documents: Documents, encoding: Encoding, codes: int) -> int:
    """Tokens that a program of so many codes takes at most, its end included, judging by some documents.

    A token of the study's encoding counts as many of the model's as in the document where it takes most.
    """
    ratios = []
    for row in range(min(CHECKED, len(documents))):
        own = int(documents.lengths[row]) - documents.prompt_length
        ratios.append(len(documents.pretrained.program(documents.texts(row)[1])) / own)
    return math.ceil(max(ratios) * (encoding.program_tokens(codes) + 1))


def run(job: Job) -> None:
    """Fine-tune a model, and write it with its tokenizer."""
    torch.set_num_threads(job.threads)
    device = choose_device(job.device)
    config, folder = job.section("finetuning"), Path(job.slice["folder"])
    if checksums(folder) != job.slice["model"]:
        raise UserError(f"lm.pretrained: {folder} has changed since this job was planned; run snakemake again")
    encoding = LANGUAGE.text.ENCODINGS[job.section("tokens").encoding]()
    columns, metadata = read_tables(job.inputs["train"])
    pretrained = Pretrained.load(folder)

    def documents(rows: slice) -> Documents:
        return Documents(pretrained, encoding, columns["tokens"][rows], columns["length"][rows], metadata)

    some = documents(np.s_[:CHECKED])
    pretrained.refuse_unsuitable(encoding, some)
    codes = LANGUAGE.codes.most_codes(job.section("programs"), job.section("traces").extra_statements)
    weights = job.output("weights")
    # Named so that what a killed process leaves is cleared by the next job.
    with tempfile.TemporaryDirectory(dir=weights.parent, prefix=f".{weights.name}.") as scratch:
        rows = train(job, documents(np.s_[: config.steps * config.batch]), device, scratch)
        tokenizer = pretrained.tokenizer
        pretrained.model.generation_config = GenerationConfig(
            max_new_tokens=most_new_tokens(some, encoding, codes),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            decoder_start_token_id=getattr(pretrained.model.config, "decoder_start_token_id", None),
        )
        pretrained.model.save_pretrained(scratch, max_shard_size="1TB")
        for name in ("weights", "config", "generation_config"):
            copy_file(Path(scratch, job.output(name).name), job.output(name))
    for target in job.outputs["tokenizer"]:
        copy_file(folder / target.name, target)
    write_csv(job.output("metrics"), METRICS, rows)
    job.notes["parameters"] = pretrained.model.num_parameters()
