"""The config: ranges, cross-field checks, one-line errors, and the files generated from its types."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import yaml

from progsem import reference, workflow
from progsem.config import Study, load
from progsem.errors import UserError

ROOT = Path(__file__).resolve().parents[1]

# What is said -> what the error line must contain: the key, what was given, what to do.
BAD = {
    "misspelt section": ({"prob": {}}, ["prob", "did you mean 'probes'?"]),
    "misspelt key": ({"lm": {"layerz": 3}}, ["lm.layerz", "did you mean 'layers'?"]),
    "unknown key without a neighbour": ({"tokens": {"zzz": 1}}, ["tokens.zzz", "encoding"]),
    "misspelt deep key": ({"programs": {"weights": {"mov": 1}}}, ["programs.weights.mov", "'move'"]),
    "negative size": ({"corpus": {"train": -5}}, ["corpus.train", "-5", "greater than or equal to 1"]),
    "text for a number": ({"lm": {"layers": "three"}}, ["lm.layers", "'three'", "integer"]),
    "fraction for an integer": ({"lm": {"steps": 1.5}}, ["lm.steps", "1.5"]),
    "a truth value for a number": ({"lm": {"layers": True}}, ["lm.layers", "True"]),
    "a section that is a number": ({"lm": 3}, ["lm", "3"]),
    "an empty section": ({"lm": None}, ["lm", "None"]),
    "probability above one": ({"worlds": {"wall_probability": 1.2}}, ["worlds.wall_probability", "1.2"]),
    "not a number": ({"lm": {"learning_rate": float("nan")}}, ["lm.learning_rate", "nan"]),
    "not a choice": ({"tokens": {"encoding": "words"}}, ["tokens.encoding", "'words'", "'compact' or 'spaced'"]),
    "unsafe study name": ({"study": "../x"}, ["study", "'../x'"]),
    "no weight": (
        {"programs": {"weights": dict.fromkeys(("pick_marker", "put_marker", "turn_left", "turn_right", "move"), 0)}},
        ["programs.weights", "positive"],
    ),
    "lengths reversed": ({"programs": {"train_length": [4, 1]}}, ["train_length", "[4, 1]", "shorter"]),
    "lengths of three": ({"programs": {"train_length": [1, 2, 3]}}, ["programs.train_length"]),
    "programs too long": ({"programs": {"test_length": [1, 61]}}, ["test_length", "61", "60"]),
    "alternative to nothing": (
        {"interventions": {"alternatives": {"a": {"move": "jump"}}, "difficulty_matched": "a"}},
        ["interventions.alternatives.a.move", "'jump'", "'turn_left'"],
    ),
    "alternative of nothing": (
        {"interventions": {"alternatives": {"a": {"jump": "move"}}, "difficulty_matched": "a"}},
        ["interventions.alternatives.a", "'jump'", "'turn_left'"],
    ),
    "alternative without change": (
        {"interventions": {"alternatives": {"a": {"move": "move"}}, "difficulty_matched": "a"}},
        ["alternatives.a", "changes no meaning"],
    ),
    "alternative named original": (
        {"interventions": {"alternatives": {"original": {"move": "turn_left"}}, "difficulty_matched": "original"}},
        ["'original'", "another name"],
    ),
    "no such difficulty-matched": (
        {"interventions": {"difficulty_matched": "no-such"}},
        ["'no-such'", "expected one of"],
    ),
    "text too long": ({"worlds": {"height": 30, "width": 30}}, ["3", "2048", "corpus.examples"]),
    "text too long when spaced": (
        {"worlds": {"height": 16, "width": 16}, "tokens": {"encoding": "spaced"}},
        ["2048", "worlds.height"],
    ),
    "step limit within programs": ({"programs": {"step_limit": 4}}, ["step_limit is 4", "at least 5"]),
    "heads": ({"lm": {"heads": 6}}, ["heads is 6", "multiple of 4"]),
    "width": ({"lm": {"width": 130, "heads": 4}}, ["width 130", "heads 4"]),
    "rotary": ({"lm": {"width": 128, "heads": 4, "rotary": 33}}, ["rotary is 33", "32"]),
    "steps and checkpoints": ({"lm": {"steps": 6000, "checkpoint_every": 700}}, ["6000", "checkpoint_every 700"]),
    "decay before the end": (
        {"lm": {"steps": 40, "checkpoint_every": 20, "decay_steps": 10}},
        ["decay_steps 10", "40"],
    ),
    "warm-up after the decay": ({"lm": {"decay_steps": 90_000, "warmup_steps": 90_000}}, ["warmup_steps 90000"]),
    "seeds repeat": ({"lm": {"seeds": [1, 1]}}, ["seeds [1, 1]"]),
    "no seeds": ({"lm": {"seeds": []}}, ["lm.seeds"]),
    "offsets without 0": ({"probes": {"offsets": [1, 2]}}, ["offsets [1, 2]", "0"]),
    "offset beyond programs": ({"probes": {"offsets": [0, 60]}}, ["probes.offsets", "60", "give offsets between"]),
    "depth with too few widths": ({"probes": {"depths": {"mlp2": [8]}}}, ["depths.mlp2", "[8]", "2"]),
    "no depths": ({"probes": {"depths": {}}}, ["depths is empty"]),
    "more evaluations than steps": ({"probes": {"steps": 5, "evaluations": 6}}, ["evaluations 6", "steps 5"]),
    "layer that is not kept": (
        {"probes": {"layer": "layer_1"}, "traces": {"layers": "mean"}},
        ["layer_1", "traces.layers", "'each'"],
    ),
    "layer that is not there": (
        {"probes": {"layer": "layer_4"}, "traces": {"layers": "each"}, "lm": {"layers": 3}},
        ["layer_4", "layer_3"],
    ),
    "more traces than corpus": ({"corpus": {"test": 100}, "traces": {"test": 4000}}, ["traces.test is 4000", "100"]),
    "too few resamples": ({"statistics": {"resamples": 1}}, ["statistics.resamples", "100"]),
    "no such device": ({"compute": {"device": "tpu"}}, ["compute.device", "'tpu'"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_config_is_one_line_that_helps(name):
    raw, parts = BAD[name]
    with pytest.raises(UserError) as caught:
        load(workflow.merge({}, raw))
    message = str(caught.value)
    assert "\n" not in message and message.startswith("config: ")
    for part in parts:
        assert part in message


def snakemake(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("name", ["misspelt key", "negative size", "alternative to nothing", "more traces than corpus"])
def test_snakemake_says_it_in_one_line_and_soon(name, tmp_path):
    raw, parts = BAD[name]
    changes = tmp_path / "changes.yaml"
    changes.write_text(yaml.safe_dump(raw))
    started = time.monotonic()
    answer = snakemake("--configfile", str(changes))
    seconds = time.monotonic() - started
    assert answer.returncode == 2
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith("progsem: config: ")
    for part in parts:
        assert part in line
    assert seconds < 10  # about 2 on an idle machine


def test_snakemake_says_where_yaml_is_broken(tmp_path):
    for name in ("Snakefile", "src", "workflow", "envs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "config.yaml").write_text("study: x\nlm:\n  layers: 3\n width: 128\n")
    answer = snakemake(cwd=tmp_path)
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert "config.yaml: line 4, column" in line


@pytest.mark.parametrize("text, part", [("- a\n- b\n", "list"), ("just text\n", "str"), ("a: [1\n", "line 2")])
def test_files_that_are_not_a_config(text, part, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=part) as caught:
        workflow.read_config(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_missing_config_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        workflow.read_config(tmp_path / "config.yaml")


def test_default_config_file_spells_out_the_defaults():
    raw = workflow.read_config(ROOT / "config.yaml")
    assert load(workflow.merge(raw, {})) == Study()

    def names(value, prefix=""):
        for key, item in value.items():
            yield f"{prefix}{key}"
            if isinstance(item, dict):
                yield from names(item, f"{prefix}{key}.")

    assert set(names(raw)) == set(names(Study().model_dump()))


def test_every_key_of_the_default_config_file_is_explained():
    """Above each key, or above the group of keys that it stands in, there is a comment."""
    lines = (ROOT / "config.yaml").read_text().splitlines()
    explained = None
    for line in lines:
        if not line.strip():
            explained = None
        elif line.lstrip().startswith("#"):
            explained = line.index("#")
        else:
            indent = len(line) - len(line.lstrip())
            assert explained is not None and indent >= explained, line


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_studies_are_valid_and_say_only_differences(path):
    base, changes = workflow.read_config(ROOT / "config.yaml"), workflow.read_config(path)
    study = load(workflow.merge(base, changes))
    assert study.study == path.stem

    def same(small, big, at=()):
        for key, value in small.items():
            here = (*at, key)
            if isinstance(value, dict) and here not in workflow.REPLACED:
                yield from same(value, big[key], here)
            elif value == big[key]:
                yield ".".join(here)

    assert list(same(changes, base)) == []


def test_merging_replaces_what_is_one_value_and_merges_the_rest():
    base = workflow.read_config(ROOT / "config.yaml")
    study = load(
        workflow.merge(
            base,
            {
                "interventions": {"alternatives": {"a": {"move": "turn_left"}}, "difficulty_matched": "a"},
                "probes": {"depths": {"linear": []}},
                "programs": {"weights": {"move": 7}},
                "lm": {"learning_rate": "1e-3"},
            },
        )
    )
    assert list(study.interventions.alternatives) == ["a"]
    assert list(study.probes.depths) == ["linear"]
    assert study.programs.weights.move == 7
    assert study.programs.weights.turn_left == Study().programs.weights.turn_left
    assert study.lm.learning_rate == 1e-3 and study.lm.layers == Study().lm.layers
    assert load(workflow.merge(base, {})) == Study()  # the base is not changed by merging


def test_numbers_that_snakemake_hands_over_as_text():
    """--config 'lm={layers: 2}' arrives as {"layers": "2"}."""
    base = workflow.read_config(ROOT / "config.yaml")
    changes = {
        "lm": {"layers": "2", "seeds": ["0", "1"], "learning_rate": "0.001", "betas": ["0.5", "0.9"]},
        "probes": {"drop_final": "true", "depths": {"mlp1": ["8"]}, "features": ["facing"]},
        "figures": {"title": "2024"},
    }
    study = load(workflow.merge(base, changes))
    assert (study.lm.layers, study.lm.seeds, study.lm.betas) == (2, (0, 1), (0.5, 0.9))
    assert study.probes.drop_final is True and study.probes.depths == {"mlp1": (8,)}
    assert study.figures.title == "2024"
    for text in ("three", "[", "", "2.5"):
        with pytest.raises(UserError, match="lm.layers: given"):
            load(workflow.merge(base, {"lm": {"layers": text}}))


def test_generated_files_are_in_step():
    assert (ROOT / reference.SCHEMA).read_text() == reference.schema_text(), "run `make schema`"
    assert (ROOT / reference.TABLE).read_text() == reference.table_text(), "run `make schema`"
    lock = (ROOT / reference.LOCK).read_text()
    assert (ROOT / reference.CONDA).read_text() == reference.conda_text(lock), "run `make envs`"


def test_conda_environment_has_every_pin_of_the_lock():
    pins = [line for line in (ROOT / reference.LOCK).read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin) for pin in pins)
    assert "torch==2.13.0" in pins
    (pip,) = [item["pip"] for item in yaml.safe_load((ROOT / reference.CONDA).read_text())["dependencies"][2:]]
    assert pip == pins


def test_schema_agrees_with_the_types():
    schema = json.loads((ROOT / reference.SCHEMA).read_text())
    check = jsonschema.Draft202012Validator(schema)
    check.validate(workflow.read_config(ROOT / "config.yaml"))
    for path in (ROOT / "studies").glob("*.yaml"):
        check.validate(workflow.read_config(path))
    for raw in ({"lm": {"layerz": 3}}, {"corpus": {"train": -5}}, {"tokens": {"encoding": "words"}}):
        assert not check.is_valid(raw)


def test_table_has_every_key_once():
    text = (ROOT / reference.TABLE).read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \|", text, flags=re.MULTILINE)
    assert rows == list(reference.keys()) == list(reference.EDITS)
    assert all(field.get("description") for field in reference.keys().values())
