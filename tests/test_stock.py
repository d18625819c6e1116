"""Models of `transformers` in CodeGen's place: the same as that library computes, and as CodeGen where they are one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from progsem.data import corpus, tokens
from progsem.editing import edits
from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.languages.karel.text import ENCODINGS
from progsem.lm import model as lm
from progsem.lm import resume, traces, train
from progsem.lm.codegen.model import CodeGen, Shape
from progsem.lm.stock.model import StockModel, Unsuitable, made
from progsem.storage.files import read_table
from progsem.study.config import LM, load
from progsem.study.vocabulary import SPLITS
from progsem.synthesis import models

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = {"gpt2": {"n_positions": 64}, "gpt_neox": {}, "llama": {}, "mamba": {"state_size": 4}}
VOCABULARY = len(ENCODINGS["compact"]().vocabulary)


def random_model(kind: str, std: float = 0.3) -> StockModel:
    return made(kind, VOCABULARY, 2, 32, 4, std, KINDS.get(kind, {}), 0).eval()


def documents(count: int = 9, length: int = 40) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (count, length), generator=torch.Generator().manual_seed(0))


# What the library computes.


@pytest.mark.parametrize("kind", KINDS)
def test_same_states_as_transformers(kind, tmp_path):
    """The last positions of some documents, then token by token for those that go on; and from its files again."""
    model, ids = random_model(kind), documents()
    model.save(tmp_path / "model.safetensors", tmp_path / "config.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(tmp_path).eval()(ids, output_hidden_states=True)
    again = lm.load(tmp_path / "model.safetensors", tmp_path / "config.json", torch.device("cpu"))
    for one in (model, again):
        ready = one.inference(torch.float32)
        for last in (1, 5):
            cache = ready.cache()
            states = ready.prefill(ids[:, :36], cache, last, 40)
            assert len(states) == model.layers + 1
            for ours, theirs in zip(states, expected.hidden_states, strict=True):
                torch.testing.assert_close(ours, theirs[:, 36 - last : 36], rtol=1e-4, atol=1e-5)
            for at, rows in zip(range(36, 40), map(torch.tensor, ([1, 3, 4, 8], [1, 4, 8], [1, 8], [8])), strict=True):
                states = ready.step(ids[rows, at], cache, rows, at)
                for ours, theirs in zip(states, expected.hidden_states, strict=True):
                    torch.testing.assert_close(ours, theirs[rows, at], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(ready.logits(states[-1]), expected.logits[rows, 39], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_starts_from_another_and_is_reordered(kind):
    """As a sampler and a beam search do: one prompt for several rows, which then change places."""
    ready, ids = random_model(kind).inference(torch.float32), documents()
    prompt, cache, fresh = ready.cache(), ready.cache(), ready.cache()
    ready.prefill(ids[:1, :20], prompt, 1, 20)
    rows = torch.arange(3)
    cache.start_from(prompt, torch.zeros(3, dtype=torch.int64), 20, 24)
    ready.step(ids[:3, 30], cache, rows, 20)
    order = torch.tensor([2, 0, 0])
    cache.reorder(order, 20, 21)
    states = ready.step(ids[:3, 31], cache, rows, 21)
    whole = torch.cat([ids[:1, :20].expand(3, -1), ids[order, 30][:, None], ids[:3, 31][:, None]], dim=1)
    for ours, theirs in zip(states, ready.prefill(whole, fresh, 1, 24), strict=True):
        torch.testing.assert_close(ours, theirs[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_an_edit_are_those_of_hooks(kind):
    """Of the last logits, with respect to the stream that one goes on from."""
    model, ids = random_model(kind).requires_grad_(False), documents(4, 20)
    past, rows = model.inference(torch.float32).past(ids, model), torch.tensor([3, 1])
    unedited = past.streams(ids[:, 17:], 17, np.s_[:])
    start = (unedited[0][rows] + 1.0).requires_grad_(True)
    ours = model.logits(model.norm(past.streams(ids[rows, 17:], 17, rows, (1, start))[-1]))[:, -1]
    (mine,) = torch.autograd.grad(ours.pow(2).sum(), start)

    def hook(block, given, out):
        stream = torch.cat([(out if isinstance(out, torch.Tensor) else out[0])[:, :17], other], dim=1)
        return stream if isinstance(out, torch.Tensor) else (stream, *out[1:])

    other = start.detach().clone().requires_grad_(True)
    handle = model.blocks[0].register_forward_hook(hook)
    theirs = model.model(ids[rows], use_cache=False).logits[:, -1]
    handle.remove()
    (expected,) = torch.autograd.grad(theirs.pow(2).sum(), other)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-5)
    assert float(expected.abs().max()) > 0


# What the stages do with it.


def small(**more):
    """A study of one model, in whose files a whole chain is run."""
    counts = {"train": 60, "validation": 30, "test": 40}
    raw = {
        "worlds": {"height": 2, "width": 2},
        "corpus": {"train": 400, "validation": 30, "test": 40, "held_out": 1, "shard": 400},
        "lm": {"layers": 2, "width": 32, "rotary": 8, "batch": 8, "steps": 12, "checkpoint_every": 4, "seeds": [0]},
        "traces": counts | {"layers": "each"},
        "probes": {"steps": 20, "depths": {"linear": []}},
        "edits": {"features": ["facing"], "pairs": 20, "dimensions": [1]},
        "synthesis": {"writers": ["greedy", "temperature", "beam"], "samples": 5, "test": 20},
    }
    raw["lm"] |= {"extra_checkpoints": [], "decay_steps": 14, "warmup_steps": 3, "precision": "fp32"} | more
    return load(raw)


class Chain:
    """The corpus and the tokens of `small`, and jobs on them."""

    def __init__(self, folder: Path):
        self.folder, frozen = folder, small().model_dump(mode="json")
        self.shards, self.texts = ({split: [folder / f"{split}{end}"] for split in SPLITS} for end in ("", ".tokens"))
        self.tokenizer = {name: [folder / name] for name in ("tokenizer", "tokenizer_config")}
        corpus.run(Job("corpus", frozen, {}, self.shards))
        tokens.run(Job("tokens", frozen, self.shards, self.texts | self.tokenizer))

    def train(self, place: Path, study, cuts: list[int]) -> Path:
        """The folder of the checkpoint at the last of `cuts`, trained from each to the next; the first is 0."""
        before: dict = {}
        files = {"weights": "model.safetensors", "config": "config.json", "metrics": "metrics.csv"}
        files |= {"state": "state.safetensors", "generation_config": "generation_config.json"}
        files |= {"tokenizer": "tokenizer.json", "tokenizer_config": "tokenizer_config.json"}
        for first, last in zip([0, *cuts], cuts, strict=False):
            outputs = {name: [place / str(last) / file] for name, file in files.items()}
            inputs = {"train": self.texts["train"], **self.tokenizer, **before}
            frozen = {"lm": study.model_dump(mode="json")["lm"], "seed": 3, "from": first, "to": last}
            train.run(Job("train", frozen, inputs, outputs))
            before = {"model": outputs["weights"], "config": outputs["config"], "state": outputs["state"]}
        torch.set_flush_denormal(False)
        return place / str(cuts[-1])

    def job(self, stage: str, study, checkpoint: Path, out: Path, *files: str) -> Job:
        inputs = {"weights": [checkpoint / "model.safetensors"], "config": [checkpoint / "config.json"], **self.shards}
        frozen = study.model_dump(mode="json") | {"semantics": "original", "mapping": {}, "step": 12, "seed": 0}
        frozen |= {"meanings": {"original": {}}}
        return Job(stage, frozen, inputs, {file.split(".")[0]: [out / file] for file in files}, device="cpu")


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Chain:
    return Chain(tmp_path_factory.mktemp("stock"))


@pytest.mark.parametrize("kind", KINDS)
def test_cutting_the_training_changes_no_bit(kind, chain, tmp_path):
    study = small(model_type=kind, config=KINDS[kind])
    whole, cut = (
        chain.train(tmp_path / name, study, cuts) for name, cuts in (("whole", [0, 12]), ("cut", [0, 4, 8, 12]))
    )
    untrained = load_file(tmp_path / "whole" / "0" / "model.safetensors")
    first, second = (load_file(place / "model.safetensors") for place in (whole, cut))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], untrained[name]) for name in first)
    model = AutoModelForCausalLM.from_pretrained(whole)
    assert model.config.model_type == kind and len(model.get_input_embeddings().weight) == VOCABULARY
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id) == (2, 3, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_training_goes_on(kind, chain, tmp_path, monkeypatch):
    """From what is saved at each step, here the last one; tied weights are saved once."""
    monkeypatch.setattr(resume, "SAVE_EVERY", 0)
    study = small(model_type=kind, config=KINDS[kind])
    place = chain.train(tmp_path, study, [0, 4])
    first = (place / "model.safetensors").read_bytes()
    assert (place / "resume.safetensors").exists()
    (place / "model.safetensors").unlink()
    chain.train(tmp_path, study, [0, 4])
    assert (place / "model.safetensors").read_bytes() == first


def test_weights_follow_from_the_seed_and_the_keys():
    one, same, other = (made("gpt2", 30, 2, 32, 4, 0.1, {"n_inner": 48}, seed) for seed in (0, 0, 1))
    before = torch.random.get_rng_state()
    weights = [model.model.transformer.h[0].mlp.c_fc.weight for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert weights[0].shape == (32, 48) and 0.09 < float(weights[0].detach().std()) < 0.11
    assert (one.layers, one.width, one.positions) == (2, 32, 2048)
    assert one.model.config.resid_pdrop == one.model.config.attn_pdrop == 0.0
    assert torch.equal(before, torch.random.get_rng_state())


def as_stock(weights: Path, config: Path, device) -> StockModel:
    return StockModel.load(config.parent).to(device)


def test_stages_find_in_it_what_they_find_in_codegen(chain, tmp_path, monkeypatch):
    """The same CodeGen, as ours and as the library's: states, programs, edits and proposals are the same."""
    monkeypatch.setattr(traces, "choose_precision", lambda name, device: torch.float32)
    study = small()
    model = CodeGen(Shape(VOCABULARY, 2, 32, 4, 8))
    model.initialise(1, 0.35)
    with torch.no_grad():  # so that some programs end
        model.lm_head.bias[ENCODINGS["compact"]().ids["}"]] = 2.0
    model.save(tmp_path / "model.safetensors", tmp_path / "config.json")
    tables = {
        traces: ("traces", "programs.arrow", "generated.arrow", "forced.arrow"),
        edits: ("edits", "counterfactuals.arrow", "edits.arrow", "readings.arrow", "subspaces.safetensors"),
        models: ("synthesis", "proposals.arrow"),
    }
    found: dict[str, list[dict]] = {}
    for number, load_model in enumerate((lm.load, as_stock)):
        monkeypatch.setattr(lm, "load", load_model)
        for stage, (name, *files) in tables.items():
            job = chain.job(name, study, tmp_path, tmp_path / str(number), *files)
            stage.run(job)
            for file in files:
                if file.endswith(".arrow"):
                    found.setdefault(file, []).append(read_table(job.output(file.split(".")[0]))[0])
    assert len(found) == 7
    for file, (ours, theirs) in found.items():
        assert ours.keys() == theirs.keys() and all(len(column) for column in ours.values()), file
        for column, values in ours.items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(values, theirs[column], rtol=2e-2, atol=5e-3, err_msg=f"{file} {column}")
            else:
                assert (values == theirs[column]).mean() > 0.99, (file, column)


