"""How much a study's jobs compute, against small counts by hand and what torch counts; and the times that follow."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from tree import ROOT, TINY

from progsem.editing import learned
from progsem.errors import UserError
from progsem.housekeeping import plan as planning_table
from progsem.languages import LANGUAGE
from progsem.lm.codegen import model as codegen
from progsem.probing import controls, fits
from progsem.stages import FIGURES, STAGES
from progsem.study import config, configfiles, forecast, rates, work
from progsem.study.plan import Plan
from progsem.study.vocabulary import TEST, TRAIN, VALIDATION
from progsem.workflow import duration
from progsem.workflow.redrawing import DRAWN

BASE = configfiles.read_config(ROOT / "config.yaml")
RATES = {"training": 1e11, "probing": 2e11, "resampling": 4e10}


def study(changes: dict | None = None) -> config.Study:
    return config.load(configfiles.merge(BASE, {"compute": {"device": "cpu"}} | (changes or {})))


@pytest.fixture
def known(monkeypatch) -> dict[str, float]:
    """Rates that are measured nowhere."""
    monkeypatch.setattr(forecast, "measured", lambda given: RATES)
    return RATES


def by_stage(given: config.Study) -> dict[str, float]:
    plan = Plan(given)
    jobs = forecast.seconds(plan, plan.units())
    return {stage: sum(time for unit, time in jobs.items() if unit.stage == stage) for stage in STAGES}


def test_a_training_step_by_hand():
    """One block: its vocabulary is looked up, so that a token meets the product behind attention and no other."""
    one = study({"lm": {"layers": 1, "width": 16, "heads": 4, "rotary": 4}}).lm
    assert work.trained(one, documents=3, tokens=10) == 3 * 3 * 10 * (2 * 16 * 16 + 2 * 16 * 10)
    given = study({"worlds": {"height": 2, "width": 3}, "programs": {"train_length": [1, 4]}})
    # Two tokens and the worlds, what begins a program, four statements, the closing brace.
    assert work.document_tokens(given) == 2 + 2 * 6 + 1 + 4 + 1
    # Half of a prompt is the input, which nothing predicts.
    assert work.training(given, 7) == 7 * work.trained(given.lm, given.lm.batch, 20, unpredicted=7.5)


def test_a_training_step_as_torch_counts_it():
    lm = study({"lm": {"layers": 4, "width": 256, "heads": 4, "rotary": 32}}).lm
    made = codegen.CodeGen(codegen.Shape(10, lm.layers, lm.width, lm.heads, lm.rotary))
    tokens = torch.randint(10, (4, 50))
    with FlopCounterMode(display=False) as counted:
        made.logits(made(tokens)[-1]).sum().backward()
    assert work.trained(lm, 4, 50) == pytest.approx(counted.get_total_flops(), rel=0.1)


def test_a_fit_as_torch_counts_it():
    """Training, evaluations and answers of every depth, head and seed."""
    given = study(
        {"probes": {"steps": 6, "batch": 16, "evaluations": 2, "seeds": 2, "depths": {"mlp1": [8], "linear": []}}}
    )
    heads = LANGUAGE.features.heads(given.probes.features, given.worlds.size)
    rng = np.random.default_rng(0)
    split = np.repeat([TRAIN, VALIDATION, TEST], [64, 32, 48])
    labels = np.stack([rng.integers(head.classes, size=len(split), dtype=np.uint8) for head in heads], 1)
    activations = rng.standard_normal((len(split), given.lm.width), np.float32)
    states = fits.States("", activations, np.arange(len(split)), labels, split)
    with FlopCounterMode(display=False) as counted:
        fits.fit([states], heads, given.probes, dtype=torch.float32)
    weights = work.probe_weights(given)
    expected = 2 * work.fitting(weights, trained=6 * 16, seen=3 * 32 + 48)
    expected += work.whitening(weights, given.lm.width, trained=64, seen=32 + 48)
    # torch fits one input more, the bias of the first layer.
    assert expected == pytest.approx(counted.get_total_flops(), rel=0.02)


def test_probes_by_hand():
    """Four heads, seven outputs each: 4 to face, 7 and 7 for the offset, 2 for the wall."""
    given = study({"probes": {"depths": {"linear": [], "mlp1": [64]}}})
    assert work.probe_weights(given) == (4 * (96 * 7 + 96 * 64), 4 * 64 * 7)
    assert work.probe_weights(given, inputs=5, depths={"linear": ()}) == (4 * 5 * 7, 0)
    assert work.fitting((10, 3), trained=2, seen=5) == (4 * 10 + 6 * 3) * 2 + 2 * 13 * 5
    # Programs of one to three statements have a state two statements later once in three times.
    assert work.states(given, 30, (1, 3)) == 60
    assert work.states(given, 30, (1, 3), offset=-2) == 10
    assert work.states(study({"probes": {"drop_final": True}}), 30, (1, 3)) == 30


def test_controls_are_counted_by_kind():
    def count(*kinds: str) -> float:
        return work.controls(study({"controls": {"kinds": list(kinds)}, "traces": {"layers": "each"}}))

    assert count() == 0
    assert count("counts") < count("text") < count("counts", "text") == count("counts") + count("text")
    assert count("shuffled") == work.probing(study(), Plan(study()).probes)
    assert count("layers") == 5 * count("shuffled")  # the embedding, three blocks, and the mean of all
    assert count("shuffled") < count("description_length") < 6 * count("shuffled")
    assert controls.PORTIONS == (*work.PORTIONS, 1)
    assert (learned.LEARNING_STEPS, learned.LEARNING_BATCH) == (work.LEARNING_STEPS, work.LEARNING_BATCH)


@pytest.mark.parametrize(
    "changes, grows",
    [
        ({"corpus": {"train": 400_000}}, {"corpus", "tokens"}),
        ({"lm": {"steps": 8800, "decay_steps": 8800}}, {"lm", "traces", "probes", "interventions", "statistics"}),
        ({"lm": {"width": 256}}, {"lm", "traces", "probes", "interventions", "controls", "generalisation"}),
        ({"lm": {"batch": 64}}, {"lm"}),
        ({"traces": {"train": 10_000}}, {"traces", "probes", "interventions", "controls"}),
        ({"probes": {"steps": 1000}}, {"probes", "interventions", "controls"}),
        ({"probes": {"seeds": 2}}, {"probes", "interventions", "controls", "statistics"}),
        ({"probes": {"offsets": [-3, -2, -1, 0, 1, 2]}}, {"probes", "statistics"}),
        ({"interventions": {"checkpoints": "every"}}, {"interventions", "statistics"}),
        ({"interventions": {"permutations": 7}}, {"interventions", "statistics"}),
        ({"controls": {"checkpoints": "every"}}, {"controls"}),
        ({"generalisation": {"test": 9_000}}, {"generalisation"}),
        ({"statistics": {"resamples": 4000}}, {"statistics"}),
    ],
)
def test_more_work_takes_longer(known, changes, grows):
    before, after = by_stage(study()), by_stage(study(changes))
    assert {stage for stage in STAGES if after[stage] > before[stage]} == grows
    assert all(after[stage] >= before[stage] for stage in STAGES)


def test_a_job_by_hand(known):
    """Step 2 200 of the default study, which 1 600 steps lead to, on two threads."""
    plan = Plan(study({"compute": {"device": "cpu", "threads": 2}}))
    (unit,) = (unit for unit in plan.units() if unit.stage == "lm" and unit.checkpoint == "seed-3/step-002200")
    start, rate, share = forecast.COSTS["lm"]
    work_done = work.training(plan.study, 1600)
    assert forecast.seconds(plan, [unit]) == {unit: start + work_done / (RATES[rate] * share * 2)}


def test_little_work_is_not_measured(monkeypatch):
    monkeypatch.setattr(forecast, "measured", lambda given: pytest.fail("measured"))
    plan = Plan(config.load(configfiles.merge(BASE, configfiles.read_config(ROOT / TINY[1]))))
    assert len(forecast.seconds(plan, plan.units())) == len(plan.units())


def test_cores_are_shared_until_a_chain_is_the_longest():
    plan = Plan(study({"lm": {"seeds": [0, 1]}}))
    jobs = {
        unit: {"lm": 100.0, "traces": 10.0, "probes": 3.0, "controls": 20.0}.get(unit.stage, 1.0)
        for unit in plan.units()
    }
    alone = sum(time for unit, time in jobs.items() if unit.stage in ("corpus", "tokens", "statistics"))
    between = sum(jobs.values()) - alone
    assert forecast.elapsed(plan, jobs, 5, 1) == alone + 5 + between
    assert forecast.elapsed(plan, jobs, 5, 2) == alone + 5 + between / 2
    # Four checkpoints, the traces of the last and its controls.
    assert forecast.elapsed(plan, jobs, 5, 64) == alone + 5 + 4 * 100 + 10 + 20
    threaded = plan.study.model_copy(update={"compute": config.Compute(threads=2)})
    assert forecast.elapsed(Plan(threaded), jobs, 0, 2) == alone + between
    assert forecast.elapsed(plan, {}, 0, 2) == 0


def test_this_machine_is_measured():
    measured = rates.measured(study({"lm": {"width": 16, "heads": 4, "rotary": 4}}))
    assert set(measured) == {rate for _, rate, _ in forecast.COSTS.values()} - {""}
    assert all(rate > 1e6 for rate in measured.values())


def test_a_machine_that_cannot_be_measured_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(rates.sys, "executable", "/bin/false")
    plan = Plan(study())
    with pytest.raises(UserError, match="cannot be measured: status 1"):
        forecast.seconds(plan, plan.units())
    duration.say_how_long(plan, [f"{unit.path}/manifest.json" for unit in plan.units()], 2)
    said = capsys.readouterr().err
    assert said.startswith("progsem: no forecast: ") and said.count("\n") == 1


def test_a_run_says_minutes_by_stage(known, capsys):
    plan = Plan(study())
    outputs = [f"{unit.path}/manifest.json" for unit in plan.units()]
    duration.say_how_long(plan, [*outputs, DRAWN], 2)
    said = capsys.readouterr().err
    assert said.startswith("progsem: about ") and said.count("\n") == 1
    assert " min on 2 cores" in said and ", traces " in said and "tokens" not in said
    duration.say_how_long(plan, [DRAWN, FIGURES], 2)
    duration.say_how_long(Plan(study({"compute": {"device": "cuda"}})), outputs, 2)
    assert capsys.readouterr().err == ""


def test_minutes():
    assert [forecast.rounded(time) for time in (1, 95, 3600)] == ["1 min", "2 min", "1 h"]


def test_plan_forecasts_what_has_never_run(tmp_path, monkeypatch, capsys):
    """Tiny: too little to be measured."""
    monkeypatch.chdir(tmp_path)
    planning_table.main([str(ROOT / TINY[1])])
    *table, last = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + len(STAGES)
    unasked = ("sequences", "warmup", "finetuning", "pretrained")  # of which the tiny study has none
    assert all("  ~" in line for line in table[1:] if not line.startswith(unasked))
    assert last.startswith("in all about ") and last.endswith(("core", "cores"))
    assert list(tmp_path.iterdir()) == []
