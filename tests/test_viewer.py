"""The trace viewer: what it is given, and that a browser shows it as it is."""

import base64
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import small_study, write_results

from progsem.languages import LANGUAGE
from progsem.languages.karel import codes, kernels
from progsem.languages.karel.interpreter import run
from progsem.languages.karel.syntax import encode, parse
from progsem.languages.karel.world import World
from progsem.measures import statistics, viewer
from progsem.measures.results import Settings, find_checkpoints
from progsem.plots import style
from progsem.plots import viewer as plots
from progsem.storage.files import read_table, write_table

HOSTILE = "</script><script>document.title = 'taken'</script><b>&amp; \" ' $& @DATA@ \\u003c {x}"
STEPS = [0, 200, 400, 600, 800, 1000, 1200]
FIRST = "def run() { if (front_is_clear()) { move() }; while (front_is_clear()) { move() }; put_marker() }"


def results(folder, **sections):
    """The job of the stage `statistics` over a synthetic study that babbles at first."""
    return write_results(folder, small_study(**sections), babbling=400)


def chosen(job) -> dict:
    settings = Settings.of(job)
    return json.loads(json.dumps(viewer.choose(find_checkpoints(job, settings), settings)))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return results(tmp_path_factory.mktemp("viewer"))


@pytest.fixture(scope="module")
def shown(job):
    return chosen(job)


@pytest.fixture
def page(shown, tmp_path):
    plots.write(tmp_path, shown, HOSTILE)
    return tmp_path / "trace_viewer.html"


def programs_at(job, step: int) -> tuple[dict, np.ndarray]:
    """The columns of programs.arrow at a step, and which of its rows are test programs."""
    (path,) = (path for path in job.inputs["programs"] if f"step-{step:06d}" in str(path))
    columns, _ = read_table(path)
    return columns, np.flatnonzero(columns["split"] == 2)


# ------------------------------------------------------------------- what is chosen


def test_every_checkpoint_has_the_same_specifications(job, shown):
    assert [one["step"] for one in shown["checkpoints"]] == STEPS
    for specification in shown["specifications"]:
        assert [run["step"] for run in specification["runs"]] == STEPS
    for one in shown["checkpoints"]:
        programs, rows = programs_at(job, one["step"])
        assert one["generative_accuracy"] == pytest.approx(programs["correct_shown"][rows].mean(), abs=1e-6)
    last = [specification["runs"][-1]["correct"] for specification in shown["specifications"]]
    assert (sum(last), len(last)) == (12, 24)
    assert "12 that the model solves" in shown["rule"] and "12 that it does not" in shown["rule"]
    lengths = [specification["reference"].count("()") - 1 for specification in shown["specifications"]]
    assert set(lengths) == {1, 2, 3, 4, 5, 6} and lengths == sorted(lengths)
    assert chosen(job) == shown


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), min_size=1, max_size=60), st.integers(1, 12))
def test_lengths_take_turns_and_half_are_solved(specifications, count):
    solved, lengths = (np.array(column) for column in zip(*specifications, strict=True))
    rows = viewer.choose_specifications(solved, lengths, count)
    assert len(set(rows)) == len(rows) == min(count, len(solved))
    yes, no = solved[rows].sum(), (~solved[rows]).sum()
    assert abs(yes - no) <= 1 or yes == solved.sum() or no == (~solved).sum()
    for outcome in (True, False):
        of = {n: np.flatnonzero((lengths == n) & (solved == outcome)) for n in set(lengths)}
        taken = {n: [row for row in alike if row in rows] for n, alike in of.items()}
        for n, alike in of.items():
            assert taken[n] == alike[: len(taken[n])].tolist()  # the first in file order
            # No other length has two more, as long as this one has any left.
            assert len(taken[n]) == len(alike) or max(map(len, taken.values())) <= len(taken[n]) + 1


