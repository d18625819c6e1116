"""The config: ranges, cross-field checks, one-line errors, and the files generated from its types."""

import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from tree import of_snakemake

from progsem.errors import UserError
from progsem.housekeeping import common
from progsem.limits import FEWEST_STATES
from progsem.probing.probes import FEWEST
from progsem.study import checks, configfiles
from progsem.study.config import changed, load
from progsem.study.vocabulary import TEST, TRAIN, VALIDATION
from reference import conda
from reference import config as reference

ROOT = Path(__file__).resolve().parents[1]

# What is said -> what the error line must contain: the key, what was given, what to do.
BAD = {
    "no name of an architecture": ({"lm": {"model_type": "GPT 2"}}, ["lm.model_type", "'GPT 2'", "gpt_neox, llama"]),
    "keys for CodeGen": ({"lm": {"config": {"n_inner": 3}}}, ["lm.config", "'n_inner'", "leave lm.config empty"]),
    "a step in words": ({"lm": {"checkpoints": {"last": "/x"}}}, ["lm.checkpoints.last", "a step from 0 to 999999"]),
    "a variant that is none": ({"variants": {"a": {"lm": {"layerz": 3}}}}, ["variants.a", "did you mean 'layers'?"]),
    "misspelt section": ({"prob": {}}, ["prob", "did you mean 'probes'?"]),
    "misspelt key": ({"lm": {"layerz": 3}}, ["lm.layerz", "did you mean 'layers'?"]),
    "unknown key without a neighbour": ({"tokens": {"zzz": 1}}, ["tokens.zzz", "encoding"]),
    "misspelt deep key": ({"programs": {"weights": {"mov": 1}}}, ["programs.weights.mov", "'move'"]),
    "negative size": ({"corpus": {"train": -5}}, ["corpus.train", "-5", "greater than or equal to 1"]),
    "text for a number": ({"lm": {"layers": "three"}}, ["lm.layers", "'three'", "integer"]),
    "a number in quotes": ({"lm": {"layers": "3"}}, ["lm.layers", "'3'", "integer"]),
    "a truth value in quotes": ({"probes": {"drop_final": "true"}}, ["probes.drop_final", "'true'", "true or false"]),
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
    "lengths reversed": ({"programs": {"train_length": [4, 1]}}, ["programs.train_length", "[4, 1]", "shorter"]),
    "lengths of three": (
        {"programs": {"train_length": [1, 2, 3]}},
        ["programs.train_length", "[1, 2, 3]", "at most 2"],
    ),
    "programs too long": ({"programs": {"test_length": [1, 61]}}, ["programs.test_length[1]", "61", "60"]),
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
        ["interventions.alternatives.a", "changes no meaning"],
    ),
    "alternative named original": (
        {"interventions": {"alternatives": {"original": {"move": "turn_left"}}, "difficulty_matched": "original"}},
        ["'original'", "another name"],
    ),
    "no such difficulty-matched": (
        {"interventions": {"difficulty_matched": "no-such"}},
        ["'no-such'", "expected one of"],
    ),
    "text too long": (
        {"worlds": {"height": 30, "width": 30}, "corpus": {"examples": 2}},
        ["3", "2048", "corpus.examples"],
    ),
    "text too long when spaced": (
        {"worlds": {"height": 24, "width": 24}, "tokens": {"encoding": "spaced"}},
        ["2048", "worlds.height"],
    ),
    "step limit within programs": ({"programs": {"step_limit": 4}}, ["programs.step_limit is 4", "at least 5"]),
    "heads": ({"lm": {"heads": 6}}, ["lm.heads is 6", "multiple of 4"]),
    "width": ({"lm": {"width": 130, "heads": 4}}, ["lm.width 130", "lm.heads 4"]),
    "rotary": ({"lm": {"width": 128, "heads": 4, "rotary": 33}}, ["lm.rotary is 33", "32"]),
    "steps and checkpoints": (
        {"lm": {"steps": 6000, "checkpoint_every": 700}},
        ["lm.steps 6000", "lm.checkpoint_every 700"],
    ),
    "decay before the end": (
        {"lm": {"steps": 40, "checkpoint_every": 20, "decay_steps": 10}},
        ["lm.decay_steps 10", "40"],
    ),
    "warm-up after the decay": (
        {"lm": {"decay_steps": 90_000, "warmup_steps": 90_000}},
        ["lm.warmup_steps 90000", "lm.decay_steps 90000"],
    ),
    "seeds repeat": ({"lm": {"seeds": [1, 1]}}, ["lm.seeds [1, 1]", "once"]),
    "no seeds": ({"lm": {"seeds": []}}, ["lm.seeds", "[]", "at least 1"]),
    "offsets without 0": ({"probes": {"offsets": [1, 2]}}, ["probes.offsets [1, 2]", "0"]),
    "offset beyond programs": ({"probes": {"offsets": [0, 60]}}, ["probes.offsets", "60", "give offsets between"]),
    "depth with too few widths": ({"probes": {"depths": {"mlp2": [8]}}}, ["probes.depths.mlp2", "[8]", "2"]),
    "no depths": ({"probes": {"depths": {}}}, ["probes.depths is empty", "mlp1"]),
    "more evaluations than steps": (
        {"probes": {"steps": 5, "evaluations": 6}},
        ["probes.evaluations 6", "probes.steps 5"],
    ),
    "layer that is not kept": (
        {"probes": {"layer": "layer_1"}, "traces": {"layers": "mean"}},
        ["probes.layer", "layer_1", "traces.layers", "'each'"],
    ),
    "layer that is not there": (
        {"probes": {"layer": "layer_4"}, "traces": {"layers": "each"}, "lm": {"layers": 3}},
        ["probes.layer", "layer_4", "layer_3"],
    ),
    "more traces than corpus": ({"corpus": {"test": 100}, "traces": {"test": 4000}}, ["traces.test is 4000", "100"]),
    "too few resamples": ({"statistics": {"resamples": 1}}, ["statistics.resamples", "100"]),
    "no such device": ({"compute": {"device": "tpu"}}, ["compute.device", "'tpu'"]),
    # Values of the wrong kind.
    "one number for two lengths": ({"programs": {"train_length": 4}}, ["programs.train_length", "4", "a list"]),
    "one beta": ({"lm": {"betas": [0.9]}}, ["lm.betas", "[0.9]", "a list of 2"]),
    "a word for a list": ({"probes": {"features": "facing"}}, ["probes.features", "'facing'", "a list"]),
    "a list for a mapping": ({"probes": {"depths": ["linear"]}}, ["probes.depths", "['linear']", "a mapping"]),
    "a number for text": ({"figures": {"title": 2024}}, ["figures.title", "2024", "in quotes"]),
    "a word for a truth value": (
        {"probes": {"drop_final": "maybe"}},
        ["probes.drop_final", "'maybe'", "true or false"],
    ),
    "an integer with an exponent": ({"corpus": {"train": 1e6}}, ["corpus.train", "1000000.0", "an integer"]),
    "a key that is a number": ({"lm": {3: 1}}, ["lm", "3", "a key that is text"]),
    "infinity": ({"lm": {"clip": float("inf")}}, ["lm.clip", "inf", "finite"]),
    "no such depth": ({"probes": {"depths": {"mlp3": [1, 2, 3]}}}, ["probes.depths.mlp3", "'mlp2'"]),
    "no such feature": ({"probes": {"features": ["colour"]}}, ["probes.features[0]", "'colour'", "'facing'"]),
    "a feature twice": ({"probes": {"features": ["facing", "facing"]}}, ["probes.features", "facing", "each once"]),
    # Numbers that torch, AdamW or the system refuse, once the job that uses them runs.
    "more steps than folders have digits": (
        {"lm": {"steps": 1_000_000, "checkpoint_every": 100_000, "decay_steps": 1_000_000}},
        ["lm.steps", "1000000", "999999"],
    ),
    "a seed beyond 64 bits": ({"lm": {"seeds": [2**64]}}, ["lm.seeds[0]", str(2**64), str(2**63 - 1)]),
    "a seed of many digits": ({"corpus": {"seed": 10**5000}}, ["corpus.seed", "digits", str(2**63 - 1)]),
    "a negative seed": ({"statistics": {"seed": -1}}, ["statistics.seed", "-1"]),
    "a moment that never decays": ({"lm": {"betas": [0.9, 1]}}, ["lm.betas[1]", "1", "less than 1"]),
    "weights that decay beyond 0": (
        {"lm": {"weight_decay": 1e300}},
        ["lm.weight_decay 1e+300", "lm.learning_rate", "below 1"],
    ),
    "probes that decay beyond 0": (
        {"probes": {"weight_decay": 100}},
        ["probes.weight_decay 100", "probes.learning_rate", "below 1"],
    ),
    "a learning rate that rises": (
        {"lm": {"learning_rate": 1e-5}},
        ["lm.final_learning_rate", "lm.learning_rate 1e-05", "lower"],
    ),
    "heads of one dimension": (
        {"lm": {"width": 8, "heads": 8, "rotary": 2}},
        ["lm.width 8", "lm.heads 8", "at least 2"],
    ),
    "frequencies that overflow": (
        {"programs": {"weights": {"move": 1e308, "turn_left": 1e308}}},
        ["programs.weights.", "1e+308", "1000000"],
    ),
    "a layer with a leading zero": (
        {"probes": {"layer": "layer_01"}},
        ["probes.layer", "'layer_01'", "layer_0, layer_1"],
    ),
    "a layer in other digits": ({"probes": {"layer": "layer_\u0661"}}, ["probes.layer", "layer_0, layer_1"]),
    # Sizes that no machine has, or no command line.
    "a batch of everything": ({"lm": {"batch": 10**11}}, ["lm.batch", "100000000000", "65536"]),
    "a corpus beyond memory": (
        {"corpus": {"train": 100_000_000, "shard": 1_000_000}, "worlds": {"height": 12, "width": 12}},
        ["corpus.train", "GB", "at most 16"],
    ),
    "hidden states beyond memory": (
        {"traces": {"layers": "each"}, "lm": {"width": 2048, "layers": 64}, "programs": {"control_flow": 0.5}},
        ["traces", "hidden states", "GB"],
    ),
    "draws beyond memory": ({"statistics": {"resamples": 1_000_000}}, ["statistics.resamples", "36 GB"]),
    "too many shards": ({"corpus": {"shard": 100, "train": 1_000_000}}, ["corpus.shard is 100", "10040", "8000"]),
    "too many checkpoints": (
        {"lm": {"checkpoint_every": 1}},
        ["lm.checkpoint_every", "22005 checkpoints", "make fewer"],
    ),
    "too many extra checkpoints": (
        {"lm": {"extra_checkpoints": list(range(1, 1002))}},
        ["lm.extra_checkpoints", "1000"],
    ),
    "a thousand probes": ({"probes": {"seeds": 1000}}, ["probes.seeds", "1000", "100"]),
    # Keys that contradict each other.
    "fewer specifications than asked for": (
        {
            "worlds": {"height": 2, "width": 2, "wall_probability": 0, "marker_probability": 0},
            "programs": {"train_length": [1, 1], "test_length": [1, 1]},
            "corpus": {"examples": 1, "validation": 50, "test": 50},
        },
        ["corpus.validation and corpus.test are 100", "at most 80", "corpus.examples"],
    ),
    "walls everywhere": (
        {
            "worlds": {"height": 2, "width": 2, "wall_probability": 1},
            "programs": {"train_length": [1, 1], "test_length": [1, 1]},
            "corpus": {"examples": 1},
        },
        ["corpus.validation and corpus.test are 4000", "at most 80"],
    ),
    "nothing short left for training": (
        {
            "worlds": {"height": 2, "width": 2, "wall_probability": 0, "marker_probability": 0},
            "programs": {"train_length": [1, 1], "test_length": [1, 4]},
            "corpus": {"examples": 1, "validation": 500, "test": 500},
        },
        ["about 250", "at most 80", "programs.train_length"],
    ),
    "too few states to fit probes to": ({"traces": {"train": 5}}, ["traces.train is 5", "30 states", "50", "raise it"]),
    "too few states to report": ({"traces": {"test": 2}}, ["traces.test is 2", "12 states", "20"]),
    "a gallery of more than is traced": (
        {"traces": {"test": 5}, "figures": {"gallery": 6}},
        ["figures.gallery is 6", "traces.test", "5"],
    ),
    "no state but the last": (
        {
            "programs": {"train_length": [1, 1], "test_length": [1, 1]},
            "probes": {"drop_final": True, "offsets": [0]},
        },
        ["probes.drop_final", "one statement"],
    ),
    "an offset that only last states have": (
        {"probes": {"drop_final": True, "offsets": [0, -4]}},
        ["probes.offsets has -4", "between -2 and 3"],
    ),
    "more statements than can be read": (
        {"traces": {"extra_statements": 1000}, "programs": {"control_flow": 0.1}},
        ["a document takes", "2048"],
    ),
    # Names and titles.
    "a name that ends its line": ({"study": "x\n"}, ["study", r"'x\n'", "1 to 40"]),
    "a name that is an option": ({"study": "-rf"}, ["study", "'-rf'", "first a letter"]),
    "a name of other letters": ({"study": "\uff58"}, ["study", "A-Z a-z 0-9"]),
    "a very long name": ({"study": "x" * 5000}, ["study", "(5000 characters)", "1 to 40"]),
    "an alternative's name on two lines": (
        {"interventions": {"alternatives": {"a\nb": {"move": "turn_left"}}, "difficulty_matched": "a\nb"}},
        ["interventions.alternatives", r"'a\nb'", "1 to 40"],
    ),
    "names that differ by case": (
        {"interventions": {"alternatives": {"a": {"move": "turn_left"}, "A": {"move": "turn_right"}}}},
        ["interventions.alternatives.A", "by case"],
    ),
    "an alternative twice": (
        {"interventions": {"alternatives": {"a": {"move": "turn_left"}, "b": {"move": "turn_left"}}}},
        ["interventions.alternatives.b", "the same as a"],
    ),
    "a name that permutations have": (
        {"interventions": {"alternatives": {"perm-01234": {"move": "turn_left"}}, "difficulty_matched": "perm-01234"}},
        ["interventions.alternatives.perm-01234", "perm-", "another name"],
    ),
    "more permutations than there are": (
        {"interventions": {"permutations": 30}},
        ["interventions.permutations", "30", "29 pairs"],
    ),
    "alternatives compared without offset 0": ({"interventions": {"offsets": [1]}}, ["interventions.offsets", "[1]"]),
    "alternatives where nothing is probed": (
        {"interventions": {"offsets": [0, 3]}},
        ["interventions.offsets", "3", "probes.offsets"],
    ),
    "a control twice": ({"controls": {"kinds": ["text", "text"]}}, ["controls.kinds", "repeat"]),
    "an unknown control": ({"controls": {"kinds": ["words"]}}, ["controls.kinds[0]", "'words'", "'counts'"]),
    "layers that nobody keeps": ({"controls": {"kinds": ["layers"]}}, ["controls.kinds", "traces.layers"]),
    "branches without conditions": (
        {"probes": {"features": ["facing", "branch"]}},
        ["probes.features", "branch", "programs.control_flow"],
    ),
    "positions reversed": ({"probes": {"positions": [[2, 1]]}}, ["probes.positions", "[2, 1]", "earlier"]),
    "positions beyond the programs": ({"probes": {"positions": [[5, 6]]}}, ["probes.positions", "[5, 6]", "at most 4"]),
    "a set like the training": (
        {"generalisation": {"sets": {"same": {}}}},
        ["generalisation.sets", "like the training", "statements or cells"],
    ),
    "a set of shorter programs than one statement": (
        {"generalisation": {"sets": {"short": {"statements": -1}}}},
        ["generalisation.sets.short.statements", "-1", "none are shorter"],
    ),
    "a set of worlds without cells": (
        {"generalisation": {"sets": {"small": {"cells": -3}}}},
        ["generalisation.sets.small.cells", "1 x 1", "at least 2"],
    ),
    "a set with worlds too large to be read": (
        {"generalisation": {"sets": {"large": {"cells": 28}}}},
        ["generalisation.sets.large", "2048", "cells"],
    ),
    "a set with programs that run too long": (
        {"programs": {"step_limit": 6}, "generalisation": {"sets": {"long": {"statements": 2}}}},
        ["programs.step_limit", "generalisation.sets.long", "at least 7"],
    ),
    "a set that is larger than its kind": (
        {
            "worlds": {"height": 3, "width": 3, "marker_probability": 0, "wall_probability": 0},
            "programs": {"train_length": [1, 2], "test_length": [1, 2]},
            "probes": {"offsets": [0]},
            "corpus": {"examples": 1, "train": 20, "validation": 20, "test": 20},
            "traces": {"train": 20, "validation": 20, "test": 20},
            "generalisation": {"sets": {"small": {"cells": -1}}, "test": 10_000},
        },
        ["generalisation.test", "10000", "generalisation.sets.small"],
    ),
    "an alternative that is nothing": (
        {"interventions": {"alternatives": {"a": None}, "difficulty_matched": "a"}},
        ["interventions.alternatives.a", "None", "a mapping"],
    ),
    "an unknown key on two lines": ({"lm": {"x\ny": 1}}, ["lm", r"'x\ny'", "unknown key"]),
    "a title on two lines": ({"figures": {"title": "a\nb"}}, ["figures.title", r"'a\nb'", "one line"]),
    "a title with a NUL": ({"figures": {"title": "a\0b"}}, ["figures.title", r"'a\x00b'", "control characters"]),
    "a title that steers the terminal": ({"figures": {"title": "\x1b[31m"}}, ["figures.title", r"\x1b", "control"]),
    "a title of half characters": ({"figures": {"title": "\ud800"}}, ["figures.title", r"\ud800", "Unicode"]),
    "a title that fills the page": ({"figures": {"title": "x" * 201}}, ["figures.title", "(201 characters)", "200"]),
}

