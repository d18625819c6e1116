"""`progsem export`: a checkpoint as GPT-J, the corpus as a data set, and what is refused."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from checkpoints import Checkpoint
from pretrained_models import sign_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, CodeGenConfig, CodeGenForCausalLM, GPTJForCausalLM

from progsem.data import corpus as corpus_stage
from progsem.data import tokens
from progsem.errors import UserError
from progsem.export import command
from progsem.export import corpus as corpus_export
from progsem.export.gptj import unfused
from progsem.housekeeping import common
from progsem.jobs.job import Job
from progsem.languages.karel.text import ENCODINGS
from progsem.lm.codegen.model import GROUPS
from progsem.storage import manifest
from progsem.storage.files import file_digest, read_tables
from progsem.study.vocabulary import SPLITS


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Checkpoint:
    return Checkpoint(tmp_path_factory.mktemp("compact"), "compact")


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gptj") / "model"
    command.main(["model", str(checkpoint.folder), str(folder), "--as", "gptj"])
    return folder


def opened(folder):
    """A model with all its weights and no others, and what its folder says about it."""
    model, about = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(about[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), about
    return model.eval()


def test_the_same_function_as_gptj(checkpoint, exported):
    tokenizer, model = AutoTokenizer.from_pretrained(exported), opened(exported)
    assert isinstance(model, GPTJForCausalLM) and model.dtype == torch.float32
    for ids in checkpoint.documents:
        inputs = tokenizer(tokenizer.decode(ids[1:]), return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == ids
        with torch.inference_mode():
            torch.testing.assert_close(model(**inputs).logits[0], checkpoint.logits(ids), rtol=1e-5, atol=1e-5)


def test_it_writes_the_same_and_stops(checkpoint, exported):
    tokenizer, model = AutoTokenizer.from_pretrained(exported), opened(exported)
    for ids in checkpoint.prompts[:3]:
        (written,) = model.generate(**tokenizer(tokenizer.decode(ids[1:]), return_tensors="pt")).tolist()
        assert written == checkpoint.continued(ids)


def test_others_can_read_the_files(exported):
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in exported.iterdir()} == names
    assert len({path.stat().st_mode for path in exported.iterdir()}) == 1


@pytest.fixture
def codegen(checkpoint, tmp_path):
    """A CodeGen of another shape and another hand: several heads a group, other MLPs, weights in several files."""
    torch.manual_seed(0)
    folder = tmp_path / "codegen"
    shape = {"vocab_size": 60, "n_positions": 128, "n_ctx": 128, "n_embd": 64, "n_layer": 2, "n_head": 16}
    config = CodeGenConfig(**shape, rotary_dim=2, n_inner=96, layer_norm_epsilon=1e-3, bos_token_id=2, eos_token_id=3)
    model = CodeGenForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder, max_shard_size="50KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(checkpoint.folder / name, folder / name)
    return folder


def test_a_codegen_of_another_shape(codegen, tmp_path):
    assert len([*codegen.glob("*.safetensors")]) > 1
    empty = tmp_path / "empty"
    empty.mkdir()
    command.main(["model", str(codegen), str(empty), "--as", "gptj"])
    before, after = opened(codegen), opened(empty)
    ids = torch.randint(60, (3, 100), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = before(ids).logits
        torch.testing.assert_close(after(ids).logits, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_unfused_rows():
    """Rows of CodeGen's matrix by group, then kind, then head: 0 to 4 are the first group's queries, and so on."""
    rows = torch.arange(4 * 3 * 4.0)[:, None]
    parts = unfused({"a.qkv_proj.weight": rows, "b.weight": rows})
    assert list(parts) == ["a.q_proj.weight", "a.v_proj.weight", "a.k_proj.weight", "b.weight"]
    for start, name in enumerate("qvk"):
        expected = [4 * (3 * group + start) + row for group in range(GROUPS) for row in range(4)]
        assert parts[f"a.{name}_proj.weight"].flatten().tolist() == expected


def test_what_is_no_codegen(checkpoint, codegen, tmp_path):
    """One line that names the folder, and nothing is written."""
    other, bare, empty, unknown = sign_model(tmp_path / "gpt2"), tmp_path / "bare", tmp_path / "none", tmp_path / "kind"
    empty.mkdir()
    for folder in (bare, unknown):
        shutil.copytree(codegen, folder)
    for path in bare.glob("tokenizer*"):
        path.unlink()
    (unknown / "config.json").write_text("{}", encoding="utf-8")
    damaged, lacking = (shutil.copytree(checkpoint.folder, tmp_path / name) for name in ("damaged", "lacking"))
    (damaged / "model.safetensors").write_bytes(b"nothing")
    save_file({"lm_head.bias": torch.zeros(60)}, lacking / "model.safetensors", {"format": "pt"})
    for folder, said in {
        tmp_path / "nowhere": "no such folder",
        empty: "no config.json there",
        bare: "no tokenizer",
        unknown: "has no model_type",
        other: "which has a gpt2",
        damaged: "whose model cannot be read",
        lacking: "whose weights lack lm_head.weight",
    }.items():
        with pytest.raises(UserError) as refused:
            command.main(["model", str(folder), str(tmp_path / "out"), "--as", "gptj"])
        assert str(folder) in str(refused.value) and said in str(refused.value)
        assert "expected a folder with a CodeGen" in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists() and not [*tmp_path.glob(".out*")]


def test_a_file_that_is_not_as_its_manifest_says(checkpoint, tmp_path):
    """As in a folder of results that somebody has written to."""
    folder = shutil.copytree(checkpoint.folder, tmp_path / "seed-0" / "step-000150")
    files = {path.name: file_digest(path) for path in folder.iterdir()}
    body = {"command": "python -m progsem train", "files": files, "inputs": {}}
    (folder / "manifest.json").write_text(json.dumps(body | {"checksum": manifest.checksum(body)}), encoding="utf-8")
    command.main(["model", str(folder), str(tmp_path / "whole"), "--as", "gptj"])
    with open(folder / "tokenizer.json", "a", encoding="utf-8") as handle:
        handle.write(" ")
    with pytest.raises(UserError, match=r"tokenizer\.json: damaged"):
        command.main(["model", str(folder), str(tmp_path / "out"), "--as", "gptj"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["a file", "full"])
def test_no_room(kind, checkpoint, tmp_path):
    place = tmp_path / "out"
    if kind == "full":
        place.mkdir()
    own = place / "own" if kind == "full" else place
    own.write_text("mine", encoding="utf-8")
    said = "not empty" if kind == "full" else "no folder"
    with pytest.raises(UserError, match=f"{said}.*name "):
        command.main(["model", str(checkpoint.folder), str(place), "--as", "gptj"])
    assert own.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "required: "),
        (["modl"], "invalid choice: 'modl'"),
        (["model", "a", "--as", "gptj"], "required: FOLDER"),
        (["model", "a", "b"], "required: --as"),
        (["model", "a", "b", "--as", "llama"], "invalid choice: 'llama'"),
    ],
)
def test_a_command_line_that_says_too_little(words, said):
    with pytest.raises(UserError) as refused:
        command.main(words)
    assert said in str(refused.value) and "\n" not in str(refused.value)


class Corpus:
    """A study of a few documents in a folder of its own: `file`, its `plan`, and its text, as its jobs leave it."""

    def __init__(self, place, encoding: str):
        self.file = place / "few.yaml"
        raw = {
            "study": "few",
            "worlds": {"height": 2, "width": 2},
            "programs": {"train_length": [1, 4], "test_length": [1, 4]},
            "corpus": {"train": 250, "validation": 20, "test": 20, "shard": 100, "examples": 1, "held_out": 0},
            "traces": {"train": 50, "validation": 20, "test": 20},
            "tokens": {"encoding": encoding},
        }
        self.file.write_text(yaml.safe_dump(raw), encoding="utf-8")
        self.plan = common.study(self.file).plan
        inputs = {}
        for artifact, stage in ((self.plan.corpus, corpus_stage), (self.plan.tokens, tokens)):
            files = self.plan.files(artifact)
            del files["manifest"]
            outputs = {
                name: [place / path for path in ([paths] if isinstance(paths, str) else paths)]
                for name, paths in files.items()
            }
            job = Job(artifact.stage, json.loads(artifact.slice()), inputs, outputs)
            stage.run(job)
            made = [path for paths in outputs.values() for path in paths]
            manifest.write(job, place / artifact.folder, made)
            inputs = outputs
        self.documents = {}
        for split in SPLITS:
            columns, self.metadata = read_tables(inputs[split])
            self.documents[split] = [ids[:length].tolist() for ids, length in zip(*columns.values(), strict=True)]


@pytest.fixture(scope="module", params=ENCODINGS)
def few(request, tmp_path_factory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp(request.param), request.param)


def test_the_corpus_as_parquet(few, tmp_path, monkeypatch):
    """Every document in order, as text that the tokenizer beside it turns into the same ids."""
    monkeypatch.chdir(few.file.parent)
    monkeypatch.setattr(corpus_export, "_ROWS", 70)
    command.main(["corpus", str(tmp_path / "set"), str(few.file)])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "set" / "tokenizer")
    for split, documents in few.documents.items():
        rows = pq.read_table(tmp_path / "set" / "data" / f"{split}.parquet").to_pylist()
        assert [row["input_ids"] for row in rows] == documents
        for row, ids in zip(rows, documents, strict=True):
            assert row["prompt"] + row["completion"] == row["text"]
            assert tokenizer(row["text"]).input_ids == ids[:-1]
            assert tokenizer(row["prompt"]).input_ids == ids[: few.metadata["prompt_length"]]
            assert row["completion"].strip() and row["completion"].strip()[-1] == "}"


def test_the_card(few, tmp_path, monkeypatch):
    monkeypatch.chdir(few.file.parent)
    command.main(["corpus", str(tmp_path / "set"), str(few.file)])
    _, header, text = (tmp_path / "set" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    about = yaml.safe_load(header)
    assert {one["name"]: one["num_examples"] for one in about["dataset_info"]["splits"]} == {
        "train": 250,
        "validation": 20,
        "test": 20,
    }
    for one in about["configs"][0]["data_files"]:
        table = pq.read_table(tmp_path / "set" / one["path"])
        assert table.column_names == [feature["name"] for feature in about["dataset_info"]["features"]]
        assert all(f"`{name}`" in text for name in table.column_names)
    assert few.plan.tokens.folder in text


def test_no_corpus_yet(few, tmp_path, monkeypatch):
    """One line with the command that makes it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        command.main(["corpus", "set", str(few.file)])
    made = few.plan.tokens.file("manifest.json")
    assert f"`snakemake {made} --configfile {few.file}`" in str(refused.value) and "\n" not in str(refused.value)
    assert not [*tmp_path.iterdir()]


def test_a_damaged_corpus(few, tmp_path, monkeypatch):
    place = shutil.copytree(few.file.parent, tmp_path / "place")
    monkeypatch.chdir(place)
    shard = place / few.plan.shards(few.plan.tokens, "train")[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"{shard.name}: damaged"):
        command.main(["corpus", "set", str(few.file)])
    assert not (place / "set").exists()
