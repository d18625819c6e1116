"""The text that language models of a study learn, as a data set that `datasets.load_dataset` opens."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from tokenizers import Tokenizer

from progsem.errors import UserError
from progsem.housekeeping.common import Given
from progsem.storage import manifest
from progsem.storage.files import filling, read_table
from progsem.study.vocabulary import SPLITS

_ROWS = 10_000  # that are in memory at once
_COLUMNS = {
    "text": (pa.string(), "the document, without the tokens that begin and end it: `prompt`, then `completion`"),
    "prompt": (pa.string(), "the specification: input and output worlds, up to where a program begins"),
    "completion": (pa.string(), "the program"),
    "input_ids": (pa.list_(pa.int32()), "the document as the language models read it, with `<bos>` and `<eos>`"),
}
_SCHEMA = pa.schema([(name, kind) for name, (kind, _) in _COLUMNS.items()])


def export(given: Given, folder: Path) -> None:
    """Write the tokens of a study to a folder, not there yet or empty, with the tokenizer beside them.

    Raises `UserError` where they have not been made yet, or are not as their manifest says.
    """
    files = given.plan.files(given.plan.tokens)
    made = files.pop("manifest")
    if not Path(made).exists():
        with_file = "".join(f" --configfile {path}" for path in given.configfiles)
        raise UserError(f"{made}: there is none; `snakemake {made}{with_file}` makes the text of this study")
    tokenizer = [Path(files.pop(name)) for name in ("tokenizer", "tokenizer_config")]
    shards = {split: [Path(path) for path in files[split]] for split in SPLITS}
    manifest.verify([*tokenizer, *(path for paths in shards.values() for path in paths)])
    reader = Tokenizer.from_file(str(tokenizer[0]))
    with filling(folder, lambda new, empty: new.replace(empty)) as new:
        for name in ("data", "tokenizer"):
            (new / name).mkdir()
        splits = [_write(new / "data" / f"{split}.parquet", split, paths, reader) for split, paths in shards.items()]
        for path in tokenizer:
            shutil.copyfile(path, new / "tokenizer" / path.name)
        (new / "README.md").write_text(_card(given, splits), encoding="utf-8")


def _write(path: Path, split: str, shards: list[Path], tokenizer: Tokenizer) -> dict:
    """Write a split; returns what the card says of it."""
    rows = size = 0
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        for shard in shards:
            for batch in _documents(shard, tokenizer):
                writer.write_batch(batch)
                rows, size = rows + batch.num_rows, size + batch.nbytes
    return {"name": split, "num_bytes": size, "num_examples": rows}


def _documents(shard: Path, tokenizer: Tokenizer) -> Iterator[pa.RecordBatch]:
    """The documents of a shard, some at a time."""
    columns, metadata = read_table(shard)
    for first in range(0, len(columns["length"]), _ROWS):
        ids, lengths = (columns[name][first : first + _ROWS] for name in ("tokens", "length"))
        texts = tokenizer.decode_batch([row[:length].tolist() for row, length in zip(ids, lengths, strict=True)])
        prompts = tokenizer.decode_batch(ids[:, : metadata["prompt_length"]].tolist())
        programs = [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]
        ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)]).astype(np.int32)
        flat = ids[np.arange(ids.shape[1]) < lengths[:, None]].astype(np.int32)
        listed = pa.ListArray.from_arrays(pa.array(ends), pa.array(flat))
        yield pa.record_batch([pa.array(texts), pa.array(prompts), pa.array(programs), listed], _SCHEMA)


def _card(given: Given, splits: list[dict]) -> str:
    """README.md: what `datasets` asks for, then what a reader does."""
    study = given.plan.study
    kinds = [{"name": name, "dtype": "string"} for name, (kind, _) in _COLUMNS.items() if kind == pa.string()]
    about = {
        "pretty_name": f"{study.study}: specifications and programs in {study.language}",
        "task_categories": ["text-generation"],
        "dataset_info": {"features": [*kinds, {"name": "input_ids", "list": "int32"}], "splits": splits},
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": one["name"], "path": f"data/{one['name']}.parquet"} for one in splits],
            }
        ],
    }
    counts = ", ".join(f"{one['num_examples']} of {one['name']}" for one in splits)
    return "\n".join(
        [
            "---",
            yaml.safe_dump(about, sort_keys=False).rstrip(),
            "---",
            "",
            f"# {about['pretty_name']}",
            "",
            f"What the language models of the progsem study `{study.study}` are trained and tested on: {counts}.",
            "A document is a specification, that is input and output worlds, and a program that turns each input into",
            "its output. Both are random; no two splits share a program with the same inputs. Made from",
            f"`{given.plan.tokens.folder}`.",
            "",
            "| column | |",
            "|---|---|",
            *(f"| `{name}` | {meaning} |" for name, (_, meaning) in _COLUMNS.items()),
            "",
            "`AutoTokenizer.from_pretrained` opens `tokenizer/`, which makes `input_ids` of `text`, all but `<eos>`.",
            "",
        ]
    )