# What looks odd, and runs.
ODD = {
    "no alternatives": {"interventions": {"alternatives": {}}},
    "all permutations, where markers matter": {
        "probes": {"features": ["facing", "markers"]},
        "interventions": {"permutations": 59},
    },
    "no controls and no other kinds": {"controls": {"kinds": []}, "generalisation": {"sets": {}}},
    "walls everywhere in a large world": {"worlds": {"wall_probability": 1}},
    "markers everywhere": {"worlds": {"wall_probability": 0, "marker_probability": 1}},
    "one kind of statement": {
        "programs": {"weights": {"pick_marker": 0, "put_marker": 0, "turn_left": 0, "turn_right": 0, "move": 1}}
    },
    "only blocks": {"programs": {"control_flow": 1.0, "max_depth": 4}},
    "largest seeds": {
        "lm": {"seeds": [2**63 - 1]},
        "corpus": {"seed": 2**63 - 1},
        "statistics": {"seed": 2**63 - 1},
    },
    "most steps": {"lm": {"steps": 999_999, "checkpoint_every": 333_333, "decay_steps": 10**9}},
    "checkpoints beyond the end": {"lm": {"extra_checkpoints": [10**9]}},
    "a title of signs": {"figures": {"title": "$(touch x) `x` {seed} %s ; \"' \\ é 漢字"}},
    "the paper's model": {
        "worlds": {"height": 6, "width": 6},
        "programs": {"train_length": [6, 10], "test_length": [6, 10]},
        "corpus": {"train": 1_000_000, "examples": 5},
        "tokens": {"encoding": "spaced"},
        "traces": {"layers": "each"},
        "lm": {"layers": 20, "width": 1024, "heads": 16, "rotary": 32, "batch": 256}
        | {"steps": 76_000, "checkpoint_every": 2000, "decay_steps": 80_000, "learning_rate": 5e-5}
        | {"warmup_steps": 3000, "final_learning_rate": 0.0, "initial_std": 0.02},
    },
}


