"""Variants of a study, laid side by side: another architecture, and models that were trained elsewhere."""

import json

import pytest
import torch
from tree import TINY, say

from progsem.errors import UserError
from progsem.languages.karel.text import ENCODINGS
from progsem.lm import checkpoints
from progsem.lm.codegen.model import CodeGen, Shape
from progsem.lm.stock.model import made
from progsem.plots.figures import read_rows
from progsem.study.config import load, variants
from progsem.study.plan import Plan

VOCABULARY = len(ENCODINGS["compact"]().vocabulary)
GPT2 = {"lm": {"model_type": "gpt2", "config": {"n_positions": 64}}}


def models(folder, steps=(0, 7)) -> dict[int, str]:
    """Folders of a model of two blocks at some steps of a training elsewhere."""
    found = {}
    for step in steps:
        found[step] = str(folder / f"step-{step}")
        made("gpt2", VOCABULARY, 2, 32, 4, 0.1 + 0.01 * step, {"n_positions": 64}, 0).model.save_pretrained(found[step])
    return found


# What they are.


def test_a_variant_is_the_study_with_its_changes():
    study = load(
        {
            "lm": {"steps": 40, "checkpoint_every": 20, "decay_steps": 40, "warmup_steps": 5},
            "variants": {"gpt2": GPT2, "same": {}},
        }
    )
    found = variants(study)
    assert list(found) == ["gpt2", "same"] and [one.study for one in found.values()] == ["gpt2", "same"]
    assert found["gpt2"].lm.model_type == "gpt2" and found["gpt2"].lm.steps == 40
    assert found["same"].model_dump(exclude={"study"}) == study.model_dump(exclude={"study", "variants"}) | {
        "variants": {}
    }


def test_what_variants_have_in_common_is_planned_once():
    study = load({"variants": {"gpt2": GPT2, "same": {}, "steps": {"probes": {"steps": 99}}}})
    plan = Plan(study)
    gpt2, same, steps = plan.variants.values()
    assert plan.tokens.key == gpt2.tokens.key and plan.lm.key == same.lm.key == steps.lm.key != gpt2.lm.key
    assert [suffix for suffix, *_ in plan.makers("lm")] == ["", "_gpt2"]
    assert [suffix for suffix, *_ in plan.makers("probes")] == ["", "_gpt2", "_steps"]
    assert [suffix for suffix, *_ in plan.makers("statistics")] == ["", "_gpt2", "_same", "_steps"]
    alone = Plan(load({}))
    assert plan.lm.key == alone.lm.key and plan.statistics.key == alone.statistics.key
    units = plan.units()
    assert len(units) == len(set(units)) and set(alone.units()) < set(units)
    assert plan.figures_slice != alone.figures_slice and "variants" not in json.loads(alone.figures_slice)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"a": {"lm": {"layerz": 2}}}, "variants.a: lm.layerz: unknown key; did you mean 'layers'"),
        ({"a": {"lm": {"width": 97}}}, "variants.a: lm.width 97 is not a multiple of lm.heads 4"),
        ({"a": {"compute": {"threads": 2}}}, "variants.a has compute, which all variants share"),
        ({"a b": {}}, "variants.'a b': given 'a b', expected 1 to 40 of the characters"),
        ({"a": 3}, "variants.a: given 3, expected a mapping"),
    ],
)
def test_variants_that_are_no_study_are_refused(changes, said):
    with pytest.raises(UserError, match="^config: ") as raised:
        load({"variants": changes})
    assert said in str(raised.value)


# Models from elsewhere.


def test_folders_are_named_by_what_they_hold(tmp_path):
    given_here = {"lm": {"checkpoints": models(tmp_path / "a"), "seeds": [0], "layers": 2, "width": 32}}
    moved = {"lm": given_here["lm"] | {"checkpoints": models(tmp_path / "b")}}
    other = {
        "lm": given_here["lm"]
        | {"checkpoints": dict(zip((0, 7), models(tmp_path / "a", (0, 3)).values(), strict=True))}
    }
    one, two, three = (Plan(load(changes)) for changes in (given_here, moved, other))
    assert one.study.lm.every_step() == [0, 7] and one.jobs() == two.jobs() != three.jobs()
    rate = Plan(load({"lm": given_here["lm"] | {"learning_rate": 0.5}}))
    assert rate.lm.key == one.lm.key  # nothing is trained
    assert one.before("0", "000007", "weights") == []
    assert json.loads(one.training_slice("0", "000007"))["folder"] == given_here["lm"]["checkpoints"][7]


def test_each_model_has_its_own_folder(tmp_path):
    for seed in (0, 4):
        models(tmp_path / str(seed))
    study = load({"lm": {"checkpoints": {7: f"{tmp_path}/{{seed}}/step-7"}, "seeds": [0, 4], "layers": 2, "width": 32}})
    slices = [json.loads(Plan(study).training_slice(seed, "000007")) for seed in ("0", "4")]
    assert [one["folder"] for one in slices] == [f"{tmp_path}/{seed}/step-7" for seed in (0, 4)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"checkpoints": {7: "{tmp}/none"}}, "no such folder"),
        ({"checkpoints": {7: "{tmp}"}}, "no config.json there"),
        ({"checkpoints": {7: "none"}}, "a relative path; did you mean"),
        (
            {"checkpoints": {7: "{tmp}/step-7"}, "seeds": [0, 1]},
            "is one folder for 2 language models; name it with {seed}",
        ),
        ({"checkpoints": {"last": "{tmp}/step-7"}}, "expected a step from 0 to 999999 in digits"),
    ],
)
def test_folders_that_are_none_are_refused(changes, said, tmp_path):
    models(tmp_path, (7,))
    folders = {step: folder.replace("{tmp}", str(tmp_path)) for step, folder in changes["checkpoints"].items()}
    with pytest.raises(UserError, match="^config: lm.checkpoints") as raised:
        load({"lm": {"seeds": [0], "layers": 2, "width": 32} | changes | {"checkpoints": folders}})
    assert said in str(raised.value) and "\n" not in str(raised.value)


