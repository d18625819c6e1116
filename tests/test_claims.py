"""The paper's claims: every rule on either side of its boundaries, and a page that reads well for any study."""

import csv

import pytest

from progsem.languages import LANGUAGE
from progsem.plots import style
from progsem.plots.paper import claims, verdicts
from progsem.plots.paper import page as claims_page
from progsem.plots.paper.verdicts import (
    ABOVE,
    AGREES,
    AROUND,
    BELOW,
    COMPATIBLE,
    CONTRADICTS,
    DIRECTION,
    LARGER,
    NOT_FOUND,
    NOT_MEASURED,
    OPPOSITE,
    SMALLER,
    UNDECIDED,
    UNKNOWN,
    Measured,
)
from progsem.study import config

NOTHING = Measured(None)


@pytest.mark.parametrize(
    ("low", "high", "side"),
    [(0.1, 0.2, ABOVE), (0.0, 0.2, AROUND), (-0.1, 0.0, AROUND), (-0.2, -0.1, BELOW), (None, None, UNKNOWN)],
)
def test_an_interval_that_touches_a_number_is_around_it(low, high, side):
    assert Measured(0.1, low, high).side() == side


def test_an_interval_beyond_another_does_not_touch_it():
    one = Measured(0.5, 0.4, 0.6)
    assert one.beyond(Measured(0.3, 0.2, 0.39)) == ABOVE
    assert one.beyond(Measured(0.3, 0.2, 0.4)) == AROUND
    assert one.beyond(Measured(0.7, 0.6, 0.8)) == AROUND
    assert one.beyond(Measured(0.7, 0.61, 0.8)) == BELOW
    assert one.beyond(NOTHING) == NOTHING.beyond(one) == one.beyond(Measured(0.3)) == UNKNOWN


@pytest.mark.parametrize(
    ("interval", "rise", "same_size", "word"),
    [
        ((0.91, 0.93), ABOVE, True, AGREES),  # all of it within five points of 0.92
        ((0.87, 0.97), ABOVE, True, AGREES),
        ((0.869, 0.93), ABOVE, True, COMPATIBLE),
        ((0.91, 0.971), ABOVE, True, COMPATIBLE),
        ((0.8, 0.919), ABOVE, True, SMALLER),
        ((0.921, 0.99), ABOVE, True, LARGER),
        ((0.91, 0.93), ABOVE, False, DIRECTION),  # at another size, the same number says nothing more
        ((0.8, 0.919), ABOVE, False, SMALLER),
        ((0.921, 0.99), ABOVE, False, LARGER),
        ((0.91, 0.93), AROUND, True, NOT_FOUND),  # right as the number is, it was so before training
        ((0.91, 0.93), BELOW, True, CONTRADICTS),
        ((0.91, 0.93), UNKNOWN, True, UNDECIDED),
        ((None, None), ABOVE, True, UNDECIDED),
    ],
)
def test_a_level_needs_a_rise_first(interval, rise, same_size, word):
    value = 0.92 if interval[0] is None else sum(interval) / 2
    assert verdicts.level(Measured(value, *interval), rise, "before", 0.92, same_size).word == word


def test_a_level_of_nothing_is_not_measured():
    assert verdicts.level(NOTHING, UNKNOWN, "before", 0.92, True).word == NOT_MEASURED


@pytest.mark.parametrize(
    ("r2", "slope", "word"),
    [
        ((0.8, 0.95), (0.1, 0.2), AGREES),
        ((0.779, 0.95), (0.1, 0.2), COMPATIBLE),
        ((0.8, 0.99), (0.1, 0.2), COMPATIBLE),
        ((0.4, 0.879), (0.1, 0.2), SMALLER),
        ((0.881, 0.99), (0.1, 0.2), LARGER),
        ((0.8, 0.95), (0.0, 0.2), NOT_FOUND),
        ((0.8, 0.95), (-0.2, 0.2), NOT_FOUND),
        ((0.8, 0.95), (-0.2, -0.1), CONTRADICTS),  # a line, but one that falls
        ((0.8, 0.95), (None, None), UNDECIDED),
        ((None, None), (0.1, 0.2), UNDECIDED),
    ],
)
def test_a_line_needs_a_slope_first(r2, slope, word):
    assert verdicts.relation(Measured(0.88, *r2), Measured(0.1, *slope), 0.88).word == word


def test_a_line_through_too_few_points_is_not_measured():
    assert verdicts.relation(NOTHING, NOTHING, 0.88).word == NOT_MEASURED


