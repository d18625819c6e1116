"""The language model on a page: what JavaScript computes of it, of probes and of Karel, against the package itself."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from karel_cases import GOLDEN, golden, meanings, padded, programs, worlds

from progsem.editing import subspaces
from progsem.editing.streams import Edit, Editable, Texts
from progsem.jobs.job import Job
from progsem.languages.karel import codes, drawing, execution, features, gallery, kernels, playground, syntax, text
from progsem.languages.karel.config import FEATURES
from progsem.languages.karel.execution import WorldStates
from progsem.languages.karel.sampling import Sampler
from progsem.languages.karel.world import World
from progsem.languages.labels import Head
from progsem.lm.codegen.model import CodeGen, Shape
from progsem.lm.traces import Specifications, Tracer
from progsem.playground import page
from progsem.plots import pages
from progsem.probing.fits import States, fit
from progsem.study import config
from progsem.study.vocabulary import SPLITS, TEST
from progsem.synthesis.sampling import pick

pytestmark = pytest.mark.usefixtures("one_thread")

SCRIPTS = "\n".join((pages.SCRIPT, page.ENGINE, drawing.SCRIPT, playground.SCRIPT))
SPECIFICATIONS = 18
OURS = """
const valuesOf = tensors => Object.entries(tensors).map(([name, one]) => [name, one.values]);
const numbers = packed => Object.fromEntries(valuesOf(tensorsIn(packed)));
const asArrays = (key, value) => value instanceof Float32Array ? [...value] : value;
const plain = found => JSON.parse(JSON.stringify(found, asArrays));
const refused = attempt => { try { return attempt(); } catch (error) { return error.message; } };
const modelOf = ({shape, tensors}) => new CodeGen(shape, numbers(tensors));

function everyPosition(model, prompt) {
  const context = model.begin();
  return prompt.map(token => {
    const {streams, states, logits} = context.feed(token);
    const [mean, first, last] = ["mean", "layer_0", `layer_${model.shape.layers}`].map(layer => stateOf(states, layer));
    return {streams, states, logits, mean, first, last};
  });
}

/* What is written behind a specification, and what is fed. */
function traced(begun, program) {
  const kept = ({states}) => data.layers.map(layer => stateOf(states, layer));
  const [own, fed] = [begun.copy().write(), begun.copy().feed(program)];
  return {
    codes: own.grammar.codes, finished: own.grammar.ended, fed: fed.grammar.codes,
    statements: own.statements.map(({position, code, emitted}) => ({position, code, states: kept(emitted)})),
    forced: fed.statements.map(({position, code, read}) => ({position, code, states: kept(read)})),
  };
}

/* Numbers drawn, and tokens picked with them. */
function sampled(begun, seed) {
  const random = seeded(seed), drawn = [], picked = [];
  const pick = atTemperature(1.7, () => { drawn.push(random()); return drawn.at(-1); });
  begun.copy().write((logits, tokens) => {
    picked.push({logits: [...logits], tokens, token: pick(logits, tokens)});
    return picked.at(-1).token;
  });
  return {drawn, picked};
}

/* What may come next where the stream behind a block is changed by what it is in another writing. */
function edited(base, other, codes, layer, change) {
  const source = other.copy().feed(codes).last.streams[layer - 1];
  const writing = base.copy().feed(codes, change && {layer, change: stream => change(stream, source)});
  return {next: nextCodes(writing), streams: writing.last.streams, again: nextCodes(writing)};
}

