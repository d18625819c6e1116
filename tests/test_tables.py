"""The tables on baselines, layers, places, mirror pairs and other specifications, against slow sums over the files."""

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from synthetic import SOURCES, only, small_study, table, write_results

from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.languages.karel.permutations import mirror_pairs
from progsem.measures import controls, description, intervals, labels, permutations, statistics, transfer
from progsem.measures.content import for_all_features
from progsem.measures.content_estimates import Estimated
from progsem.measures.controls import ControlKey
from progsem.measures.resampling import Resamples
from progsem.measures.results import (
    Predictions,
    Settings,
    find_checkpoints,
    find_generalisation,
    read_outcomes,
    read_readings,
)
from progsem.storage.files import read_table, write_table

FEATURES = ("facing", "offset_from_start", "wall_ahead")
DEPTHS = ("linear", "mlp1", "mlp2")
KINDS = ["counts", "prefix", "start", "text", "embedding", "layers", "shuffled", "description_length"]
MIRROR = {
    "turn_left": "turn_right",
    "turn_right": "turn_left",
    "pick_marker": "put_marker",
    "put_marker": "pick_marker",
}
INTERVENTIONS = {"alternatives": {"mirror": MIRROR}, "difficulty_matched": "mirror", "permutations": 3}
LAST = 1200
BABBLING = 400  # at the first step there are no generated states


def study_of(**sections):
    defaults = {
        "traces": {"layers": "each"},
        "controls": {"kinds": KINDS, "checkpoints": "ends"},
        "interventions": INTERVENTIONS,
        "statistics": {"resamples": 150},
        "generalisation": {"test": 300},
    }
    return small_study(**{name: defaults.get(name, {}) | sections.get(name, {}) for name in defaults | sections})


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    study = study_of(probes={"positions": [[0, 1], [4, 4]]})
    job = write_results(tmp_path_factory.mktemp("tables"), study, babbling=BABBLING)
    statistics.run(job)
    return job


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """Two language models with three probe seeds each, controls at every checkpoint."""
    study = study_of(
        lm={"steps": 400, "checkpoint_every": 200, "decay_steps": 400, "seeds": [3, 5]},
        probes={"seeds": 3},
        controls={"checkpoints": "every"},
    )
    job = write_results(tmp_path_factory.mktemp("pooled"), study)
    statistics.run(job)
    return job


def number(row, name):
    return float(row[name])


def file_of(job, name, seed, step, semantics="original"):
    """The only input of that name, seed and step; predictions of that semantics, at offset 0."""
    found = []
    for path in job.inputs[name]:
        about = read_table(path)[1]
        known = about.get("semantics", semantics)
        known = semantics in (known if isinstance(known, list) else [known])
        if (about["seed"], about["step"]) == (seed, step) and known and 0 in about.get("offsets", [0]):
            found.append(path)
    (path,) = found
    return path


def naive(path, source, depth, feature, choose=None, states="all"):
    """Accuracy, majority and corrected accuracy of some states at offset 0 from a file, one state at a time."""
    columns, about = read_table(path)
    d, seeds, heads = about["depths"].index(depth), about["seeds"], about["features"][feature]["heads"]
    right, majority, programs = [], [], set()
    for row in range(len(columns["source"])):
        if columns["source"][row] != SOURCES.index(source) or columns["offset"][row] != 0:
            continue
        if states == "non_final" and columns["final"][row]:
            continue
        if choose and not choose(columns, row, about):
            continue
        answers = columns[f"predicted_{feature}"][row].reshape(len(about["depths"]), seeds, heads)[d]
        label = columns[f"label_{feature}"][row]
        right.append(np.mean([(answers[seed] == label).all() for seed in range(seeds)]))
        majority.append(columns[f"majority_{feature}"][row])
        programs.add(columns["program"][row])
    accuracy, majority = np.mean(right), np.mean(majority)
    return accuracy, majority, (accuracy - majority) / (1 - majority), len(right), len(programs)


def of_control(name):
    return lambda columns, row, about: columns["control"][row] == about["controls"].index(name)


def agrees(row, expected):
    for column, value in zip(("accuracy", "majority", "corrected"), expected, strict=False):
        assert number(row, column) == pytest.approx(value, abs=2e-6)
        assert number(row, f"{column}_low") <= value + 1e-6 and value - 1e-6 <= number(row, f"{column}_high")
    assert (int(row["n_states"]), int(row["n_programs"])) == expected[3:]


# ---------------------------------------------------------------- baselines