# What cannot take CodeGen's place.


@pytest.mark.parametrize(
    ("kind", "keys", "said"),
    [
        ("no_such_model", {}, "which is no causal language model of transformers"),
        ("t5", {}, "which is no causal language model of transformers"),
        ("gpt2", {"n_inners": 3}, "which has no 'n_inners' in its config; GPT2Config has .*n_inner"),
        ("gpt2", {"n_head": 5}, "which cannot be made of these sizes"),
        ("gpt2", {"n_positions": 30}, "which reads 30 tokens, but a document takes up to 40"),
        ("gpt2", {"n_embd": "wide"}, "which cannot be made of these sizes"),
        ("bert", {}, "which looks ahead, so that it is not causal|which has no norm behind its last block"),
        (
            "gemma2",
            {},
            "which does more behind its last hidden state",
        ),
    ],
)
def test_what_is_unsuitable_is_refused_in_one_line(kind, keys, said):
    config = LM(model_type=kind, config=keys, layers=2, width=32, heads=4)
    with pytest.raises(UserError, match=f"^lm.model_type: given '{kind}', {said}") as raised:
        lm.refuse_unsuitable(config, VOCABULARY, documents(2))
    assert "\n" not in str(raised.value) and str(raised.value).endswith("or codegen")


def test_suitable_ones_are_not_refused():
    for kind in (*KINDS, "gptj", "olmo2", "mistral", "qwen3", "mamba2"):
        keys = {"gptj": {"rotary_dim": 4}, "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1}} | KINDS
        keys = keys.get(kind, {})
        lm.refuse_unsuitable(LM(model_type=kind, config=keys, layers=2, width=32, heads=4), VOCABULARY, documents(2))


def test_a_folder_that_is_no_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="model.safetensors: a model that cannot be read .*; delete it and run again$"):
        lm.load(tmp_path / "model.safetensors", tmp_path / "config.json", torch.device("cpu"))
    with pytest.raises(Unsuitable, match="cannot be read"):
        StockModel.load(tmp_path)