const probeOf = networks => new Probe(networks.map(network => ({
  layers: network.map(layer => layer.map(part => Float32Array.from(part))),
})));
"""

SENT_BACK = "plain(numbers(data))"  # minus infinity comes as null


def opened(browser, folder: Path, data: object = None) -> None:
    """Open a page that has the scripts, and some data as `data`."""
    made = folder / "page.html"
    made.write_text(
        f'<!doctype html><meta charset="utf-8"><script type="application/json" id="data">{pages.as_text(data)}</script>'
        f'<script>\n"use strict";\n{SCRIPTS}\n{OURS}\n</script>',
        encoding="utf-8",
    )
    browser.open(made)
    assert browser.complaints == []


# The language model.


def held(packed: dict) -> dict[str, np.ndarray]:
    """The float32 numbers that a page has of tensors that were packed for it."""
    digits = np.array([packed["signs"].index(sign) for sign in packed["text"]]).reshape(-1, packed["characters"])
    multiples = digits @ len(packed["signs"]) ** np.arange(packed["characters"])[::-1]
    found = {}
    for name, shape, units in packed["tensors"]:
        own, multiples = np.split(multiples, [math.prod(shape)])
        own = own.reshape(len(units), -1)
        values = np.where(own, (own - packed["half"]) * np.array(units)[:, None], -np.inf)
        found[name] = values.astype(np.float32).reshape(shape)
    assert len(multiples) == 0
    return found


def model_of(shape: Shape, std: float) -> CodeGen:
    """Random weights, biases and norms as well, as a page has them."""
    model = CodeGen(shape)
    model.initialise(7, std)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += std * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(parameter)))
    model.load_state_dict({name: torch.from_numpy(one) for name, one in held(page.packed(model.state_dict())).items()})
    return model.eval()


def shape_of(model: CodeGen) -> dict:
    return {name: getattr(model.shape, name) for name in ("vocabulary", "layers", "width", "heads", "rotary")}


def test_numbers_are_those_that_were_packed(browser, tmp_path):
    generator = torch.Generator().manual_seed(0)
    size = 10.0 ** torch.randint(-9, 9, (400, 1), generator=generator)
    values = size * torch.randn(400, 11, generator=generator)
    values[0], values[1, 3:] = 0, -torch.inf
    tensors = {"values": values, "cube": values.reshape(40, 10, 11)[:3], "line": values[7]}
    packed = page.packed(tensors)
    opened(browser, tmp_path, packed)
    found, expected = browser.run(SENT_BACK), held(packed)
    for name, tensor in tensors.items():
        here = np.array([-np.inf if value is None else value for value in found[name]], np.float32)
        assert np.array_equal(here.reshape(tensor.shape), expected[name])
        rows, of_page = (np.asarray(one).reshape(-1, 11) for one in (tensor, expected[name]))
        finite = np.isfinite(rows)
        assert (of_page[~finite] == -np.inf).all()
        # Half a unit, which is a hundredth larger than it has to be, and what float32 rounds.
        largest = np.abs(np.where(finite, rows, 0)).max(1, keepdims=True) + np.zeros_like(rows)
        assert (
            np.abs(of_page[finite] - rows[finite]) <= largest[finite] * (1.02 / packed["half"] / 2 + 2.0**-24)
        ).all()
    assert len(packed["text"]) == 3 * sum(map(torch.numel, tensors.values())) and packed["half"] > 2**18


@pytest.mark.parametrize("shape", [Shape(60, 3, 96, 4, 16), Shape(41, 2, 64, 8, 8)], ids=["3x96", "2x64"])
def test_streams_and_logits(browser, tmp_path, shape):
    model, generator = model_of(shape, 0.1), np.random.default_rng(1)
    prompts = [generator.integers(0, shape.vocabulary, length) for length in (1, 2, 17, 60, *range(3, 20))]
    sending = {
        "shape": shape_of(model),
        "tensors": page.packed(model.state_dict()),
        "prompts": [row.tolist() for row in prompts],
    }
    opened(browser, tmp_path, sending)
    found = browser.run("(model => plain(data.prompts.map(prompt => everyPosition(model, prompt))))(modelOf(data))")
    editable, largest = Editable(model), 0
    for prompt, positions in zip(prompts, found, strict=True):
        streams = torch.stack(editable.streams(prompt[None], len(prompt)), 2)[0]
        with torch.no_grad():
            states = model(torch.from_numpy(prompt)[None])
            logits = model.logits(states[-1])[0]
        states = torch.stack(states, 2)[0]
        for name, expected in {
            "streams": streams,
            "states": states,
            "logits": logits,
            "mean": states.mean(1),
            "first": states[:, 0],
            "last": states[:, -1],
        }.items():
            given = np.array([position[name] for position in positions])
            assert given.shape == expected.shape
            assert np.abs(given - expected.numpy()).max() < 1e-4, name
        largest = max(largest, float(logits.abs().max()))
    assert largest > 0.5


# Writing, under the grammar.


class Setting:
    """A model with sharp preferences, some specifications, and all that a page is told of them."""

    def __init__(self, encoding: str, control_flow: float):
        self.study = config.load(
            {
                "worlds": {"height": 3, "width": 3},
                "programs": {"train_length": [1, 4], "test_length": [1, 4], "control_flow": control_flow},
                "corpus": {"examples": 2, "held_out": 0},
                "lm": {"precision": "fp32"},
                "tokens": {"encoding": encoding},
                "traces": {"layers": "each", "train": 1000},
                "probes": {"layer": "mean"},
            }
        )
        self.encoding = text.ENCODINGS[encoding]()
        self.model = model_of(Shape(len(self.encoding.vocabulary), 2, 64, 4, 8), 0.3)
        with torch.no_grad():  # so that some programs end
            self.model.lm_head.bias[self.encoding.ids["}" if encoding == "compact" else " "]] += 2.5
        sampler = Sampler(self.study.worlds, self.study.programs, self.study.corpus, TEST, (1, 4))
        drawn, rows = sampler.allocate(SPECIFICATIONS), np.arange(SPECIFICATIONS)
        sampler.draw(0, np.zeros_like(rows), rows, drawn)
        outputs, _ = execution.execute(drawn.programs, drawn.worlds, 200)
        self.specifications = Specifications(
            drawn.programs, drawn.worlds, outputs, np.full(SPECIFICATIONS, TEST), rows, np.s_[:, :2], {"worlds": 1}
        )
        self.prompts = self.specifications.prompts(self.encoding, np.s_[:])
        self.texts = Texts(self.specifications, self.encoding, self.study.programs, self.study.traces.extra_statements)

    @property
    def sent(self) -> dict:
        """What the page is told."""
        glyphs = [text.glyphs(worlds).tolist() for worlds in (self.specifications.worlds, self.specifications.outputs)]
        return {
            "shape": shape_of(self.model),
            "tensors": page.packed(self.model.state_dict()),
            "encoding": page.spelling(self.encoding, self.study.programs, self.study.traces.extra_statements),
            "examples": [list(zip(*both, strict=True)) for both in zip(*glyphs, strict=True)],
            "programs": [row[row != codes.PAD].tolist() for row in self.specifications.programs],
            "layers": ["mean", *(f"layer_{layer}" for layer in range(self.model.layers + 1))],
        }


@pytest.fixture(scope="module", params=["compact", "compact with blocks", "spaced", "spaced with blocks"])
def setting(request, browser, tmp_path_factory):
    encoding, *blocks = request.param.split(" with ")
    made = Setting(encoding, 0.3 if blocks else 0.0)
    opened(browser, tmp_path_factory.mktemp("page"), made.sent)
    browser.run(
        "window.writings = (model => data.examples.map(examples => new Writing(model, data.encoding, examples)))"
        "(modelOf(data)); 0"
    )
    return made


def close(states, kept: np.ndarray) -> bool:
    """Whether states are those that traces keep in float16, up to its rounding."""
    return np.allclose(states, kept, rtol=2.0**-11, atol=1e-4)


def test_codes_are_named_without_what_is_around_them(setting):
    words = page.spelling(setting.encoding, setting.study.programs, 2)["words"]
    assert words[codes.MOVE] == "move()"
    if setting.study.programs.control_flow:
        assert words[codes.FRONT] == "front_is_clear()"
        assert (words[codes.WHILE], words[codes.NUMBER + 3], words[codes.OPEN]) == ("while", "3", "{")


def test_prompts(browser, setting):
    found = browser.run("data.examples.map(examples => promptIds(data.encoding, examples))")
    assert found == setting.prompts.tolist()


def test_programs_and_their_states(browser, setting):
    """What is written greedily, what is fed, and the states of both, as the traces have them."""
    job = Job("traces", setting.study.model_dump(mode="json"), {}, {})
    references = setting.specifications.programs
    written, _, _, forced = Tracer(setting.model, setting.encoding, job).read(setting.prompts, references)
    found = browser.run("plain(writings.map((begun, at) => traced(begun, data.programs[at])))")
    for row, one in enumerate(found):
        program = written.codes[row][written.codes[row] != codes.PAD]
        assert one["codes"] == program.tolist() and one["finished"] == written.finished[row]
        actions = np.flatnonzero(codes.is_action(program))
        assert [each["position"] for each in one["statements"]] == actions.tolist()
        assert [each["code"] for each in one["statements"]] == program[actions].tolist()
        for each in one["statements"]:
            assert close(each["states"], written.activations[row, each["position"]])
        assert one["fed"] == references[row][references[row] != codes.PAD].tolist()
        for each in one["forced"]:
            assert close(each["states"], forced[row, each["position"]])
        assert [each["position"] for each in one["forced"]] == np.flatnonzero(codes.is_action(references[row])).tolist()
    assert 0 < written.finished.sum() < SPECIFICATIONS  # some are cut
    if setting.study.programs.control_flow:
        assert (written.codes == codes.CLOSE).any()


def test_programs_at_a_temperature(browser, setting):
    """The same random numbers pick the same tokens as in `synthesis`, and another seed others."""
    found = browser.run("[1, 2].map(seed => writings.map((begun, at) => sampled(begun, seed + 10 * at)))")
    tokens = [[one["token"] for one in each["picked"]] for run in found for each in run]
    assert tokens[:SPECIFICATIONS] != tokens[SPECIFICATIONS:]
    for each in (each for run in found for each in run):
        for uniform, one in zip(each["drawn"], each["picked"], strict=True):
            logits = np.full(len(one["logits"]), -np.inf)
            logits[one["tokens"]] = np.array(one["logits"])[one["tokens"]]
            assert pick(logits[None], np.array([uniform]), 1.7, 1.0) == [one["token"]]
    drawn = np.concatenate([each["drawn"] for run in found for each in run])
    assert 0.4 < drawn.mean() < 0.6 and drawn.min() >= 0 and drawn.max() < 1


def beginnings(setting) -> tuple[np.ndarray, np.ndarray]:
    """Of each reference program the first codes, up to a statement (N, L), and how many they are."""
    references = setting.specifications.programs
    actions = [np.flatnonzero(codes.is_action(row)) for row in references]
    length = np.array([row[number % len(row)] + 1 for number, row in enumerate(actions)])
    return np.where(np.arange(references.shape[1]) < length[:, None], references, codes.PAD), length


CHANGES = {
    "none": "null",
    "full": "interchange(null)",
    "part": "interchange(bases.basis)",
    "sham": "sham(interchange(bases.basis), bases.random)",
    "sham of all": "sham(interchange(null), bases.random)",
    "sham of nothing": "sham((stream, source) => stream.map(value => value + 1), bases.random)",
}


def test_next_codes_under_edits(browser, setting):
    """Behind every block, as `editing.streams` computes it; the source is the same beginning of another program."""
    generator = torch.Generator().manual_seed(0)
    basis, random = (subspaces.random_basis(64, count, generator) for count in (5, 2))
    packed = page.packed({"basis": basis, "random": random})
    basis, random = map(torch.from_numpy, held(packed).values())
    changes = {
        "none": None,
        "full": subspaces.interchange(None),
        "part": subspaces.interchange(basis),
        "sham": subspaces.sham(subspaces.interchange(basis), random),
        "sham of all": subspaces.sham(subspaces.interchange(None), random),
        "sham of nothing": subspaces.sham(lambda stream, source: stream + 1, random),
    }
    begun, length = beginnings(setting)
    spelled = setting.texts.tokens_of(begun, length)
    browser.run(f"window.bases = numbers({json.dumps(packed)}); 0")
    editable, moved = Editable(setting.model), []
    for row in range(0, SPECIFICATIONS, 5):
        base, source = (
            editable.read(np.concatenate([setting.prompts[at], spelled[row]])[None])
            for at in (row, (row + 1) % SPECIFICATIONS)
        )
        expected = setting.texts.next_codes(spelled[row])
        program = begun[row, : length[row]].tolist()
        unedited = None
        for name, change in changes.items():
            for layer in range(1, setting.model.layers + 1):
                other = row if name == "sham of nothing" else (row + 1) % SPECIFICATIONS
                there = base if name == "sham of nothing" else source
                edit = None if change is None else Edit(layer, base.last, change)
                with torch.no_grad():
                    wanted = base.next_codes(expected, edit, there)[0].exp().numpy()
                    streams = base.edited(edit, there)
                found = browser.run(
                    f"plain(edited(writings[{row}], writings[{other}], {program}, {layer}, {CHANGES[name]}))"
                )
                assert found["next"] == found["again"]
                given = {one["code"]: one for one in found["next"]}
                assert sorted(given) == sorted(expected.codes.tolist())
                for code, probability in zip(expected.codes.tolist(), wanted, strict=True):
                    assert given[code]["probability"] == pytest.approx(probability, abs=2e-5), name
                    assert given[code]["free"] <= given[code]["probability"] + 1e-9
                assert sum(one["probability"] for one in given.values()) == pytest.approx(1)
                for mine, theirs in zip(found["streams"], streams, strict=True):
                    assert np.abs(np.array(mine) - theirs[0, -1].numpy()).max() < 1e-3
                unedited = wanted if unedited is None else unedited
                if change is not None:
                    moved.append(np.abs(wanted - unedited).max())
    assert np.median(moved) > 0.005


def test_codes_without_the_grammar(browser, setting):
    """Token by token, up to the one that decides, among the whole vocabulary."""
    begun, length = beginnings(setting)
    spelled = setting.texts.tokens_of(begun, length)
    fed = [row[:count].tolist() for row, count in zip(begun, length, strict=True)]
    found = browser.run(f"(fed => writings.map((one, at) => nextCodes(one.copy().feed(fed[at]))))({fed})")
    of_code = {(code, tuple(ids)): state for (state, code), ids in setting.encoding.expansions.items()}
    for row in range(0, SPECIFICATIONS, 3):
        before = [*setting.prompts[row], *spelled[row]]
        for one in found[row][:4]:
            decided = setting.encoding.decided(of_code[one["code"], tuple(one["ids"])], one["code"])
            read = torch.tensor([before + one["ids"][:decided]], dtype=torch.int64)
            with torch.no_grad():
                shares = setting.model.logits(setting.model(read)[-1])[0].softmax(1).numpy()
            picked = one["ids"][: decided + 1]
            free = np.prod([shares[len(before) - 1 + place, token] for place, token in enumerate(picked)])
            assert one["free"] == pytest.approx(free, abs=2e-5)
        assert sum(one["free"] for one in found[row]) < 1


# Probes.


def test_probes(browser, tmp_path):
    """Of every depth, and of heads with different numbers of classes."""
    generator = np.random.default_rng(3)
    states = generator.normal(2, 3, (400, 24)).astype(np.float32)
    heads = [Head("facing", "heading", 4), Head("offset_from_start", "dx", 7), Head("wall_ahead", "wall", 2)]
    labels = np.stack([(states[:, at] * 1.5).astype(int) % head.classes for at, head in enumerate(heads)], 1)
    data = States("tests", states, np.arange(400), labels.astype(np.uint8), np.repeat([0, 1, 2], [300, 50, 50]))
    recipe = config.load({}).probes.model_copy(
        update={"depths": {"linear": [], "mlp1": [8], "mlp2": [8, 6]}, "steps": 60, "batch": 64}
    )
    (fitted,) = fit([data], heads, recipe, dtype=torch.float32)
    sending = []
    for layers in fitted.weights:
        networks = [[[part[head].numpy() for part in layer] for layer in layers] for head in range(len(heads))]
        for network, head in zip(networks, heads, strict=True):
            network[-1] = [part[: head.classes] for part in network[-1]]  # those beyond are at minus infinity
        sending.append([[[part.ravel().tolist() for part in layer] for layer in network] for network in networks])
    opened(browser, tmp_path, {"depths": sending, "states": states[350:].tolist()})
    found = browser.run(
        "data.depths.map(networks => (probe => data.states.map(state => probe.answer(Float32Array.from(state))))"
        "(probeOf(networks)))"
    )
    answers = fitted.test[:, :, 0]
    assert len(np.unique(answers)) == 7
    for row, depth, head in np.ndindex(answers.shape):
        one = found[depth][row][head]
        assert one["class"] == answers[row, depth, head]
        assert one["probability"] == pytest.approx(float(fitted.confidence[row, depth, 0, head]), abs=1e-4)
        assert one["probability"] == max(one["probabilities"]) and sum(one["probabilities"]) == pytest.approx(1)
        assert len(one["probabilities"]) == heads[head].classes


# Karel.


@pytest.fixture(scope="module")
def karel(browser, tmp_path_factory):
    opened(browser, tmp_path_factory.mktemp("karel"))
    return browser


def of_page(world: World) -> dict:
    """A world as the page has it."""
    return {
        "cells": world.cells.tolist(),
        "state": {"row": world.row, "column": world.column, "heading": world.heading},
    }


def of_arrays(world: World) -> WorldStates:
    return WorldStates(world.cells, world.pose)


def to_world(given: dict) -> World:
    return World(np.array(given["cells"], np.uint8), *(given["state"][name] for name in ("row", "column", "heading")))


def called(browser, name: str, *arguments):
    """What a function of the page returns, or the message of its error."""
    return browser.run(f"plain(refused(() => {name}({', '.join(map(json.dumps, arguments))})))")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_golden(karel, path):
    """Recorded executions, as far as the page says of them: the end, and each statement's first execution."""
    for case in golden(path):
        program = syntax.encode(syntax.parse(case["program"]))
        inputs = [of_page(World.from_rows(world["input"])) for world in case["worlds"]]
        script = f"{json.dumps(inputs)}.map(world => execute({program}, world, {{}}, 1000))"
        for world, found in zip(case["worlds"], karel.run(script), strict=True):
            end = to_world(found["end"])
            assert found["halted"] and end.to_rows() == world["output"]
            assert end.hero == world["hero_out"] and end.markers == world["markers_out"]
            seen = [
                [one["text"][:-2], is_["column"] + 1, is_["row"] + 1, codes.HEADINGS[is_["heading"]], is_["markers"]]
                for one in found["statements"]
                if (is_ := one["true"])
            ]
            straight = max(program) < codes.STATEMENTS
            assert seen == world["trace"] if straight else all(one in world["trace"] for one in seen)


