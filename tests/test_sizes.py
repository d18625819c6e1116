"""What a scheduler is asked for follows from the study, and is enough for what is known to be needed."""

import pytest
from tree import ROOT

from progsem.lm.codegen import model as codegen
from progsem.study import config, configfiles, sizes, work
from progsem.study.plan import Plan

BASE = configfiles.read_config(ROOT / "config.yaml")
MEMORY = (sizes.data_mb, sizes.training_mb, sizes.traces_mb, sizes.probes_mb, sizes.statistics_mb)
LARGER = {
    "corpus": {"shard": 1_000_000},
    "lm": {"layers": 20, "width": 1024, "heads": 16},
    "traces": {"train": 150_000, "test": 3_000},
    "statistics": {"resamples": 100_000},
}


def study(changes: dict | None = None) -> config.Study:
    return config.load(configfiles.merge(BASE, changes or {}))


def shipped(name: str) -> config.Study:
    return study(configfiles.read_config(ROOT / "studies" / f"{name}.yaml"))


def test_parameters_are_those_of_the_model_but_for_its_vocabulary():
    small = study()
    shape = codegen.Shape(40, small.lm.layers, small.lm.width, small.lm.heads, small.lm.rotary)
    counted = sum(parameter.numel() for parameter in codegen.CodeGen(shape).parameters())
    assert work.parameters(small) == pytest.approx(counted, rel=0.05)


@pytest.mark.parametrize("memory", MEMORY, ids=lambda memory: memory.__name__)
def test_memory_grows_with_the_study(memory):
    larger = study(LARGER | {"corpus": {"train": 2_000_000, "shard": 1_000_000}})
    assert 2_000 < memory(study()) < 4_000 < memory(larger)


def test_processes_need_memory_each():
    assert sizes.training_mb(study({"compute": {"processes": 4}})) == 4 * sizes.training_mb(study())


def test_time_grows_with_steps_and_the_processor_counts():
    small, paper = study(), shipped("paper")
    minutes = [sizes.minutes(given, work.training(given, 2000), share=1) for given in (small, paper)]
    assert minutes == sorted(set(minutes))
    slow = paper.model_copy(update={"compute": config.Compute(device="cpu")})
    assert sizes.minutes(slow, work.tracing(slow)) > 20 * sizes.minutes(paper, work.tracing(paper))
    assert (sizes.gpus(slow), sizes.gpus(paper)) == (0, 1)


def test_the_paper_fits_ordinary_limits():
    """A day, and the share of one of a node's eight GPUs."""
    paper = shipped("paper")
    operations = [
        work.tracing(paper),
        work.probing(paper, Plan(paper).probes),
        work.controls(paper),
        work.generalisation(paper),
    ]
    minutes = [sizes.minutes(paper, count) for count in operations]
    minutes += [sizes.minutes(paper, work.training(paper, paper.lm.checkpoint_every), share=1)]
    minutes += [sizes.minutes(paper, work.statistics(Plan(paper)), gpu=False)]
    assert max(minutes) < 24 * 60
    assert max(memory(paper) for memory in MEMORY) < 64_000
