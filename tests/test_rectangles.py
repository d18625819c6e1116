"""Rectangles: a second language behind the seam, by facts about it and through every stage."""

import csv
import json
import re
from itertools import product

import browser as browsers
import numpy as np
import pytest
from tree import ROOT, Tree

import progsem
from progsem.data import corpus
from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.languages import DEFAULT, LANGUAGE, NAMES, language
from progsem.study.config import changed, load
from progsem.study.configfiles import read_config
from progsem.study.plan import Plan
from progsem.synthesis import plain

RECTANGLES = language("rectangles")
codes, execution, features = RECTANGLES.codes, RECTANGLES.execution, RECTANGLES.features
STUDY = load({"language": "rectangles"})
EXCHANGED = codes.semantics({"top": "left", "bottom": "right", "left": "top", "right": "bottom"})


@pytest.fixture(autouse=True)
def spoken():
    """The language of the job, which is another one in all other tests."""
    LANGUAGE.use("rectangles")
    yield
    LANGUAGE.use(DEFAULT)


def drawn(count: int, split: int = 2, **settings):
    """So many rectangles with their lists of points."""
    study = load({"language": "rectangles"} | settings)
    sampler = RECTANGLES.sampling.Sampler(study.worlds, study.programs, study.corpus, split, (4, 4))
    out = sampler.allocate(count)
    sampler.draw(0, np.zeros(count, np.int64), np.arange(count), out)
    return out


def points(*pairs: tuple[int, int]) -> execution.Points:
    """One list, as the only input of one specification."""
    return execution.Points(np.array(pairs, np.uint8)[None, None])


# What programs mean.


def test_every_program_on_every_cell():
    """By the definition: inside if T <= i <= D and L <= j <= R."""
    cells = list(product(range(6), repeat=2))
    programs = np.array(list(product(range(7), repeat=4)), np.uint8)
    worlds = execution.Points(np.repeat(np.array(cells, np.uint8)[None, None], len(programs), 0))
    sides, whole = execution.execute(programs, worlds, 5)
    assert whole.all()
    for program, said in zip(programs.tolist(), sides.sides[:, 0], strict=True):
        top, bottom, left, right = program
        assert said.tolist() == [top <= i <= bottom and left <= j <= right for i, j in cells]


@pytest.mark.parametrize("program", [[1, 2, 3, 255], [255] * 4, [1, 2, 3, 4, 5], [1, 255, 2, 3, 4]])
def test_what_is_no_program_is_right_nowhere(program):
    _, whole = execution.execute(np.array([program], np.uint8), points((0, 0)), 5)
    assert not whole.any()


def test_states_are_the_bounds_so_far():
    program = np.array([[1, 3, 2, 6]], np.uint8)
    world = points((0, 4), (2, 2), (3, 5), (4, 4)).at(np.s_[:, 0])
    states = execution.trace(program, world, 5).states(np.zeros(4, int), np.arange(4))
    assert states.bounds.tolist() == [[1, 7, 7, 7], [1, 3, 7, 7], [1, 3, 2, 7], [1, 3, 2, 6]]
    labels = features.labels(("first_point", "points_inside"), states)
    assert labels.tolist() == [[0, 3], [0, 2], [0, 2], [0, 2]]
    # 6 leaves out nothing, and a list's missing points are nowhere.
    short = execution.Points(np.concatenate([world.points, np.full((1, 3, 2), execution.NOWHERE, np.uint8)], axis=1))
    padded = execution.trace(program, short, 5).states(np.zeros(4, int), np.arange(4))
    assert features.labels(("points_inside",), padded)[:, 0].tolist() == [3, 2, 2, 2]


def test_the_mirror_image_exchanges_rows_for_columns():
    """What a program means under the exchanged orientation is what it means of the transposed points."""
    found = drawn(300)
    turned = execution.Points(found.worlds.points[..., ::-1])
    numbers, last = np.repeat(np.arange(300), 4), np.tile(np.arange(4), 300)
    asked = ("first_point", "points_inside")
    mirrored = execution.trace(found.programs, found.worlds.at(np.s_[:, 0]), 5, EXCHANGED).states(numbers, last)
    original = execution.trace(found.programs, turned.at(np.s_[:, 0]), 5).states(numbers, last)
    assert (features.labels(asked, mirrored) == features.labels(asked, original)).all()
    assert (mirrored.bounds[:, [2, 3, 0, 1]] == original.bounds).all()
    own = execution.trace(found.programs, found.worlds.at(np.s_[:, 0]), 5).states(numbers, last)
    assert (features.labels(asked, mirrored) != features.labels(asked, own)).mean() > 0.2
    assert RECTANGLES.permutations.is_mirror_image(STUDY.interventions.matched["exchanged"], None, ())