@pytest.mark.parametrize(
    ("baseline", "step", "source", "states", "depth", "feature"),
    [
        ("prefix", LAST, "forced", "all", "mlp1", "facing"),
        ("text", LAST, "generated", "non_final", "linear", "offset_from_start"),
        ("shuffled", LAST, "generated", "all", "mlp2", "wall_ahead"),
        ("embedding", 0, "forced", "non_final", "mlp2", "facing"),
        ("counts", 0, "forced", "all", "linear", "wall_ahead"),
    ],
)
def test_controls_are_what_their_files_say(job, baseline, step, source, states, depth, feature):
    where = {"step": step, "source": source, "states": states, "depth": depth, "feature": feature}
    rows = table(job, "baselines")
    control = naive(file_of(job, "controls_predictions", 0, step), source, depth, feature, of_control(baseline), states)
    agrees(only(rows, baseline=baseline, **where), control)
    model = naive(file_of(job, "predictions", 0, step), source, depth, feature, None, states)
    agrees(only(rows, baseline="model", **where), model)
    row = only(rows, baseline=baseline, **where)
    assert number(row, "difference") == pytest.approx(model[2] - control[2], abs=2e-6)
    assert number(row, "difference_low") < number(row, "difference") < number(row, "difference_high")


def test_rows_of_the_model_are_those_of_the_table_probes(job):
    probes = table(job, "probes")
    mine = [row for row in table(job, "baselines") if row["baseline"] == "model"]
    assert {(row["step"], row["source"]) for row in mine} == {
        ("0", "forced"),
        ("1200", "forced"),
        ("1200", "generated"),
    }
    for row in mine:
        keys = ("lm_seed", "step", "source", "states", "depth", "feature")
        same = only(probes, semantics="original", **{key: row[key] for key in keys})
        shared = [key for key in row if key in same]
        assert len(shared) >= 17 and {key: row[key] for key in shared} == {key: same[key] for key in shared}
        assert row["difference"] == ""


def test_means_over_features(job):
    rows = table(job, "baselines")
    for row in rows:
        if row["feature"] != "mean":
            continue
        keys = ("lm_seed", "step", "source", "states", "depth", "baseline")
        each = [only(rows, feature=feature, **{key: row[key] for key in keys}) for feature in FEATURES]
        for column in ("accuracy", "majority", "corrected", "difference", "bits"):
            if row[column]:
                assert number(row, column) == pytest.approx(np.mean([number(one, column) for one in each]), abs=3e-6)


def test_the_majority_is_the_zero_of_the_scale(job):
    rows = table(job, "baselines")
    for row in (row for row in rows if row["baseline"] == "majority"):
        keys = ("step", "source", "states", "depth", "feature")
        model = only(rows, baseline="model", **{key: row[key] for key in keys})
        assert row["accuracy"] == row["majority"] == model["majority"]
        assert {number(row, f"corrected{end}") for end in ("", "_low", "_high")} == {0.0}
        assert [row[f"difference{end}"] for end in ("", "_low", "_high")] == [
            model[f"corrected{end}"] for end in ("", "_low", "_high")
        ]


def test_regularities_of_the_controls(job):
    """As written: start and shuffled answer as the majority does, the prefix knows a quarter; the model learns more."""
    rows = [row for row in table(job, "baselines") if row["feature"] == "mean" and row["depth"] == "mlp2"]
    for row in rows:
        if row["baseline"] in ("start", "shuffled"):
            assert number(row, "corrected") == 0 and row["accuracy"] == row["majority"]
        if row["baseline"] == "prefix":
            assert number(row, "corrected") == pytest.approx(0.25, abs=0.03)
    last = only(rows, step=LAST, source="forced", states="all", baseline="prefix")
    assert number(last, "difference_low") > 0.3
    first = only(rows, step=0, source="forced", states="all", baseline="prefix")
    assert number(first, "difference_high") < 0


def test_untrained_is_the_model_before_its_first_step(job):
    rows = table(job, "baselines")
    untrained = [row for row in rows if row["baseline"] == "untrained"]
    # While it babbled, it wrote too little to be probed; and at the first step it is itself the model.
    assert {(row["step"], row["source"]) for row in untrained} == {("1200", "forced")}
    for row in untrained:
        keys = ("source", "states", "depth", "feature")
        first = only(rows, step=0, baseline="model", **{key: row[key] for key in keys})
        model = only(rows, step=LAST, baseline="model", **{key: row[key] for key in keys})
        shared = [key for key in row if not key.startswith(("step", "baseline", "difference"))]
        assert {key: row[key] for key in shared} == {key: first[key] for key in shared}
        gain = number(model, "corrected") - number(first, "corrected")
        assert number(row, "difference") == pytest.approx(gain, abs=3e-6)