@pytest.mark.parametrize("name", BAD)
def test_bad_config_is_one_line_that_helps(name):
    raw, parts = BAD[name]
    with pytest.raises(UserError) as caught:
        load(configfiles.merge({}, raw))
    message = str(caught.value)
    assert message.startswith("config: ") and len(message) < 400
    assert message.replace("…", "").isprintable()  # so it is one line
    for part in parts:
        assert part in message


@pytest.mark.parametrize("name", ODD)
def test_what_looks_odd_is_accepted(name):
    load(configfiles.merge({}, ODD[name]))


def test_fewest_states_are_those_of_the_probes():
    splits = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    assert {split: FEWEST[code] for split, code in splits.items()} == FEWEST_STATES


def snakemake(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return of_snakemake().run("snakemake", "-n", *arguments, cwd=cwd)


def one_line(answer: subprocess.CompletedProcess) -> str:
    """What a refused config says: status 2, one line on stderr, nothing else."""
    assert answer.returncode == 2
    assert answer.stdout == ""
    _, line = answer.stderr.splitlines()  # the first one names the profile
    assert line.startswith("progsem: config: ")
    return line


@pytest.mark.parametrize(
    "name",
    [
        "misspelt key",
        "negative size",
        "alternative to nothing",
        "more traces than corpus",
        "fewer specifications than asked for",
        "a name that ends its line",
        "a title with a NUL",
    ],
)
def test_snakemake_says_it_in_one_line(name, tmp_path):
    raw, parts = BAD[name]
    changes = tmp_path / "changes.yaml"
    changes.write_text(yaml.safe_dump(raw), encoding="utf-8")
    line = one_line(snakemake("--configfile", str(changes)))
    for part in parts:
        assert part in line


def test_snakemake_says_it_of_the_command_line():
    line = one_line(snakemake("--config", "lm={layers: 2, seeds: [18446744073709551616]}"))
    assert "lm.seeds[0]" in line and "18446744073709551616" in line


def test_snakemake_says_where_yaml_is_broken(tmp_path):
    for name in ("Snakefile", "src", "workflow", "envs", "profiles"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "config.yaml").write_text("study: x\nlm:\n  layers: 3\n width: 128\n", encoding="utf-8")
    assert "config.yaml: line 4, column" in one_line(snakemake(cwd=tmp_path))


@pytest.mark.parametrize(
    "text, part",
    [
        ("- a\n- b\n", "list"),
        ("just text\n", "str"),
        ("a: [1\n", "line 2"),
        ("lm:\n  steps: 1\n  layers: 2\n  steps: 3\n", "line 4, column 3: .*'steps' is there twice"),
        ("study: a\nlm: {}\nstudy: b\n", "line 3.*'study' is there twice"),
        ("lm: {layers: !!int three}\n", "'three' is no int"),
        ("study: !!timestamp 2024-11-29\n", "tag"),
        (f"study: {'9' * 5000}\n", "4300 digits"),
        (f"study: {'[' * 5000}\n", "recursion"),
        ("study: a\0b\n", "#x0000"),
    ],
    ids=["list", "text", "open", "key twice", "section twice", "no integer", "a date", "digits", "deep", "NUL"],
)
def test_files_that_are_not_a_config(text, part, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=part) as caught:
        configfiles.read_config(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_missing_config_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        configfiles.read_config(tmp_path / "config.yaml")


def test_default_config_file_spells_out_the_defaults():
    raw = configfiles.read_config(ROOT / "config.yaml")
    assert load(configfiles.merge(raw, {})) == load({})

    def names(value, prefix=""):
        for key, item in value.items():
            yield f"{prefix}{key}"
            if isinstance(item, dict):
                yield from names(item, f"{prefix}{key}.")

    assert set(names(raw)) == set(names(load({}).model_dump()))


def test_every_key_of_the_default_config_file_is_explained():
    """Above each key, or above the group of keys that it stands in, there is a comment."""
    lines = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()
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
    base, changes = configfiles.read_config(ROOT / "config.yaml"), configfiles.read_config(path)
    study = load(changed(base, changes))
    assert study.study == path.stem

    def same(small, big, at=()):
        for key, value in small.items():
            here = (*at, key)
            if isinstance(value, dict) and here not in configfiles.REPLACED:
                yield from same(value, big[key], here)
            elif value == big[key]:
                yield ".".join(here)

    assert list(same(changes, base)) == []


def test_merging_replaces_what_is_one_value_and_merges_the_rest():
    base = configfiles.read_config(ROOT / "config.yaml")
    study = load(
        configfiles.merge(
            base,
            {
                "interventions": {"alternatives": {"a": {"move": "turn_left"}}, "difficulty_matched": "a"},
                "probes": {"depths": {"linear": []}},
                "programs": {"weights": {"move": 7}},
                "lm": {"learning_rate": 1e-3},
            },
        )
    )
    assert list(study.interventions.alternatives) == ["a"]
    assert list(study.probes.depths) == ["linear"]
    assert study.programs.weights.move == 7
    assert study.programs.weights.turn_left == load({}).programs.weights.turn_left
    assert study.lm.learning_rate == 1e-3 and study.lm.layers == load({}).lm.layers
    assert load(configfiles.merge(base, {})) == load({})  # the base is not changed by merging


# Plain and quoted scalars -> what YAML 1.2's core schema makes of them.
SCALARS = {
    **{"010": 10, "08": 8, "0o10": 8, "0x1F": 31, "+7": 7, "-0": 0, "400_000": 400_000},
    **{"1e5": 1e5, "1E-5": 1e-5, ".5": 0.5, "1.": 1.0, "-1.5e+2": -150.0, "12e4567": math.inf, "-.Inf": -math.inf},
    **{"true": True, "TRUE": True, "False": False, "null": None, "Null": None, "~": None, "": None},
    # Numbers, truth values, dates, keys and values of YAML 1.1, or of Python, are text.
    **{text: text for text in ("yes", "No", "on", "OFF", "y", "tRUE", "None", "nan", "inf", "0b11", "0o8", "-0o7")},
    **{text: text for text in ("1:30", "190:20:30", "1_000.5", "_1", "1__0", "1_", "1e", "e5", "2024-13-45")},
    **{text: text for text in ("2024-11-29", "2024-11-29T10:00:00Z", "=", "<<", "\u0661")},
    **{f'"{text}"': text for text in ("12e4567", "1e5", "010", "true", "null", "", "yes")},
    **{f"'{text}'": text for text in ("12e4567", "3", "~")},
}


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_scalar_is_read_in_one_way(scalar, tmp_path):
    """In a file, in either style, and within --config."""
    path, expected = tmp_path / "study.yaml", SCALARS[scalar]
    answers = [configfiles.read_settings([f"a={{b: {scalar}}}"]), configfiles.read_settings([f"a={{'b':  {scalar}}}"])]
    for text in (f"a:\n  b: {scalar}\n", f"a: {{b: {scalar}}}\n"):
        path.write_text(text, encoding="utf-8")
        answers.append(configfiles.read_config(path))
    for answer in answers:
        assert answer == {"a": {"b": expected}}
        assert type(answer["a"]["b"]) is type(expected)
    assert configfiles.read_settings([f"a=[x, {scalar}]"]) == {"a": ["x", expected] if scalar else ["x"]}


def test_a_setting_that_is_no_mapping_is_text():
    """A shell takes the quotes away that YAML would need."""
    for given, read in {"2024": "2024", "12e4567": "12e4567", "true": "true", '"2024"': "2024", "x y": "x y"}.items():
        assert configfiles.read_settings([f"study={given}"]) == {"study": read}
    assert load(configfiles.read_settings(["study=2024"])).study == "2024"
    with pytest.raises(UserError, match="study: given '', expected"):
        load(configfiles.read_settings(["study="]))
    with pytest.raises(UserError, match="config: --config lm: line 1, column 11: not valid YAML"):
        configfiles.read_settings(["lm={layers: 3"])
    with pytest.raises(UserError, match="--config lm:.*'layers' is there twice"):
        configfiles.read_settings(["lm={layers: 3, layers: 4}"])


def test_later_files_and_settings_go_over_earlier_ones(tmp_path):
    """Key by key throughout; config.yaml's alternatives, depths, sets and the like are replaced whole."""
    (tmp_path / "one").write_text("lm: {layers: 2, batch: 8}", encoding="utf-8")
    (tmp_path / "two").write_text("lm: {layers: 4}\nprobes: {depths: {mlp1: [8]}}", encoding="utf-8")
    settings = ["probes={depths: {linear: []}}", "lm={clip: 1}", "lm={clip: 2}"]
    changes = configfiles.read_changes([tmp_path / "one", tmp_path / "two"], settings)
    assert changes == {
        "lm": {"layers": 4, "batch": 8, "clip": 2},
        "probes": {"depths": {"mlp1": [8], "linear": []}},
    }
    study = load(configfiles.merge(configfiles.read_config(ROOT / "config.yaml"), changes))
    assert list(study.probes.depths) == ["mlp1", "linear"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A folder with the workflow, and a config.yaml of its own."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("Snakefile", "src", "workflow", "envs", "profiles"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.mark.parametrize("way", ["config.yaml", "--configfile", "--config", "progsem plan"])
def test_every_way_in_gives_the_same_study(way, clone, tmp_path):
    """And what is refused is refused in the same words."""
    own = tmp_path / "own.yaml"

    def studies(values: dict[str, str]) -> dict | str:
        """The study that Snakemake tells its jobs, or the line that refuses it."""
        own.write_text("".join(f"{key}: {value}\n" for key, value in values.items()), encoding="utf-8")
        shutil.copy(own if way == "config.yaml" else ROOT / "config.yaml", clone / "config.yaml")
        if way == "progsem plan":
            try:
                return json.loads(common.study(own).plan.study.model_dump_json())
            except UserError as error:
                return str(error).removeprefix(f"{own}: ")
        settings = [f"{key}={value}" for key, value in values.items()]
        arguments = {"--configfile": [way, str(own)], "--config": [way, *settings]}.get(way, [])
        answer = snakemake("--quiet", "all", "--directory", str(tmp_path), *arguments, cwd=clone)
        if answer.returncode:
            return one_line(answer).removeprefix("progsem: config: ")
        (path,) = (tmp_path / ".snakemake" / "studies").iterdir()
        return json.loads(path.read_text(encoding="utf-8"))

    assert studies({"probes": "{drop_final: yes}"}) == "probes.drop_final: given 'yes', expected true or false"
    given = studies(
        {
            "study": '"12e4567"',
            "corpus": "{seed: 010, train: 400_000, test: 0x1770}",
            "lm": "{learning_rate: 1e-3, clip: 2e0, betas: [.5, .9], seeds: [0o10]}",
            "probes": "{drop_final: False}",
            "figures": '{title: "1e5"}',
        }
    )
    expected = load(
        {
            "study": "12e4567",
            "corpus": {"seed": 10, "train": 400_000, "test": 6000},
            "lm": {"learning_rate": 1e-3, "clip": 2.0, "betas": (0.5, 0.9), "seeds": (8,)},
            "figures": {"title": "1e5"},
        }
    )
    assert given == json.loads(expected.model_dump_json())


def test_two_language_models_are_no_study():
    """Their intervals are 12.7 standard errors wide to either side, as Student's t with one degree of freedom says."""
    assert checks.remark(load({})) == checks.remark(load({"lm": {"seeds": [3]}})) == ""
    said = checks.remark(load({"lm": {"seeds": [3, 5]}}))
    assert "95% intervals reach 12.7 standard errors" in said and "five or more" in said and "\n" not in said


def test_generated_files_are_in_step():
    assert (ROOT / reference.SCHEMA).read_text(encoding="utf-8") == reference.schema_text(), "run `make schema`"
    assert (ROOT / reference.TABLE).read_text(encoding="utf-8") == reference.table_text(), "run `make schema`"
    lock = (ROOT / conda.LOCK).read_text(encoding="utf-8")
    assert (ROOT / conda.CONDA).read_text(encoding="utf-8") == conda.conda_text(lock), "run `make schema`"


def test_conda_environment_has_every_pin_of_the_lock():
    pins = [
        line
        for line in (ROOT / conda.LOCK).read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin) for pin in pins)
    assert "torch==2.13.0" in pins
    (pip,) = [
        item["pip"] for item in yaml.safe_load((ROOT / conda.CONDA).read_text(encoding="utf-8"))["dependencies"][2:]
    ]
    assert pip == pins


def test_schema_agrees_with_the_types():
    schema = json.loads((ROOT / reference.SCHEMA).read_text(encoding="utf-8"))
    check = jsonschema.Draft202012Validator(schema)
    check.validate(configfiles.read_config(ROOT / "config.yaml"))
    for path in (ROOT / "studies").glob("*.yaml"):
        check.validate(configfiles.read_config(path))
    for raw in ({"lm": {"layerz": 3}}, {"corpus": {"train": -5}}, {"tokens": {"encoding": "words"}}):
        assert not check.is_valid(raw)


def test_table_has_every_key_once():
    text = (ROOT / reference.TABLE).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \|", text, flags=re.MULTILINE)
    assert rows == list(reference.keys())
    assert all(field.get("description") for field in reference.keys().values())