def test_permutations_come_in_mirror_pairs():
    pairs = RECTANGLES.permutations.mirror_pairs()
    assert len(pairs) == 11 == len({name for pair in pairs for name in pair}) / 2
    exchanged = {"top": "left", "left": "top", "bottom": "right", "right": "bottom"}
    for first, second in (map(RECTANGLES.permutations.meaning, pair) for pair in pairs):
        assert {number: exchanged[bound] for number, bound in first.items()} == second


# How they are drawn and written.


def test_distributions():
    found = drawn(40_000)
    top, bottom, left, right = found.programs.T.astype(int)
    for low, high in ((top, bottom), (left, right)):
        assert np.bincount(low, minlength=5) / len(low) == pytest.approx(np.full(5, 0.2), abs=0.01)
        for at in range(5):
            sizes = (high - low)[low == at]
            assert np.bincount(sizes)[1:] / len(sizes) == pytest.approx(np.full(6 - at, 1 / (6 - at)), abs=0.03)
    there = found.worlds.points[:, 0] != execution.NOWHERE
    lengths = there.all(axis=2).sum(axis=1)
    assert np.bincount(lengths)[1:] / len(lengths) == pytest.approx(np.full(20, 0.05), abs=0.01)
    assert (there.all(axis=2) == there.any(axis=2)).all() and (np.diff(there[..., 0].astype(int), axis=1) <= 0).all()
    cells = found.worlds.points[:, 0][there].reshape(-1, 2)
    assert np.bincount(cells[:, 0] * 6 + cells[:, 1]) / len(cells) == pytest.approx(np.full(36, 1 / 36), abs=0.002)
    assert abs(np.corrcoef([top, left, bottom - top, right - left, lengths])[np.triu_indices(5, 1)][1:]).max() < 0.6


def test_a_stream_is_its_own():
    """Whatever is drawn with it; another attempt, row, split or seed is another."""
    whole = drawn(50)
    sampler = RECTANGLES.sampling.Sampler(STUDY.worlds, STUDY.programs, STUDY.corpus, 2, (4, 4))
    part = sampler.allocate(10)
    sampler.draw(40, np.zeros(10, np.int64), np.arange(10), part)
    assert (part.programs == whole.programs[40:]).all() and (part.worlds.points == whole.worlds.points[40:]).all()
    assert (part.keys == whole.keys[40:]).all()
    again = sampler.allocate(10)
    sampler.draw(40, np.ones(10, np.int64), np.arange(10), again)
    others = [again.worlds.points, drawn(10, split=1).worlds.points, drawn(10, corpus={"seed": 1}).worlds.points]
    assert all((other != whole.worlds.points[:10]).any() for other in others)
    assert (again.worlds.points != part.worlds.points).any() and len(np.unique(whole.keys)) == 50


def test_a_specification_and_a_program_as_text():
    encoding = RECTANGLES.text.ENCODINGS["compact"]()
    program = np.array([[1, 3, 1, 4]], np.uint8)
    worlds = points((1, 1), (3, 3), (0, 4), (4, 1), (execution.NOWHERE,) * 2)
    outputs, _ = execution.execute(program, worlds, 5)
    prompts = encoding.prompts(RECTANGLES.text.glyphs(worlds), RECTANGLES.text.glyphs(outputs))
    ids, lengths = encoding.documents(prompts, program)
    tokenizer = encoding.tokenizer()
    assert tokenizer.decode(ids[0, : lengths[0]].tolist()) == "11+33+04-41-   [1,3,1,4]"
    assert tokenizer.encode("11+33+04-41-   [1,3,1,4]").ids == ids[0, : lengths[0] - 1].tolist()
    assert RECTANGLES.text.source(program[0]) == "[1,3,1,4]"
    assert lengths[0] + 1 == prompts.shape[1] + 10 == 2 + 15 + 10  # its tokens are its characters