@settings(max_examples=300, deadline=None)
@given(programs, worlds(), meanings, st.sampled_from([1, 2, 5, 20, 200]))
def test_random_programs(karel, program, world, meaning, limit):
    """Any control flow, meaning and limit: as the kernels and the gallery have it."""
    sequence, mapping = syntax.encode(program), codes.semantics(meaning)
    (row,), one = padded([sequence]), of_arrays(world)
    found = called(karel, "execute", sequence, of_page(world), meaning, limit)
    cells, poses, halted = kernels.execute(row[None], one.cells[None, None], one.poses[None, None], mapping, limit)
    assert found["halted"] == halted[0, 0]
    assert found["end"]["cells"] == cells[0, 0].tolist()
    assert list(found["end"]["state"].values()) == poses[0, 0].tolist()
    expected = gallery.statements(row, one, limit, mapping)
    assert [{key: each[key] for key in expected[0]} for each in found["statements"]] == expected
    assert [each["position"] for each in found["statements"]] == np.flatnonzero(codes.is_action(row)).tolist()
    # What the probes are asked.
    states, number = execution.trace(row[None], one.at(None), limit, mapping), np.arange(len(expected))
    rows = features.labels(FEATURES, states.states(np.zeros_like(number), number)).tolist()
    sizes = [len(features.FEATURES[feature].classes(*world.cells.shape)) for feature in FEATURES]
    reached = [(row, one) for row, one in zip(rows, found["statements"], strict=True) if one["executed"]]
    for row, statement in reached:
        asked = [[feature, statement, of_page(world)] for feature in FEATURES]
        answered = karel.run(f"{json.dumps(asked)}.map(one => labels(...one))")
        assert [len(one) for one in answered] == sizes and sum(answered, []) == row
        unended = ["offset_from_end", statement | {"end": None}, of_page(world)]
        assert karel.run(f"labels(...{json.dumps(unended)})") is None


