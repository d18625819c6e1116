"""Stage `tokens`: the corpus as shards of token ids.

At the paper's shape, in the compact encoding. The baseline is the Hugging Face
tokenizer that this repository writes beside its tokens, given each document's text.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import corpus as programs_of
from benchmarks import limits
from benchmarks.common import Row, in_turn
from progsem.data import corpus, tokens
from progsem.data.special_tokens import END, PADDING
from progsem.jobs.job import Job
from progsem.languages.karel.execution import of_columns
from progsem.languages.karel.syntax import decode, unparse
from progsem.languages.karel.text import ENCODINGS
from progsem.languages.karel.world import World
from progsem.storage.files import read_table, read_tables, write_table
from progsem.study.vocabulary import SPLITS

ROUNDS = 5
PLAIN = 2_500  # documents that the baseline encodes in a round
UNIT = "programs"
GROWTH = programs_of.GROWTH


def job(made: Job, folder: Path) -> Job:
    """The job that encodes what a corpus job has made, into `folder`."""
    outputs = {split: [folder / split / path.name for path in made.outputs[split]] for split in SPLITS} | {
        name: [folder / f"tokenizer/{name}.json"] for name in ("tokenizer", "tokenizer_config")
    }
    return Job("tokens", made.slice, made.outputs, outputs, threads=made.threads)


def grow(size: int) -> float:
    """Seconds that the tokens of a corpus of so many programs take."""
    with tempfile.TemporaryDirectory() as folder:
        for name, programs in (("compiled", programs_of.FEW), ("measured", size)):
            made = programs_of.job(Path(folder) / name / "corpus", programs)
            corpus.run(made)
            started = time.perf_counter()
            tokens.run(job(made, Path(folder) / name / "tokens"))
        return time.perf_counter() - started


def measure() -> list[Row]:
    """Row `tokens`."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # the baseline may use every core
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = programs_of.job(folder / "corpus", programs_of.PROGRAMS)
        corpus.run(made)
        ours = job(made, folder / "tokens")
        plain = Plain(made.outputs["train"][0], folder / "plain.arrow")
        tokens.run(ours)
        seconds = in_turn(ROUNDS, ours=lambda: tokens.run(ours), plain=plain.encode)
        count = sum(int(read_tables(ours.outputs[split])[0]["length"].sum()) for split in SPLITS)
        size = programs_of.written_bytes(ours) / count
        disk = limits.disk_rate(folder)
        _same(plain, ours.outputs["train"][0])
    return [
        Row(
            stage="tokens",
            work=f"{count:,} tokens: every document of the paper's study encoded and written as Arrow",
            unit="tokens/s",
            ours=count / statistics.median(seconds["ours"]),
            baseline=plain.count / statistics.median(seconds["plain"]),
            baseline_work=f"{plain.count:,} of them from text by the Hugging Face tokenizer, a batch on all cores",
            limit=disk / size,
            limit_work=f"{size:.2f} bytes a token at the rate at which this disk takes a new file for good",
            reach=100_000_000,
            reach_of="ours",
        )
    ]


class Plain:
    """Documents of a corpus shard as text, which a Hugging Face tokenizer turns into ids."""

    def __init__(self, source: Path, target: Path):
        columns, metadata = read_table(source)
        shown = np.s_[:PLAIN, : metadata["examples"]]
        inputs, outputs = (of_columns(columns, metadata, prefix).at(shown) for prefix in ("", "out_"))
        self._target = target
        self._tokenizer = ENCODINGS["compact"]().tokenizer()
        self._tokenizer.enable_padding(pad_token=PADDING)
        self.texts = []
        for row, program in enumerate(columns["program"][:PLAIN]):
            worlds = [
                _text(*world)
                for example in range(metadata["examples"])
                for world in (inputs.at((row, example)), outputs.at((row, example)))
            ]
            self.texts.append(f"Examples: {' '.join(worlds)} Code: {unparse(decode(program))} {END}")
        self.ids = self.encode()
        self.count = sum(sum(encoded.attention_mask) for encoded in self._tokenizer.encode_batch(self.texts))

    def encode(self) -> np.ndarray:
        """Encode and write them; returns the ids (N, T)."""
        ids = np.array([encoded.ids for encoded in self._tokenizer.encode_batch(self.texts)], np.uint8)
        write_table(self._target, {"tokens": ids})
        return ids


def _text(cells: np.ndarray, pose: np.ndarray) -> str:
    """A world as it stands in a document: its glyphs without the border, row by row."""
    rows = World(cells, *map(int, pose)).to_rows()[1:-1]
    return " ".join(glyph for row in rows for glyph in row[1:-1])


def _same(plain: Plain, path: Path) -> None:
    """RuntimeError where the two do not come to the same ids."""
    ours = read_table(path)[0]["tokens"][:PLAIN, : plain.ids.shape[1]]
    if not np.array_equal(ours, plain.ids):
        raise RuntimeError("tokens: the tokenizer and the encoding do not agree")
