"""`make bench`: rows, growth, what is written; no times, which no test can know."""

import json
import math
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tree import HANGS

from benchmarks import __main__ as bench
from benchmarks import accuracy, corpus, costs, limits, stage, tokens
from benchmarks.accuracy import Mark
from benchmarks.common import Row, exponent, in_turn, study
from progsem.errors import UserError
from progsem.storage.inventory import survey

ROOT = Path(__file__).parents[1]
RATE = Row(
    stage="corpus",
    work="some programs",
    unit="programs/s",
    ours=300.0,
    baseline=100.0,
    baseline_work="plain",
    limit=1200.0,
    limit_work="the disk",
    reach=250,
    reach_of="ours",
)
TIME = replace(RATE, stage="dag", unit="s", ours=2.0, baseline=6.0, limit=0.5, reach=3)
GROWTH = {"unit": "programs", "sizes": [1, 2, 4], "seconds": [1.0, 2.0, 4.0], "exponent": 1.0, "peak_mb": [9, 9, 9]}


def test_of_a_rate_more_is_better_and_of_seconds_less():
    assert (RATE.ratio, RATE.limit_fraction, RATE.reached) == (3, 0.25, True)
    assert not replace(RATE, reach=301).reached
    assert (TIME.ratio, TIME.limit_fraction, TIME.reached) == (3, 0.25, True)
    assert not replace(TIME, reach=1).reached


@pytest.mark.parametrize("row", [RATE, TIME], ids=["rate", "seconds"])
def test_a_ratio_can_be_what_is_to_be_reached(row):
    assert replace(row, reach=3, reach_of="ratio").reached
    assert not replace(row, reach=3.1, reach_of="ratio").reached


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"reach_of": "theirs"}, "reach_of: given 'theirs'"),
        ({"ours": 0.0}, "corpus: ours is 0.0, expected a positive number of programs/s"),
        ({"limit": float("nan")}, "limit is nan"),
    ],
)
def test_a_row_that_means_nothing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(RATE, **changes)


def test_functions_take_turns():
    calls = []
    seconds = in_turn(3, first=lambda: calls.append("first"), second=lambda: calls.append("second"))
    assert calls == ["first", "second"] * 3
    assert {name: len(each) for name, each in seconds.items()} == {"first": 3, "second": 3}
    assert all(one >= 0 for each in seconds.values() for one in each)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_exponent_of_what_is_known(power):
    sizes = (10, 40, 100)
    assert exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)


def test_entries_have_what_is_read_from_them_and_are_json():
    entry = json.loads(json.dumps(bench.entry(RATE, GROWTH)))
    assert {"stage", "unit", "ours", "baseline", "ratio", "limit_fraction"} <= set(entry)
    assert (entry["ratio"], entry["limit_fraction"], entry["reached"]) == (3, 0.25, True)
    assert {name: entry[name] for name in asdict(RATE)} == asdict(RATE)


def test_tables_say_what_was_missed_and_how_the_limit_was_measured():
    said = bench.said(replace(RATE, reach=1000))
    assert "NOT REACHED (>= 1,000 programs/s)" in said and "the disk" in said and "25.0%" in said
    assert "reached (<= 3 s)" in bench.said(TIME) and "NOT" not in bench.said(TIME)
    assert "1, 2, 4 programs" in bench.growth_table({"corpus": GROWTH})


class _Grows:
    """A stage that takes as many seconds as its size, and a megabyte for each."""

    __name__, UNIT, GROWTH = "grows", "things", (1, 50, 100)

    @staticmethod
    def grow(size):
        assert len(b"x" * (size << 20)) > 0
        return float(size)


def test_growth_is_measured_in_copies_of_the_process_one_a_size():
    grown = stage._growth(_Grows)
    assert (grown["sizes"], grown["seconds"], grown["exponent"]) == ([1, 50, 100], [1, 50, 100], 1)
    small, middle, large = grown["peak_mb"]
    assert middle - small > 40 and large - middle > 40


def test_a_size_that_fails_is_said(capfd):
    class Fails(_Grows):
        @staticmethod
        def grow(size):
            raise ValueError("no")

    with pytest.raises(RuntimeError, match=r"grow\(1\)"):
        stage._growth(Fails)