@given(worlds(), st.lists(st.integers(0, 11), min_size=4, max_size=4), st.sets(st.sampled_from(range(3))))
def test_readings(karel, world, said, asked):
    everything = {"facing": [said[0] % 4], "offset_from_start": said[1:3], "wall_ahead": [said[3] % 2]}
    answers = {name: everything[name] for number, name in enumerate(everything) if number in asked}
    expected = gallery.reading({name: np.array(one) for name, one in answers.items()}, of_arrays(world))
    assert called(karel, "reading", answers, of_page(world)) == expected


@given(worlds(3, 4), worlds(3, 4))
def test_worlds_in_the_text(karel, world, other):
    """Their glyphs, whether they look the same there, and their text in the address."""
    shown = text.glyphs(
        WorldStates(*(np.stack([getattr(one, name) for one in (world, other)])[None] for name in ("cells", "pose")))
    )[0]
    first, second = map(of_page, (world, other))
    assert [called(karel, "glyphs", one) for one in (first, second)] == shown.tolist()
    assert called(karel, "solved", first, second) == (shown[0] == shown[1]).all()
    many = [{"cells": [[0, cell]], "state": {"row": 0, "column": 0, "heading": 2}} for cell in (9, 12, 254)]
    assert all(called(karel, "glyphs", one) == [13, 10] for one in many)
    hidden = json.loads(json.dumps(first))
    hidden["cells"][world.row][world.column] = 3
    assert called(karel, "solved", first, hidden) is True
    written = called(karel, "worldText", first)
    assert called(karel, "worldFrom", written, {"height": 3, "width": 4}) == first
    assert karel.run(f"new URLSearchParams({{world: {json.dumps(written)}}}).toString()") == f"world={written}"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "world: given 1 row, one of them of 0 cells, expected 2 of 3 cells"),
        ("N...-...-...", "world: given 3 rows, expected 2 of 3 cells"),
        ("N...-..", "world: given 2 rows, one of them of 2 cells, expected 2 of 3 cells"),
        ("...-...", "world: given 0 robots, expected one"),
        ("N...-E...", "world: given 2 robots, expected one"),
        ("Nx..-...", "world: given a robot in a wall, in row 1, column 1, expected it in a free cell"),
        (
            "N..._-...",
            "world, row 1: given 'N..._', expected cells: x, ., 1 to 9 or _12_, and N, E, S or W before the robot's",
        ),
        (
            "N...-.0.",
            "world, row 2: given '.0.', expected cells: x, ., 1 to 9 or _12_, and N, E, S or W before the robot's",
        ),
        (
            "N..N-...",
            "world, row 1: given 'N..N', expected cells: x, ., 1 to 9 or _12_, and N, E, S or W before the robot's",
        ),
        ("N...-._255_.", "world, row 2, column 2: given 255 markers, expected at most 254"),
    ],
)
def test_texts_that_are_no_world(karel, written, message):
    assert called(karel, "worldFrom", written, {"height": 2, "width": 3}) == message