def test_input_only_is_chosen_on_validation_states(job, tmp_path):
    """One cell of counts is made the best on validation: it is taken there, though worse on test states."""
    changed = []
    for path in job.inputs["controls_accuracy"]:
        rows = list(csv.reader(path.open(encoding="utf-8")))
        columns = {name: index for index, name in enumerate(rows[0])}
        for row in rows[1:]:
            here = [row[columns[name]] for name in ("control", "source", "feature", "depth")]
            if here == ["counts", "forced", "facing", "mlp1"]:
                row[columns["validation_accuracy"]] = "0.999"
        changed.append(tmp_path / f"{path.parent.parent.name}.csv")
        with changed[-1].open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle).writerows(rows)
    settings = Settings.of(job)
    other = Job(job.stage, job.slice, job.inputs | {"controls_accuracy": changed}, job.outputs)
    (checkpoint,) = [one for one in find_checkpoints(other, settings) if one.step == LAST]
    contents = controls.control_contents(checkpoint, settings, Resamples(np.ones((1, settings.test), np.float32)))
    best, counts, prefix = (contents[name, "forced", "all"].corrected[0] for name in ("input_only", "counts", "prefix"))
    f, d = FEATURES.index("facing"), DEPTHS.index("mlp1")
    assert (counts[:, f, d] < prefix[:, f, d]).all()
    expected = prefix.copy()
    expected[:, f, d] = counts[:, f, d]
    expected[:, -1] = expected[:, :-1].mean(axis=1)
    np.testing.assert_allclose(best, expected)
    # As the files were written, the prefix is the best everywhere.
    row = only(table(job, "baselines"), step=LAST, source="forced", states="all", depth="mlp1", feature="facing",
               baseline="input_only")  # fmt: skip
    assert number(row, "corrected") == pytest.approx(prefix[:, f, d].mean(), abs=2e-6)


def test_bits_are_totals_over_states(job):
    for step in (0, LAST):
        columns, about = read_table(file_of(job, "controls_description", 0, step))
        for depth, feature in (("mlp2", "facing"), ("linear", "offset_from_start")):
            here = columns["source"] == SOURCES.index("forced")
            coded = columns[f"bits_{feature}"][here].reshape(here.sum(), 3, about["seeds"])
            bits = float(np.mean([coded[:, DEPTHS.index(depth), s].astype(float).sum() for s in range(2)]) / here.sum())
            row = only(table(job, "baselines"), step=step, source="forced", states="all", depth=depth,
                       feature=feature, baseline="model")  # fmt: skip
            assert number(row, "bits") == pytest.approx(bits, abs=2e-6)
            assert number(row, "compression") == pytest.approx(about["uniform"][feature] / bits, abs=1e-5)
            assert number(row, "bits_low") < bits < number(row, "bits_high")
            assert number(row, "compression_low") == pytest.approx(
                about["uniform"][feature] / number(row, "bits_high"), abs=1e-5
            )
            assert int(row["n_coded_states"]) == here.sum()
            assert int(row["n_coded_programs"]) == len(set(columns["program"][here].tolist()))
    with_bits = {(row["states"], row["baseline"]) for row in table(job, "baselines") if row["bits"]}
    assert with_bits == {("all", "model"), ("all", "untrained")}


def test_training_programs_are_drawn_whole(job):
    """The dispersion of bits over resamples is that of a ratio of sums over programs, by the usual linearisation."""
    settings = replace(Settings.of(job), statistics=Settings.of(job).statistics.model_copy(update={"resamples": 2000}))
    checkpoint = find_checkpoints(job, settings)[-1]
    bits = description.description_bits(checkpoint, settings)["forced"]
    columns, _ = read_table(checkpoint.controls.description)
    here = columns["source"] == SOURCES.index("forced")
    coded = columns["bits_facing"][here].reshape(-1, 3, 2)[:, 2].mean(axis=1).astype(float)
    programs = columns["program"][here]
    ratio, residuals = coded.mean(), []
    for program in set(programs.tolist()):
        of_program = coded[programs == program]
        residuals.append(of_program.sum() - ratio * len(of_program))
    expected = np.sqrt(np.sum(np.square(residuals))) / len(coded)
    spread = bits.values[1:, :, FEATURES.index("facing"), 2].mean(axis=1).std()
    assert spread == pytest.approx(expected, rel=0.1)