def test_the_baselines_do_the_same_work(tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "PLAIN", 60)
    made = corpus.job(tmp_path / "corpus", 2_000)
    corpus.corpus.run(made)
    encoded = tokens.job(made, tmp_path / "tokens")
    tokens.tokens.run(encoded)
    plain = tokens.Plain(made.outputs["train"][0], tmp_path / "plain.arrow")
    tokens._same(plain, encoded.outputs["train"][0])
    assert plain.count == (plain.ids != 0).sum()
    corpus._plain_corpus(3)
    corpus._plain_alternatives(3)


# Three trainings with marks at 10, 20 and 30 tokens; the second learns late, the third falls back on its way.
CURVES = [
    [Mark(10, 1.0, 0.5), Mark(20, 2.0, 0.91)],
    [Mark(10, 1.1, 0.1), Mark(20, 2.1, 0.2), Mark(30, 3.1, 0.6)],
    [Mark(10, 1.2, 0.55), Mark(20, 2.2, 0.45), Mark(30, 3.2, 0.9)],
]


def test_the_first_mark_at_a_level_is_found():
    assert [accuracy.first_at(marks, 0.5).tokens for marks in CURVES] == [10, 30, 10]
    assert [accuracy.first_at(marks, 0.9).seconds for marks in CURVES] == [2.0, math.inf, 3.2]


def test_a_training_that_does_not_arrive_is_later_than_any():
    assert accuracy.middle([accuracy.first_at(marks, 0.5) for marks in CURVES]) == Mark(10, 1.2, 0.55)
    assert accuracy.middle([accuracy.first_at(marks, 0.9) for marks in CURVES]).seconds == 3.2
    assert math.isinf(accuracy.middle([accuracy.first_at(marks, 0.9) for marks in CURVES[1:] + CURVES[1:2]]).tokens)


def test_a_row_says_who_arrived_and_who_did_not():
    late = [[Mark(10, 4.0, 0.1), Mark(30, 9.0, last)] for last in (0.2, 0.3, 0.95)]
    row = accuracy.row(0.9, CURVES, late, rate=10.0, precision="float32")
    assert (row.ours, row.baseline, row.ratio, row.limit) == (3.2, 9.0, 9.0 / 3.2, 3.0)
    assert "after 30 tokens" in row.work
    assert "not within 30 tokens, accuracy 0.300 there" in row.baseline_work
    arrived = accuracy.row(0.5, late, CURVES, rate=10.0, precision="float32")
    assert "after not within 30 tokens" in arrived.work and arrived.ours == 9.0
    assert arrived.baseline_work.endswith("data: 10 tokens") and arrived.baseline == 1.2


def test_the_authors_recipe_is_theirs_at_the_default_studys_shape():
    theirs, ours = accuracy.recipe(authors=True), accuracy.recipe(authors=False)
    assert (theirs.prompt_weight, theirs.learning_rate, theirs.betas) == (1.0, 5e-5, (0.9, 0.999))
    assert (theirs.weight_decay, theirs.initial_std, theirs.warmup_steps) == (0.0, 0.02, 3000)
    assert (theirs.layers, theirs.width, theirs.batch, theirs.steps) == (
        ours.layers,
        ours.width,
        ours.batch,
        ours.steps,
    )
    assert ours == study(None, {}).lm


def test_marks_are_made_on_the_way_and_programs_are_judged_right(monkeypatch):
    monkeypatch.setattr(accuracy, "EVERY", 2)
    trained = accuracy.Trained(accuracy.recipe(False).model_copy(update={"steps": 3}), seed=1)
    marks = trained.marks()
    assert len(marks) == 2 and 0 < marks[0].seconds < marks[1].seconds
    assert marks[1].tokens > marks[0].tokens > 64 * trained.ours.lengths.min()
    assert all(mark.accuracy < 0.2 for mark in marks)
    references = trained.ours.specifications.programs[trained.rows]
    assert len(references) == 1_000

    def writes(programs, finished):
        return lambda tracer, prompts: SimpleNamespace(codes=programs, finished=np.full(len(prompts), finished))

    monkeypatch.setattr(accuracy.Tracer, "write", writes(references, True))
    assert trained.accuracy() == 1
    monkeypatch.setattr(accuracy.Tracer, "write", writes(references, False))
    assert trained.accuracy() == 0
    monkeypatch.setattr(accuracy.Tracer, "write", writes(np.roll(references, 1, axis=0), True))
    assert trained.accuracy() < 0.3


