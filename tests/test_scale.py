"""Variants of several sizes: the fits, and the figure that shows them."""

import copy

import matplotlib
import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import linregress
from synthetic import figures_job, small_study, write_results

from progsem.measures import statistics
from progsem.measures.intervals import slope_interval
from progsem.plots import figures, scale, style
from progsem.storage.files import read_json, write_json


def test_a_slope_is_that_of_a_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=12)
    y = 2 - 0.7 * x + rng.normal(0, 0.1, 12)
    known = linregress(x, y)
    slope, low, high = slope_interval(x, y, ["one"] * 12, 0.95)
    assert slope == pytest.approx(known.slope)
    assert (high - low) / 2 == pytest.approx(stdtrit(10, 0.975) * known.stderr) and low < slope < high


def test_groups_have_levels_of_their_own():
    x = np.array([0.0, 1, 2, 0, 1, 2])
    groups = [4, 4, 4, 6, 6, 6]
    slope, low, high = slope_interval(x, 3 * x + np.repeat([0, 100], 3), groups, 0.95)
    assert slope == pytest.approx(3) and high - low < 1e-9
    assert slope_interval([1, 1, 1], [1, 2, 3], ["a"] * 3, 0.95) is None  # no two sizes
    assert slope_interval([1, 2], [1, 2], ["a"] * 2, 0.95) is None  # nothing to judge the fit by


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Four variants, of which each larger one needs half of the tokens."""
    folder = tmp_path_factory.mktemp("scale")
    sections = {"lm": {"steps": 600, "decay_steps": 600, "seeds": [3, 5]}}
    sections["interventions"] = {"alternatives": {"mirror": {"turn_left": "turn_right", "turn_right": "turn_left"}}}
    sections["interventions"]["difficulty_matched"] = "mirror"
    made = write_results(folder, small_study(**sections))
    statistics.run(made)
    job = figures_job(made, folder / "figures", "title", dict.fromkeys(["a", "b", "c", "d"], made))
    variants = figures.read_variants(job)
    for place, one in enumerate(variants.values()):
        object.__setattr__(one, "tables", copy.deepcopy(one.tables))
        one.summary["sizes"] = {"parameters": 1000 * 10**place, "statements": 4 + 2 * (place % 2)}
        for row in one.tables["milestones"]:
            row["tokens"] = 1e6 / 2**place * (1 + 0.01 * (row["lm_seed"] == 3))
    return style.Results(
        summary=read_json(job.input("summary")), gallery={}, tables={}, title="title", sections={}, variants=variants
    )


def test_the_figure_has_a_point_a_model_and_the_fit(results):
    with matplotlib.rc_context(style.CONTEXT):
        figure, rows = scale.scale(results)
        figure.draw_without_rendering()
    tokens = [row for row in rows if row["measure"] == "tokens"]
    assert len(tokens) == 4 * 2 + 1 and tokens[-1]["variant"] == "fit"
    assert tokens[-1]["value"] == pytest.approx(np.log10(0.5), abs=1e-6)  # half, for ten times the parameters
    assert tokens[-1]["low"] <= tokens[-1]["value"] <= tokens[-1]["high"]
    measures = {"accuracy", "unsolved", "tokens", "solved", "read", "ahead"}  # and no edits
    assert {row["measure"] for row in rows} == measures
    # What is not solved falls with a power of the tokens, which is the same in all variants here.
    (unsolved,) = (row for row in rows if row["measure"] == "unsolved")
    curve = [row for row in rows if row["measure"] == "accuracy" and row["variant"] == "a" and row["tokens"]]
    known = linregress(*np.log10([(row["tokens"], 1 - row["value"]) for row in curve]).T)
    assert unsolved["value"] == pytest.approx(known.slope) and unsolved["low"] == pytest.approx(known.slope)
    assert "to the power of −0.30" in "".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_what_models_of_a_size_have_in_common_widens_the_interval(results):
    """Of a shape that is off the line, three language models are no three points."""
    shapes = [
        {"variant": str(size), "parameters": 10**size, "statements": 4, "off": off}
        for size, off in enumerate([0.3, -0.5, 0.2, 0.1])
    ]
    found = [one | {"value": 10 ** one["off"] * (1 + 0.001 * seed)} for one in shapes for seed in range(3)]
    fit = scale._fit(scale.PANELS[0], found, results)
    known = linregress(range(4), [0.3, -0.5, 0.2, 0.1])
    assert fit[0] == pytest.approx(known.slope) and fit[2] - fit[0] == pytest.approx(stdtrit(2, 0.975) * known.stderr)


def test_a_model_that_does_not_get_there_takes_the_exponent_away(results):
    variants = {name: copy.deepcopy(one) for name, one in results.variants.items()}
    for row in variants["a"].tables["milestones"]:
        row["tokens"] = None if row["lm_seed"] == 3 else row["tokens"]
    with matplotlib.rc_context(style.CONTEXT):
        figure, rows = scale.scale(style.Results(results.summary, {}, {}, "title", {}, variants))
        figure.draw_without_rendering()
    (fit,) = (row for row in rows if row["measure"] == "tokens" and row["variant"] == "fit")
    assert fit["value"] is None and "\n7 of 8 models" in figure.axes[1].get_title(loc="left")


def test_variants_of_one_size_have_no_such_figure(results):
    alike = {name: copy.deepcopy(one) for name, one in results.variants.items()}
    for one in alike.values():
        one.summary["sizes"]["parameters"] = 1000
    assert scale.scale(style.Results(results.summary, {}, {}, "title", {}, alike)) is None


def test_sizes_are_those_that_the_training_has_counted(tmp_path):
    for number, body in enumerate(({"stage": "tokens"}, {"stage": "train", "notes": {"parameters": 77}})):
        write_json(tmp_path / f"{number}.json", body)
    paths = [tmp_path / "0.json", tmp_path / "1.json"]
    assert statistics.sizes(paths, 4) == {"parameters": 77, "statements": 4}
    assert statistics.sizes(paths[:1], 4) == {"parameters": None, "statements": 4}