def test_statements_have_the_world_and_the_reading(job, shown):
    """Against prefixes of the program run by the kernels, and the rows of predictions.arrow."""
    programs, rows = programs_at(job, 1200)
    (path,) = (path for path in job.inputs["predictions"] if "step-001200/original" in str(path))
    answers, about = read_table(path)
    right = 0
    for specification in shown["specifications"]:
        (index,) = rows[programs["row"][rows] == specification["specification"]]
        cells, pose = np.array(specification["cells"], np.uint8), programs["poses"][index]
        start = pose.astype(int)
        program = programs["generated"][index]
        statements = specification["runs"][-1]["statements"]
        assert len(statements) == (program < 5).sum()
        for number, statement in enumerate(statements):
            prefix = np.where(np.arange(len(program)) <= number, program, codes.PAD).astype(np.uint8)
            after, poses, _ = kernels.execute(prefix[None], cells[None, None], pose[None, None], codes.ORIGINAL, 200)
            assert statement["cells"] == after[0, 0].tolist()
            true = statement["true"]
            assert [true["row"], true["column"], true["heading"]] == poses[0, 0].tolist()
            assert true["markers"] == after[0, 0][true["row"], true["column"]]
            (at,) = np.flatnonzero(
                (answers["program"] == index)
                & (answers["statement"] == number)
                & (answers["source"] == 0)
                & (answers["offset"] == 0)
            )
            assert true["wall_ahead"] == answers["label_wall_ahead"][at, 0]

            def deepest(name, heads, at=at):
                return answers[name][at].reshape(3, about["seeds"], heads)[-1, 0]

            read = statement["read"]
            assert read["heading"] == deepest("predicted_facing", 1)[0]
            assert read["wall_ahead"] == bool(deepest("predicted_wall_ahead", 1)[0])
            offset = deepest("predicted_offset_from_start", 2).astype(int)
            assert [read["column"] - start[1], read["row"] - start[0]] == (offset - 3).tolist()
            for feature, value in statement["confidence"].items():
                assert value == pytest.approx(deepest(f"confidence_{feature}", 1)[0], abs=6e-4)
            assert set(statement["confidence"]) == {"facing", "offset_from_start", "wall_ahead"}
            right += (read["row"], read["column"]) == (true["row"], true["column"])
    assert right > 20


def test_a_checkpoint_that_babbles_is_not_read(shown):
    for specification in shown["specifications"]:
        (statement,) = specification["runs"][0]["statements"]
        assert set(statement["read"].values()) == {None} and statement["confidence"] == {}
        assert statement["cells"] is not None


def test_worlds_in_control_flow_are_those_of_the_first_time(tmp_path):
    job = results(tmp_path, programs={"train_length": [2, 6], "test_length": [1, 6], "control_flow": 0.3})
    width = max(len(encode(parse(FIRST))), 8)
    for path in job.inputs["programs"]:
        columns, about = read_table(path)
        programs = np.full((len(columns["generated"]), width), codes.PAD, np.uint8)
        programs[:, : len(encode(parse(FIRST)))] = encode(parse(FIRST))
        write_table(path, {**columns, "generated": programs}, about)
    shown = chosen(job)
    ways = set()
    for specification in shown["specifications"]:
        start = specification["start"]
        world = World(np.array(specification["cells"], np.uint8), start["row"], start["column"], start["heading"])
        first = [statement["executed"] for statement in specification["runs"][-1]["statements"]]
        moves = [one for one in run(parse(FIRST), world, 200).trace if one.action.name == "move"]
        assert first == [len(moves) > 0, len(moves) > 1, True]
        ways.add(tuple(first))
        last = specification["runs"][-1]["statements"][2]
        assert last["true"]["markers"] == last["cells"][last["true"]["row"]][last["true"]["column"]] > 0
        for statement in specification["runs"][-1]["statements"]:
            assert statement["executed"] == (statement["cells"] is not None) == (statement["true"] is not None)
    assert len(ways) == 3


# ------------------------------------------------------------------------------ edits

EDITED = {
    "lm": {"steps": 600, "decay_steps": 600, "layers": 2, "seeds": [0]},
    "edits": {"features": ["facing", "offset_from_start"], "dimensions": [1, 4], "checkpoints": "ends"},
}


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    return results(tmp_path_factory.mktemp("edited"), **EDITED)


