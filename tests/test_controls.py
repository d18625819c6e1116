"""Controls: what the probes are given against the traces themselves, control labels, and code lengths against
scikit-learn's."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from test_traces import Setting

from progsem.jobs.job import Job
from progsem.languages.karel.codes import PAD
from progsem.languages.karel.execution import WorldStates, trace
from progsem.languages.karel.text import CELLS, ENCODINGS
from progsem.languages.labels import Head
from progsem.lm import traces
from progsem.lm.codegen import model as codegen
from progsem.probing import probes
from progsem.probing.controls import (
    ControlInputs,
    Description,
    block_ends,
    control_labels,
    names,
    one_hot,
    run,
    uniform,
)
from progsem.probing.fits import States, fit
from progsem.probing.probes import DataSet, Prober, Traced, labelled
from progsem.storage.files import read_table, write_table
from progsem.study import config
from progsem.study.vocabulary import PROGRAMS, SOURCES, TEST, TRAIN, VALIDATION

pytestmark = pytest.mark.usefixtures("one_thread")

FEATURES = ("facing", "offset_from_start", "wall_ahead")
KINDS = ("counts", "prefix", "start", "text", "embedding", "layers", "shuffled", "description_length")


# What the probes are given, against the files of the stage `traces` and the text itself.


def control_job(folder, recipe, kinds=KINDS, out=None, **sections):
    """A job of the stage on the traces in a folder."""
    out = out or folder / "controls"
    frozen = {
        "controls": {"kinds": list(kinds)},
        "probes": json.loads(recipe.model_dump_json()),
        "tokens": {"encoding": "compact"},
        "programs": {"step_limit": 200},
        "traces": {"outputs": "shown"},
        "lm": {"precision": "fp32"},
    }
    inputs = {name: [folder / f"{name}.arrow"] for name in ("programs", "generated", "forced")}
    inputs |= {"weights": [folder / "model.safetensors"], "config": [folder / "config.json"]}
    outputs = {"predictions": [out / "predictions.arrow"], "accuracy": [out / "accuracy.csv"]}
    outputs |= {"description": [out / "description.arrow"], "probes": [out / "probes.safetensors"]}
    return Job("controls", frozen | sections, inputs, outputs, device="cpu")


@pytest.fixture(
    scope="module", params=[("compact", 0.0, "shown"), ("spaced", 0.5, "copied"), ("compact", 0.5, "blank")]
)
def setting(request, tmp_path_factory):
    """Real traces, and for each source the controls and a data set of all states."""
    encoding, control_flow, outputs = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traces, "choose_precision", lambda name, device: torch.float32)
        made = Setting(tmp_path_factory.mktemp("traces"), encoding, control_flow, layers="each", outputs=outputs)
    recipe = config.Probes(features=FEATURES, offsets=(0,), layer="mean")
    job = control_job(made.folder, recipe, tokens={"encoding": encoding}, traces={"outputs": outputs})
    traced = Traced(job, recipe)
    traced.execute({})
    made.controls = ControlInputs(job, traced)
    made.data = {source: labelled(traced, source, 0, recipe) for source in SOURCES}
    return made


@pytest.mark.parametrize("source", SOURCES)
def test_the_token_read_is_that_of_the_first_hidden_state(setting, source):
    """Layer 0 of the traces is the embedding of the token at each position."""
    data = setting.data[source]
    states = setting.controls.states("embedding", data)
    table = setting.generated if source == "generated" else setting.forced
    np.testing.assert_array_equal(
        states.activations[states.rows].astype(np.float16), table["layer_0"][data.states.rows]
    )
    if not setting.encoding.behind:  # otherwise every statement of a straight-line program comes after a space
        assert len(np.unique(states.rows)) > 2


@pytest.mark.parametrize("source", SOURCES)
def test_inputs_against_plain_loops(setting, source):
    data, controls = setting.data[source], setting.controls
    programs = setting.programs[PROGRAMS[source]]
    counts = controls.states("counts", data)
    shown = controls.so_far(data)
    assert len(shown) == len(data.program) > 10
    for row, (program, position) in enumerate(zip(data.program, data.position, strict=True)):
        so_far = programs[program, : position + 1]
        assert so_far[-1] < 5  # its own statement is the last
        assert counts.activations[counts.rows[row]].tolist() == [int((so_far == action).sum()) for action in range(5)]
        assert shown[row, : position + 1].tolist() == so_far.tolist() and (shown[row, position + 1 :] == PAD).all()
    # The first grids of the prompt, token by token.
    encoding, size = setting.encoding, 2 * 3 * 3
    tokens = setting.prompts[:, 2 : 2 + size] if not encoding.behind else setting.prompts[:, 4 : 4 + 2 * size : 2]
    names = [[encoding.vocabulary[token] for token in row] for row in tokens]
    assert [[CELLS[glyph] for glyph in row] for row in controls.grids] == names


@pytest.mark.parametrize("source", SOURCES)
def test_one_hot_inputs_say_the_same_as_what_they_encode(setting, source):
    """Rows are equal exactly where the values are, as far as training states have them."""
    data, controls = setting.data[source], setting.controls
    everything = replace(data, states=replace(data.states, split=np.full(len(data.program), TRAIN, np.int8)))
    pose = setting.programs["poses"][data.program]
    meant = {
        "prefix": controls.so_far(data),
        "start": pose,
        "text": np.concatenate([controls.grids[data.program], controls.so_far(data)], 1),
    }
    for name, values in meant.items():
        states = controls.states(name, everything)
        inputs = states.activations[states.rows]
        assert set(np.unique(inputs)) <= {0, 1} and inputs.any(0).all()
        assert (inputs.sum(1) == (values != PAD).sum(1)).all()
        apart = (values[:, None] != values[None]).any(2)
        assert np.array_equal((inputs[:, None] != inputs[None]).any(2), apart)


def test_columns_that_no_training_state_has_are_left_out():
    values = np.array([[3, PAD], [3, 1], [4, 2], [7, 1]], np.uint8)
    train = np.array([True, True, True, False])
    assert one_hot(values, train).tolist() == [[1, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]]


# Control labels.
HEADS = [Head("facing", "heading", 4), Head("offset_from_start", "dx", 3), Head("offset_from_start", "dy", 3)]


def types_of(n, count, random):
    """n programs so far, of `count` different ones, and labels of which the last head follows from the one before."""
    every = np.array(np.unravel_index(random.permutation(5**5)[:count], (5,) * 5), np.uint8).T
    so_far = np.concatenate([every[random.integers(0, count, n)], np.full((n, 2), PAD, np.uint8)], 1)
    offset = random.choice(3, n, p=[0.7, 0.2, 0.1])
    labels = np.stack([random.integers(0, 4, n), offset, 2 - offset], 1).astype(np.uint8)
    return so_far, labels


def test_control_labels_belong_to_programs():
    random = np.random.default_rng(0)
    so_far, labels = types_of(20_000, 2_000, random)
    train = random.random(len(labels)) < 0.5
    control = control_labels(so_far, labels, train, HEADS)
    types, of_type = np.unique(so_far, axis=0, return_inverse=True)
    for index in range(len(types)):
        assert len(np.unique(control[of_type.reshape(-1) == index], axis=0)) == 1
    # Rows are drawn whole, as often as in training, one feature apart from the other.
    assert (control[:, 2] == 2 - control[:, 1]).all()
    first = np.unique(of_type, return_index=True)[1]
    shares = np.bincount(control[first, 1]) / len(first)
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.04)
    both = np.bincount(4 * control[first, 1] + control[first, 0], minlength=12) / len(first)
    assert both == pytest.approx(np.outer(shares, np.bincount(control[first, 0]) / len(first)).ravel(), abs=0.03)
    # Padding, other states and their order change nothing.
    wider = np.concatenate([so_far, np.full((len(so_far), 3), PAD, np.uint8)], 1)[::-1]
    assert np.array_equal(control_labels(wider, labels[::-1], train[::-1], HEADS), control[::-1])


def test_control_labels_are_the_same_everywhere():
    """Fixed ones, which no process, platform or order of the features changes."""
    so_far = np.array([[0, PAD], [4, PAD], [4, 2], [1, 3]] * 25, np.uint8)
    labels = np.repeat(np.arange(4, dtype=np.uint8), 25)
    for order in (("facing", "position"), ("position", "facing")):
        control = control_labels(
            so_far, np.stack([labels] * 2, 1), labels >= 0, [Head(name, name, 4) for name in order]
        )
        expected = {"facing": [0, 2, 0, 1], "position": [3, 3, 1, 0]}
        assert control[:4].T.tolist() == [expected[name] for name in order]


def recipe_of(**changes):
    settings = {"steps": 150, "batch": 128, "evaluations": 3, "seeds": 1, "depths": {"mlp1": (64,)}}
    return config.Probes(**settings | {"features": FEATURES, "offsets": (0,), "layer": "mean"} | changes)


@pytest.mark.parametrize(("types", "least", "most"), [(12, 0.95, 1.0), (3000, 0.0, 0.34)])
def test_control_labels_can_be_learned_by_heart_if_there_are_few(types, least, most):
    random = np.random.default_rng(1)
    so_far, labels = types_of(3000, types, random)
    if types == 3000:  # every state a program of its own
        so_far = np.array(np.unravel_index(random.permutation(5**5)[:3000], (5,) * 5), np.uint8).T
    split = np.repeat([TRAIN, VALIDATION, TEST], 1000)
    control = control_labels(so_far, labels, split == TRAIN, HEADS)
    inputs = one_hot(so_far, np.full(3000, True))
    (fitted,) = fit([States("control", inputs, np.arange(3000), control, split)], HEADS, recipe_of(learning_rate=0.02))
    right = (fitted.test[:, 0, 0] == control[split == TEST]).mean(0)
    assert least <= right[0] <= most


# Code lengths.


def test_blocks_end_where_programs_do():
    program = np.repeat(np.arange(1000), np.arange(1000) % 4 + 1)  # 2500 states
    ends = block_ends(program)
    assert ends[-1] == 2500 and len(ends) == 6  # the first of seven portions would have 40 states
    for end, portion in zip(ends, (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1), strict=True):
        assert end == len(program) or program[end] != program[end - 1]
        assert portion * 2500 <= end < portion * 2500 + 4
    assert block_ends(program[:60]) == [60]
    assert block_ends(np.zeros(500, int)) == [500]


class Coded:
    """Labels of n states, two a program, under inputs that hold them or not; and the code of these labels."""

    def __init__(self, noise, seed=0, n=2400, **changes):
        random = np.random.default_rng(seed)
        self.heads = [Head("facing", "heading", 4), Head("wall_ahead", "wall", 2)]
        labels = np.stack([random.integers(0, head.classes, n) for head in self.heads], 1).astype(np.uint8)
        inputs = random.normal(size=(n, 4))
        if noise is not None:
            directions = np.array([[2, 0, 0, 0], [0, 2, 0, 0], [-2, 0, 0, 0], [0, -2, 0, 0]], float)
            inputs = noise * inputs + directions[labels[:, 0]] + np.array([[0, 0, -1, 0], [0, 0, 1, 1]])[labels[:, 1]]
        split = np.repeat([TRAIN, VALIDATION], [n * 2 // 3, n // 3])
        states = States("coded", inputs.astype(np.float32), np.arange(n), labels, split)
        program = np.arange(n) // 2
        self.recipe = recipe_of(features=("facing", "wall_ahead"), **changes)
        self.data = DataSet("forced", 0, states, program, np.arange(n) % 2, np.arange(n) % 2, np.arange(n) % 2 == 1)
        traced = Traced.__new__(Traced)
        traced.programs, traced.heads = {"split": split[::2]}, self.heads
        self.description = Description(self.data, traced, self.recipe)
        job = Job("controls", {"semantics": "original", "lm": {"precision": "fp32"}}, {}, {}, device="cpu")
        self.blocks = self.description.blocks(Prober(job, self.recipe, self.heads, self.description.fits))

    def per_state(self, feature):
        """Bits per state, by probe, the block without a probe left out."""
        return np.concatenate([block[f"bits_{feature}"] for block in self.blocks[1:]]).mean(0)


def test_code_length_of_a_linear_probe_is_that_of_logistic_regression():
    coded = Coded(
        noise=1.5, steps=600, evaluations=20, learning_rate=0.03, weight_decay=0.0, depths={"linear": ()}, batch=256
    )
    states, order, ends = coded.data.states, coded.description.order, coded.description.ends
    for index, head in enumerate(coded.heads):
        for block, (start, end) in enumerate(zip(ends[:-1], ends[1:], strict=True), start=1):
            before, now = order[:start], order[start:end]
            x = states.activations
            x = (x - x[before].mean(0)) / x[before].std(0)
            model = LogisticRegression(C=np.inf, max_iter=1000).fit(x[before], states.labels[before, index])
            likely = model.predict_proba(x[now])[np.arange(len(now)), states.labels[now, index]]
            ours = coded.blocks[block][f"bits_{head.feature}"][:, 0]
            assert ours.shape == (end - start,)
            theirs = -np.log2(likely)
            if start > 200:
                assert ours.mean() == pytest.approx(theirs.mean(), abs=0.05)
            else:  # the best fit to few states is too sure of itself; the snapshot stops short of it
                assert ours.mean() < theirs.mean() + 0.05
            if start > 700:
                assert np.corrcoef(ours, theirs)[0, 1] > 0.99


def test_noise_costs_what_a_uniform_code_does_and_readable_labels_much_less():
    settings = {"depths": {"linear": (), "mlp2": (16, 16)}, "steps": 300, "learning_rate": 0.05}
    noise, readable = (Coded(noise=level, seeds=2, **settings) for level in (None, 0.3))
    for feature, bits in uniform(noise.heads).items():
        costs = noise.per_state(feature)
        assert costs.shape == (4,)
        assert (costs > bits - 0.02).all() and (costs < bits + 0.15).all()
        assert (readable.per_state(feature) < 0.4 * bits).all()
    # Easier labels need fewer bits, and more states make them cheaper.
    assert (Coded(noise=1.0, **settings).per_state("facing") > readable.per_state("facing").max()).all()
    costs = [block["bits_facing"].mean() for block in readable.blocks]
    assert costs[0] == 2 and costs[1] > costs[-1]


def test_every_training_state_is_coded_once_by_what_came_before():
    coded = Coded(noise=1.0, depths={"linear": ()}, steps=20)
    train = coded.data.states.of(TRAIN)
    order, ends = coded.description.order, coded.description.ends
    assert np.array_equal(np.sort(order), train) and not np.array_equal(order, train)
    assert [len(block["program"]) for block in coded.blocks] == np.diff([0, *ends]).tolist()
    program = np.concatenate([block["program"] for block in coded.blocks])
    assert np.array_equal(program, coded.data.program[order])
    seen = [set(block["program"].tolist()) for block in coded.blocks]
    assert sum(map(len, seen)) == len(set.union(*seen))
    states = coded.description._states(ends[0], ends[1])
    assert states.of(TRAIN).tolist() == list(range(ends[0]))
    assert np.array_equal(states.rows[states.of(TRAIN)], order[: ends[0]])
    assert np.array_equal(states.rows[states.of(TEST)], order[ends[0] : ends[1]])
    assert np.array_equal(states.rows[states.of(VALIDATION)], coded.data.states.of(VALIDATION))


# The stage, on traces made by hand.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Traces of 900 straight-line programs; the mean state holds the robot's heading, layer 1 nothing."""
    folder = tmp_path_factory.mktemp("traces")
    random = np.random.default_rng(5)
    n, length, height, width = 900, 3, 3, 4
    lengths = random.integers(1, length + 1, n)
    programs = random.integers(2, 5, (n, length)).astype(np.uint8)
    programs[np.arange(length) >= lengths[:, None]] = PAD
    cells = np.zeros((n, height, width), np.uint8)
    poses = np.stack([random.integers(0, limit, n) for limit in (height, width, 4)], 1).astype(np.uint8)
    write_table(
        folder / "programs.arrow",
        {
            "split": np.repeat([0, 1, 2], [500, 150, 250]).astype(np.int8),
            "generated": np.concatenate([programs, np.full((n, 2), PAD, np.uint8)], 1),
            "reference": programs,
            "cells": cells.reshape(n, -1),
            "poses": poses,
        },
        {"height": height, "width": width, "worlds": 1, "step": 500, "seed": 7, "layers": 1},
    )
    outcome = trace(programs, WorldStates(cells, poses), 100)
    program, statement = np.nonzero(programs != PAD)
    noise = random.normal(size=(2, len(program), 8))
    mean = 0.3 * noise[0]
    mean[:, :4] += np.eye(4)[outcome.poses[program, statement, 2]]
    layers = {"mean": mean, "layer_0": mean, "layer_1": noise[1]}
    for source in ("generated", "forced"):
        columns = {"program": program.astype(np.int32), "position": statement.astype(np.int16)}
        columns |= {"statement": statement.astype(np.int16)}
        columns |= {name: values.astype(np.float16) for name, values in layers.items()}
        write_table(folder / f"{source}.arrow", columns, {})
    vocabulary = len(ENCODINGS["compact"]().vocabulary)
    model = codegen.CodeGen(codegen.Shape(vocabulary, 1, 8, 4, 2))
    model.initialise(0, 1.0)
    model.save(folder / "model.safetensors", folder / "config.json")
    return folder