def test_variances_of_independent_fits_are_added():
    one = intervals.estimate(np.array([[[1.0], [3.0]], [[1.5], [3.5]], [[0.5], [2.5]]]), 0.95, 50)
    other = replace(one, units=np.array([3.0]), unit_df=np.array([5.0]), crossed=np.array([0.25]))
    both = controls.with_fits_of(one, one, other)
    assert one.units[0] == pytest.approx(1.0) and both.units[0] == pytest.approx(4.0)
    assert both.crossed[0] == pytest.approx(one.crossed[0] + 0.25)
    assert both.unit_df[0] == pytest.approx(16 / (1 / 1 + 9 / 5))
    none = replace(one, units=np.array([0.0]), unit_df=np.array([np.inf]))
    assert controls.with_fits_of(one, none, none).unit_df[0] == np.inf


# ------------------------------------------------------------------- layers


def test_layers_are_what_their_files_say(job):
    rows = table(job, "layers")
    assert list(dict.fromkeys(row["layer"] for row in rows)) == ["mean", *(f"layer_{n}" for n in range(4))]
    for layer, step, source, depth in (("layer_0", 0, "forced", "mlp2"), ("layer_3", LAST, "generated", "linear")):
        row = only(rows, step=step, source=source, states="all", depth=depth, feature="facing", layer=layer)
        path = file_of(job, "controls_predictions", 0, step)
        agrees(row, naive(path, source, depth, "facing", of_control(layer)))
    where = {"step": LAST, "source": "forced", "states": "non_final", "depth": "mlp1", "feature": "mean"}
    mean = only(rows, layer="mean", **where)
    model = only(table(job, "baselines"), baseline="model", **where)
    assert {key: mean[key] for key in mean if key in model} == {key: model[key] for key in mean if key in model}
    curve = [number(only(rows, layer=f"layer_{n}", **where), "corrected") for n in range(4)]
    assert curve == sorted(curve)


# ---------------------------------------------------------------- positions


def lengths_of(job, step, column):
    columns, _ = read_table(file_of(job, "programs", 0, step))
    return (columns[column] < 5).sum(axis=1)  # by row in the file, which is what predictions name


@pytest.mark.parametrize(
    ("semantics", "source", "by", "value"),
    [
        ("original", "generated", "from_start", 3),
        ("original", "forced", "from_end", 1),
        ("mirror", "forced", "from_end", 4),
        ("mirror", "generated", "length", 2),
        ("original", "forced", "length", 6),
    ],
)
def test_positions_are_what_the_files_say(job, semantics, source, by, value):
    lengths = lengths_of(job, LAST, {"generated": "generated", "forced": "reference"}[source])

    def chosen(columns, row, about):
        length, statement = lengths[columns["program"][row]], columns["statement"][row]
        return value == {"from_start": statement + 1, "from_end": length - statement, "length": length}[by]

    path = file_of(job, "predictions", 0, LAST, semantics)
    row = only(
        table(job, "positions"),
        source=source,
        semantics=semantics,
        by=by,
        value=value,
        depth="mlp1",
        feature="offset_from_start",
    )
    agrees(row, naive(path, source, "mlp1", "offset_from_start", chosen))


def test_every_state_has_a_place(job):
    rows = [
        row
        for row in table(job, "positions")
        if (row["semantics"], row["source"], row["depth"], row["feature"]) == ("original", "forced", "mlp2", "mean")
    ]
    states = int(only(table(job, "probes"), step=LAST, semantics="original", source="forced", states="all",
                      depth="mlp2", feature="mean")["n_states"])  # fmt: skip
    for by in ("from_start", "from_end", "length"):
        assert sum(int(row["n_states"]) for row in rows if row["by"] == by) == states
    assert {row["step"] for row in rows} == {str(LAST)}
    # probes.positions are statements 0 and 1, and 4, counted from 0.
    trained = {int(row["value"]): row["trained"] for row in rows if row["by"] == "from_start"}
    assert trained == {1: "True", 2: "True", 3: "False", 4: "False", 5: "True", 6: "False"}
    # Programs of any length begin with the first statement; the fourth from the end is the first of four.
    assert {row["trained"] for row in rows if row["by"] == "length"} == {"True"}
    assert only(rows, by="from_end", value=4)["trained"] == "True"


# ------------------------------------------------------------- permutations


def entropy(rows):
    counts = np.array(list(Counter(map(tuple, rows.tolist())).values()))
    return float(-(counts / counts.sum() * np.log2(counts / counts.sum())).sum())


def of_semantics(name):
    """Chooses, for `naive`, the rows of one semantics in a file that has several."""
    return lambda columns, row, about: about["semantics"][columns["semantics"][row]] == name


def under(path, name):
    """The columns of the rows of one semantics."""
    columns, about = read_table(path)
    here = np.array(about["semantics"])[columns["semantics"]] == name
    return {key: values[here] for key, values in columns.items()}


