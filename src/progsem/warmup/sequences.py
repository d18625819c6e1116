"""Stage `sequences`: sequences of a formal task as Arrow shards, which a language model is warmed up on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from progsem.data.special_tokens import PADDING_ID
from progsem.jobs.job import Job
from progsem.storage.files import write_table
from progsem.warmup import tasks


def run(job: Job) -> None:
    """Draw every shard.

    The slice holds `warmup`: the `task`, how many `sequences` there are, their `length` at most, and how many a `shard`
    has. What is drawn follows from that and from the shard's number.
    """
    asked = job.slice["warmup"]

    def shard(number: int, path: Path) -> None:
        count = min(asked["shard"], asked["sequences"] - number * asked["shard"])
        rng = np.random.default_rng((asked["seed"], number))
        found = tasks.documents(asked["task"], count, asked["length"], rng)
        about = {
            "prompt_length": found.prompt,
            "inputs": [(0, found.prompt)],  # which is read alone
            "pad": PADDING_ID,
            "vocabulary": tasks.VOCABULARY,
        }
        columns = {"tokens": found.tokens, "length": found.lengths.astype(np.uint16)}
        write_table(path, columns, about, "tokens")

    with ThreadPoolExecutor(job.threads) as pool:
        list(pool.map(shard, *zip(*enumerate(job.outputs["train"]), strict=True)))
