"""The playground: what the page computes is what the study has, and a browser is driven through all that it offers."""

import json
from pathlib import Path
from urllib.parse import parse_qs

import axe_core_python
import numpy as np
import pytest
import torch

from progsem.api.study import open_study
from progsem.languages import LANGUAGE
from progsem.lm import model as lm
from progsem.lm.traces import Specifications
from progsem.plots import pages
from progsem.storage.files import read_table
from progsem.study.vocabulary import PROGRAMS, SOURCES, SPLITS, TEST

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def study(finished):
    return open_study(finished / "studies/tiny.yaml")


@pytest.fixture
def opened(browser, finished):
    """The tiny study's page, at its last checkpoint."""
    browser.size(1100, 900)
    browser.open(finished / "results/figures/playground.html")
    yield browser
    assert browser.complaints == [] and all(address.startswith("file:") for address in browser.asked)


def address(browser) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(browser.run("location.hash.slice(1)")).items()}


def say(value) -> str:
    return json.dumps(value)


# ------------------------------------------------------------------ what it computes

OURS = """
const logitsAt = (step, examples) => [...new Writing(weights(step).model, encoding, examples).last.logits];

/* What is written behind examples, or fed, at a checkpoint, and the hidden state at each statement. */
function studied(step, examples, source, codes) {
  state.step = step;
  const begun = new Writing(weights().model, encoding, examples);
  const made = source === "generated" ? begun.write() : begun.feed(codes);
  const own = one => source === "generated" ? one.emitted : one.read;
  return {codes: made.grammar.codes, hidden: made.statements.map(one => [...stateOf(own(one).states, OWN)])};
}

/* What the probes of a semantics answer to hidden states, by depth. */
function asked(step, semantics, source, hidden) {
  state.step = step;
  const of = depth => (state.depth = depth, hidden.map(one => answers(semantics, source, Float32Array.from(one))));
  return Object.keys(data.depths).map(of);
}

/* Probabilities of what comes next in each of the four columns. */
function sidesOf(example, base, other, block, kind) {
  specify([example]);
  const [codes, others] = [base, other].map(text => parse(text, encoding).codes), step = checkpoints.length - 1;
  go({step, codes, mine: codes.map(() => true), at: codes.length, ended: false, block, kind, other: others});
  const rows = side => [...document.querySelectorAll(`#side-${side} tr`)];
  return [0, 1, 2, 3].map(side => rows(side).map(one => Number(one.dataset.probability)));
}
0
"""


def specifications_of(finished, plan, **counts) -> Specifications:
    shards = {split: [finished / path for path in plan.shards(plan.corpus, split, counts[split])] for split in counts}
    return Specifications.read(shards, counts)


def examples_of(specifications) -> list:
    """The examples of each specification, as the page's model reads them."""
    worlds, outputs = (
        LANGUAGE.text.glyphs(part.at(specifications.shown)) for part in (specifications.worlds, specifications.outputs)
    )
    return [
        [[one.tolist(), other.tolist()] for one, other in zip(*both, strict=True)]
        for both in zip(worlds, outputs, strict=True)
    ]


def test_logits_are_the_checkpoint_s(opened, study, finished):
    """At every checkpoint, behind specifications of all splits, within 1e-3."""
    plan = study._plan
    counts = {split: getattr(plan.study.traces, split) for split in SPLITS}
    specifications = specifications_of(finished, plan, **counts)
    assert len(specifications) >= 150
    prompts = specifications.prompts(LANGUAGE.text.ENCODINGS["compact"](), np.s_[:])
    given = say(examples_of(specifications))
    opened.run(OURS)
    for number, step in enumerate(plan.study.lm.every_step()):
        place = plan.files(plan.lm, "weights", "config").values()
        paths = (finished / path.format(seed=0, step=f"{step:06d}") for path in place)
        model = lm.load(*paths, torch.device("cpu"))
        with torch.no_grad():
            expected = model.logits(model(torch.from_numpy(prompts).long())[-1][:, -1]).numpy()
        found = np.array(opened.run(f"{given}.map(examples => logitsAt({number}, examples))"))
        assert np.abs(found - expected).max() < 1e-3
    # A weight that is changed by hand is noticed.
    opened.run(f"weights({number}).model.head[1][7] += 0.01, 0")
    found = np.array(opened.run(f"{given}.map(examples => logitsAt({number}, examples))"))
    assert np.abs(found - expected).max() > 9e-3