@pytest.fixture(scope="module")
def shown_edits(edited):
    return chosen(edited)


def edit_table(job, name: str) -> tuple[dict, dict]:
    """Columns and metadata of a table of the original's edits at the last checkpoint."""
    (path,) = (path for path in job.inputs[name] if "step-000600/edits/original" in str(path))
    return read_table(path)


def test_pairs_are_shown_as_they_were_edited(edited, shown_edits):
    pairs, _ = edit_table(edited, "counterfactuals")
    rows, about = edit_table(edited, "edits")
    programs, test = programs_at(edited, 600)
    edits = shown_edits["edits"]
    assert [pair["feature"] for pair in edits["pairs"]] == ["facing"] * 8 + ["offset_from_start"] * 8
    assert edits["layers"] == [1, 2] and "learned_4" in edits["edits"] and "none" not in edits["edits"]
    for pair in edits["pairs"]:
        assert [run["step"] for run in pair["runs"]] == [0, 600]
        number = int(np.flatnonzero(programs["row"][test] == pair["specification"])[0])
        feature = about["features"].index(pair["feature"])
        (row,) = np.flatnonzero((pairs["program"] == number) & (pairs["feature"] == feature))
        of_pair = (rows["feature"] == feature) & (rows["pair"] == pairs["pair"][row])
        for name in ("base", "target"):
            text, start = pair[name]["program"], pair["start"]
            assert np.array_equal(np.asarray(encode(parse(text)))[:2], pairs[name][row][:2])
            world = World(np.array(pair["cells"], np.uint8), start["row"], start["column"], start["heading"])
            after = run(parse(text), world, 200).world
            assert (after.row, after.column, after.heading) == tuple(
                pair[name]["true"][key] for key in ("row", "column", "heading")
            )
        for way, control, source in (("donor", "none", "donor"), ("random", "random", "target")):
            here = of_pair & (rows["edit"] == about["edits"].index("full")) & (rows["layer"] == 2)
            here &= rows["control"] == about["controls"].index(control)
            here &= rows["source"] == about["sources"].index(source)
            (at,) = np.flatnonzero(here)
            text, follows, ends_target, ends_base = pair["runs"][-1]["ways"][way]["full"][1]
            assert edits["texts"][text] == LANGUAGE.text.source(rows["written"][at])
            assert (ends_target, ends_base) == (rows["ends_target"][at], rows["ends_base"][at])
            assert follows == (rows["top"][at] == rows["top_target"][at])
        assert set(pair["runs"][-1]["ways"]["donor"]) == set(edits["edits"]) - {"set_linear", "set_mlp1", "set_mlp2"}


def test_those_that_succeed_behind_both_come_first(edited, shown_edits):
    both = [
        pair["runs"][-1]["base"][3] and pair["runs"][-1]["target"][2]
        for pair in shown_edits["edits"]["pairs"]
        if pair["feature"] == "facing"
    ]
    assert both == sorted(both, reverse=True)


def test_a_study_without_edits_shows_none(shown):
    assert shown["edits"] is None


# ------------------------------------------------------------------------- the page


