"""A checkpoint from elsewhere (`lm.checkpoints`), in the place of one that the stage `train` writes.

A folder as `save_pretrained` writes it: any causal language model of `transformers` that stages can read and edit
(`stock.model`), trained by whatever on documents as the stage `tokens` writes them. Its vocabulary is the study's.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from progsem.data.encodings import Encoding
from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.lm import model as lm
from progsem.lm.stock.model import StockModel, Unsuitable
from progsem.storage.files import copy_file, read_table, save_tensors, write_csv, write_json
from progsem.study.checkpoints import checksums, refusal
from progsem.study.vocabulary import METRICS


def load(folder: Path, layers: int, width: int, encoding: Encoding, documents: Tensor) -> StockModel:
    """Read a folder; a `UserError` where it is no model of these sizes that reads such documents, (B, T) int64."""
    try:
        model = StockModel.load(folder)
        _refuse_other_vocabulary(folder, model, encoding)
        if (model.layers, model.width) != (layers, width):
            raise Unsuitable(
                f"has {model.layers} blocks of width {model.width}, but lm.layers is {layers} and lm.width {width} "
                "(set them to these)"
            )
        model.refuse_unsuitable(documents)
    except Unsuitable as problem:
        raise refusal(folder, f"whose model {problem}") from None
    return model


def _refuse_other_vocabulary(folder: Path, model: StockModel, encoding: Encoding) -> None:
    """Raise `Unsuitable` where ids stand for something else than to the study's tokenizer."""
    ours, count = encoding.ids, len(model.embedding.weight)
    if count != len(ours):
        raise Unsuitable(f"has {count} tokens, but the study's encoding {len(ours)}")
    tokenizer = folder / "tokenizer.json"
    if tokenizer.is_file():
        try:
            theirs = json.loads(tokenizer.read_bytes())["model"]["vocab"]
            other = next((token for token, number in theirs.items() if ours.get(token) != number), None)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unsuitable("comes with a tokenizer.json of another kind than the study's") from None
        if other is not None:
            raise Unsuitable(f"comes with a tokenizer to which {other!r} is {theirs[other]}, and not {ours.get(other)}")


def run(job: Job) -> None:
    """Write the model in a folder as a checkpoint, with the study's tokenizer, and no metrics of a training."""
    folder, sizes = Path(job.slice["folder"]), job.slice["lm"]
    if checksums(folder) != job.slice["model"]:
        raise UserError(f"lm.checkpoints: {folder} has changed since this job was planned; run snakemake again")
    columns, _ = read_table(job.inputs["train"][0])
    documents = torch.from_numpy(columns["tokens"][:2].astype(int))
    encoding = LANGUAGE.text.ENCODINGS[job.slice["tokens"]["encoding"]]()
    model = load(folder, sizes["layers"], sizes["width"], encoding, documents)
    write_csv(job.output("metrics"), METRICS, [])
    save_tensors(job.output("state"), {})
    for name in ("tokenizer", "tokenizer_config"):
        copy_file(job.input(name), job.output(name))
    write_json(job.output("generation_config"), lm.generation_config(model))
    model.save(job.output("weights"), job.output("config"))
    job.notes["parameters"] = sum(parameter.numel() for parameter in model.parameters())