@pytest.mark.parametrize("source", SOURCES)
def test_what_it_writes_and_reads_is_the_study_s(opened, study, finished, source):
    """Programs of test specifications, and what every probe answers, at every checkpoint under both semantics."""
    plan = study._plan
    matched = next(one for one in plan.interventions.values() if one.name in plan.study.interventions.matched)
    specifications = specifications_of(finished, plan, test=plan.study.traces.test)
    given, compared = say(examples_of(specifications)), 0
    opened.run(OURS)
    for number, step in enumerate(plan.study.lm.every_step()):
        folder = f"seed-0/step-{step:06d}"
        programs, about = read_table(finished / plan.traces.file(folder) / "programs.arrow")
        states, _ = read_table(finished / plan.traces.file(folder) / f"{source}.arrow")
        test = np.flatnonzero(programs["split"] == TEST)
        codes = [row[row != LANGUAGE.codes.PAD].tolist() for row in programs[PROGRAMS[source]][test]]
        found = opened.run(
            f"((programs) => {given}.map((one, row) => studied({number}, one, {say(source)}, programs[row])))({codes})"
        )
        assert [one["codes"] for one in found] == codes
        own = np.isin(states["program"], test)
        hidden = states[f"layer_{about['layers']}"][own].astype(np.float32)
        assert np.allclose(np.concatenate([one["hidden"] for one in found if one["hidden"]]), hidden, atol=5e-3)
        place = dict(
            zip(zip(states["program"][own], states["statement"][own], strict=True), range(own.sum()), strict=True)
        )
        for artifact, semantics in ((plan.probes, "original"), (matched, matched.name)):
            read = opened.run(f"asked({number}, {say(semantics)}, {say(source)}, {say(hidden.tolist())})")
            said, about = read_table(finished / artifact.file(folder) / "predictions.arrow")
            own_source = (said["source"] == SOURCES.index(source)) & (said["offset"] == 0)
            compared += same_answers(read, place, said, about, own_source)
    assert compared > 500


def same_answers(read, place: dict, said: dict, about: dict, rows: np.ndarray) -> int:
    """How many answers, by depth, state and feature, were compared with those in rows of predictions.arrow."""
    compared = 0
    for index in np.flatnonzero(rows):
        row = place[said["program"][index], said["statement"][index]]
        for feature, heads in about["features"].items():
            shape = len(about["depths"]), about["seeds"]
            wanted = said[f"predicted_{feature}"][index].reshape(*shape, heads["heads"])[:, 0]
            sure = said[f"confidence_{feature}"][index].reshape(shape)[:, 0]
            for depth in range(len(about["depths"])):
                answer = read[depth][row][feature]
                assert answer["confidence"] == pytest.approx(float(sure[depth]), abs=0.02)
                # Where two answers are as likely, rounding decides.
                assert answer["classes"] == wanted[depth].tolist() or sure[depth] < 0.52
                compared += 1
    return compared


@pytest.mark.parametrize("source", SOURCES)
def test_what_single_layers_are_read_to_say(opened, study, finished, source):
    """The controls' probes of each layer and of the mean, at the checkpoints that have them, the first and the last."""
    plan, compared = study._plan, 0
    opened.run(OURS)
    assert opened.run("data.layers_read") == ["layer_2", "layer_0", "layer_1", "mean"]
    for number, step in ((0, 0), (2, 20)):
        folder = f"seed-0/step-{step:06d}"
        states, _ = read_table(finished / plan.traces.file(folder) / f"{source}.arrow")
        said, about = read_table(finished / plan.controls.file(folder) / "predictions.arrow")
        test = np.isin(states["program"], said["program"])
        place = dict(
            zip(zip(states["program"][test], states["statement"][test], strict=True), range(test.sum()), strict=True)
        )
        for layer in ("layer_0", "layer_1", "mean"):
            hidden = states[layer][test].astype(np.float32).tolist()
            opened.run(f"state.layer = {say(layer)}, 0")
            read = opened.run(f"asked({number}, 'original', {say(source)}, {say(hidden)})")
            of_layer = said["control"] == about["controls"].index(layer)
            compared += same_answers(read, place, said, about, of_layer & (said["source"] == SOURCES.index(source)))
            assert opened.run(f"asked({number}, 'mirror', {say(source)}, {say(hidden[:1])}).flat().join('')") == ""
    assert compared > 500


