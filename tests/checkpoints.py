"""A checkpoint as a study has them, made for tests: small, trained for a moment, with the project's own tokenizer."""

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