@pytest.mark.parametrize(("pair", "source", "states"), [(1, "forced", "all"), (3, "generated", "non_final")])
def test_mirror_pairs_are_what_the_files_say(job, pair, source, states):
    first, second = mirror_pairs(False)[pair - 1]
    row = only(table(job, "permutations"), pair=pair, source=source, states=states, depth="mlp1")
    assert (row["first"], row["second"]) == (first, second)
    corrected = []
    for name, side in ((first, "first"), (second, "second")):
        path = file_of(job, "predictions", 0, LAST, name)
        scores = [naive(path, source, "mlp1", feature, of_semantics(name), states) for feature in FEATURES]
        corrected.append(np.mean([score[2] for score in scores]))
        assert number(row, f"corrected_{side}") == pytest.approx(corrected[-1], abs=2e-6)
        columns = under(path, name)
        here = columns["source"] == SOURCES.index(source)
        if states == "non_final":
            here &= ~columns["final"]
        bits = np.mean([entropy(columns[f"label_{feature}"][here]) for feature in FEATURES])
        assert number(row, f"entropy_{side}") == pytest.approx(bits, abs=2e-6)
    assert number(row, "difference") == pytest.approx(corrected[0] - corrected[1], abs=3e-6)
    assert number(row, "ci_low") < number(row, "difference") < number(row, "ci_high")
    one, other = (under(file_of(job, "predictions", 0, LAST, name), name) for name in (first, second))
    # Straight-line programs: both files have the same states in the same order.
    unlike = [(one[f"label_{f}"][here] != other[f"label_{f}"][here]).any(axis=1).mean() for f in FEATURES]
    assert number(row, "share_differing") == pytest.approx(np.mean(unlike), abs=2e-6)
    assert int(row["n_states"]) == here.sum() and row["n_features"] == "3"


def test_the_original_and_its_mirror_image_are_pair_0(job):
    mine = [row for row in table(job, "permutations") if row["pair"] == "0"]
    assert len(mine) == 2 * 2 * 3 and {(row["first"], row["second"]) for row in mine} == {("original", "mirror")}
    for row in mine:
        same = only(table(job, "alternatives"), step=LAST, offset=0, alternative="mirror", feature="mean",
                    **{key: row[key] for key in ("source", "states", "depth")})  # fmt: skip
        shared = ("difference", "ci_low", "ci_high", "p", "share_differing", "n_states", "n_programs", "n_features")
        assert [row[key] for key in shared] == [same[key] for key in shared]
        assert row["corrected_first_low"] == same["original_low"]
        assert row["corrected_second_high"] == same["alternative_content_high"]
        assert row["entropy_second"] == same["entropy_alternative"]
        assert number(row, "ci_low") > 0


def test_the_summary_ranks_the_original_among_the_pairs(job):
    ranks = json.loads(job.output("summary").read_text(encoding="utf-8"))["mirror_pairs"]
    assert len(ranks) == 2 * 2 * 3
    for found in ranks:
        where = {key: found[key] for key in ("source", "states", "depth")}
        rows = [row for row in table(job, "permutations") if all(row[key] == where[key] for key in where)]
        own = number(only(rows, pair=0), "difference")
        others = [abs(number(row, "difference")) for row in rows if row["pair"] != "0"]
        assert found["difference"] == own and found["other_pairs"] == 3
        assert found["rank"] == 1 + sum(other >= own for other in others)
        assert found["p"] == pytest.approx(found["rank"] / 4)
    # As written, the original is ahead of its mirror image, and the others are not of theirs.
    assert {found["rank"] for found in ranks if found["depth"] != "linear"} == {1}


def test_ranks_by_hand():
    def rows(own, *others):
        ends = {"ci_low": 0.0, "ci_high": 0.0, "n_states": 1, "n_programs": 1}
        pairs = [("original", own), *((f"perm-{index}", other) for index, other in enumerate(others))]
        return [{"first": name, "difference": difference} | ends for name, difference in pairs]

    found = permutations.rank_of_original(rows(0.05, 0.01, -0.06, 0.05, -0.02))
    assert (found["rank"], found["other_pairs"], found["p"]) == (3, 4, 3 / 5)
    assert permutations.rank_of_original(rows(-0.5, 0.01, -0.02))["p"] == 1  # behind, not ahead
    assert permutations.rank_of_original(rows(0.5, 0.01, np.nan))["p"] == 0.5
    assert permutations.rank_of_original(rows(0.5)) is None
    assert permutations.rank_of_original(rows(np.nan, 0.1)) is None
    assert permutations.rank_of_original(rows(0.5, 0.1)[1:]) is None