def test_peaks_are_those_of_both_precisions(monkeypatch):
    rates = {torch.float32: 115e9, torch.bfloat16: 1.37e9}
    monkeypatch.setattr(limits, "matrix_rate", lambda dtype, threads: rates[dtype])
    assert "float32 115, bfloat16 1.37; lm.precision auto is" in limits.peaks()


@pytest.mark.parametrize(("rate", "side"), [(1e9, 256), (1e11, 2048)])
def test_products_that_take_seconds_are_measured_on_small_matrices(rate, side, monkeypatch):
    multiplied = []

    def fastest(function):
        multiplied.append(len(function()))
        return 2 * multiplied[-1] ** 3 / rate

    monkeypatch.setattr(limits, "_fastest", fastest)
    assert limits.matrix_rate.__wrapped__(torch.float32, 1) == pytest.approx(rate)
    assert multiplied[-1] == side


def test_a_stage_without_sizes_has_no_growth(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy, "measure", lambda: [RATE])
    stage.main("accuracy", str(tmp_path / "found.json"))
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8")) == {"growth": None, "rows": [asdict(RATE)]}


def test_an_unknown_stage_is_one_line():
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks", "token"], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=HANGS
    )
    assert said.returncode == 2 and not said.stdout
    assert said.stderr.splitlines() == [
        "benchmarks: given token, expected any of corpus, tokens, training, traces, probes, statistics, jobs, "
        "accuracy; did you mean tokens?"
    ]


def test_a_stage_that_fails_is_one_line_and_a_part_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    found = {"growth": GROWTH, "rows": [asdict(RATE)]}
    monkeypatch.setattr(bench, "_measured", lambda name, environment: None if name == "jobs" else found)
    monkeypatch.setattr(bench, "prepare_environment", lambda source: None)
    assert bench.main(["corpus"]) == 0
    assert bench.main([]) == 1
    assert "jobs: failed" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(bench, "_measured", lambda name, environment: found)
    assert bench.main([]) == 0
    written = json.loads((tmp_path / "results/bench.json").read_text(encoding="utf-8"))
    assert [entry["stage"] for entry in written] == ["corpus"] * len(bench.STAGES)


def test_nobody_takes_the_file_for_a_result(tmp_path):
    (tmp_path / "bench.json").write_text("[]", encoding="utf-8")
    (tmp_path / "other.json").write_text("[]", encoding="utf-8")
    assert survey(tmp_path) == ([], [tmp_path / "other.json"])


def test_help_lists_it():
    said = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True, timeout=HANGS
    ).stdout
    assert any(line.split()[:2] == ["make", "bench"] for line in said.splitlines())


def test_costs_of_the_paper_by_hand():
    paper = costs.Work(study("paper", {}))
    assert paper.weights == 12 * 20 * 1024**2
    assert paper.prompt == 3 + 5 * 2 * 36
    assert paper.trained == 76_000 * 40 * (363 + 8 + 2)
    assert paper.training == 3 * (2 * paper.weights + 2 * 20 * 1024 * 373) * paper.trained
    assert paper.fits == 39 * 2 * (5 + 5) * 3 * 3 * 5
    linear = 1024 * (4 + 11 + 11 + 2)
    one_hidden = 3 * 1024 * 256 + 256 * 28
    two_hidden = 3 * (1024 * 256 + 256 * 1024) + 1024 * 28
    passes = 6 * 1024 * 9_766 + 2 * 20 * 10_000 * 5.5
    assert paper.probes == pytest.approx(39 * 2 * 10 * 5 * (linear + one_hidden + two_hidden) * passes)


def test_costs_of_stages_make_up_the_whole():
    stages = "corpus tokens training traces probes statistics job_start_torch".split()
    bench_of = {name: {"stage": name, "unit": "things/s", "ours": 10.0, "limit_fraction": 0.1} for name in stages}
    table = costs.rows(bench_of)
    for device in (3, 4):
        rows = {row[0] + row[2]: row[device] for row in table}
        assumed = [value for name, value in rows.items() if "measured" in name or "assumed" in name[-7:]]
        assert rows["allat the assumed shares"] == pytest.approx(sum(assumed))
    (training,) = {row[3] for row in table if row[0] == "training" and row[2].startswith("10%")}
    assert training == pytest.approx(costs.Work(study("paper", {})).training / 312e12 / 0.1)


def test_costs_without_a_benchmark_are_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run `make bench` first"):
        costs.main()