def test_what_is_written_under_edits_is_laid_out(browser, tmp_path, shown_edits):
    plots.write(tmp_path, shown_edits, HOSTILE)
    browser.open(tmp_path / "trace_viewer.html", "#step=600&pair=3&way=target")
    pair, texts = shown_edits["edits"]["pairs"][3], shown_edits["edits"]["texts"]
    laid_out = """[...document.querySelectorAll('#written tr')].map(row => [row.cells[0].textContent,
        ...[...row.cells].slice(1).map(cell => [cell.querySelector('.code').textContent,
        [...cell.querySelectorAll('i')].map(one => one.className === 'right')])])"""
    for way in ("target", "donor", "random"):
        browser.run(f"$('way').value = '{way}'; $('way').dispatchEvent(new Event('change'))")
        assert browser.run("location.hash").endswith(f"&pair=3&way={way}")
        rows = browser.run(laid_out)
        ways = pair["runs"][-1]["ways"][way]
        assert len(rows) == len(ways) and rows[0][0] == "all of the stream"
        assert len(rows[0][1:]) == 2
        for (program, (follows, ends)), written in zip(rows[0][1:], ways["full"], strict=True):
            assert texts[written[0]].endswith(f"; {program}") and program.endswith("}")
            assert [follows, ends] == written[1:3]
    robot = pair["target"]["true"]
    assert read_world(browser, "target")[1] == (robot["row"], robot["column"], robot["heading"])
    browser.run("$('pair').value = 9; $('pair').dispatchEvent(new Event('change'))")
    assert "differ in offset from start" in browser.run("$('edits-said').textContent")
    browser.run("$('step').value = 2; $('step').dispatchEvent(new Event('input'))")
    assert browser.run("$('edits-said').textContent").endswith("At step 400 nothing was edited.")
    assert browser.run("document.querySelectorAll('#written tr').length") == 0
    assert browser.complaints == []


def test_without_edits_there_is_no_place_for_them(browser, page):
    browser.open(page)
    assert browser.run("getComputedStyle($('edits')).display") == "none"
    assert browser.run("getComputedStyle($('sparse')).display") == "none"  # nor for dictionaries


def test_the_page_holds_its_data_and_nothing_from_elsewhere(shown):
    text = plots.page(shown, HOSTILE)
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(data)["title"] == HOSTILE
    assert text.count("</script>") == 2
    assert HOSTILE not in text
    assert set(re.findall(r"\w+://[^\s\"'<>]+", text.replace(data, ""))) == {"http://www.w3.org/2000/svg"}
    assert {style.BLUE, style.SKY, style.VERMILION, style.ORANGE} <= set(re.findall(r"#[0-9A-F]{6}", text))
    assert text == plots.page(json.loads(json.dumps(shown)), HOSTILE)


def test_features_of_dictionaries_stand_under_the_reference_program(browser, tmp_path):
    """How active each is, and whether what it says holds there, against the data and against a run of the program."""
    mirror = {"turn_left": "turn_right", "turn_right": "turn_left"}
    sections = {"lm": {"steps": 400, "decay_steps": 400}, "transcoders": {"kinds": ["transcoder"]}}
    sections["interventions"] = {"alternatives": {"mirror": mirror}, "difficulty_matched": "mirror"}
    job = write_results(tmp_path / "study", small_study(**sections))
    statistics.run(job)
    shown = json.loads(job.output("viewer").read_text(encoding="utf-8"))
    plots.write(tmp_path, shown, "title")
    browser.open(tmp_path / "trace_viewer.html")
    (one,) = shown["sparse"]["features"]
    assert (one["feature"], one["head"], one["value"]) == ("facing", "heading", 2)
    laid_out = """[...document.querySelectorAll('#sparse-active td')].map(cell => cell.innerText.trim())"""
    seen = set()
    for index, specification in enumerate(shown["specifications"]):
        browser.run(f"go({{spec: {index}, statement: 1}})")
        cells = browser.run(laid_out)
        ((active, holds), *others) = shown["sparse"]["active"][index][0]
        assert len(cells) == specification["reference"].count(";") + 1 and set(cells[1:]) <= {"–"} and not any(others)
        _, (_, _, heading) = executed(specification, specification["reference"], 1)
        assert holds == (heading == 2) and f"{active} %" in cells[0] and cells[0].startswith("✓" if holds else "·")
        seen.add(holds)
    assert seen == {True, False} and browser.complaints == []
    assert browser.run("document.querySelector('#sparse-statements [aria-current]').cellIndex") == 1