@pytest.mark.parametrize(
    ("mapping", "control_flow", "expected"),
    [
        (MIRROR, 0.0, True),
        ({"turn_left": "turn_right", "turn_right": "turn_left"}, 0.0, True),
        ({"turn_left": "turn_right", "turn_right": "turn_left"}, 0.2, True),
        (MIRROR, 0.2, False),  # where markers are seen, exchanging pick and put is not only another name
        ({"turn_left": "move", "move": "turn_left"}, 0.0, False),
    ],
)
def test_what_counts_as_the_mirror_image(job, mapping, control_flow, expected):
    frozen = job.slice | {
        "interventions": job.slice["interventions"] | {"alternatives": {"mirror": mapping}},
        "programs": job.slice["programs"] | {"control_flow": control_flow},
    }
    settings = Settings.of(Job(job.stage, frozen, job.inputs, job.outputs))
    assert settings.mirrored is expected


def test_states_are_matched_where_both_have_them(job):
    settings = Settings.of(job)
    path = file_of(job, "predictions", 0, LAST)
    rows = np.arange(settings.test) + read_table(path)[0]["program"].min()
    whole = read_outcomes(Predictions(path, "original"), settings, rows)
    keep = np.arange(len(whole.source)) % 3 > 0
    order = np.random.default_rng(0).permutation(np.flatnonzero(keep))
    cut = replace(
        whole,
        **{name: getattr(whole, name)[order] for name in ("source", "offset", "cluster", "statement", "final")},
        labels={feature: values[order] for feature, values in whole.labels.items()},
    )
    in_whole, in_cut = labels.common_states(whole, cut)
    assert len(in_whole) == len(order) < len(whole.source)
    np.testing.assert_array_equal(order[in_cut], in_whole)
    common = labels.Common.of(whole, cut, settings)
    assert not any(side.any() for side in common.differs)
    np.testing.assert_array_equal(common.in_both, keep)
    everything = for_all_features(np.ones(len(whole.source), bool), settings)
    assert common.share_differing(everything).tolist() == [0, 0, 0, 0]
    assert np.isnan(common.share_differing(~everything)).all()
    assert np.isnan(labels.entropies(whole, ~everything, settings)).all()


def test_how_sure_the_probes_are(job):
    settings = Settings.of(job)
    path = file_of(job, "predictions", 0, LAST)
    columns, about = read_table(path)
    rows = np.arange(settings.test) + columns["program"].min()
    reordered = replace(settings, probes=settings.probes.model_copy(update={"depths": {"mlp2": (), "linear": ()}}))
    assert reordered.depths == ("linear", "mlp2")  # shallowest first, whatever the config's order
    found = read_readings(Predictions(path, "original"), reordered, rows)
    confidence = columns["confidence_facing"].reshape(-1, 3, about["seeds"])
    np.testing.assert_array_equal(found.confidence["facing"], confidence[:, 2, 0])
    predicted = columns["predicted_facing"].reshape(-1, 3, about["seeds"], 1)
    np.testing.assert_array_equal(found.read["facing"], predicted[:, 2, 0])
    outcome = read_outcomes(Predictions(path, "original"), reordered, rows)
    right = predicted[:, [0, 2]] == columns["label_facing"].reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(outcome.right[:, 0], right[..., 0])


# ----------------------------------------------------------- generalisation


def test_generalisation_is_counted_on_the_files(job):
    sets, about = read_table(job.inputs["generalisation"][0])
    test, _ = read_table(file_of(job, "programs", 0, LAST))
    rows = table(job, "generalisation")
    ranges = {("larger", "True"), ("longer", "False"), ("test set", "True"), ("test set", "False")}
    assert {(row["set"], row["in_training_range"]) for row in rows} == ranges
    assert len(rows) == (1 + 5) + (1 + 2) + (1 + 6)
    for row in rows:
        columns, here = test, test["split"] == 2
        if row["set"] != "test set":
            columns, here = sets, sets["set"] == about["sets"].index(row["set"])
        lengths = (columns["reference"] < 5).sum(axis=1)
        if row["length"] != "-1":
            here &= lengths == int(row["length"])
        assert int(row["n"]) == here.sum()
        named = {"generative": "correct_shown", "strict": "correct_all", "unconstrained": "unconstrained_correct"}
        for name, column in named.items():
            right = columns[column][here]
            assert number(row, f"{name}_accuracy") == pytest.approx(right.mean(), abs=1e-6)
            wilson = stats.binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
            assert number(row, f"{name}_accuracy_low") == pytest.approx(wilson.low, abs=2e-6)
            assert number(row, f"{name}_accuracy_high") == pytest.approx(wilson.high, abs=2e-6)