ROOMS = [[0, 0, codes.WALL, 1], [2, 0, codes.WALL, 0]]  # nobody gets from the left one to the right one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"state": [1, 1, 3]}, None),
        ({"state": [1, 0, 0], (1, 0): 0}, None),  # what the robot hides
        ({(1, 1): 9, (0, 0): 3, (1, 0): 0}, None),
        ({(0, 1): codes.WALL}, "Row 1, column 2 is a wall in the output alone, and no program moves one."),
        ({(1, 2): 0}, "Row 2, column 3 is a wall in the input alone, and no program moves one."),
        ({"state": [0, 2, 0]}, "The robot of the output stands in a wall, in row 1, column 3."),
        ({"state": [2, 0, 0]}, "The robot of the output stands in a wall, in row 3, column 1."),
        ({"state": [1, 3, 0]}, "The robot cannot get to row 2, column 4: walls are in between."),
        ({(1, 3): 1}, "The markers in row 2, column 4 cannot change: the robot cannot get there."),
        ({(0, 3): 0}, "The markers in row 1, column 4 cannot change: the robot cannot get there."),
    ],
)
def test_examples_that_no_program_fits(karel, change, message):
    state = dict(zip(("row", "column", "heading"), [0, 0, 1], strict=True))
    world = {"cells": ROOMS, "state": state}
    changed = json.loads(json.dumps(world))
    for where, value in change.items():
        if where == "state":
            changed["state"] = dict(zip(state, value, strict=True))
        else:
            changed["cells"][where[0]][where[1]] = value
    assert called(karel, "refusal", world, changed) == message