def read_world(browser, place: str) -> tuple[np.ndarray, tuple]:
    """The cells and the robot that a drawing shows, from what is drawn: fills, digits, where the arrow points."""
    cells, robot = browser.run(
        f"""(() => {{
            const svg = document.querySelector('#{place} svg');
            const wall = getComputedStyle(svg.querySelector(':scope > .wall')).fill;
            const cells = [...svg.querySelectorAll('.cell')].map(cell => {{
                const box = cell.querySelector('rect');
                const filled = getComputedStyle(box).fill === wall;
                return [+box.getAttribute('y'), +box.getAttribute('x'), filled ? {codes.WALL} : +cell.textContent];
            }});
            const arrow = svg.querySelector('.robot path').getScreenCTM();
            const at = svg.getScreenCTM().inverse().multiply(arrow);
            return [cells, [at.f, at.e, Math.round(Math.atan2(at.b, at.a) / Math.PI * 2 + 4) % 4]];
        }})()"""
    )
    drawn = np.full([1 + max(cell[axis] for cell in cells) for axis in (0, 1)], -1)
    for row, column, value in cells:
        drawn[row, column] = value
    return drawn, (int(robot[0]), int(robot[1]), robot[2])


def executed(specification: dict, program: str, statements: int) -> tuple[np.ndarray, tuple]:
    """Cells and robot after so many statements of a straight-line program."""
    start, texts = specification["start"], program.removeprefix("def run() { ").removesuffix(" }").split("; ")
    world = World(np.array(specification["cells"], np.uint8), start["row"], start["column"], start["heading"])
    if statements:
        world = run(parse("def run() { " + "; ".join(texts[:statements]) + " }"), world, 200).world
    return world.cells, (world.row, world.column, world.heading)


def test_arrow_keys_step_through_the_true_worlds(browser, page, shown):
    browser.open(page)
    spec = browser.run("specs[state.spec].specification")
    (specification,) = (one for one in shown["specifications"] if one["specification"] == spec)
    final = specification["runs"][-1]
    assert final["correct"] and len(final["statements"]) >= 3  # what the page begins with
    browser.press("ArrowLeft")
    for number in range(len(final["statements"]) + 1):
        assert browser.run("location.hash") == f"#spec={spec}&step=1200&statement={number}"
        cells, robot = read_world(browser, "world")
        expected_cells, expected_robot = executed(specification, final["program"], number)
        assert (cells == expected_cells).all() and robot == expected_robot
        current = browser.run("document.querySelector('#code [aria-current]')?.getAttribute('aria-label') ?? ''")
        assert current.startswith(f"Statement {number}: " if number else "")
        browser.press("ArrowRight")
    assert read_world(browser, "wanted")[1] == robot
    assert "Reached" in browser.run("$('wanted-said').textContent")
    assert browser.run("location.hash").endswith(f"statement={len(final['statements'])}")  # and not beyond
    assert browser.complaints == [] and [address.split("#")[0] for address in browser.asked] == [page.as_uri()]


def test_readings_are_marked_right_or_wrong(browser, page, shown):
    """Every statement of every specification at the last checkpoint, against the data."""
    browser.open(page)
    seen = set()
    for specification in shown["specifications"]:
        for number, statement in enumerate(specification["runs"][-1]["statements"], start=1):
            browser.run(f"location.hash = '#spec={specification['specification']}&step=1200&statement={number}'")
            browser.wait(
                f"specs[state.spec].specification === {specification['specification']} && shown() === {number}"
            )
            marks = browser.run(
                """[...document.querySelectorAll('#table tr')].map(row => [
                    row.dataset.feature, row.cells[2].querySelector('span').className,
                    row.cells[2].innerText, parseInt(row.cells[3].innerText)])"""
            )
            read, true, places = statement["read"], statement["true"], ("row", "column")
            right = {
                "offset_from_start": all(read[key] == true[key] for key in places),
                "facing": read["heading"] == true["heading"],
                "wall_ahead": read["wall_ahead"] == true["wall_ahead"],
            }
            for feature, mark, text, sure in marks:
                assert mark == ("right" if right[feature] else "wrong"), (specification, number, feature)
                assert text.startswith("✓" if right[feature] else "✗")
                assert sure == pytest.approx(100 * statement["confidence"][feature], abs=0.51)
            ring = browser.run(
                "(one => [+one.dataset.row, +one.dataset.column, one.querySelector('.place').classList[1]])"
                "(document.querySelector('#read .reading'))"
            )
            assert ring == [read["row"], read["column"], "right" if right["offset_from_start"] else "wrong"]
            seen.add(tuple(right.values()))
    assert len(marks) == 3 and len(seen) > 4


