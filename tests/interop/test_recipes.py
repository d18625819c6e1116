"""The recipes of docs/own.md on tools that are installed, each run as it stands there, and what must be true then."""

import re
import subprocess

import numpy as np
import pyarrow as pa
import pytest
import torch
from tree import ROOT

from progsem.lm import model as lm
from progsem.storage.columns import described
from progsem.storage.files import read_table, read_tables
from progsem.study.vocabulary import SPLITS

SECTION = (ROOT / "docs" / "own.md").read_text(encoding="utf-8").split("\n## Your own tools\n")[1].split("\n## ")[0]
RECIPES = dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", SECTION, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


class Reader:
    """Somebody who follows the recipes, one after the other, in a folder with results; `names` are their variables."""

    def __init__(self, place):
        self.place, self.names, self.followed = place, {}, set()
        self.folder = place / "results" / "lm" / "NAME" / "seed-0" / "step-000020"

    def follow(self, *titles: str) -> dict:
        """Run what stands under these titles, unless that was done before; returns the variables."""
        for title in titles:
            if title in self.followed:
                continue
            for language, code in BLOCK.findall(RECIPES[title]):
                if language == "bash":
                    subprocess.run(["bash", "-euc", code], cwd=self.place, check=True)
                else:
                    path = self.place / f"{title}.py"  # nnsight reads the sources of what it traces
                    path.write_text(code, encoding="utf-8")
                    exec(compile(code, str(path), "exec"), self.names)
            self.followed.add(title)
        return self.names

    @torch.inference_mode()
    def expected(self, ids: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Hidden states and logits (B, T, …) of ids (B, T), by this project's own model."""
        model = lm.load(self.folder / "model.safetensors", self.folder / "config.json", torch.device("cpu")).eval()
        states = model(ids)
        return states, model.logits(states[-1])


@pytest.fixture(scope="module")
def reader(place):
    """In the folder, as a reader is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield Reader(place)


def test_every_recipe_is_tried():
    tried = " ".join(name.removeprefix("test_") for name in globals() if name.startswith("test_"))
    assert [title for title in RECIPES if title.lower().replace(" ", "_").replace("-", "") not in tried] == []


def test_the_text(reader, place):
    text = reader.follow("The text")["text"]
    for split in SPLITS:
        columns, _ = read_tables(sorted(place.glob(f"results/tokens/*/{split}/*.arrow")))
        documents = [ids[:length].tolist() for ids, length in zip(*columns.values(), strict=True)]
        assert text[split]["input_ids"] == documents
    from datasets import load_dataset

    streamed = load_dataset("corpus", split="test", streaming=True)
    assert next(iter(streamed)) == text["test"][0]


def test_transformers(reader, tmp_path):
    """Also that padding on the left changes nothing, and that a model which is saved again is the same."""
    names = reader.follow("The text", "transformers")
    tokenizer, model = names["tokenizer"], names["model"].eval()
    begun = [names["prompts"][0], names["text"]["test"][1]["text"].removesuffix("}").rstrip()]
    padded = model.generate(**tokenizer(begun, return_tensors="pt", padding=True), max_new_tokens=20)
    for row, text in zip(padded.tolist(), begun, strict=True):
        (alone,) = model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=20).tolist()
        written = [token for token in row if token != tokenizer.pad_token_id]
        assert written == [token for token in alone if token != tokenizer.pad_token_id]
    ids = tokenizer(names["text"]["test"][:8]["prompt"], return_tensors="pt")["input_ids"]
    _, logits = reader.expected(ids)
    model.save_pretrained(tmp_path)
    again, about = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not about["missing_keys"] and not about["unexpected_keys"]
    for one in (model, again.eval()):
        with torch.inference_mode():
            torch.testing.assert_close(one(ids).logits, logits, **CLOSE)


def test_transformers_pipeline(reader):
    from transformers import pipeline

    names = reader.follow("The text", "transformers")
    write = pipeline("text-generation", model=names["folder"], device="cpu")
    (answer,) = write(names["prompts"][0], max_new_tokens=40)
    expected = names["model"].generate(
        **names["tokenizer"](names["prompts"][0], return_tensors="pt"), max_new_tokens=40
    )
    assert answer["generated_text"] == names["tokenizer"].decode(expected[0], skip_special_tokens=True)


def test_transformerlens(reader):
    names = reader.follow("The text", "transformers", "TransformerLens")
    ids = names["tokenizer"](names["prompts"][0], return_tensors="pt")["input_ids"]
    states, logits = reader.expected(ids)
    torch.testing.assert_close(names["logits"], logits, **CLOSE)


def test_as_gptj(reader):
    names = reader.follow("The text", "transformers", "As GPT-J")
    ids = names["tokenizer"](names["prompts"], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        torch.testing.assert_close(names["gptj"].eval()(ids).logits, reader.expected(ids)[1], rtol=1e-5, atol=1e-5)


def test_nnsight(reader):
    names = reader.follow("The text", "transformers", "nnsight")
    ids = names["tokenizer"](names["prompts"][0], return_tensors="pt")["input_ids"]
    hidden = names["hidden"]
    torch.testing.assert_close(hidden[0] if isinstance(hidden, tuple) else hidden, reader.expected(ids)[0][1], **CLOSE)


def test_saelens(reader):
    """What has been trained explains more than half of how the states of test documents vary."""
    from sae_lens import SAE

    names = reader.follow("The text", "transformers", "SAELens")
    sae = SAE.load_from_disk("sae")
    ids = names["tokenizer"](list(names["text"]["test"]["prompt"]), return_tensors="pt")["input_ids"]
    given = []
    with torch.inference_mode():
        handle = names["model"].transformer.h[1].register_forward_hook(lambda _, __, made: given.append(made))
        names["model"](ids)
        handle.remove()
        stream = (given[0][0] if isinstance(given[0], tuple) else given[0]).flatten(0, 1)
        missed = (sae(stream) - stream).square().sum()
    assert missed < 0.5 * (stream - stream.mean(0)).square().sum()


def test_arrow_tables(reader, place):
    names = reader.follow("Arrow tables")
    columns, _ = read_table(place / names["path"])
    for name, values in columns.items():
        for read in (names["frame"][name], names["states"][name].to_list(), names["rows"][name]):
            np.testing.assert_array_equal(np.stack([np.asarray(value) for value in read]), values)


def test_every_arrow_table_opens(place):
    """In the data frames of other libraries, and by the loaders of `datasets`; every column says what it holds."""
    import pandas
    import polars
    from datasets import load_dataset

    tables = {"corpus": "corpus/*/*/*", "tokens": "tokens/*/*/*", "programs": "traces/[!N]*/*/*/programs"}
    tables["states"] = "traces/[!N]*/*/*/[gf]*"
    for table, pattern in tables.items():
        paths = sorted(place.glob(f"results/{pattern}.arrow"))
        assert paths
        for path in paths:
            columns, _ = read_table(path)
            schema = pa.ipc.open_file(path).schema
            rows = len(next(iter(columns.values())))
            loaded = load_dataset("arrow", data_files=str(path), split="train", cache_dir=str(place / "cache"))
            for read in (pandas.read_feather(path), polars.read_ipc(path), loaded):
                assert len(read) == rows
            for field in schema:
                assert field.metadata[b"description"].decode() == described(table, field.name).meaning