def test_examples_of_other_sizes_and_robots_in_walls(karel):
    state = {"row": 0, "column": 0, "heading": 0}
    large, small = ({"cells": [[0] * width] * 2, "state": state} for width in (3, 2))
    assert called(karel, "refusal", large, small) == "The output has 2 by 2 cells, but the input 2 by 3."
    walled = {"cells": [[codes.WALL, 0], [0, 0]], "state": state}
    message = "The robot of the input stands in a wall, in row 1, column 1."
    assert called(karel, "refusal", walled, walled) == message


@settings(max_examples=100, deadline=None)
@given(programs, worlds(3, 3))
def test_no_example_of_a_program_is_refused(karel, program, world):
    found = called(karel, "execute", syntax.encode(program), of_page(world), {}, 200)
    assert called(karel, "refusal", of_page(world), found["end"]) is None


BLOCKS = {"control_flow": True, "max_depth": 100, "codes": 10_000}
STRAIGHT = {"control_flow": False, "max_depth": 2, "codes": 4}


@given(programs)
def test_programs_as_text(karel, program):
    sequence = syntax.encode(program)
    written = called(karel, "spelled", sequence)
    assert written == syntax.unparse(program) == text.source(np.array(sequence, np.uint8))
    assert called(karel, "parse", written, BLOCKS) == {"codes": sequence}
    bare = written[len("def run() {") : -1].replace(";", " ").replace("()", "").replace("(", " ").replace(")", "\n")
    assert called(karel, "parse", bare, BLOCKS) == {"codes": sequence}