def test_the_same_stream_gives_the_same_draws(job):
    settings = Settings.of(job)
    sums = np.arange(40)
    one, same, other = (Resamples.drawn(settings, stream, 40).totals(sums) for stream in (6, 6, 5))
    np.testing.assert_array_equal(one, same)
    assert one.shape == (1 + settings.statistics.resamples,) and (one[1:] != other[1:]).any()


# ------------------------------------------------------- several LM seeds


@pytest.mark.parametrize(
    ("name", "where", "columns"),
    [
        (
            "baselines",
            {"step": 400, "source": "generated", "states": "all", "depth": "mlp1", "feature": "mean"},
            {"baseline": ["model", "prefix", "input_only", "untrained", "shuffled"]},
        ),
        (
            "baselines",
            {"step": 200, "source": "forced", "states": "all", "depth": "mlp2", "feature": "facing"},
            {"baseline": ["model", "embedding", "majority"]},
        ),
        (
            "layers",
            {"step": 200, "source": "forced", "states": "all", "depth": "mlp2", "feature": "mean"},
            {"layer": ["mean", "layer_0", "layer_3"]},
        ),
        (
            "positions",
            {"semantics": "mirror", "source": "forced", "by": "from_end", "depth": "mlp2", "feature": "mean"},
            {"value": ["1", "3"]},
        ),
        ("permutations", {"source": "forced", "states": "all", "depth": "mlp2"}, {"pair": ["0", "1", "3"]}),
        ("generalisation", {"set": "longer"}, {"length": ["-1", "7", "8"]}),
        ("generalisation", {"set": "test set"}, {"length": ["-1", "1", "6"]}),
    ],
)
def test_language_models_are_pooled(pooled, name, where, columns):
    rows = table(pooled, name)
    ((column, values),) = columns.items()
    for value in values:
        each = [only(rows, lm_seed=seed, **where, **{column: value}) for seed in (3, 5, "pooled")]
        means = "accuracy corrected difference bits corrected_first generative_accuracy strict_accuracy".split()
        compared = [mean for mean in means if each[0].get(mean)]
        assert compared
        for mean in compared:
            expected = np.mean([number(row, mean) for row in each[:2]])
            assert number(each[2], mean) == pytest.approx(expected, abs=3e-6)
        for count in ("n_states", "n_programs", "n_coded_states", "n"):
            if each[0].get(count):
                assert int(each[2][count]) == int(each[0][count]) + int(each[1][count])


def test_what_needs_no_language_model_has_probe_seeds_as_units_in_forced_traces(pooled):
    """Fits of every language model would be the same ones: their spread would say nothing."""
    rows = table(pooled, "baselines")
    where = {"step": 400, "source": "forced", "states": "all", "depth": "mlp1", "feature": "facing", "baseline": "text"}
    first, all_of_them = (only(rows, lm_seed=seed, **where) for seed in (3, "pooled"))
    for column in ("accuracy", "accuracy_low", "accuracy_high", "corrected", "corrected_low", "n_states"):
        assert all_of_them[column] == first[column]
    model = only(rows, lm_seed="pooled", **where | {"baseline": "model"})
    assert number(all_of_them, "difference") == pytest.approx(
        number(model, "corrected") - number(first, "corrected"), abs=3e-6
    )


def test_controls_at_every_checkpoint_borrow_from_their_neighbours(pooled):
    """Where every checkpoint has controls, a fit's variance is the mean over neighbours; not of what is the same."""
    settings = Settings.of(pooled)
    assert settings.control_steps == (0, 200, 400)
    estimate = intervals.estimate(np.array([[[0.5], [0.7]]] * 3), 0.95, 50)
    wider = replace(estimate, units=np.array([0.05]))
    text, embedding = (ControlKey(kind, "forced", "all") for kind in ("text", "embedding"))
    by_step = {
        step: controls.MeasuredControls(Estimated({key: {"accuracy": one} for key in (text, embedding)}), {})
        for step, one in ((0, estimate), (200, estimate), (400, wider))
    }
    found = {step: one.estimated.estimates for step, one in controls.borrow_where_they_differ(by_step).items()}
    assert found[0][embedding]["accuracy"].units[0] == pytest.approx((0.01 + 0.01 + 0.05) / 3)
    assert found[0][embedding]["accuracy"].unit_df[0] == 3
    assert found[400][text]["accuracy"].units[0] == 0.05


# ------------------------------------------------------------ what is given


def given(job, **inputs):
    return Job(job.stage, job.slice, job.inputs | inputs, job.outputs)