def refused(folder, layers=2, width=32, length=40) -> str:
    """What is said of the model in a folder."""
    documents = torch.randint(VOCABULARY, (2, length), generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match=f"^lm.checkpoints: given '{folder}', whose model ") as raised:
        checkpoints.load(folder, layers, width, ENCODINGS["compact"](), documents)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_models_that_do_not_fit_are_refused(tmp_path):
    def saved(name: str, vocabulary: int = VOCABULARY, kind: str = "gpt2", **keys):
        made(kind, vocabulary, 2, 32, 4, 0.1, keys, 0).model.save_pretrained(tmp_path / name)
        return tmp_path / name

    fits = saved("fits", n_positions=40)
    assert f"has 40 tokens, but the study's encoding {VOCABULARY}" in refused(saved("vocabulary", 40))
    assert "reads 40 tokens, but a document takes up to 41" in refused(fits, length=41)
    assert "has 2 blocks of width 32, but lm.layers is 3 and lm.width 64 (set them to these)" in refused(fits, 3, 64)
    assert "more behind its last hidden state than a linear head" in refused(saved("gemma", kind="gemma2"))
    tokenizer = {"model": {"vocab": {token: 5 for token in ("<pad>", "x")}}}
    (fits / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    assert "a tokenizer to which '<pad>' is 5, and not 0" in refused(fits)
    (fits / "tokenizer.json").write_text("[]", encoding="utf-8")
    assert "a tokenizer.json of another kind" in refused(fits)


# Through the workflow.


def test_architectures_and_models_from_elsewhere_beside_codegen(tree, tmp_path):
    """Only what a variant has of its own is computed, and a figure lays them side by side."""
    elsewhere = models(tmp_path)
    CodeGen(Shape(VOCABULARY, 2, 32, 4, 8)).save(tmp_path / "model.safetensors", tmp_path / "config.json")
    (tmp_path / "own").mkdir()
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).rename(tmp_path / "own" / name)
    lean = {"interventions": {"permutations": 0}, "controls": {"kinds": ["embedding"]}, "generalisation": {"sets": {}}}
    lean |= {"synthesis": {"writers": []}, "transcoders": {"kinds": []}}
    asked = {
        "codegen": {},
        "gpt2": lean | {"lm": {"model_type": "gpt2", "config": {"n_positions": 64}}},
        "elsewhere": lean | {"lm": {"checkpoints": elsewhere}},
        "last-only": lean | {"lm": {"checkpoints": {9: str(tmp_path / "own")}}},
    }
    changes = {"variants": asked}
    planned = tree.planned(*TINY, *say(changes))
    assert planned == {
        **{"checkpoint_gpt2": 3, "traces_gpt2": 3, "probes_gpt2": 10, "controls_gpt2": 2, "edits_gpt2": 2},
        **{"checkpoint_elsewhere": 2, "traces_elsewhere": 2, "probes_elsewhere": 7, "controls_elsewhere": 2},
        **{"edits_elsewhere": 2, "checkpoint_last_only": 1, "traces_last_only": 1, "probes_last_only": 4},
        **{"controls_last_only": 1, "edits_last_only": 2},  # which stand for both ends
        **{"statistics_codegen": 1, "statistics_gpt2": 1, "statistics_elsewhere": 1, "statistics_last_only": 1},
        "figures": 1,
    }
    # Their rules differ in nothing else; docs/own.md has the other two, which test_own_models runs.
    for name in ("gpt2", "elsewhere"):
        asked.pop(name)
    said = tree.snakemake("--cores", "2", *TINY, *say(changes))
    assert "up to step 000009 of 9" in said
    rows = read_rows(tree.root / "results" / "figures" / "variants.csv")
    assert list(dict.fromkeys(row["variant"] for row in rows)) == ["codegen", "last-only"]
    assert {row["variant"]: row["step"] for row in rows if row["measure"] == "solved"} == {
        "codegen": 20,
        "last-only": 9,
    }
    assert tree.planned(*TINY, *say(changes)) == {}
    asked["last-only"] |= {"edits": {"pairs": 30}}
    assert tree.planned(*TINY, *say(changes)) == {"edits_last_only": 2, "statistics_last_only": 1, "figures": 1}
    assert tree.planned(*TINY) == {"figures": 1}
    tree.snakemake("--cores", "2", *TINY)
    assert not (tree.root / "results" / "figures" / "variants.png").exists()


def test_an_unsuitable_architecture_is_refused_before_any_work(tree):
    before = tree.files()
    for changes, said in (
        ({"lm": {"model_type": "bert"}}, "lm.model_type: given 'bert', which "),
        (
            {"lm": {"model_type": "gpt2", "config": {"n_positions": 10}}},
            "which reads 10 tokens, but a document takes up to",
        ),
    ):
        answer = tree.ask("--cores", "2", *TINY, *say(changes))
        lines = [line for line in answer.stdout.splitlines() if "lm.model_type" in line]
        assert answer.returncode and len(lines) == 1 and said in lines[0], answer.stdout[-2000:]
    assert tree.files() == before