ACTIONS = "pick_marker, put_marker, turn_left, turn_right, move"


@pytest.mark.parametrize(
    ("written", "encoding", "expected"),
    [
        ("move(); turn_left()", STRAIGHT, [4, 2]),
        ("move turn_left;", STRAIGHT, [4, 2]),
        ("def run() { move(); turn_left(); }", STRAIGHT, [4, 2]),
        ("def run(){move()}", STRAIGHT, [4]),
        ("", STRAIGHT, f"program, given the end of the text, expected a statement ({ACTIONS})"),
        ("def run() { }", STRAIGHT, f"program, character 13: given '}}', expected a statement ({ACTIONS})"),
        ("move(); mvoe()", STRAIGHT, f"program, character 9: given 'mvoe', expected a statement ({ACTIONS})"),
        ("move(;", STRAIGHT, "program, character 6: given ';', expected ')'"),
        ("move();;", STRAIGHT, f"program, character 8: given ';', expected a statement ({ACTIONS})"),
        ("move() }", STRAIGHT, "program, character 8: given '}', expected the end of the program"),
        ("def move() { }", STRAIGHT, "program, character 5: given 'move', expected 'run'"),
        ("def run() { move()", STRAIGHT, "program, given the end of the text, expected a statement or '}'"),
        (
            "def run() { move() } move()",
            STRAIGHT,
            "program, character 22: given 'move', expected the end of the program",
        ),
        ("constructor()", STRAIGHT, f"program, character 1: given 'constructor', expected a statement ({ACTIONS})"),
        (
            "repeat (2) { move() }",
            STRAIGHT,
            f"program, character 1: given 'repeat', expected a statement ({ACTIONS}): the model knows no blocks",
        ),
        ("move " * 4, STRAIGHT, [4] * 4),
        (
            "move " * 5,
            STRAIGHT,
            "program: given 5 statements, expected at most 4, as long as the model's may be",
        ),
        (
            "if front_is_clear { while (not markers_present()) { move } }",
            BLOCKS | {"max_depth": 1},
            f"program, character 21: given 'while', expected a statement ({ACTIONS}): blocks nest at most 1 deep",
        ),
        ("repeat (20) { move }", BLOCKS, "program, character 9: given '20', expected a count from 0 to 19"),
        ("repeat (2 { move }", BLOCKS, "program, character 11: given '{', expected ')'"),
        (
            "if (front) { move }",
            BLOCKS,
            "program, character 5: given 'front', expected a condition (front_is_clear, left_is_clear, right_is_clear, "
            "markers_present, no_markers_present)",
        ),
        ("ifelse markers_present { move }", BLOCKS, "program, given the end of the text, expected 'else'"),
        (
            "step",
            BLOCKS,
            f"program, character 1: given 'step', expected a statement ({ACTIONS}, if, ifelse, while, repeat)",
        ),
        (
            "move " * 3,
            BLOCKS | {"codes": 2},
            "program: given 3 words, expected at most 2, as long as the model's may be",
        ),
    ],
)
def test_texts_of_programs(karel, written, encoding, expected):
    assert called(karel, "parse", written, encoding) == (
        {"codes": expected} if isinstance(expected, list) else expected
    )