@pytest.mark.parametrize(
    ("starts", "word", "said"),
    [
        ([(600, 1200)], AGREES, "in this order"),
        ([(300, 1200)], DIRECTION, "babbling"),  # diverse from the first trained checkpoint on
        ([(1200, 1200)], DIRECTION, "syntax"),
        ([(None, 1200)], DIRECTION, "syntax"),
        ([(600, None)], NOT_FOUND, "hardly"),
        ([(None, None)], NOT_FOUND, "hardly"),
        ([(600, 1200), (600, 900)], AGREES, "in this order"),
        ([(600, 1200), (1200, 1200)], DIRECTION, "syntax alone in 1 of 2"),
        ([(600, 1200), (600, None)], DIRECTION, "semantics alone in 1 of 2"),
        ([(600, None), (600, None)], NOT_FOUND, "hardly"),
    ],
)
def test_phases_need_a_checkpoint_each_in_every_model(starts, word, said):
    by_model = [dict(zip(("syntax_start", "semantics_start"), pair, strict=True)) for pair in starts]
    verdict = verdicts.phases(by_model, first=300)
    assert verdict.word == word and said in verdict.reason


@pytest.mark.parametrize(
    ("now", "before", "word"),
    [
        ((0.2, 0.3), (0.1, 0.19), AGREES),
        ((0.2, 0.3), (0.1, 0.2), DIRECTION),  # no more than before the training
        ((0.2, 0.3), None, DIRECTION),
        ((0.0, 0.3), (-0.2, -0.1), NOT_FOUND),
        ((-0.3, -0.1), (-0.6, -0.5), NOT_FOUND),
        ((None, None), (0.1, 0.2), UNDECIDED),
    ],
)
def test_states_are_readable_if_they_were_not_before(now, before, word):
    earlier = Measured(0.1, *before) if before else NOTHING
    assert verdicts.readable(Measured(0.2, *now), earlier, "the untrained model").word == word
    assert verdicts.readable(NOTHING, earlier, "the untrained model").word == NOT_MEASURED


@pytest.mark.parametrize(
    ("interval", "p", "matched", "word"),
    [
        ((0.01, 0.05), 0.049, True, AGREES),
        ((0.01, 0.05), 0.05, True, UNDECIDED),  # the interval alone is no test of a family
        ((0.01, 0.05), None, True, UNDECIDED),
        ((0.01, 0.05), 0.049, False, DIRECTION),  # other labels need not be as hard
        ((0.0, 0.05), 0.001, True, NOT_FOUND),
        ((-0.05, 0.05), 0.5, False, NOT_FOUND),
        ((-0.05, -0.01), 0.049, True, CONTRADICTS),
        ((-0.05, -0.01), 0.049, False, OPPOSITE),
        ((-0.05, -0.01), 0.2, True, UNDECIDED),
        ((None, None), 0.001, True, UNDECIDED),
    ],
)
def test_an_alternative_is_behind_if_the_family_allows_it(interval, p, matched, word):
    assert verdicts.ahead(Measured(0.03, *interval), p, 0.05, matched).word == word
    assert verdicts.ahead(NOTHING, None, 0.05, matched).word == NOT_MEASURED


@pytest.mark.parametrize(
    ("rank", "pairs", "word"),
    [(1, 20, AGREES), (1, 19, UNDECIDED), (2, 20, NOT_FOUND), (2, 40, AGREES), (3, 40, NOT_FOUND), (40, 40, NOT_FOUND)],
)
def test_the_rank_among_mirror_pairs_needs_enough_of_them(rank, pairs, word):
    assert verdicts.ranked(Measured(0.1, 0.01, 0.2), rank / pairs, pairs, alpha=0.05).word == word


@pytest.mark.parametrize("interval", [(0.0, 0.2), (-0.2, -0.1), (None, None)])
def test_the_first_rank_is_nothing_if_the_difference_is_none(interval):
    assert verdicts.ranked(Measured(0.1, *interval), 0.02, 50, alpha=0.05).word == NOT_FOUND


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ((-0.3, -0.1), AGREES),
        ((-0.3, 0.0), NOT_FOUND),
        ((0.1, 0.3), CONTRADICTS),
        ((None, None), UNDECIDED),
    ],
)
def test_programs_are_shorter_if_all_of_the_interval_is(interval, word):
    assert verdicts.shorter(Measured(-0.2, *interval)).word == word
    assert verdicts.shorter(NOTHING).word == NOT_MEASURED


@pytest.mark.parametrize(
    ("own", "word"),
    [((1.0, 1.4), AGREES), ((1.0, 1.5), NOT_FOUND), ((1.7, 1.8), CONTRADICTS), ((None,) * 2, UNDECIDED)],
)
def test_a_perplexity_is_higher_if_the_intervals_do_not_touch(own, word):
    assert verdicts.higher(Measured(1.6, 1.5, 1.69), Measured(1.2, *own)).word == word