def test_a_layer_is_chosen_where_there_are_probes_of_it(opened):
    specify(opened, {"input": START, "output": START})
    opened.run("go({codes: [4, 3], mine: [true, true], at: 2})")
    offered = "[...$('layer').options].map(one => one.textContent)"
    assert opened.run(offered) == ["layer 2 of 2", "the embedding", "layer 1 of 2", "the mean of all layers"]
    opened.run("$('layer').value = 'layer_1', $('layer').dispatchEvent(new Event('change'))")
    right = opened.run("checkpoints.at(-1).right.layer_1.forced.mlp2.facing")
    assert f"{100 * right[0]:.0f} % of {right[1]}" in opened.run(
        "document.querySelector('#table tr[data-feature=\"facing\"]').textContent"
    )
    assert "under the original meaning only" in shown(opened, "#read1-said")
    assert address(opened)["layer"] == "layer_1"
    # The checkpoint between has none; what was chosen comes back where there are some.
    opened.press("ArrowLeft", shift=True)
    assert opened.run(offered) == ["layer 2 of 2"] and "if statements meant" in shown(opened, "#read1-head")
    assert "under the original" not in shown(opened, "#read1-said")
    opened.press("ArrowLeft", shift=True)
    assert opened.run("$('layer').value") == "layer_1"


def test_edits_are_those_of_the_stage(opened, study):
    """What comes next after an exchange, after one in a learned subspace, and after their shams: `Checkpoint.edit`."""
    checkpoint = study.checkpoint()
    programs = checkpoint.programs("test")
    opened.run(OURS)
    for kind, more in (("full", {}), ("facing.1", {"subspace": "learned_1", "feature": "facing"})):
        for row in range(5):
            example = tuple(programs.iloc[row][["input_1", "output_1"]])
            for base, other in (("turn_left()", "turn_right()"), ("move(); turn_left()", "turn_left(); turn_left()")):
                found = opened.run(
                    f"sidesOf({say(_as_page(study, example))}, {say(base)}, {say(other)}, 2, {say(kind)})"
                )
                beginnings = [f"def run() {{ {text} }}" for text in (base, other)]
                done, sham = (checkpoint.edit([example], *beginnings, 2, sham=sham, **more) for sham in (False, True))
                rows = [done.probabilities.loc[name] for name in ("unedited", "edited")]
                rows += [sham.probabilities.loc["edited"], done.probabilities.loc["source"]]
                for side, expected in zip(found, rows, strict=True):
                    assert np.allclose(side, expected, atol=1e-3)


def _as_page(study, example) -> dict:
    """An example as the page holds it."""
    worlds = []
    for world in study.world(example):
        cells, pose = world.state.cells, world.state.poses
        worlds.append(
            {"cells": cells.tolist(), "state": dict(zip(("row", "column", "heading"), map(int, pose), strict=True))}
        )
    return dict(zip(("input", "output"), worlds, strict=True))


# ------------------------------------------------------------------ a person at it


def shown(browser, selector: str) -> str:
    return browser.run(f"document.querySelector({say(selector)}).textContent")


def cell(which: str, row: int, column: int) -> str:
    return f'#{which}-0-cells button[data-row="{row}"][data-column="{column}"]'


def specify(browser, example: dict) -> None:
    browser.run(f"specify([{say(example)}])")


EMPTY = [[0, 0, 0] for _ in range(3)]
START = {"cells": EMPTY, "state": {"row": 1, "column": 1, "heading": 0}}