def test_the_untrained_model_is_a_baseline_without_controls_of_its_own(tmp_path):
    lm = {"steps": 400, "checkpoint_every": 200, "decay_steps": 400}
    job = write_results(tmp_path, study_of(lm=lm, controls={"checkpoints": "last"}))
    statistics.run(job)
    rows = table(job, "baselines")
    assert {row["step"] for row in rows} == {"400"}
    where = {"source": "forced", "states": "all", "depth": "mlp1", "feature": "mean"}
    row, model = (only(rows, baseline=baseline, **where) for baseline in ("untrained", "model"))
    first = only(table(job, "probes"), step=0, semantics="original", **where)
    assert number(row, "corrected") == number(first, "corrected")
    assert number(row, "difference") == pytest.approx(number(model, "corrected") - number(first, "corrected"), abs=2e-6)
    assert model["bits"] and not row["bits"]


def test_nothing_asked_for_gives_empty_tables(tmp_path):
    study = small_study(
        lm={"steps": 200, "checkpoint_every": 200, "decay_steps": 200},
        interventions={"alternatives": {}},
        controls={"kinds": []},
        generalisation={"sets": {}},
        statistics={"resamples": 100},
    )
    job = write_results(tmp_path, study)
    assert [job.inputs[name] for name in ("controls_predictions", "generalisation")] == [[], []]
    statistics.run(job)
    assert [table(job, name) for name in ("baselines", "layers", "permutations")] == [[]] * 3
    assert {row["set"] for row in table(job, "generalisation")} == {"test set"}
    assert {row["semantics"] for row in table(job, "positions")} == {"original"}
    assert json.loads(job.output("summary").read_text(encoding="utf-8"))["mirror_pairs"] == []


def test_missing_files_are_named(job, pooled):
    controls = {name: job.inputs[f"controls_{name}"] for name in ("predictions", "accuracy", "description")}
    first = {f"controls_{name}": paths[:1] for name, paths in controls.items()}
    with pytest.raises(UserError, match="^statistics: LM seed 0, step 1200 lacks controls; give those of every"):
        statistics.run(given(job, **first))
    with pytest.raises(UserError, match="given 2 controls_predictions, 2 controls_accuracy, 1 controls_description"):
        statistics.run(given(job, controls_description=controls["description"][:1]))
    with pytest.raises(UserError, match=r"description\.arrow: of another checkpoint than .*predictions\.arrow"):
        statistics.run(given(job, controls_description=controls["description"][::-1]))
    first, _ = mirror_pairs(False)[0]
    keep = [index for index, path in enumerate(job.inputs["predictions"]) if path.parent.name != first]
    fewer = {name: [job.inputs[name][index] for index in keep] for name in ("predictions", "accuracy")}
    with pytest.raises(UserError, match=f"LM seed 0, step 1200 lacks predictions under {first}"):
        statistics.run(given(job, **fewer))
    with pytest.raises(UserError, match="no file of the stage generalisation is of LM seed 5; give one of each"):
        find_generalisation(given(pooled, generalisation=pooled.inputs["generalisation"][:1]), Settings.of(pooled))


def test_files_that_lack_what_is_asked_for_are_named(job, tmp_path):
    path = job.inputs["controls_predictions"][0]
    columns, about = read_table(path)
    write_table(
        tmp_path / "p.arrow", columns, about | {"controls": ["counts" if c == "text" else c for c in about["controls"]]}
    )
    with pytest.raises(UserError, match=r"p\.arrow: no predictions of the controls text; make it again"):
        statistics.run(given(job, controls_predictions=[tmp_path / "p.arrow", *job.inputs["controls_predictions"][1:]]))
    columns, about = read_table(job.inputs["generalisation"][0])
    write_table(tmp_path / "g.arrow", columns, about | {"sets": ["larger", "other"]})
    with pytest.raises(UserError, match=r"g\.arrow: no specifications of longer; make it again with these sets"):
        statistics.run(given(job, generalisation=[tmp_path / "g.arrow"]))


def test_one_language_model_without_a_set_of_states_leaves_the_pooled_row_out(tmp_path):
    study = study_of(lm={"steps": 200, "checkpoint_every": 200, "decay_steps": 200, "seeds": [3, 5]})
    job = write_results(tmp_path, study, babbling=1000)
    statistics.run(job)
    for name in ("baselines", "layers", "permutations", "positions"):
        rows = table(job, name)
        assert {row["source"] for row in rows} == {"forced"} and {row["lm_seed"] for row in rows} == {
            "3",
            "5",
            "pooled",
        }
    assert transfer.ALL == -1