# A study with one number of each kind.

STEPS = (0, 100, 200)


def estimate(name: str, value: float, half: float = 0.01) -> dict:
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def results(**summary) -> style.Results:
    """A finished study in which everything turned out as the paper says, at another size."""
    at = {"lm_seed": 0, "source": "generated", "states": "all", "feature": "mean", "n_states": 5000}
    curve = [
        {"lm_seed": 0, "step": step, "tokens": 1000 * step, "n_test": 600}
        | estimate("generative_accuracy", accuracy)
        | estimate("perplexity_reference", 2.0)
        | estimate("perplexity_generated", 1.5)
        for step, accuracy in zip(STEPS, (0.0, 0.2, 0.9), strict=True)
    ]
    probes = [
        at
        | {"step": step, "depth": depth, "semantics": "original"}
        | estimate("accuracy", 0.3 + step / 1000)
        | estimate("corrected", 0.2 + step / 1000)
        for step in STEPS
        for depth in ("linear", "mlp2")
    ]
    offsets = [row | {"offset": offset} for row in probes for offset in (-1, 0, 1)]
    gap = {"difference": 0.05, "ci_low": 0.03, "ci_high": 0.07, "p": 0.001, "p_holm": 0.002}
    gap |= {"family": "named", "entropy_original": 1.5, "entropy_alternative": 1.2, "offset": 0}
    alternatives = [
        at | gap | {"alternative": name, "depth": depth, "step": step} | ({"difference": 0.01} if step == 0 else {})
        for name in ("mirror", "other")
        for depth in ("linear", "mlp2")
        for step in STEPS
    ]
    pair = {"depth": "mlp2", "first": "original", "difference": 0.05, "ci_low": 0.03, "ci_high": 0.07}
    line = estimate("r2", 0.88, 0.05) | estimate("slope", 0.3) | {"n_points": 2, "measure": "raw", "points": "levels"}
    regression = [at | line | {"depth": depth} for depth in ("linear", "mlp2")]
    baselines = [
        at | {"step": 200, "depth": depth, "baseline": name} | estimate("difference", 0.1)
        for depth in ("linear", "mlp2")
        for name in ("untrained", "input_only", "text", "shuffled")
    ]
    tests = [
        {"lm_seed": 0, "step": 200, "comparison": comparison, "p": 0.001, "n": 540} | estimate("difference", -0.5)
        for comparison in ("correct_vs_training", "correct_vs_their_references")
    ]
    phases = {"syntax_start": 100, "semantics_start": 200, "syntax_start_ci": [100, 200], "semantics_start_ci": None}
    default = {
        "study": "invented",
        "step": 200,
        "semantic_content": {"linear": 0.5, "mlp2": 0.5},
        "sources": {"headline": "generated", "states": "all", "probed": ["generated"], "features": ["facing"]},
        "alternatives": {"mirror": {"difficulty_matched": True}, "other": {"difficulty_matched": False}},
        "mirror_pairs": [
            {"source": "generated", "states": "all", "depth": "mlp2", "rank": 1, "other_pairs": 29, "p": 1 / 30}
        ],
        "checkpoints": curve,
        "phases": phases | {"by_seed": {"0": phases}},
        "n": {"test_programs": 600, "training_programs": 3000, "lm_seeds": 1, "probe_seeds": 2},
        "intervals": {"confidence": 0.95, "resampled": ["test programs"], "kind": "made up", "r2": "made up too"},
    }
    tables = {
        "checkpoints": curve,
        "probes": probes,
        "offsets": offsets,
        "alternatives": alternatives,
        "regression": regression,
        "baselines": baselines,
        "length_tests": tests,
        "permutations": [at | pair],
    }
    study = config.load({})
    sections = {name: getattr(study, name) for name in ("worlds", "programs", "corpus", "lm")}
    tables |= {"edits": [], "edits_compared": []}
    return style.Results(default | summary, {}, tables, "Title", sections)


def verdict_of(lines, claim, depth="", part=""):
    """The one verdict on a claim."""
    (found,) = {line.verdict for line in lines if (line.claim, line.depth) == (claim, depth) and part in line.what}
    return found


