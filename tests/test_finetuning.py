"""A model that somebody has trained already: which folders are one, how it learns the text, what it proposes."""

from __future__ import annotations

import csv
import json
import shutil

import matplotlib
import numpy as np
import pytest
import torch
from pretrained_models import KINDS, PRINTABLE, byte_model, sign_model, sign_tokenizer
from synthetic import figures_job, small_study, write_results
from test_editing import shards, study_of
from test_figures import results_of
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, BertConfig, BertLMHeadModel
from tree import Tree, say

from progsem.data import tokens
from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.lm import finetuning
from progsem.lm.pretrained import Documents, Pretrained
from progsem.lm.traces import Specifications, satisfied
from progsem.measures import statistics
from progsem.plots import figures, style
from progsem.storage.files import read_csv, read_json, read_table, read_tables
from progsem.study.config import load
from progsem.study.plan import Plan
from progsem.study.work import BLOCK
from progsem.synthesis import pretrained
from progsem.workflow import suitability

pytestmark = pytest.mark.usefixtures("one_thread")

WRITERS = {"writers": ("greedy", "temperature", "beam"), "temperatures": (1.0,), "samples": 2, "test": 20}


def asked(folder, steps: int = 150, **sections):
    """A small study with the model in a folder."""
    return study_of(
        worlds={"height": 2, "width": 2},
        programs={"train_length": (1, 2), "test_length": (1, 2)},
        corpus={"test": 40, "validation": 40},
        traces={"test": 40, "validation": 40, "extra_statements": 1},
        edits={"features": ()},
        synthesis=WRITERS,
        lm={"pretrained": str(folder)},
        finetuning={"steps": steps, "batch": 16, "learning_rate": 5e-3},
        **sections,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict:
    """The corpus, and under `documents` its training split as tokens."""
    folder = tmp_path_factory.mktemp("data")
    study = asked(sign_model(folder / "model"))
    paths = shards(folder, study)
    made = {split: [folder / f"tokens-{split}.arrow"] for split in paths}
    more = {name: [folder / f"{name}.json"] for name in ("tokenizer", "tokenizer_config")}
    tokens.run(Job("tokens", study.model_dump(mode="json"), paths, made | more))
    return paths | {"documents": made["train"]}


@pytest.fixture(scope="module")
def encoding():
    return LANGUAGE.text.ENCODINGS["compact"]()


def tuning(folder, study, data) -> Job:
    """The job that fine-tunes the model of a study, with outputs in a new folder."""
    folder.mkdir()
    plan = Plan(study)
    outputs = {
        name: [folder / path.rpartition("/")[2] for path in ([paths] if isinstance(paths, str) else paths)]
        for name, paths in plan.files(plan.finetuning).items()
    }
    frozen = json.loads(plan.finetuning.slice(folder=study.lm.pretrained))
    return Job("finetuning", frozen, {"train": data["documents"]}, outputs, device="cpu")


@pytest.fixture(scope="module", params=KINDS)
def tuned(request, tmp_path_factory, data) -> tuple:
    """A study with a model of each kind, and the job that has fine-tuned it."""
    folder = tmp_path_factory.mktemp(request.param)
    study = asked(KINDS[request.param](folder / "given"))
    job = tuning(folder / "tuned", study, data)
    finetuning.run(job)
    return study, job


@pytest.fixture(scope="module")
def proposer(tuned, encoding) -> pretrained.TextProposer:
    _, job = tuned
    return pretrained.TextProposer(Pretrained.load(job.output("weights").parent), encoding, 3, 0, torch.float32)


def documents_of(model: Pretrained, encoding, data, rows: int = 20) -> Documents:
    columns, metadata = read_tables(data["documents"])
    return Documents(model, encoding, columns["tokens"][:rows], columns["length"][:rows], metadata)


# Fine-tuning.


def test_the_loss_falls_and_what_comes_out_is_a_model_with_its_tokenizer(tuned):
    study, job = tuned
    rows = [{name: float(value) for name, value in row.items()} for row in read_csv(job.output("metrics"))]
    assert tuple(rows[0]) == finetuning.METRICS and rows[-1]["step"] == study.finetuning.steps
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    rates = [row["learning_rate"] for row in rows]
    assert max(rates) <= study.finetuning.learning_rate and rates[-1] < 0.1 * max(rates)
    folder = job.output("weights").parent
    assert {path.name for path in folder.iterdir()} == {
        path.name for name, paths in job.outputs.items() for path in paths if name != "manifest"
    }
    kind = {"t5": AutoModelForSeq2SeqLM, "gpt2": AutoModelForCausalLM}[read_json(job.output("config"))["model_type"]]
    assert kind.from_pretrained(folder).num_parameters() == job.notes["parameters"]
    for path in job.outputs["tokenizer"]:
        assert path.read_bytes() == (folder.parent / "given" / path.name).read_bytes()
    text = "def run() { move() }"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_weights_and_another_others(kind, tmp_path, data):
    folder = KINDS[kind](tmp_path / "given")
    weights = []
    for number, seed in enumerate((0, 0, 1)):
        study = asked(folder, steps=3)
        study = load(study.model_dump() | {"finetuning": study.finetuning.model_dump() | {"seed": seed}})
        job = tuning(tmp_path / f"{number}", study, data)
        torch.manual_seed(number)  # whatever was drawn before
        finetuning.run(job)
        weights.append(job.output("weights").read_bytes())
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize("kind", KINDS)
def test_the_program_alone_is_predicted(kind, tmp_path, data, encoding):
    model = Pretrained.load(KINDS[kind](tmp_path / "given"))
    documents = documents_of(model, encoding, data)
    for row in range(5):
        read, written = documents.texts(row)
        assert read.startswith("Examples: ") and read.endswith("Code: def run() {") and written.endswith(") }")
        example = documents[row]
        predicted = [label for label in example["labels"] if label != -100]
        assert model.text(predicted) == written and predicted[-1] == model.tokenizer.eos_token_id
        if model.goes_on:
            assert len(example["labels"]) == len(example["input_ids"])
            assert model.text(example["input_ids"]) == read + written
        else:
            assert model.text(example["input_ids"]) == read and len(predicted) == len(example["labels"])
    batch = model.batch([documents[row] for row in range(5)])
    assert batch["labels"].shape == (5, max(len(documents[row]["labels"]) for row in range(5)))
    assert batch["attention_mask"].sum(dim=1).tolist() == [len(documents[row]["input_ids"]) for row in range(5)]


def test_a_folder_that_has_changed_is_refused(tmp_path, data):
    study = asked(sign_model(tmp_path / "given"))
    job = tuning(tmp_path / "tuned", study, data)
    (tmp_path / "given" / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="has changed since this job was planned"):
        finetuning.run(job)


# Proposals.


def test_proposals_are_judged(tmp_path, tuned, data):
    study, made = tuned
    inputs = {name: made.outputs[name] for name in ("weights", "config", "generation_config", "tokenizer")}
    frozen = json.loads(Plan(study).pretrained.slice())
    outputs = {"proposals": [tmp_path / "proposals.arrow"]}
    job = Job("pretrained", frozen, inputs | {"test": data["test"]}, outputs, device="cpu")
    pretrained.run(job)
    columns, about = read_table(job.output("proposals"))
    assert (about["seed"], about["step"], about["test"]) == ("pretrained", None, 20)
    labels = [(one["name"], one["value"], one["grammar"]) for one in about["writers"]]
    asked = [("greedy", None), ("temperature", 1.0), ("beam", 1), ("beam", 2)]
    assert labels == [(*one, False) for one in asked]
    totals = np.zeros((len(labels), 20), int)
    np.add.at(totals, (columns["writer"], columns["program"]), columns["count"])
    assert totals.tolist() == [[count] * 20 for count in (1, 2, 1, 2)]
    specifications = Specifications.read(data, {"test": 20})
    worlds = (part.at(columns["program"]) for part in (specifications.worlds, specifications.outputs))
    right = satisfied(columns["codes"], *worlds, study.programs.step_limit) & columns["whole"][:, None]
    assert (columns["shown"] == right[:, : study.corpus.examples].all(axis=1)).all()
    assert columns["whole"].mean() > 0.5 and columns["shown"].any()  # it has learned what programs look like


def test_samples_do_not_depend_on_how_many_there_are(proposer, data, encoding, monkeypatch):
    specifications = Specifications.read(data, {"test": 20})
    first, other = (specifications.prompts(encoding, slice(row, row + 1))[0] for row in (0, 1))
    assert proposer.greedy(first, False).codes.tolist() == proposer.beams(first, 1, False).codes.tolist()
    monkeypatch.setattr(proposer, "_read", list)
    many = proposer.samples(first, BLOCK + 6, (0, 0), 1.0, 0.9, False)
    assert proposer.samples(other, 6, (0, 1), 1.0, 0.9, False) != many[:6]  # and leaves nothing behind
    assert proposer.samples(first, 6, (0, 0), 1.0, 0.9, False) == many[:6] != many[BLOCK:]
    assert len(many) == BLOCK + 6 and len(set(many)) > 10


def test_what_is_no_program_is_none(proposer):
    read = proposer._read([" move(); turn_left() }", " move() } and more", " move()", " mve() }", "", " }"])
    assert read.whole.tolist() == [True, True, False, False, False, False]
    assert [LANGUAGE.text.source(codes) for codes in read.codes[:2]] == [
        "def run() { move(); turn_left() }",
        "def run() { move() }",
    ]


# Names of results.


def test_results_are_named_by_what_is_in_the_folder(tmp_path):
    given = sign_model(tmp_path / "given")
    plan = Plan(asked(given))
    shutil.copytree(given, tmp_path / "moved")
    (tmp_path / "moved" / "README.md").write_text("of no account", encoding="utf-8")
    moved = Plan(asked(tmp_path / "moved"))
    assert plan.jobs() == moved.jobs()
    assert plan.finetuning.name == "gpt2-1MB" and str(tmp_path) not in plan.finetuning.slice() + plan.statistics.slice()
    weights = tmp_path / "moved" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    other = Plan(asked(tmp_path / "moved"))
    changed = {stage for stage, names in other.jobs().items() if names != plan.jobs()[stage]}
    assert changed == {"finetuning", "pretrained", "statistics", "figures"}


def test_without_a_folder_nothing_is_asked_for():
    plan = Plan(load({"synthesis": {"writers": ("greedy",)}}))
    assert not plan.jobs()["finetuning"] and not plan.jobs()["pretrained"]
    assert plan.files(plan.finetuning)["tokenizer"] == []


# What is refused.

REFUSED = "expected a folder with a causal or sequence-to-sequence model of transformers and its tokenizer"


def write(folder, **files) -> None:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")


MODEL, OTHERS = '{"model_type": "t5"}', {"model__safetensors": "", "tokenizer__json": "{}"}
NO_MODELS = {
    "a relative path": ({}, "a relative path; did you mean"),
    "nothing": ({}, "no such folder"),
    "a name too long": ({}, "which cannot be read (File name too long)"),
    "an empty folder": ({}, "no config.json"),
    "a config alone": ({"config__json": MODEL}, "no weights"),
    "no tokenizer": ({"config__json": MODEL, "model__safetensors": ""}, "no tokenizer"),
    "no type": ({"config__json": "{}", **OTHERS}, "no model_type"),
    "a type that is a path": ({"config__json": '{"model_type": "../x"}', **OTHERS}, "no model_type"),
}


@pytest.mark.parametrize("name", NO_MODELS)
def test_a_folder_that_is_no_model_is_one_line(name, tmp_path):
    files, problem = NO_MODELS[name]
    write(tmp_path, **files)
    others = {"a relative path": "models/mine", "nothing": tmp_path / "nowhere", "a name too long": f"/{'x' * 300}"}
    folder = others.get(name, tmp_path)
    with pytest.raises(UserError) as caught:
        asked(folder)
    line = str(caught.value)
    assert line.startswith(f"config: lm.pretrained: given '{folder}'") and problem in line and REFUSED in line
    assert "\n" not in line


def test_a_model_that_nobody_decodes_is_one_line(tmp_path):
    with pytest.raises(UserError, match="lm.pretrained is given, but synthesis.writers.*add one of greedy, "):
        load({"lm": {"pretrained": str(sign_model(tmp_path / "given"))}, "synthesis": {"writers": ("uniform",)}})


def without_end(folder):
    sign_model(folder)
    told = read_json(folder / "tokenizer_config.json")
    write(folder, tokenizer_config__json=json.dumps({key: told[key] for key in told if key != "eos_token"}))


def looks_ahead(folder):
    tokenizer = sign_tokenizer()
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
    torch.manual_seed(0)
    BertLMHeadModel(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def changed_config(folder, **keys):
    write(folder, config__json=json.dumps(read_json(folder / "config.json") | keys))


def with_one_more_block(folder):
    sign_model(folder)
    changed_config(folder, n_layer=3)


def without_start(folder):
    byte_model(folder)
    changed_config(folder, decoder_start_token_id=None)


def damaged(folder):
    sign_model(folder)
    (folder / "model.safetensors").write_bytes(b"nothing")


def of_kind(kind: str):
    def make(folder):
        folder.mkdir()
        write(folder, config__json=json.dumps({"model_type": kind}), **OTHERS)

    return make


UNSUITABLE = {
    "of no known type": (of_kind("nobodys-model"), "its config.json cannot be read"),
    "for pictures": (of_kind("vit"), "whose vit model is neither"),
    "damaged weights": (damaged, "its model cannot be read"),
    "too few weights": (with_one_more_block, "whose weights lack transformer.h.2"),
    "no end token": (without_end, "has no end token"),
    "no brackets": (lambda folder: sign_model(folder, PRINTABLE.replace("{", "").replace("^", "")), "it loses '^' '{'"),
    "few positions": (lambda folder: sign_model(folder, positions=50), "which reads 50 tokens, but a document takes "),
    "looks ahead": (looks_ahead, "looks ahead"),
    "no start": (without_start, "cannot be run"),
}


@pytest.mark.parametrize("name", UNSUITABLE)
def test_an_unsuitable_model_is_one_line(name, tmp_path, data, encoding):
    make, problem = UNSUITABLE[name]
    folder = tmp_path / "given"
    make(folder)
    with pytest.raises(UserError) as caught:
        model = Pretrained.load(folder)
        model.refuse_unsuitable(encoding, documents_of(model, encoding, data))
    line = str(caught.value)
    assert line.startswith(f"lm.pretrained: given '{folder}'") and problem in line and REFUSED in line
    assert "\n" not in line


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ["compact", "spaced"])
def test_a_suitable_model_is_none(kind, encoding, tmp_path):
    suitability.check_pretrained(asked(KINDS[kind](tmp_path / "given"), tokens={"encoding": encoding}))


def test_snakemake_says_it_before_any_job(tmp_path):
    folder = sign_model(tmp_path / "given", "no letters else")
    tree = Tree.copied(tmp_path / "progsem")
    changes = {"lm": {"pretrained": str(folder)}, "synthesis": {"writers": ["greedy"]}}
    settings = say({**changes, "corpus": {"train": 1000, "validation": 100, "test": 100, "shard": 1000}})
    settings += say({"traces": {"train": 60, "validation": 30, "test": 60}, "synthesis": {"test": 20}})[1:]
    answer = tree.ask("--cores", "1", *settings)
    assert answer.returncode == 2
    last = answer.stdout.strip().splitlines()[-1]
    assert last.startswith(f"progsem: lm.pretrained: given '{folder}', whose tokenizer cannot spell")
    assert not [path for path in (tree.root / "results").rglob("*") if path.is_file()]


# Tables and figures.


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Statistics of a synthetic study of two language models and a pretrained one."""
    folder = tmp_path_factory.mktemp("tables")
    names = ("uniform", "greedy", "temperature")
    synthesis = {"writers": names, "samples": 10, "test": 100, "temperatures": (1.0,), "grammar": (True,)}
    lm = {"steps": 200, "decay_steps": 200, "seeds": [0, 1], "pretrained": str(byte_model(folder / "given"))}
    job = write_results(folder, small_study(synthesis=synthesis, lm=lm))
    statistics.run(job)
    return job


def test_tables_have_the_pretrained_model_beside_the_others(written):
    for name in ("synthesis", "writers"):
        with open(written.output(name), newline="", encoding="utf-8") as handle:
            every = list(csv.DictReader(handle))
        rows = [row for row in every if row["lm_seed"] == "pretrained"]
        assert {(row["step"], row["grammar"]) for row in rows} == {("", "False")}
        assert {row["writer"] for row in rows} == {"greedy", "temperature"}
        assert {row["step"] for row in every if row["lm_seed"] == "pooled"} == {"200"}


def test_figures_show_it_without_the_grammar(tmp_path, written):
    results = results_of(figures_job(written, tmp_path / "figures"))
    with matplotlib.rc_context(style.CONTEXT):
        for name in ("synthesis", "synthesis_lengths"):
            figure, rows = figures.FIGURES[name](results)
            assert {row["lm_seed"] for row in rows} == {"none", "pooled", "pretrained"}
            labels = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
            assert any("greedy, pretrained" in label for label in labels)
            if name == "synthesis":
                assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == [
                    "kept to the grammar",
                    "without the grammar",
                ]


def test_proposals_that_are_missing_are_named(written):
    inputs = written.inputs | {"proposals": written.inputs["proposals"][:-1]}
    with pytest.raises(UserError, match="no proposals of the pretrained model"):
        statistics.run(Job(written.stage, written.slice, inputs, written.outputs))