def test_the_slider_goes_through_the_training(browser, page, shown):
    browser.open(page)
    browser.run("$('step').focus()")
    for one in reversed(shown["checkpoints"]):
        said = browser.run("$('step-said').textContent")
        percent = math.floor(1000 * one["generative_accuracy"] + 0.5) / 10  # halves go up in a browser
        assert said == f"{one['step']:,} · generative accuracy {percent:.1f} % of 400"
        assert browser.run("checkpoints[state.step].step") == one["step"]
        browser.press("ArrowLeft")  # the focus is on the slider, so this is its key
    assert browser.run("location.hash").endswith("&step=0&statement=1")
    # The model babbles here: the world is there, the reading is not.
    assert browser.run("$('read-said').textContent").startswith("No probe answers for this state")
    assert browser.run("document.querySelectorAll('#read .reading').length") == 0
    assert read_world(browser, "world")[0].shape == (4, 4)
    browser.run("document.activeElement.blur()")
    browser.press("ArrowRight", shift=True)
    assert "step=200&" in browser.run("location.hash")


def test_a_specification_is_picked(browser, page, shown):
    browser.open(page, f"#spec={shown['specifications'][3]['specification']}&step=1000&statement=0")
    assert browser.run("[state.spec, checkpoints[state.step].step, shown()]") == [3, 1000, 0]
    browser.press("n")
    assert browser.run("[state.spec, shown()]") == [4, 1]
    browser.click("#spec-back")
    browser.click("#spec-back")
    assert browser.run("state.spec") == 2
    browser.run("$('spec').value = 7; $('spec').dispatchEvent(new Event('change'))")
    browser.click("#first")
    specification = shown["specifications"][7]
    for place, robot in (("world", specification["start"]), ("wanted", specification["wanted"]["state"])):
        assert read_world(browser, place)[1] == (robot["row"], robot["column"], robot["heading"])
    assert browser.run("document.querySelectorAll('#spec option').length") == 24
    browser.open(page, "#spec=nonsense&step=-1&statement=9999")
    assert browser.run("shown() === run().statements.length && state.step === 6")


def test_the_keyboard_stays_where_it_is(browser, page):
    """A statement, or a button that has nothing more to do, keeps the focus and the keys."""
    browser.open(page)
    browser.click("#code button:nth-of-type(2)")
    browser.press("ArrowRight")
    assert browser.run("shown() === 3 && document.activeElement.getAttribute('aria-current') === 'step'")
    browser.click("#last")
    assert browser.run("document.activeElement.id === 'last' && document.activeElement.ariaDisabled === 'true'")
    browser.press("ArrowLeft")
    assert browser.run("shown() === run().statements.length - 1")
    assert browser.run("$('status').textContent").startswith("Step 1200, statement ")


def test_text_from_the_config_is_only_text(browser, page):
    browser.open(page)
    assert browser.run("document.title") == f"{HOSTILE}: trace viewer"
    assert browser.run("document.querySelector('h1').textContent").startswith(f"{HOSTILE}: ")
    assert browser.run("document.scripts.length") == 2
    assert browser.run("document.querySelectorAll('b').length") == 0