def test_worlds_are_drawn_by_mouse_and_keyboard(opened):
    specify(opened, {"input": START, "output": START})
    opened.click("#tool-wall")
    opened.click(cell("input", 0, 0))
    walls = "state.examples[0].input.cells[0][0] + ' ' + state.examples[0].output.cells[0][0]"
    assert opened.run(walls) == "255 255"
    assert "wall" in opened.run(f"document.querySelector({say(cell('output', 0, 0))}).getAttribute('aria-label')")
    assert opened.run('document.querySelector(\'#input-0 [data-row="0"][data-column="0"]\').dataset.cell') == "wall"
    # What no program can do is refused where it is drawn, and nothing changes.
    before = address(opened)["worlds"]
    opened.click(cell("output", 2, 2))
    assert "No program moves a wall" in shown(opened, "#refused") and address(opened)["worlds"] == before
    opened.click("#tool-robot")
    opened.click(cell("output", 0, 0))
    assert "free cells" in shown(opened, "#refused") and address(opened)["worlds"] == before
    # By keys: from the first cell two to the right and one down, a marker, then the robot, turned.
    opened.run(f"document.querySelector({say(cell('output', 0, 0))}).focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        opened.press(key)
    assert opened.run("document.activeElement.dataset.row + document.activeElement.dataset.column") == "12"
    for key in ("m", "r", "r"):
        opened.press(key)
    assert opened.run("state.examples[0].output") == {
        "cells": [[255, 0, 0], [0, 0, 1], [0, 0, 0]],
        "state": {"row": 1, "column": 2, "heading": 1},
    }
    assert shown(opened, "#refused") == ""
    # Cells that walls cut off: the robot cannot be wanted there.
    walled = {"cells": [[0, 255, 0], [255, 0, 0], [0, 0, 0]], "state": START["state"]}
    specify(opened, {"input": walled, "output": walled})
    opened.click("#tool-robot")
    opened.click(cell("output", 0, 0))
    assert "cannot get to" in shown(opened, "#refused")


def test_a_typed_program_gives_the_outputs(opened):
    specify(opened, {"input": START, "output": START})
    opened.run("$('source').value = 'move turn_right(); put_marker'; $('typed').requestSubmit()")
    assert opened.run("state.examples[0].output") == {
        "cells": [[0, 1, 0], [0, 0, 0], [0, 0, 0]],
        "state": {"row": 0, "column": 1, "heading": 1},
    }
    opened.run("$('source').value = 'move; jump'; $('typed').requestSubmit()")
    assert "jump" in shown(opened, "#refused") and "expected" in shown(opened, "#refused")
    assert opened.run("state.examples[0].output.state.heading") == 1


def test_it_writes_greedily_and_as_it_is_forced(opened):
    specify(opened, {"input": START, "output": START})
    assert opened.run("state.codes.length") == 0
    opened.click("#write")
    codes = opened.run("state.codes")
    assert codes == opened.run("trail()[0].copy().write().grammar.codes")
    assert opened.run("[...$('code').querySelectorAll('button')].length") == len(codes)
    assert ("✓" in shown(opened, "#verdict")) == opened.run(
        "solved(execute(state.codes, state.examples[0].input, {}, 200).end, state.examples[0].output)"
    )
    opened.click("#anew")
    opened.click('#bars tr[data-code="3"] button')
    assert opened.run("[state.codes, state.mine, state.at]") == [[3], [True], 1]
    assert "put there" in opened.run("$('code').querySelector('button').getAttribute('aria-label')")
    assert "programs that are fed" in shown(opened, "#reading-said")
    opened.click("#one")
    assert opened.run("state.codes.length === 2 || state.ended")
    opened.click("#undo")
    assert opened.run("state.codes") == [3] or opened.run("state.ended") is False
    # Probabilities under the grammar add up to 1; without it, the rest is shown.
    shares = "[...document.querySelectorAll('#bars [data-probability]')].map(one => Number(one.dataset.probability))"
    assert sum(opened.run(shares)) == pytest.approx(1, abs=1e-5)
    opened.click("#grammar")
    free = opened.run(shares)
    assert sum(free) < 1 and "anything else" in shown(opened, "#bars")
    # This model has learned nothing: what it likes best without the grammar may be no program.
    opened.run(
        "state.temperature = 5; for (let tries = 0; tries < 40 && !state.stray; tries++) {"
        " go({codes: [], mine: [], at: 0, ended: false}); goOn(false); } go({})"
    )
    assert "no program has there" in shown(opened, "#verdict")


def test_stepping_shows_the_run_and_the_readings(opened):
    specify(opened, {"input": START, "output": START})
    opened.run("go({codes: [4, 3, 4], mine: [true, true, true], at: 3})")
    assert "row 1, column 3" in shown(opened, "#true-said")
    opened.run("document.body.focus()")
    opened.press("ArrowLeft")
    assert opened.run("state.at") == 2 and "row 1, column 2, facing east" in shown(opened, "#true-said")
    # In the mirror image, a turn to the right is one to the left.
    assert "facing west" in shown(opened, "#read1-said")
    facing = "document.querySelector('#table tr[data-feature=\"facing\"]').textContent"
    for depth in opened.run("Object.keys(data.depths)"):
        opened.run(f"$('depth').value = {say(depth)}, $('depth').dispatchEvent(new Event('change'))")
        read = opened.run("answers('original', 'forced', stateOf(trail()[2].statements[1].read.states, OWN)).facing")
        words = ["north", "east", "south", "west"][read["classes"][0]]
        assert words in opened.run(facing) and f"{100 * read['confidence']:.0f} %" in opened.run(facing)
    right = opened.run("checkpoints.at(-1).right.original.forced.mlp2.facing")
    assert f"{100 * right[0]:.0f} % of {right[1]}" in opened.run(facing)
    opened.press("ArrowLeft", shift=True)
    assert opened.run("state.step") == opened.run("checkpoints.length") - 2


def test_every_checkpoint_writes_for_the_same_specification(opened):
    """What the user has put there stays, what comes behind it is the checkpoint's own."""
    specify(opened, {"input": START, "output": START})
    opened.click('#bars tr[data-code="3"] button')
    opened.click("#write")
    for number in (0, 1, 2):
        opened.run(f"$('step').value = {number}, $('step').dispatchEvent(new Event('input'))")
        assert opened.run("state.codes") == opened.run("trail()[0].copy().feed([3]).write().grammar.codes")
        assert opened.run("state.mine[0]") is True and not any(opened.run("state.mine.slice(1)"))
        assert str(opened.run("checkpoints[state.step].step")) in shown(opened, "#write-head")


def test_another_specification_is_written_for_anew(opened):
    """What the model has written for what was asked before does not stand there as its answer."""
    specify(opened, {"input": START, "output": START})
    opened.click("#write")
    opened.run("state.codes = [4, 4, 4], state.mine = [false, false, false], state.at = 3, go({})")
    opened.click("#tool-more")
    opened.click(cell("output", 0, 0))
    assert opened.run("state.codes") == opened.run("trail()[0].copy().write().grammar.codes")
    assert opened.run("state.examples[0].output.cells[0][0]") == 1
    assert "row 1, column 1: 1 marker" in shown(opened, "#status").lower()
    # What was put there stays, and what stood before it is fed from then on.
    opened.run("go({codes: [4, 3, 4], mine: [false, true, false], at: 3})")
    opened.click(cell("output", 0, 1))
    assert opened.run("state.codes.slice(0, 2)") == [4, 3] and opened.run("state.mine.slice(0, 2)") == [True, True]
    assert opened.run("[...$('code').querySelectorAll('.mine')].length") == 2


def test_what_another_model_would_write_is_not_said_of_this_one(opened):
    specify(opened, {"input": START, "output": START})
    opened.run("go({stray: '}', grammar: false})")
    assert "no program has there" in shown(opened, "#verdict")
    opened.run("state.grammar = true")
    opened.press("ArrowLeft", shift=True)
    assert opened.run("state.stray") == "" and opened.run("state.codes.length > 0 || state.ended")


def test_an_address_that_is_followed_on_the_page_replaces_all(opened):
    specify(opened, {"input": START, "output": {**START, "state": {"row": 0, "column": 2, "heading": 3}}})
    opened.run("go({codes: [4, 3], mine: [true, false], at: 2, grammar: false, depth: 'linear', temperature: 1.5})")
    fragment = opened.run("location.hash")
    opened.run(
        "go({depth: 'mlp1', grammar: true, temperature: 0, stray: 'x', other: [2, 2]}); useTool(0, 'output', 9, 9); 0"
    )
    opened.run("new Promise(done => { addEventListener('hashchange', done); location.hash = " + say(fragment) + "; })")
    assert opened.run("[$('depth').value, $('grammar').checked, $('temperature').value]") == ["linear", False, "1.5"]
    assert opened.run("[state.codes, state.stray]") == [[4, 3], ""] and shown(opened, "#refused") == ""
    opened.run("new Promise(done => { addEventListener('hashchange', done); location.hash = '#program=99'; })")
    assert opened.run("[state.codes, state.at]") == [[], 0]


def test_the_keyboard_stays_where_it_is(opened):
    specify(opened, {"input": START, "output": START})
    opened.run("document.querySelector('#bars button').focus()")
    opened.run("document.activeElement.click()")
    assert opened.run("$('bars').contains(document.activeElement) && state.codes.length") == 1
    opened.run("document.querySelector('#code button').focus()")
    opened.press("ArrowLeft")
    assert opened.run("[state.at, $('code').contains(document.activeElement)]") == [0, True]
    opened.click(cell("input", 2, 1))
    opened.press("ArrowUp")
    reached = opened.run(
        "[...document.querySelectorAll('#input-0-cells [tabindex=\"0\"]')].map(one => one.dataset.row)"
    )
    assert reached == ["1"]


def test_the_address_keeps_all_of_it(opened, finished):
    specify(opened, {"input": START, "output": {**START, "state": {"row": 0, "column": 2, "heading": 3}}})
    opened.run(
        "go({codes: [4, 3, 4], mine: [true, false, true], at: 2, step: 1, depth: 'linear', block: 2, other: [2, 3],"
        " kind: 'full', grammar: false, ended: true})"
    )
    kept, fragment = opened.run("JSON.stringify(state)"), opened.run("location.hash")
    assert len(fragment) < 400
    opened.open(finished / "results/figures/playground.html", fragment)
    again, kept = json.loads(opened.run("JSON.stringify(state)")), json.loads(kept)
    assert {name: again[name] for name in kept if name != "tool"} == {
        name: kept[name] for name in kept if name != "tool"
    }
    # What makes no sense is not taken.
    for bad in (
        "#program=4-99",
        "#worlds=xx~yy&program=4",
        "#step=7&at=99&block=9",
        "#" + fragment[1:].replace("worlds=", "worlds=E"),
    ):
        opened.open(finished / "results/figures/playground.html", bad)
        assert opened.run("state.examples.length") == 1 and opened.complaints == []


def test_a_change_is_shown_side_by_side(opened):
    specify(opened, {"input": START, "output": START})
    opened.run("go({codes: [2], mine: [true], at: 1})")
    assert opened.run("$('changing').hidden") is False
    names = opened.run("[...document.querySelectorAll('#sides .side')].map(one => one.dataset.side)")
    assert names == ["as it is", "changed", "as much, at random", "behind the other program"]
    opened.run("$('other').value = 'turn_right', $('changed').requestSubmit()")
    assert opened.run("state.other") == [3] and "facing east" in shown(opened, "#target-said")
    # Without the grammar, the rest is part of what differs.
    opened.run("go({grammar: false})")
    bars = "[...document.querySelectorAll('#side-{} [data-code]')].map(one => one.querySelector('td + td').textContent)"
    assert len(opened.run(bars.format(0))) == len(opened.run("nextCodes(trail()[1])")) + 1
    opened.run("$('other').value = 'turn_right; move', $('changed').requestSubmit()")
    assert "as many statements" in shown(opened, "#change-refused") and opened.run("state.other") == [3]
    opened.run("go({at: 0})")
    assert opened.run("$('changing').hidden") is True


def test_a_title_is_text(opened):
    assert opened.run("document.title") == shown(opened, "#title") == "tiny: playground"
    page = pages.titled("<title>@TITLE@: playground</title>@TITLE@", "</title><script>")
    assert page == "<title>&lt;/title&gt;&lt;script&gt;: playground</title>@TITLE@"


# ------------------------------------------------------------------ for everybody


@pytest.mark.parametrize("width", [1100, 768, 320])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_in_the_way_of_anybody(opened, width, dark):
    opened.size(width, 900, dark)
    opened.run("go({codes: [2, 4], mine: [true, false], at: 2})")
    assert opened.run("document.documentElement.scrollWidth") <= width
    opened.run((Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8") + "; 0")
    found = opened.run("axe.run(document, {resultTypes: ['violations']}).then(one => one.violations)")
    bad = [
        (one["id"], [node["html"][:80] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert bad == []