def test_bounds_of_sizes_are_those_of_documents():
    assert NAMES == ("karel", "rectangles")
    encoding, config = RECTANGLES.text.ENCODINGS["compact"](), RECTANGLES.config
    found = drawn(20)
    outputs, _ = execution.execute(found.programs, found.worlds, 5)
    shown = np.s_[:, : STUDY.corpus.examples]
    prompts = encoding.prompts(*map(RECTANGLES.text.glyphs, (found.worlds.at(shown), outputs.at(shown))))
    assert prompts.shape[1] == config.prompt_tokens("compact", STUDY.worlds, STUDY.corpus.examples)
    assert encoding.spell(found.programs)[1].max() == config.program_tokens("compact", 4)
    assert config.PROGRAMS == len(np.unique(drawn(20_000).programs, axis=0)) == 400
    assert set(config.WRITERS) == set(RECTANGLES.writers.WRITERS) == set(RECTANGLES.writers.NAMED)
    assert tuple(features.FEATURES) == config.FEATURES


# Writers.


@pytest.fixture(scope="module")
def specifications():
    """A thousand specifications, and two hundred pairs to learn from: so many give the regressions' reported shares."""
    test, train = drawn(1000), drawn(200, split=0)
    outputs, _ = execution.execute(test.programs, test.worlds, 5)
    learned, _ = execution.execute(train.programs, train.worlds, 5)
    return test, outputs, train, learned


def shares(specifications, propose) -> dict[int, float]:
    """Solved shares with budgets of 1, 20 and 100 of a hundred proposals, by the unbiased estimator."""
    from progsem.measures.synthesis import pass_at

    test, outputs, *_ = specifications
    right = np.empty(len(test.programs))
    for row in range(len(right)):
        proposals = propose(row)
        worlds = execution.Points(np.repeat(test.worlds.points[row : row + 1, :1], len(proposals.codes), 0))
        sides, whole = execution.execute(proposals.codes, worlds, 5)
        same = (sides.sides[:, 0] == outputs.sides[row, 0]).all(axis=1)
        right[row] = (same & whole[:, 0] & proposals.whole).sum()
    return {budget: float(pass_at(100, right, budget).mean()) for budget in (1, 20, 100)}


@pytest.mark.parametrize("name", ["strings", "uniform", "corpus", "manual", "unigram"])
def test_writers_solve_what_has_been_reported(specifications, name):
    """Within three points of shares that are given to one, in ranges of their repetitions."""
    test, outputs, train, learned = specifications
    shown = np.s_[:, :1]
    many = drawn(5000, split=0).programs
    asked = RECTANGLES.writers.described(test.worlds.at(shown), outputs.at(shown))
    if name == "uniform":
        drawing = plain.Uniform(5, 0)
    elif name == "unigram":
        described = RECTANGLES.writers.described(train.worlds.at(shown), learned.at(shown))
        drawing = plain.Learned(5, 0, described, train.programs, False)
    elif name != "corpus":
        own = plain.of_language(name, test.worlds.at(shown), outputs.at(shown), 5, 100, 0)

    def propose(row: int) -> plain.Proposals:
        if name in ("uniform", "unigram"):
            return drawing.propose(asked[row], 100, (0, row))
        return plain.drawn_from(many, 5, 100, (0, row)) if name == "corpus" else own(row)

    reported = RECTANGLES.writers.REPORTED[name, None]
    for budget, share in shares(specifications, propose).items():
        low, high = reported[budget]
        assert low - 0.03 <= share <= high + 0.03, (budget, share, reported)


def test_strings_that_are_programs_are_read(monkeypatch):
    class Lucky:
        def choice(self, characters, count):
            assert len(characters) == 95 and count == 9
            return list("[0,6,3,4]")

    assert RECTANGLES.writers.strings(None, None, Lucky()).tolist() == [0, 6, 3, 4]
    for text in ("[0,7,3,4]", "(0,6,3,4)", "0,6,3,4 9"):
        monkeypatch.setattr(Lucky, "choice", lambda self, characters, count, text=text: list(text))
        assert RECTANGLES.writers.strings(None, None, Lucky()) is None


# The config, and every stage.


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"worlds": {"height": 3}}, ["worlds.height", "points"]),
        ({"worlds": {"points": [5, 2]}}, ["[5, 2]", "smaller number first"]),
        ({"programs": {"control_flow": 0.2}}, ["programs.control_flow", "none"]),
        ({"tokens": {"encoding": "spaced"}}, ["tokens.encoding", "compact"]),
        ({"traces": {"outputs": "blank"}}, ["traces.outputs", "shown"]),
        ({"traces": {"extra_statements": 0}}, ["traces.extra_statements", "at least 1"]),
        ({"generalisation": {"sets": {"larger": {"cells": 1}}}}, ["generalisation.sets", "larger"]),
        ({"probes": {"features": ["facing"]}}, ["probes.features[0]", "'bounds'"]),
        ({"synthesis": {"writers": ["bounds"]}}, ["synthesis.writers[0]", "'manual'"]),
        ({"interventions": {"alternatives": {"up": {"top": "up"}}}}, ["interventions.alternatives.up.top", "'bottom'"]),
        ({"edits": {"features": ["first_point"]}}, ["edits.features[0]", "'bounds'"]),
        ({"language": "squares"}, ["language", "'squares'", "'rectangles'"]),
    ],
)
def test_what_rectangles_do_not_have_is_one_line(keys, said):
    with pytest.raises(UserError) as caught:
        load({"language": "rectangles"} | keys)
    line = str(caught.value)
    assert "\n" not in line and all(part in line for part in said), line


