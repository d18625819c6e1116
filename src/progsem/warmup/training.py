"""Stage `warmup`: a language model with the study's shape, trained on sequences of a formal task from its beginning.

It is trained as the stage `train` trains, up to the end in one interval. Its vocabulary is that of the task.
"""

from __future__ import annotations

from progsem.jobs.job import Job
from progsem.lm import model as lm
from progsem.lm.train import Trainer, prepared, train
from progsem.storage.files import read_tables


def run(job: Job) -> None:
    """Train from random weights, which follow from the seed, to step `slice["to"]`."""
    device = prepared(job)
    config = job.section("lm")
    columns, metadata = read_tables(job.inputs["train"])
    model = lm.make(config, metadata["vocabulary"], job.slice["seed"]).to(device)

    def save(trainer: Trainer) -> None:
        trainer.write_metrics(job.output("metrics"))
        model.save(job.output("weights"), job.output("config"))

    train(job, model, columns, metadata, save)