RECIPE = {"depths": {"linear": (), "mlp1": (32,)}, "seeds": 2, "steps": 120, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def written(folder):
    job = control_job(folder, recipe_of(**RECIPE))
    run(job)
    return job


def table(job):
    with job.output("accuracy").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_stage_writes_what_it_promises(folder, written):
    controls = ["counts", "prefix", "start", "text", "embedding", "layer_0", "layer_1", "shuffled"]
    columns, metadata = read_table(written.output("predictions"))
    about = {
        "depths": ["linear", "mlp1"],
        "seeds": 2,
        "offsets": [0],
        "features": {
            "facing": {"heads": 1, "classes": [4]},
            "offset_from_start": {"heads": 2, "classes": [7, 5]},
            "wall_ahead": {"heads": 1, "classes": [2]},
        },
        "step": 500,
        "seed": 7,
    }
    assert metadata == about | {"semantics": "original", "controls": controls}
    types = {name: (str(column.dtype), *column.shape[1:]) for name, column in columns.items()}
    assert types == {
        "control": ("int8",),
        "source": ("int8",),
        "offset": ("int8",),
        "program": ("int32",),
        "statement": ("int16",),
        "final": ("bool",),
        **{f"label_{name}": ("uint8", heads) for name, heads in (("facing", 1), ("wall_ahead", 1))},
        **{f"predicted_{name}": ("uint8", 4 * heads) for name, heads in (("facing", 1), ("wall_ahead", 1))},
        "label_offset_from_start": ("uint8", 2),
        "predicted_offset_from_start": ("uint8", 8),
        **{f"majority_{name}": ("bool",) for name in FEATURES},
        **{f"confidence_{name}": ("float16", 4) for name in FEATURES},
    }
    programs, _ = read_table(folder / "programs.arrow")
    states = int((programs["reference"][650:] != PAD).sum())
    assert np.bincount(columns["control"]).tolist() == [2 * states] * len(controls)

    rows = table(written)
    assert list(rows[0])[:3] == ["control", "semantics", "source"] and len(rows) == len(controls) * 2 * 3 * 2 * 2
    for row in rows[::7]:
        here = columns["control"] == controls.index(row["control"])
        here &= columns["source"] == SOURCES.index(row["source"])
        predicted = columns[f"predicted_{row['feature']}"][here].reshape(states, 2, 2, -1)
        predicted = predicted[:, metadata["depths"].index(row["depth"]), int(row["seed"])]
        right = (predicted == columns[f"label_{row['feature']}"][here]).all(1).mean()
        assert float(row["test_accuracy"]) == pytest.approx(right, abs=1e-6)
        majority = columns[f"majority_{row['feature']}"][here].mean()
        assert float(row["majority_accuracy"]) == pytest.approx(majority, abs=1e-6)


def test_each_control_reads_what_it_is_given(written):
    best = {}
    for row in table(written):
        if row["feature"] == "facing" and row["depth"] == "mlp1":
            best[row["control"]] = max(best.get(row["control"], 0), float(row["test_accuracy"]))
    # The heading is the start's and the turns' since then: each alone does not tell it, both do.
    assert best["layer_0"] > 0.9 and best["text"] > 0.6
    for control in ("counts", "prefix", "start", "embedding", "layer_1"):
        assert best[control] < 0.4


def test_only_shuffled_labels_are_others(folder, written):
    columns, metadata = read_table(written.output("predictions"))
    programs, _ = read_table(folder / "programs.arrow")
    for name in ("program", "source", "statement", "final"):
        each = columns[name].reshape(len(metadata["controls"]), -1)
        assert (each == each[0]).all()
    shuffled = columns["control"] == metadata["controls"].index("shuffled")
    labels = columns["label_facing"][:, 0].reshape(len(metadata["controls"]), -1)
    assert (labels[:-1] == labels[0]).all() and (labels[-1] != labels[0]).any()
    given = {}
    for program, statement, label in zip(
        columns["program"][shuffled], columns["statement"][shuffled], columns["label_facing"][shuffled, 0], strict=True
    ):
        given.setdefault(programs["reference"][program, : statement + 1].tobytes(), set()).add(int(label))
    assert len(given) > 20 and {len(labels) for labels in given.values()} == {1}  # and generated as forced


def test_a_layer_is_what_the_probes_read_there(folder, written, tmp_path):
    """The control of a layer and the stage `probes` told to read that layer: the same fits."""
    job = control_job(folder, recipe_of(**RECIPE, layer="layer_1"), out=tmp_path, meanings={"original": {}})
    probes.run(replace(job, stage="probes", outputs=job.outputs | {"probes": [tmp_path / "probes.safetensors"]}))
    alone, _ = read_table(job.output("predictions"))
    columns, metadata = read_table(written.output("predictions"))
    here = columns["control"] == metadata["controls"].index("layer_1")
    for name in ("label_facing", "majority_facing", "program"):
        assert np.array_equal(alone[name], columns[name][here])
    assert (alone["predicted_facing"] == columns["predicted_facing"][here]).mean() > 0.99


def test_description_is_of_the_hidden_state(written):
    columns, metadata = read_table(written.output("description"))
    assert {name: (str(column.dtype), *column.shape[1:]) for name, column in columns.items()} == {
        "source": ("int8",),
        "program": ("int32",),
        "block": ("int16",),
        **{f"bits_{name}": ("float32", 4) for name in FEATURES},
    }
    assert metadata["uniform"] == pytest.approx({"facing": 2, "offset_from_start": math.log2(35), "wall_ahead": 1})
    assert {key: metadata[key] for key in ("depths", "seeds", "step", "seed")} == {
        "depths": ["linear", "mlp1"],
        "seeds": 2,
        "step": 500,
        "seed": 7,
    }
    for number, source in enumerate(SOURCES):
        here = columns["source"] == number
        ends = metadata["portions"][source]
        assert ends[-1] == here.sum() and np.bincount(columns["block"][here]).tolist() == np.diff([0, *ends]).tolist()
    first = columns["block"] == 0
    for feature, bits in metadata["uniform"].items():
        assert np.allclose(columns[f"bits_{feature}"][first], bits)
    facing, chance = columns["bits_facing"][~first].mean(), metadata["uniform"]["facing"]
    assert facing < 0.5 * chance  # the mean state has the heading


def test_kinds_that_are_not_asked_for_are_not_there(folder, tmp_path):
    job = control_job(folder, recipe_of(sources=("forced",), steps=10), ["description_length"], out=tmp_path / "a")
    run(job)
    columns, metadata = read_table(job.output("predictions"))
    assert metadata["controls"] == [] and len(columns["control"]) == 0 and table(job) == []
    assert len(read_table(job.output("description"))[0]["block"]) > 500
    job = control_job(folder, recipe_of(sources=("forced",), steps=10), ["start"], out=tmp_path / "b")
    run(job)
    columns, metadata = read_table(job.output("description"))
    assert metadata["portions"] == {} and {len(column) for column in columns.values()} == {0}
    assert columns["bits_offset_from_start"].shape == (0, 1)
    assert names(("shuffled", "layers", "description_length"), 2, "last") == [
        *("shuffled", "layer_0", "layer_1", "layer_2", "mean")
    ]


def test_a_source_with_too_few_states_is_left_out(folder, written, tmp_path):
    """Generated programs are empty: nothing of theirs is probed, and everything of the others."""
    programs, metadata = read_table(folder / "programs.arrow")
    generated, _ = read_table(folder / "generated.arrow")
    for name in ("forced.arrow", "model.safetensors", "config.json"):
        (tmp_path / name).symlink_to(folder / name)
    write_table(
        tmp_path / "programs.arrow", programs | {"generated": np.full_like(programs["generated"], PAD)}, metadata
    )
    write_table(tmp_path / "generated.arrow", {name: column[:0] for name, column in generated.items()}, {})
    job = control_job(tmp_path, recipe_of(**RECIPE), ("start", "description_length"))
    run(job)
    left_out = {"semantics": "original", "source": "generated", "offset": 0, "states": [0, 0, 0]}
    assert job.notes["left_out"] == [left_out]
    forced = [row for row in table(written) if (row["control"], row["source"]) == ("start", "forced")]
    assert table(job) == forced
    columns, metadata = read_table(job.output("description"))
    assert set(columns["source"]) == {1} and list(metadata["portions"]) == ["forced"]


def test_positions_hold_for_controls(folder, tmp_path):
    job = control_job(
        folder,
        recipe_of(sources=("forced",), steps=10, positions=((1, 2),)),
        ["counts", "description_length"],
        tmp_path,
    )
    run(job)
    programs, _ = read_table(folder / "programs.arrow")
    lengths = (programs["reference"] != PAD).sum(1)
    later = int((lengths[:500] - 1).sum())
    assert {int(row["n_train"]) for row in table(job)} == {later}
    assert {int(row["n_test"]) for row in table(job)} == {int(lengths[650:].sum())}
    assert len(read_table(job.output("description"))[0]["block"]) == later