def test_a_study_takes_the_place_of_karels_sections():
    base = read_config(ROOT / "config.yaml")
    study = load(changed(base, read_config(ROOT / "studies" / "rectangles.yaml")))
    assert study.probes.features == ("bounds", "first_point", "points_inside")
    assert list(study.interventions.alternatives) == ["exchanged"] and study.generalisation.sets == {}
    assert study.lm.width == load(base).lm.width  # what it does not say is config.yaml's
    plan, other = Plan(study), Plan(load(base))
    assert plan.corpus.config_digest != other.corpus.config_digest and plan.corpus.code != other.corpus.code
    assert json.loads(plan.lm.slice())["language"] == "rectangles"


def test_the_corpus_is_disjoint_and_right(tmp_path):
    study = load(
        {
            "language": "rectangles",
            "corpus": {"train": 3000, "validation": 200, "test": 300},
            "traces": {"train": 3000, "validation": 200, "test": 300},
        }
    )
    plan = Plan(study)
    outputs = {split: [tmp_path / f"{split}.arrow"] for split in ("train", "validation", "test")}
    corpus.run(Job("corpus", json.loads(plan.corpus.slice()), {}, outputs))
    from progsem.lm.traces import Specifications, satisfied

    found = Specifications.read(outputs, {"test": 300, "validation": 200, "train": 3000})
    assert satisfied(found.programs, found.worlds, found.outputs, 5).all()
    none = np.s_[:0]
    assert satisfied(found.programs[none], found.worlds.at(none), found.outputs.at(none), 5).shape[0] == 0
    keys = [
        (tuple(program), points.tobytes())
        for program, points in zip(found.programs.tolist(), found.worlds.points[:, 0], strict=True)
    ]
    assert len(set(keys[:500])) == 500 and not set(keys[:500]) & set(keys[500:])


SMALL = """
study: small
language: rectangles
corpus: {train: 1000, validation: 100, test: 100, shard: 1000}
lm: {layers: 2, width: 32, rotary: 8, steps: 40, checkpoint_every: 40, extra_checkpoints: [], decay_steps: 40,
     warmup_steps: 5, seeds: [0]}
traces: {train: 200, validation: 60, test: 100, extra_statements: 1}
probes: {steps: 30, depths: {linear: []}, evaluations: 3, batch: 64}
interventions: {permutations: 1}
controls: {kinds: [counts, start, text, shuffled]}
edits: {features: [bounds], pairs: 20, checkpoints: last, dimensions: [1], layers: [2]}
synthesis: {writers: [manual, unigram, greedy, temperature], samples: 5, temperatures: [1.0], grammar: [true], test: 20}
statistics: {resamples: 100}
figures: {gallery: 2, dpi: 60}
"""


def from_python(study):
    """The interface is that of any language."""
    last = study.checkpoint()
    states = last.states("forced", "test")
    assert list(states.y)[:2] == ["bounds.top", "bounds.bottom"] and states.y["bounds.top"][0] != "none"
    assert (last.states("forced", "test", semantics="exchanged").y["bounds.left"][0]) == states.y["bounds.top"][0]
    row = last.programs("test").iloc[0]
    writing = last.write(row["output_1"])
    assert str(writing.program) == row["written"] and writing.correct == (row["correct"],)
    given, wanted = study.world(row["output_1"])
    assert (
        str(wanted) == row["output_1"]
        and str(given) == row["output_1"].translate({ord("+"): " ", ord("-"): " "}).strip()
    )
    assert study.program(row["reference"]).run(given).output == wanted
    edited = last.edit([row["output_1"]], "[1,3", "[2,3", layer=2)
    assert set(edited.probabilities) == {str(number) for number in range(7)}
    for picture in (given, wanted, writing, writing.read()):
        assert "<img" in picture._repr_html_()
    for bad, said in [("11*", "+ inside"), ("77+", "rows and columns"), ("", "+ inside")]:
        with pytest.raises(UserError, match=re.escape(said)):
            study.world(bad)
    for bad in ("[1,2,3,4,5]", "[1,9", "top 1"):
        with pytest.raises(UserError, match="given"):
            study.program(bad)