def test_every_claim_is_looked_up_in_its_table():
    lines = claims.claims(results())
    assert sorted({line.claim for line in lines}) == list("1234567")
    assert verdict_of(lines, "1") == SMALLER
    assert verdict_of(lines, "2", "linear") == SMALLER
    assert verdict_of(lines, "3", "mlp2") == AGREES
    assert verdict_of(lines, "4") == DIRECTION  # its first trained checkpoint is diverse
    assert verdict_of(lines, "5", "mlp2", "1 statement ago") == verdict_of(lines, "5", "mlp2", "ahead") == AGREES
    assert verdict_of(lines, "6", "linear", "mirror,") == verdict_of(lines, "6", "mlp2", "mirror,") == AGREES
    assert verdict_of(lines, "6", "mlp2", "other,") == DIRECTION
    assert verdict_of(lines, "6", "mlp2", "rank") == AGREES
    assert verdict_of(lines, "7", part="shorter") == verdict_of(lines, "7", part="perplexity") == AGREES
    (line,) = (line for line in lines if (line.claim, line.depth) == ("2", "mlp2"))
    assert (line.value, line.low, line.high, line.n) == (0.5, 0.49, 0.51, 5000)
    assert line.here == "50.0% [49.0, 51.0]; n = 5,000 states" and line.paper == "82.3%"


def test_the_rise_is_the_paired_difference_where_there_is_one():
    made = results()
    for row in made.tables["baselines"]:
        row |= estimate("difference", 0.0)
    assert verdict_of(claims.contents(made), "2", "mlp2") == NOT_FOUND
    made.tables["baselines"].clear()  # then the intervals of both ends, which do not overlap
    assert verdict_of(claims.contents(made), "2", "mlp2") == SMALLER
    for row in made.tables["probes"]:
        row |= estimate("corrected", 0.3)
    assert verdict_of(claims.contents(made), "2", "mlp2") == NOT_FOUND


def test_where_the_untrained_model_was_not_probed_the_first_checkpoint_stands_in():
    made = results()
    made.tables["baselines"].clear()
    for name in ("probes", "offsets"):
        made.tables[name][:] = [row for row in made.tables[name] if row["step"] > 0]
    lines = claims.claims(made)
    assert verdict_of(lines, "2", "mlp2") == SMALLER
    assert {line.reason for line in lines if line.claim in "25"} == {
        "above step 100, the first with states, below the paper",
        "above the most frequent answer and step 100, the first with states",
    }


def test_nothing_is_claimed_of_what_was_not_probed():
    made = results(alternatives={}, mirror_pairs=[], sources=results().summary["sources"] | {"probed": ["forced"]})
    for name in ("regression", "length_tests", "baselines"):
        made.tables[name].clear()
    lines = claims.claims(made)
    assert {line.verdict for line in lines if line.claim in "256"} == {NOT_MEASURED}
    assert {line.verdict for line in lines if line.what.startswith("Right programs")} == {NOT_MEASURED}
    page = claims_page.page(made, lines, claims.between(made))
    assert "Not measured in this study: − untrained model; − input only; − text; − shuffled labels; original" in page
    assert "None" not in page and "nan" not in page


def test_only_a_study_of_the_papers_size_is_held_against_its_levels():
    made = results()
    assert not claims.same_size(made)
    assert "compare directions" in claims_page.page(made, [], claims.between(made))
    corpus, worlds = config.Corpus(examples=5), LANGUAGE.config.Worlds(height=6, width=6)
    programs, lm = LANGUAGE.config.Programs(train_length=(6, 10)), config.LM(layers=20, width=1024, heads=16)
    large = {"corpus": corpus, "worlds": worlds, "programs": programs, "lm": lm}
    assert claims.same_size(style.Results(made.summary, {}, made.tables, "Title", large))
    for name, section in made.sections.items():
        smaller = style.Results(made.summary, {}, made.tables, "Title", large | {name: section})
        assert not claims.same_size(smaller), name


def test_the_page_and_the_csv_have_the_same_numbers(tmp_path):
    made = results()
    claims_page.write(made, tmp_path)
    page = (tmp_path / "paper_vs_ours.md").read_text(encoding="utf-8")
    with open(tmp_path / "paper_vs_ours.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["study"] for row in rows} == {"invented"}
    for row in rows:
        said = row["here"] if row["claim"] != claims.BETWEEN else row["here"].partition(" points")[0]
        assert said in page, row
        assert row["verdict"] in page
    between = [row for row in rows if row["claim"] == claims.BETWEEN]
    assert len(between) == 2 * (len(claims.BASELINES) + len(claims.MIRROR))
    (untrained,) = (row for row in between if row["what"] == claims.MIRROR["first"] and row["depth"] == "mlp2")
    assert float(untrained["value"]) == 0.01
    assert all(rule in page for rule in verdicts.RULES.values())


def test_tables_have_as_many_cells_in_every_row():
    made = results()
    page = claims_page.page(made, claims.claims(made), claims.between(made))
    for block in page.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count(" | ") for line in lines}) <= 1
    assert page.count("| 2 |") == 1  # a claim is said once, its other probes below it
    assert claims_page.table(["a"], [["x|y"]]).endswith("| x\\|y |")