def contrast(browser, selector: str, paint: str) -> float:
    """WCAG contrast ratio of an element's paint (a CSS property) against the page."""
    colours = browser.run(
        f"[getComputedStyle(document.querySelector({json.dumps(selector)})).{paint},"
        " getComputedStyle(document.body).backgroundColor]"
    )
    shares = np.array([[int(value) for value in re.findall(r"\d+", colour)[:3]] for colour in colours]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    light, dark = sorted(linear @ [0.2126, 0.7152, 0.0722], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_is_readable_on_any_screen(browser, page, width, dark):
    try:
        browser.size(width, 800, dark)
        browser.open(page)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run("parseFloat(getComputedStyle(document.querySelector('.quiet')).fontSize)") >= 13
        assert contrast(browser, "#intro", "color") > 7
        assert contrast(browser, ".quiet", "color") > 4.5
        for drawn, paint in ((".right", "color"), (".robot", "fill"), ("#world .wall", "fill")):
            assert contrast(browser, drawn, paint) > 3, drawn
        world, read = browser.run("[$('world'), $('read')].map(one => one.getBoundingClientRect().toJSON())")
        assert world["right"] <= read["left"] and world["width"] > 100  # side by side on a phone too
    finally:
        browser.size(1280, 800)


def test_it_works_inside_a_data_address(browser, page, tmp_path):
    """As it stands in a report in one file, which has no history and takes 2 MB."""
    address = f"data:text/html;charset=utf8;base64,{base64.b64encode(page.read_bytes()).decode()}"
    assert len(address) < 2e6
    browser.open(address)
    before = browser.run("shown()")
    browser.press("ArrowRight")
    assert browser.run("shown()") == before + 1
    assert browser.complaints == []


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"probes": {"sources": ["forced"], "features": ["facing"]}}, "What it reads stands in the table."),
        ({"probes": {"features": ["neighbour_walls"]}}, "The study probes none of position, heading and wall ahead."),
        ({"probes": {"features": ["facing"], "drop_final": True}}, "What it reads stands in the table."),
    ],
    ids=["fixed programs, heading only", "nothing that can be drawn", "without the last states"],
)
def test_what_is_not_probed_is_said(browser, tmp_path, sections, said):
    plots.write(tmp_path, chosen(results(tmp_path, **sections)), "title")
    browser.open(tmp_path / "trace_viewer.html")
    assert browser.run("$('read-said').textContent") == said
    browser.click("#last")
    assert browser.run("document.querySelector('#world .robot') !== null")
    if sections["probes"].get("drop_final"):
        assert browser.run("$('read-said').textContent").startswith("No probe answers")
    if "sources" in sections["probes"]:
        assert browser.run("$('program-head').textContent").startswith("The reference program")
    assert browser.complaints == []


def test_control_flow_and_unfinished_programs_are_shown(browser, tmp_path, shown):
    nothing = {"row": None, "column": None, "heading": None, "wall_ahead": None}
    specification = json.loads(json.dumps(shown["specifications"][0]))
    true = {"row": 0, "column": 0, "heading": 1, "markers": 0, "wall_ahead": False}
    never = {"executed": False, "cells": None, "true": None, "read": nothing, "confidence": {}, "text": "move()"}
    once = never | {"executed": True, "cells": specification["cells"], "true": true, "text": "turn_left()"}
    flow = "def run() { ifelse (front_is_clear()) { move() } else { turn_left() } }"
    run_of_it = {"program": flow, "correct": False, "finished": True, "statements": [never, once]}
    empty = {"program": "def run() { }", "correct": False, "finished": False, "statements": []}
    specification["runs"] = [{"step": step} | (run_of_it if step else empty) for step in STEPS]
    plots.write(tmp_path, shown | {"specifications": [specification]}, "title")
    browser.open(tmp_path / "trace_viewer.html", "#step=1200&statement=1")
    assert browser.run("document.querySelector('#world text').textContent") == "never reached"
    assert browser.run("[...document.querySelectorAll('#code button')].map(one => one.className)") == ["unreached", ""]
    browser.press("ArrowRight")
    assert read_world(browser, "world")[1] == (0, 0, 1)
    assert "first time" in browser.run("$('world-said').textContent")
    assert "end" not in browser.run("$('wanted-said').textContent")
    browser.open(tmp_path / "trace_viewer.html", "#step=0")
    assert "cut off" in browser.run("$('verdict').textContent")
    assert browser.run("$('world-head').textContent") == "The input"
    assert browser.complaints == []
