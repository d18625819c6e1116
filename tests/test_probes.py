"""Probes against scikit-learn, against themselves fitted alone, and the stage on a hand-made trace."""

import csv
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.languages.karel import features
from progsem.languages.karel.codes import (
    CLOSE,
    FAILED,
    FRONT,
    HELD,
    IF,
    LEFT,
    MARKERS,
    MOVE,
    NUMBER,
    OPEN,
    ORIGINAL,
    PAD,
    PUT,
    REPEAT,
    RIGHT,
    UNTESTED,
    WHILE,
    semantics,
)
from progsem.languages.karel.execution import WorldStates, trace
from progsem.languages.labels import Head, spans
from progsem.probing.fits import ProbeBatch, States, fit, whitened, whitening_of
from progsem.probing.probes import aligned, run
from progsem.stages import STAGES
from progsem.storage.files import load_tensors, read_table, write_table
from progsem.study import config
from progsem.study.vocabulary import SOURCES, TEST, TRAIN, VALIDATION

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH = 16


def recipe(**changes):
    settings = {"steps": 150, "batch": 128, "evaluations": 3, "seeds": 1, "depths": {"linear": (), "mlp1": (32,)}}
    return config.Probes(**{"layer": "mean"} | settings | changes)


def states(labels, inputs, name="data"):
    """The first 3/5 train, then 1/5 validation, 1/5 test."""
    n = len(labels)
    split = np.repeat([TRAIN, VALIDATION, TEST], [n - 2 * (n // 5), n // 5, n // 5])
    return States(name, inputs.astype(np.float32), np.arange(n), labels.astype(np.uint8), split)


def encoded(n=2500, noise=1.0, seed=0, classes=(4, 3, 2)):
    """Activations that hold each label along a direction of its own, under noise and far from standardised."""
    random = np.random.default_rng(seed)
    labels = np.stack([random.integers(0, count, n) for count in classes], 1)
    inputs = noise * random.normal(size=(n, WIDTH))
    for column, count in enumerate(classes):
        inputs += random.normal(size=(count, WIDTH))[labels[:, column]]
    heads = [Head("facing", "heading", 4), Head("position", "x", 3), Head("wall_ahead", "wall", 2)]
    return states(labels, inputs * 30 + 100), heads


def accuracy(data, fitted, depth=0, seed=0):
    """Test accuracy of each head."""
    return (fitted.test[:, depth, seed] == data.labels[data.of(TEST)]).mean(0)


def test_a_linear_probe_is_logistic_regression():
    data, heads = encoded(noise=3.0)
    long = recipe(steps=1500, batch=512, weight_decay=0.0, learning_rate=0.02, depths={"linear": ()}, evaluations=1)
    inputs = whitened(data, "cpu", torch.float32).states
    batch = ProbeBatch([(data, 0)], [inputs], heads, long, "cpu")
    batch.fit()
    weight = batch.weights[0][0][0].detach().view(len(heads), 4, WIDTH + 1)
    x = inputs[:, :-1].numpy()
    train, test = data.of(TRAIN), data.of(TEST)
    assert np.allclose(x[train].mean(0), 0, atol=1e-4) and np.allclose(x[train].std(0), 1, atol=1e-4)
    for index, head in enumerate(heads):
        reference = LogisticRegression(C=np.inf, max_iter=2000).fit(x[train], data.labels[train, index])
        expected = reference.predict_proba(x[test])
        ours = torch.softmax(inputs[test] @ weight[index].T, 1).numpy()
        assert (ours[:, head.classes :] == 0).all()
        ours = ours[:, : head.classes]
        assert np.abs(ours - expected).mean() < 0.01
        truth = data.labels[test, index]
        assert log_loss(truth, ours) == pytest.approx(log_loss(truth, expected), abs=0.01)
        assert (ours.argmax(1) == truth).mean() == pytest.approx(reference.score(x[test], truth), abs=0.01)
        if head.classes == 2:
            difference = (weight[index, 1] - weight[index, 0]).numpy()
            assert np.allclose(difference[:-1], reference.coef_[0], atol=0.1)
            assert difference[-1] == pytest.approx(reference.intercept_[0], abs=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_update_is_that_of_torch(dtype):
    """Gradients and steps against those of a module for each probe, bfloat16 within its rounding."""
    data, heads = encoded(n=300)
    settings = recipe(batch=64, depths={"linear": (), "mlp1": (24,), "mlp2": (16, 24)})
    batch = ProbeBatch([(data, 3)], [whitened(data, "cpu", dtype).states], heads, settings, "cpu")
    index = torch.arange(64)[None]
    for depth, sizes in enumerate(batch.sizes):
        layers = [[part if part is None else part.detach() for part in layer] for layer in batch.weights[depth]]
        for head, (_, _, classes) in enumerate(heads):
            modules = []
            for layer, (before, after) in enumerate(pairwise(sizes)):
                linear = torch.nn.Linear(before, after)
                joint, bias = layers[layer]
                joint = joint.view(len(heads), after, -1)[head].float()
                with torch.no_grad():
                    linear.weight.copy_(joint[:, :-1] if layer == 0 else joint)
                    linear.bias.copy_(joint[:, -1] if layer == 0 else bias.view(len(heads), after)[head].float())
                modules += [linear, torch.nn.ReLU()]
            model = torch.nn.Sequential(*modules[:-1])
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=settings.weight_decay)
            logits = model(batch.inputs[index[0], :-1].float())
            loss = torch.nn.functional.cross_entropy(logits[:, :classes], batch.labels[index[0], head])
            loss.backward()
            optimizer.step()
            gradients = batch.gradients(index)
            first = next(at for at, part in enumerate(batch.parameters) if part is batch.weights[depth][0][0])
            got = gradients[first].view(len(heads), sizes[1], -1)[head, :, :-1]
            expected = model[0].weight.grad
            limit = 1e-5 if dtype == torch.float32 else 0.05
            assert (got - expected).norm() <= limit * expected.norm()
            if dtype == torch.float32:
                kept = [part.detach().clone() for part in batch.parameters]
                batch.update(gradients, 1e-2)
                new = batch.weights[depth][0][0].view(len(heads), sizes[1], -1)[head]
                real = slice(classes) if len(sizes) == 2 else slice(None)
                assert torch.allclose(new[real, :-1], model[0].weight[real], atol=1e-5)
                assert torch.allclose(new[real, -1], model[0].bias[real], atol=1e-5)
                with torch.no_grad():
                    torch._foreach_copy_(batch.parameters, kept)
                    torch._foreach_zero_([*batch.updates, *batch.moments[0], *batch.moments[1]])


def test_whitening_decorrelates_the_training_states_alone():
    """Against scikit-learn's PCA; what never changes, and what is rounding, is left out."""
    random = np.random.default_rng(2)
    mixed = random.normal(size=(3000, 6)) @ random.normal(size=(6, 6)) + 5
    states = np.column_stack([mixed, np.full(3000, 3.0), mixed[:, 0] - mixed[:, 1]]).astype(np.float32)
    train = torch.arange(2000)
    whitening = whitening_of(torch.from_numpy(states), train)
    made = whitening.of(torch.from_numpy(states)).double().numpy()
    values = np.linalg.eigvalsh(np.cov(made[:2000].T, bias=True))
    assert np.allclose(np.sort(values), [0, 0, 1, 1, 1, 1, 1, 1], atol=1e-3)
    assert np.allclose(made[:2000].mean(0), 0, atol=1e-4)
    standard = (states - states[:2000].mean(0)) / states[:2000].std(0).clip(1e-3)
    expected = PCA(6, whiten=True).fit(standard[:2000]).transform(standard)
    distances = [np.linalg.norm(one[-50:, None] - one[None, -50:], axis=2) for one in (made, expected)]
    assert np.allclose(*distances, rtol=1e-2, atol=1e-2)


def test_fitted_alone_as_together():
    data, heads = encoded()
    other, _ = encoded(n=1500, seed=1)
    other = States("other", other.activations, other.rows, other.labels, other.split)
    settings = recipe(seeds=2)
    together = fit([data, other], heads, settings, dtype=torch.float32)
    stacked = fit([data, other], heads, settings, dtype=torch.float32, at_once=3)
    for one, two in zip(together, stacked, strict=True):
        assert (one.test == two.test).mean() > 0.995
    for index, head in enumerate(heads):
        only = States(data.name, data.activations, data.rows, data.labels[:, [index]], data.split)
        for depth, widths in settings.depths.items():
            alone = recipe(seeds=1, depths={depth: widths})
            (result,) = fit([only], [head], alone, dtype=torch.float32)
            both = together[0].test[:, list(settings.depths).index(depth), 0, index]
            assert (result.test[:, 0, 0, 0] == both).mean() > 0.995


def test_repeated_fits_are_equal_and_seeds_differ():
    data, heads = encoded(n=800, noise=3.0)
    first, second = (fit([data], heads, recipe(seeds=2, steps=40))[0] for _ in range(2))
    assert np.array_equal(first.test, second.test) and np.array_equal(first.chosen_step, second.chosen_step)
    assert not np.array_equal(first.test[:, :, 0], first.test[:, :, 1])


def test_only_perceptrons_learn_exclusive_or():
    random = np.random.default_rng(0)
    bits = random.integers(0, 2, (3000, 2))
    inputs = np.concatenate([2.0 * bits - 1, random.normal(size=(3000, 4))], 1) + 0.1 * random.normal(size=(3000, 6))
    data = states(bits[:, :1] ^ bits[:, 1:], inputs)
    heads = [Head("wall_ahead", "wall", 2)]
    depths = {"linear": (), "mlp1": (32,), "mlp2": (32, 32)}
    (fitted,) = fit([data], heads, recipe(depths=depths, steps=300, learning_rate=0.01))
    linear, mlp1, mlp2 = (accuracy(data, fitted, depth)[0] for depth in range(3))
    assert linear < 0.6 and mlp1 > 0.97 and mlp2 > 0.97


def test_bfloat16_is_as_good_as_float32():
    data, heads = encoded()
    low, full = (fit([data], heads, recipe(), dtype=dtype)[0] for dtype in (torch.bfloat16, torch.float32))
    for depth in range(2):
        assert accuracy(data, low, depth) == pytest.approx(accuracy(data, full, depth), abs=0.03)


def test_chosen_on_validation_never_on_test():
    """Other test labels change nothing but the score; other validation labels may change what is chosen."""
    data, heads = encoded(n=1000, noise=4.0)
    labels = data.labels.copy()
    labels[data.of(TEST)] = 0
    changed = States(data.name, data.activations, data.rows, labels, data.split)
    one, two = (fit([each], heads, recipe())[0] for each in (data, changed))
    assert np.array_equal(one.test, two.test) and np.array_equal(one.chosen_step, two.chosen_step)


def test_kept_snapshot_is_the_best_one():
    """With a learning rate that ruins the probe at the end, the first snapshot is reported."""
    data, heads = encoded()
    settings = recipe(steps=60, evaluations=3, depths={"linear": ()})
    batch = ProbeBatch([(data, 0)], [whitened(data, "cpu", torch.float32).states], heads, settings, "cpu")
    batch.learning_rate = lambda step: 0.01 if step < 40 else -0.5
    steps, weights = batch.fit()
    assert (steps < 60).all()
    right = (batch.answers(TEST, weights)[0].classes[:, 0] == data.labels[data.of(TEST)]).mean(0)
    now = batch.hits(TEST)[0, 0].numpy() / len(data.of(TEST))
    assert (right > now + 0.1).all()


def test_confidence_and_bits_are_the_softmax():
    data, heads = encoded(n=700, noise=4.0)
    inputs = whitened(data, "cpu", torch.float32).states
    batch = ProbeBatch([(data, 0)], [inputs], heads, recipe(depths={"linear": ()}), "cpu")
    _, weights = batch.fit()
    (answers,) = batch.answers(TEST, weights)
    test = data.of(TEST)
    assert answers.bits.shape == (len(test), 1, len(heads)) and (answers.bits >= 0).all()
    for index, head in enumerate(heads):
        weight = weights[0][0][0].view(len(heads), 4, WIDTH + 1)[index, : head.classes].double()
        likely = torch.softmax(inputs[test].double() @ weight.T, 1).numpy()
        assert (answers.classes[:, 0, index] == likely.argmax(1)).all()
        assert np.allclose(answers.confidence[:, 0, index], likely.max(1), atol=1e-5)
        truth = data.labels[test, index]
        assert np.allclose(answers.bits[:, 0, index], -np.log2(likely[np.arange(len(test)), truth]), atol=1e-4)


def test_chosen_by_likelihood():
    """The snapshot under which the validation labels cost least; the untrained one where nothing can be learned."""
    data, heads = encoded(n=1500)
    noise = np.random.default_rng(1).integers(0, 2, len(data.labels)).astype(np.uint8)
    labels = np.column_stack([data.labels[:, :2], noise])
    data = States(data.name, data.activations, data.rows, labels, data.split)
    settings = recipe(steps=200, evaluations=4, depths={"mlp1": (64,)})
    batch = ProbeBatch([(data, 0)], [whitened(data, "cpu", torch.float32).states], heads, settings, "cpu")
    seen = {0: batch.log_likelihood(VALIDATION)}
    learning_rate = batch.learning_rate

    def watching(step):
        if step in (50, 100, 150):
            seen[step] = batch.log_likelihood(VALIDATION)
        return learning_rate(step)

    batch.learning_rate = watching
    chosen, weights = batch.fit(by_likelihood=True)
    seen[200] = batch.log_likelihood(VALIDATION)
    best = max(seen, key=lambda step: seen[step][0, 0, 0])
    assert chosen[0, 0, 0] == best > 0
    assert chosen[0, 0, 2] == 0
    (answers,) = batch.answers(VALIDATION, weights)
    for head in range(3):
        expected = -seen[int(chosen[0, 0, head])][0, 0, head] / np.log(2)
        assert answers.bits[:, 0, head].sum() == pytest.approx(float(expected), rel=1e-4)


def test_a_constant_unit_and_fewer_states_than_a_minibatch():
    data, heads = encoded(n=120)
    data.activations[:, 0] = 7
    (fitted,) = fit([data], heads, recipe(batch=200, steps=30))
    assert accuracy(data, fitted).mean() > 0.5


# Alignment. An empty 3 x 3 world, robot in the middle, facing north.
EMPTY = np.zeros((1, 3, 3), np.uint8)
MIDDLE = np.array([[1, 1, 0]], np.uint8)


def single(codes, meanings=ORIGINAL, length=12):
    program = np.full((1, length), PAD, np.uint8)
    program[0, : len(codes)] = codes
    return trace(program, WorldStates(EMPTY, MIDDLE), 50, meanings)


def facing_at(offset, outcome, drop_final=False):
    statements = np.arange(outcome.actions[0])
    kept, target = aligned(outcome, np.zeros_like(statements), statements, offset, drop_final)
    return kept.tolist(), outcome.poses[0, target, 2].tolist()


def test_offsets_by_hand():
    outcome = single([LEFT, LEFT, MOVE, RIGHT])  # faces west, south, south, west
    assert facing_at(0, outcome) == ([0, 1, 2, 3], [3, 2, 2, 3])
    assert facing_at(1, outcome) == ([0, 1, 2], [2, 2, 3])
    assert facing_at(2, outcome) == ([0, 1], [2, 3])
    assert facing_at(-1, outcome) == ([1, 2, 3], [3, 2, 2])
    assert facing_at(-2, outcome) == ([2, 3], [3, 2])
    assert facing_at(0, outcome, drop_final=True) == ([0, 1, 2], [3, 2, 2])
    assert facing_at(-1, outcome, drop_final=True) == ([1, 2], [3, 2])
    assert facing_at(4, outcome) == ([], [])
    assert outcome.ends.tolist() == [[2, 1, 3]]


def test_what_lies_below_and_how_the_condition_came_out():
    # put; if (front_is_clear) { move } turn_left; if (markers_present) { put } put, on an empty world
    codes = [PUT, IF, FRONT, OPEN, MOVE, CLOSE, LEFT, IF, MARKERS, OPEN, PUT, CLOSE, PUT]
    outcome = single(codes, length=14)
    assert outcome.executed[0, :5].tolist() == [True, True, True, False, True]
    assert outcome.markers[0, [0, 1, 2, 4]].tolist() == [1, 0, 0, 1]
    assert outcome.branch[0, [0, 1, 2, 4]].tolist() == [UNTESTED, HELD, HELD, FAILED]


def test_mirror_semantics_mirrors_the_turns():
    mirror = semantics(LANGUAGE.config.ALTERNATIVES["alt-0"])
    assert facing_at(0, single([LEFT, LEFT, MOVE, RIGHT], mirror))[1] == [1, 2, 2, 1]


def test_statements_never_reached_have_no_state():
    # repeat (2) { turn_left } while (front_is_clear) { move } put; from the middle, facing south
    loops = [REPEAT, NUMBER + 2, OPEN, LEFT, CLOSE, WHILE, FRONT, OPEN, MOVE, CLOSE, PUT]
    outcome = single(loops)
    assert outcome.actions.tolist() == [3]
    # after the first turn_left: west; after the only move: south; after put: south
    assert facing_at(0, outcome) == ([0, 1, 2], [3, 2, 2])
    # Without moving, the front stays clear until the step limit: put is never reached.
    stuck = single(loops, semantics({"move": "put_marker"}))
    assert facing_at(0, stuck) == ([0, 1], [3, 2])
    assert facing_at(1, stuck) == ([0], [2])


# The stage.
FEATURES = ("facing", "offset_from_start", "wall_ahead")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Traces of 900 straight-line programs whose states hold the robot's heading and little else."""
    folder = tmp_path_factory.mktemp("traces")
    random = np.random.default_rng(5)
    n, length = 900, 4
    lengths = random.integers(1, length + 1, n)
    programs = random.integers(0, 5, (n, length)).astype(np.uint8)
    programs[np.arange(length) >= lengths[:, None]] = PAD
    cells = np.zeros((n, 3, 4), np.uint8)
    poses = np.stack([random.integers(0, limit, n) for limit in (3, 4, 4)], 1).astype(np.uint8)
    write_table(
        folder / "programs.arrow",
        {
            "split": np.repeat([0, 1, 2], [500, 150, 250]).astype(np.int8),
            "generated": np.concatenate([programs, np.full((n, 2), PAD, np.uint8)], 1),
            "reference": programs,
            "cells": cells.reshape(n, -1),
            "poses": poses,
        },
        {"height": 3, "width": 4, "worlds": 1, "step": 500, "seed": 7, "layers": 1},
    )
    outcome = trace(programs, WorldStates(cells, poses), 100)
    program, statement = np.nonzero(programs != PAD)
    heading = np.eye(4)[outcome.poses[program, statement, 2]]
    for source in ("generated", "forced"):
        noise = random.normal(size=(len(program), WIDTH))
        noise[:, :4] = 3 * heading + 0.3 * noise[:, :4]
        columns = {"program": program.astype(np.int32), "position": statement.astype(np.int16)}
        columns |= {"statement": statement.astype(np.int16), "mean": noise.astype(np.float16)}
        write_table(folder / f"{source}.arrow", columns, {})
    return folder


def stage(folder, name, programs="programs.arrow", mapping=None, meanings=None, **changes):
    settings = recipe(features=FEATURES, offsets=(0, 1), **changes)
    out = folder / name
    job = Job(
        "probes",
        {
            "probes": json.loads(settings.model_dump_json()),
            "meanings": meanings or {name: mapping or {}},
            "lm": {},
            "programs": {"step_limit": 100},
        },
        {
            "programs": [folder / programs],
            "generated": [folder / "generated.arrow"],
            "forced": [folder / "forced.arrow"],
        },
        {name: [out / file] for name, file in STAGES["probes"].files.items() if name != "manifest"},
        device="cpu",
    )
    run(job)
    with job.output("accuracy").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    return *read_table(job.output("predictions")), rows, job


def test_stage_writes_what_it_promises(folder):
    columns, metadata, rows, job = stage(folder, "original", seeds=2, learning_rate=0.02)
    assert metadata == {
        "depths": ["linear", "mlp1"],
        "seeds": 2,
        "offsets": [0, 1],
        "features": {
            "facing": {"heads": 1, "classes": [4]},
            "offset_from_start": {"heads": 2, "classes": [7, 5]},
            "wall_ahead": {"heads": 1, "classes": [2]},
        },
        "semantics": ["original"],
        "step": 500,
        "seed": 7,
    }
    assert {name: str(column.dtype) for name, column in columns.items() if "_" not in name} == {
        "semantics": "int16",
        "source": "int8",
        "offset": "int8",
        "program": "int32",
        "statement": "int16",
        "final": "bool",
    }
    assert columns["label_offset_from_start"].shape[1] == 2
    assert columns["predicted_offset_from_start"].shape[1] == 2 * 2 * 2
    assert columns["majority_facing"].dtype == bool
    for feature in FEATURES:
        sure = columns[f"confidence_{feature}"]
        assert sure.shape[1] == 2 * 2 and sure.dtype == np.float16
        assert (sure > 0).all() and (sure <= 1).all()
    # They know how often they are right.
    right = (columns["predicted_facing"] == columns["label_facing"]).astype(float)
    for offset, least, most in ((0, 0.85, 1), (1, 0.4, 0.8)):
        here = columns["offset"] == offset
        sure = columns["confidence_facing"][here].mean(dtype=float)
        assert least < sure < most and sure == pytest.approx(right[here].mean(), abs=0.1)
    assert (columns["program"] >= 650).all() and set(columns["offset"]) == {0, 1}
    assert len(rows) == 2 * 2 * len(FEATURES) * 2 * 2
    assert job.notes["left_out"] == []

    programs, _ = read_table(folder / "programs.arrow")
    lengths = (programs["reference"] != PAD).sum(1)
    assert np.array_equal(columns["final"], columns["statement"] == lengths[columns["program"]] - 1)
    for row in rows:
        chosen = (columns["source"] == ["generated", "forced"].index(row["source"])) & (
            columns["offset"] == int(row["offset"])
        )
        assert int(row["n_test"]) == chosen.sum()
        labels = columns[f"label_{row['feature']}"][chosen]
        predicted = columns[f"predicted_{row['feature']}"][chosen].reshape(len(labels), 2, 2, -1)
        predicted = predicted[:, metadata["depths"].index(row["depth"]), int(row["seed"])]
        # Right only where all heads are.
        assert float(row["test_accuracy"]) == pytest.approx((predicted == labels).all(1).mean(), abs=1e-6)
        assert float(row["majority_accuracy"]) == pytest.approx(
            columns[f"majority_{row['feature']}"][chosen].mean(), abs=1e-6
        )
        assert len(row["chosen_step"].split("/")) == labels.shape[1]
        if row["feature"] == "facing" and row["offset"] == "0":
            assert float(row["test_accuracy"]) > 0.97


def test_the_probes_that_are_kept_give_the_answers(folder):
    """Weights in probes.safetensors, used on hidden states as they are, against predictions.arrow."""
    columns, metadata, _, job = stage(folder, "kept", seeds=2)
    kept, _ = load_tensors(job.output("probes"))
    states, _ = read_table(folder / "forced.arrow")
    place = {key: row for row, key in enumerate(zip(states["program"], states["statement"], strict=True))}
    here = np.flatnonzero((columns["source"] == SOURCES.index("forced")) & (columns["offset"] == 0))
    keys = zip(columns["program"][here], columns["statement"][here], strict=True)
    read = torch.from_numpy(states["mean"][[place[key] for key in keys]].astype(np.float32))
    assert {name.rsplit(".", 2)[0] for name in kept} == {
        f"kept.{source}.{depth}" for source in SOURCES for depth in metadata["depths"]
    }
    for number, depth in enumerate(metadata["depths"]):
        layers = sorted({name.rsplit(".", 1)[0] for name in kept if name.startswith(f"kept.forced.{depth}.")})
        units = read.expand(4, *read.shape)  # heads
        for layer in layers:
            units = units if layer == layers[0] else torch.relu(units)
            units = units @ kept[f"{layer}.weight"].mT + kept[f"{layer}.bias"][:, None]
        answers = units.argmax(2).numpy().T
        first = 0
        for feature in FEATURES:
            heads = columns[f"label_{feature}"].shape[1]
            said = columns[f"predicted_{feature}"][here].reshape(len(here), 2, 2, heads)[:, number, 0]
            assert (said == answers[:, first : first + heads]).mean() > 0.999
            first += heads


def test_stage_under_an_alternative(folder):
    mirror = LANGUAGE.config.ALTERNATIVES["alt-0"]
    original, *_ = stage(folder, "same", sources=("forced",), steps=60)
    columns, _, rows, _ = stage(folder, "alt-0", mapping=mirror, sources=("forced",), steps=60)
    for name in ("source", "offset", "program", "statement", "final"):
        assert np.array_equal(original[name], columns[name])
    at_zero = columns["offset"] == 0
    programs, _ = read_table(folder / "programs.arrow")
    turns = (programs["reference"] == RIGHT).astype(int) - (programs["reference"] == LEFT)
    turns = turns.cumsum(1)[columns["program"], columns["statement"]]
    start = programs["poses"][columns["program"], 2].astype(int)
    assert np.array_equal(original["label_facing"][at_zero, 0], ((start + turns) % 4)[at_zero])
    assert np.array_equal(columns["label_facing"][at_zero, 0], ((start - turns) % 4)[at_zero])
    # The states hold the original heading only; where both agree the alternative's is decodable too.
    facing = [float(row["test_accuracy"]) for row in rows if row["feature"] == "facing" and row["offset"] == "0"]
    assert max(facing) < 0.9


def test_several_semantics_in_one_job_are_what_each_is_alone(folder):
    mirror = LANGUAGE.config.ALTERNATIVES["alt-0"]
    meanings = {"original": {}, "alt-0": mirror}
    columns, about, rows, _ = stage(folder, "both", meanings=meanings, sources=("forced",), steps=30)
    assert about["semantics"] == list(meanings) and set(columns["semantics"]) == {0, 1}
    for number, (name, mapping) in enumerate(meanings.items()):
        alone, _, own, _ = stage(folder, f"{name}-alone", mapping=mapping, sources=("forced",), steps=30)
        for column, values in alone.items():
            if column != "semantics":
                assert np.array_equal(columns[column][columns["semantics"] == number], values)
        assert [row | {"semantics": ""} for row in rows if row["semantics"] == name] == [
            row | {"semantics": ""} for row in own
        ]


def test_positions_that_train(folder):
    """Test states are all there; of the others, those of the statements named."""
    everywhere, _, rows, _ = stage(folder, "everywhere", sources=("forced",), steps=60)
    columns, _, first, _ = stage(folder, "first", sources=("forced",), steps=60, positions=((0, 0), (2, 3)))
    for name in ("program", "statement", "offset", "label_facing"):
        assert np.array_equal(columns[name], everywhere[name])
    programs, _ = read_table(folder / "programs.arrow")
    lengths = (programs["reference"] != PAD).sum(1)
    for split, (name, wanted) in enumerate(
        {"n_train": (0, 2, 3), "n_validation": (0, 2, 3), "n_test": range(4)}.items()
    ):
        here = lengths[programs["split"] == split]
        counted = {int(row[name]) for row in first if row["offset"] == "0"}
        assert counted == {sum(int((here > statement).sum()) for statement in wanted)}
        # A state's own statement counts, not the one that is asked about.
        counted = {int(row[name]) for row in first if row["offset"] == "1"}
        assert counted == {sum(int((here > statement + 1).sum()) for statement in wanted)}
    assert {row["n_test"] for row in rows} == {row["n_test"] for row in first}
    trained = np.isin(columns["statement"], (0, 2, 3))
    assert not np.array_equal(columns["predicted_offset_from_start"], everywhere["predicted_offset_from_start"])
    assert trained.any() and not trained.all()


def test_too_few_states_give_no_rows(folder):
    """A checkpoint that writes one statement a program has nothing to probe at offset 1, or none with 40 programs."""
    columns, _ = read_table(folder / "programs.arrow")
    few = {**columns, "split": np.where(np.arange(900) < 860, 3, np.repeat([0, 1, 2], [500, 150, 250]))}
    few["split"][:20] = 0
    write_table(
        folder / "few.arrow",
        few | {"split": few["split"].astype(np.int8)},
        {"height": 3, "width": 4, "worlds": 1, "step": 0, "seed": 0, "layers": 1},
    )
    columns, metadata, rows, job = stage(folder, "few", programs="few.arrow")
    assert rows == [] and {len(column) for column in columns.values()} == {0}
    full, *_ = stage(folder, "whole", sources=("forced",), steps=10)
    assert {name: (column.dtype, column.shape[1:]) for name, column in columns.items()} == {
        name: (column.dtype, column.shape[1:]) for name, column in full.items()
    }
    assert metadata["step"] == 0
    assert [(entry["source"], entry["offset"]) for entry in job.notes["left_out"]] == [
        ("generated", 0),
        ("generated", 1),
        ("forced", 0),
        ("forced", 1),
    ]


def test_heads_of_a_feature_count_together():
    assert spans(features.heads(("position", "facing"), {"height": 4, "width": 4})) == {
        "position": slice(0, 2),
        "facing": slice(2, 3),
    }