@pytest.mark.parametrize("control_flow", [0.0, 0.7])
def test_what_is_drawn_is_as_the_corpus_has_it(karel, control_flow):
    """Frequencies of lengths, codes and glyphs among 4000 programs and worlds, against the study's own sampler."""
    count = 4000
    study = config.load(
        {
            "worlds": {"height": 3, "width": 4, "wall_probability": 0.2, "marker_probability": 0.3},
            "programs": {
                "train_length": [2, 5],
                "control_flow": control_flow,
                "max_depth": 2,
                "weights": {"put_marker": 0},
            },
            "corpus": {"examples": 1, "held_out": 0},
        }
    )
    sampler = Sampler(study.worlds, study.programs, study.corpus, SPLITS.index("train"), (2, 5))
    drawn, rows = sampler.allocate(count), np.arange(count)
    sampler.draw(0, np.zeros_like(rows), rows, drawn)
    programs = study.programs.model_dump() | {"length": [2, 5]}
    given = karel.run(
        f"((programs, worlds) => {{ const random = seeded(3); return Array.from({{length: {count}}}, () =>"
        " ({program: randomProgram(random, programs), world: randomWorld(random, worlds)})); })"
        f"({json.dumps(programs)}, {json.dumps(study.worlds.model_dump())})"
    )
    found = padded([one["program"] for one in given])
    for sequence in found[:200]:
        syntax.decode(sequence)  # is a program

    def shares(sequences):
        """Of programs by their length, first and last code, and how many statements are in an `else`, and before it."""
        last = sequences[np.arange(count), (sequences != codes.PAD).sum(1) - 1]
        actions, behind = codes.is_action(sequences), (sequences == codes.ELSE).cumsum(1) > 0
        inside = behind & (np.where(behind, sequences == codes.CLOSE, False).cumsum(1) == 0)
        before, within = (actions & ~behind).sum(1), (actions & inside).sum(1)
        counted = (actions.sum(1), sequences[:, 0], last, before, within, 6 * before + within)
        return np.stack([np.bincount(each, minlength=codes.CODES) for each in counted]) / count

    def counts(sequences):
        """Of each code, in a program."""
        return np.bincount(sequences[sequences != codes.PAD], minlength=codes.CODES) / count

    mine, theirs = shares(found), shares(drawn.programs)
    chance = np.sqrt((mine + theirs) / count)
    assert (np.abs(mine - theirs) <= np.minimum(4 * chance, 0.025)).all()
    assert np.abs(counts(found) - counts(drawn.programs)).max() < 0.06
    assert not (found == codes.PUT).any()
    shown = np.array([[cell for line in one["world"]["cells"] for cell in line] for one in given])
    cells, poses = drawn.worlds.cells.reshape(count, -1), drawn.worlds.poses[:, 0]
    for value in (0, 1, codes.WALL):
        assert np.abs((shown == value).mean(0) - (cells == value).mean(0)).max() < 0.04
    states = np.array([list(one["world"]["state"].values()) for one in given])
    for axis in range(3):
        assert (
            np.abs(np.bincount(states[:, axis], minlength=4) - np.bincount(poses[:, axis], minlength=4)).max()
            < 0.04 * count
        )
    assert (shown[np.arange(count), states[:, 0] * 4 + states[:, 1]] == 0).all()
