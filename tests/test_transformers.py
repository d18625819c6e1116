"""A checkpoint's folder as users of `transformers` open it: tokenizer, model, pipeline and `generate`."""

import numpy as np
import pytest
import torch

from progsem.data import corpus, tokens
from progsem.jobs.job import Job
from progsem.languages.karel.text import ENCODINGS
from progsem.lm import model as lm
from progsem.lm import train
from progsem.storage.files import read_tables
from progsem.study import config

SIZES = {"train": 3000, "validation": 20, "test": 20}
STEPS = 150


class Checkpoint:
    """A model that has learned how programs end, and a few test documents, as text with its ids."""

    def __init__(self, folder, encoding: str):
        study = config.load(
            {
                "worlds": {"height": 2, "width": 2},
                "programs": {"train_length": [1, 4], "test_length": [1, 4]},
                "corpus": {**SIZES, "shard": 3000, "examples": 1, "held_out": 0},
                "tokens": {"encoding": encoding},
                "traces": {"train": 50, "validation": 20, "test": 20},
                "lm": {
                    **{"layers": 1, "width": 64, "rotary": 8, "steps": STEPS, "checkpoint_every": STEPS},
                    **{"decay_steps": STEPS, "warmup_steps": 10, "learning_rate": 5e-3, "precision": "fp32"},
                },
            }
        ).model_dump(mode="json")
        shards = {split: [folder / "corpus" / split] for split in SIZES}
        texts = {split: [folder / "tokens" / split] for split in SIZES}
        tokenizer = {name: [folder / "tokens" / f"{name}.json"] for name in ("tokenizer", "tokenizer_config")}
        corpus.run(Job("corpus", study, {}, shards))
        tokens.run(Job("tokens", study, shards, texts | tokenizer))
        before: dict = {}
        for first, last in ((0, 0), (0, STEPS)):
            self.folder = folder / f"step-{last}"
            outputs = {"weights": "model.safetensors", "metrics": "metrics.csv", "state": "state.safetensors"}
            names = "config", "generation_config", "tokenizer", "tokenizer_config"
            outputs |= {name: f"{name}.json" for name in names}
            outputs = {name: [self.folder / file] for name, file in outputs.items()}
            inputs = {"train": texts["train"], **tokenizer, **before}
            train.run(Job("train", {**study, "seed": 0, "from": first, "to": last}, inputs, outputs))
            before = {"model": outputs["weights"], "config": outputs["config"], "state": outputs["state"]}
        torch.set_flush_denormal(False)
        columns, metadata = read_tables(texts["test"])
        self.documents = [row[:length].tolist() for row, length in zip(*columns.values(), strict=True)]
        self.prompts = [document[: metadata["prompt_length"]] for document in self.documents]
        self.encoding = ENCODINGS[encoding]()
        weights, shape = self.folder / "model.safetensors", self.folder / "config.json"
        self.model = lm.load(weights, shape, torch.device("cpu")).eval()

    @torch.inference_mode()
    def logits(self, ids: list[int]) -> torch.Tensor:
        """(T, V) of one document, by this project's own model."""
        return self.model.logits(self.model(torch.tensor([ids]))[-1])[0]

    def continued(self, ids: list[int], limit: int = 60) -> list[int]:
        """Greedily, token by token, up to the end token."""
        ids = list(ids)
        while ids[-1] != self.encoding.ids["<eos>"] and limit:
            ids.append(int(self.logits(ids)[-1].argmax()))
            limit -= 1
        return ids


@pytest.fixture(scope="module", params=ENCODINGS)
def checkpoint(request, tmp_path_factory) -> Checkpoint:
    return Checkpoint(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def opened(checkpoint):
    """Tokenizer and model of the checkpoint's folder, and nothing else."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return (
        AutoTokenizer.from_pretrained(checkpoint.folder),
        AutoModelForCausalLM.from_pretrained(checkpoint.folder).eval(),
    )


def test_the_same_logits_from_text(checkpoint, opened):
    tokenizer, model = opened
    for ids in checkpoint.documents:
        inputs = tokenizer(tokenizer.decode(ids[1:]), return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == ids
        with torch.inference_mode():
            torch.testing.assert_close(model(**inputs).logits[0], checkpoint.logits(ids), rtol=1e-4, atol=1e-4)


def test_a_batch_of_texts_gives_what_each_gives_alone(checkpoint, opened):
    """Shorter ones are padded on the left."""
    tokenizer, model = opened
    documents = sorted(checkpoint.documents, key=len)
    documents = [documents[0], documents[-1]]
    assert len(documents[0]) < len(documents[1])
    texts = [tokenizer.decode(ids[1:]) for ids in documents]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        logits = model(**inputs, position_ids=positions).logits
    for ids, row in zip(documents, logits, strict=True):
        torch.testing.assert_close(row[-len(ids) :], checkpoint.logits(ids), rtol=1e-4, atol=1e-4)


def test_generate_stops_by_itself(checkpoint, opened):
    tokenizer, model = opened
    # Prompts of two lengths: one has its first statement already.
    begun = [checkpoint.prompts[0], checkpoint.documents[1][: len(checkpoint.prompts[1]) + 1]]
    inputs = tokenizer([tokenizer.decode(ids[1:]) for ids in begun], return_tensors="pt", padding=True)
    written = model.generate(**inputs)
    for ids, row in zip(begun, written.tolist(), strict=True):
        expected = checkpoint.continued(ids)
        assert expected[-1] == checkpoint.encoding.ids["<eos>"]
        padding = checkpoint.encoding.ids["<pad>"]
        assert [token for token in row if token != padding] == expected


def test_generate_with_stop_strings(checkpoint, opened):
    tokenizer, model = opened
    inputs = tokenizer(tokenizer.decode(checkpoint.prompts[0][1:]), return_tensors="pt")
    (row,) = model.generate(**inputs, stop_strings=["}"], tokenizer=tokenizer).tolist()
    expected = checkpoint.continued(checkpoint.prompts[0])
    assert row == expected[: expected.index(checkpoint.encoding.ids["}"]) + 1]


def test_pipeline(checkpoint):
    from transformers import pipeline

    write = pipeline("text-generation", model=str(checkpoint.folder), device="cpu")
    tokenizer = write.tokenizer
    for ids in checkpoint.prompts[:3]:
        text = tokenizer.decode(ids[1:])
        (answer,) = write(text)
        assert answer["generated_text"] == tokenizer.decode(checkpoint.continued(ids), skip_special_tokens=True)
        assert answer["generated_text"].startswith(text) and answer["generated_text"].endswith("}")


def test_special_tokens_have_weights(checkpoint):
    """All are drawn, and the end token is learned: it follows the closing brace, and nothing else does."""
    embeddings = checkpoint.model.transformer["wte"].weight.detach().numpy()
    assert len(embeddings) == len(checkpoint.encoding.vocabulary)
    assert (np.abs(embeddings[:4]).max(axis=1) > 0.01).all()
    for ids in checkpoint.documents:
        assert int(checkpoint.logits(ids)[-2].argmax()) == checkpoint.encoding.ids["<eos>"]