def test_every_stage_runs_on_rectangles(tmp_path):
    """Probes, interventions, controls, edits and writers, to the figures; another language's results lie beside."""
    tree = Tree.copied(tmp_path / "tree")
    (tree.root / "small.yaml").write_text(SMALL, encoding="utf-8")
    tree.snakemake("results/figures", "--configfile", "small.yaml")
    figures = tree.root / "results" / "figures"
    names = {path.name for path in figures.iterdir()}
    assert {
        "gallery.png",
        "edits.png",
        "synthesis.png",
        "baselines.png",
        "permutations.png",
        "trace_viewer.html",
    } <= names
    with open(figures / "synthesis.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    (manual,) = [row for row in rows if (row["writer"], row["budget"]) == ("manual", "1")]
    assert (float(manual["reported_low"]), float(manual["reported_high"])) == (0.34, 0.35)
    assert float(manual["solved"]) > 0.1
    (gallery,) = (tree.root / "results" / "statistics").glob("small-*/gallery.json")
    entries = json.loads(gallery.read_text(encoding="utf-8"))["entries"]
    assert {"top", "bottom", "left", "right"} <= set(entries[0]["statements"][-1]["true"])
    from_python(progsem.open_study(tree.root / "small.yaml"))
    if browsers.problem() is None:
        with browsers.Browser() as page:
            page.open(figures / "trace_viewer.html", "#statement=2")
            assert page.complaints == []
            assert page.run("document.querySelectorAll('#world .rectangle').length") == 1
            assert page.run("document.querySelectorAll('#world .spot').length") >= 1
            assert "bottom" in page.run("document.getElementById('world-said').textContent")
            played(page, figures / "playground.html")


def played(page, path) -> None:
    """The playground: programs do what `execution` says; points are drawn; a model writes, is read and is changed."""
    page.open(path)
    random = np.random.default_rng(7)
    exchanged = RECTANGLES.config.ALTERNATIVES["exchanged"]
    for mapping in ({}, exchanged):
        programs = random.integers(0, codes.FIELD + 1, (40, 4)).astype(np.uint8)
        lists = random.integers(0, codes.FIELD, (40, 9, 2)).astype(np.uint8)
        meanings = codes.semantics(mapping)
        outputs, _ = execution.execute(programs, execution.Points(lists[:, None]), 100, meanings)
        given = [
            [program.tolist(), {"points": one.tolist(), "sides": None}]
            for program, one in zip(programs, lists, strict=True)
        ]
        found = page.run(f"{json.dumps(given)}.map(([codes, world]) => execute(codes, world, {json.dumps(mapping)}))")
        for row, one in enumerate(found):
            assert one["halted"] and one["end"]["sides"] == (outputs.sides[row, 0] == execution.INSIDE).tolist()
            expected = RECTANGLES.gallery.statements(programs[row], execution.Points(lists[row]), 100, meanings)
            for said, statement in zip(one["statements"], expected, strict=True):
                assert {name: said[name] for name in statement} == statement
    two = [[1, 1], [4, 4]]
    example = {"input": {"points": two, "sides": None}, "output": {"points": two, "sides": [True, False]}}
    page.run(f"specify([{json.dumps(example)}])")
    page.click("#tool-point")
    page.click('#output-0-cells button[data-row="2"][data-column="2"]')
    assert page.run("state.examples[0].output") == {"points": [[1, 1], [4, 4], [2, 2]], "sides": [True, False, False]}
    page.click("#tool-side")
    page.click('#output-0-cells button[data-row="4"][data-column="4"]')
    assert "leaves out the one in row 2, column 2" in page.run("$('refused').textContent")
    page.click("#write")
    assert page.run("[state.codes.length, state.ended]") == [4, True]
    page.run("go({at: 2})")
    assert page.run("$('true').querySelectorAll('.rectangle').length") == 1
    assert page.run("$('changing').hidden") is False
    assert page.run("document.querySelectorAll('#table tr').length") == 3
    page.run("$('source').value = '[1,3,1,4]', $('typed').requestSubmit()")
    assert page.run("state.examples[0].output.sides") == [True, False, True]
    before = page.run("JSON.stringify(state.examples)")
    page.open(path, page.run("location.hash"))
    assert page.run("JSON.stringify(state.examples)") == before and page.complaints == []
