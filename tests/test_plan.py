"""The plan: which folders an edit renames, which files a study has, which sources a stage is made of."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import create_model

from progsem.jobs import job
from progsem.languages.karel.permutations import mirror_pairs
from progsem.stages import STAGES
from progsem.study import baseline
from progsem.study.config import Section, Study, load
from progsem.study.plan import Plan, reruns
from progsem.workflow import snakefile
from reference import config as reference

ROOT = Path(__file__).resolve().parents[1]
# That the default study does not have.
UNUSUAL = ("sequences", "warmup", "edits", "transcoders", "writers", "synthesis", "finetuning", "pretrained")
USUAL = [stage for stage in STAGES if stage not in UNUSUAL]
DOWNSTREAM = {
    "corpus": USUAL,
    "tokens": USUAL[1:],
    "lm": USUAL[2:],
    "traces": ["traces", "probes", "interventions", "controls", "statistics", "playground", "figures"],
    "probes": ["probes", "interventions", "controls", "statistics", "playground", "figures"],
    "interventions": ["interventions", "statistics", "figures"],
    "controls": ["controls", "statistics", "figures"],
    "edits": ["edits", "statistics", "playground", "figures"],
    "transcoders": ["transcoders", "statistics", "figures"],
    "generalisation": ["generalisation", "statistics", "figures"],
    "writers": ["writers", "synthesis", "statistics", "figures"],
    "synthesis": ["synthesis", "statistics", "figures"],
    "finetuning": ["finetuning", "pretrained", "statistics", "figures"],
    "statistics": ["statistics", "figures"],
    "figures": ["figures"],
}
FIRST = {  # section -> the stage where work starts again
    "study": "statistics",
    "language": "corpus",
    "worlds": "corpus",
    "programs": "corpus",
    "corpus": "corpus",
    "tokens": "tokens",
    "lm": "lm",
    "traces": "traces",
    "probes": "probes",
    "interventions": "interventions",
    "controls": "controls",
    "edits": "edits",
    "transcoders": "transcoders",
    "generalisation": "generalisation",
    "synthesis": "writers",
    "finetuning": "finetuning",
    "statistics": "statistics",
    "variants": "lm",
    "figures": "figures",
}
WARMED_UP = ["sequences", "warmup", *USUAL[2:]]
# Whatever shows the first language model, and the difficulty-matched alternative.
_COMPARED = ["interventions", "statistics", "playground", "figures"]
EXCEPTIONS = {
    "lm.seeds": [stage for stage in USUAL[2:] if stage != "playground"],
    "variants": [stage for stage in USUAL[2:] if stage != "playground"],
    **{f"interventions.{key}": _COMPARED for key in ("alternatives", "difficulty_matched", "offsets")},
    "edits.permutations": ["edits", "statistics", "figures"],
    "lm.warmup.task": WARMED_UP,
    "lm.warmup.tokens": WARMED_UP,
    "probes.offsets": ["probes", "statistics", "figures"],
    "probes.offset_checkpoints": ["probes", "statistics", "figures"],
    "traces.extra_statements": DOWNSTREAM["lm"][1:],
    "figures.gallery": ["statistics", "figures"],
    "lm.pretrained": DOWNSTREAM["finetuning"],
    "language": [stage for stage in USUAL if stage != "generalisation"],  # which only Karel has
    **{
        f"synthesis.{key}": DOWNSTREAM["synthesis"]
        for key in ("writers", "temperatures", "top_p", "grammar", "checkpoints")
    },
}
# Edits that add results to those that there are: going back computes none of them.
MORE = {
    "lm.seeds",
    "lm.pretrained",
    "probes.offset_checkpoints",
    "interventions.checkpoints",
    "interventions.permutations",
    "controls.checkpoints",
    "edits.checkpoints",
    "edits.permutations",
    "transcoders.checkpoints",
    "synthesis.checkpoints",
    "variants",
}


@pytest.mark.parametrize("key", reference.keys())
def test_an_edit_runs_its_stage_and_what_depends_on_it(key):
    old, new = reference.edited(key)
    assert old != new
    section = key.split(".")[0]
    expected = EXCEPTIONS.get(key) or DOWNSTREAM.get(FIRST.get(section), [])
    assert reruns(old, new) == expected
    # No warm-up, and the language that the default study is in.
    back = {"language": USUAL, "lm.warmup.task": DOWNSTREAM["lm"]}.get(key, expected)
    more = {"variants": ["figures"], "edits.checkpoints": ["statistics", "playground", "figures"]}.get(
        key, ["statistics", "figures"]
    )
    assert reruns(new, old) == (back if key not in MORE else more)


def test_nothing_runs_without_an_edit():
    assert reruns(load({}), load({})) == []
    assert reruns(load({}), type(load({})).model_validate_json(load({}).model_dump_json())) == []


def test_numbers_written_differently_are_the_same_study():
    assert reruns(load({"programs": {"weights": {"move": 5}}}), load({"programs": {"weights": {"move": 5.0}}})) == []


SECTIONS = [name for name, field in Study.model_fields.items() if name not in ("study", "language", "variants")]


def changed_type(path: str, key: str, default) -> type[Study]:
    """`Study` as it would be if the section `path` (dotted) had `key` with that default."""

    def change(kind: type[Section], parts: list[str]) -> type[Section]:
        if not parts:
            annotation = kind.model_fields[key].annotation if key in kind.model_fields else int
            return create_model(kind.__name__, __base__=kind, **{key: (annotation, default)})
        inner = change(kind.model_fields[parts[0]].annotation, parts[1:])
        return create_model(kind.__name__, __base__=kind, **{parts[0]: (inner, inner())})

    return change(type(load({})), path.split("."))


def names(plan: Plan) -> dict[str, set[str]]:
    """Names of all results by stage; figures have none."""
    jobs = plan.jobs()
    jobs.pop("figures")
    return jobs


@pytest.mark.parametrize("path", [*SECTIONS, "programs.weights"])
def test_a_key_that_is_added_renames_nothing_at_its_default(path):
    """Whatever else the study says; another value renames what the section is in."""
    kind = changed_type(path, "added", 7)
    section, *inner = path.split(".")
    for raw in ({}, {"lm": {"layers": 2}, "probes": {"steps": 500}, "programs": {"weights": {"move": 4.0}}}):
        assert names(Plan(kind.model_validate(raw))) == names(Plan(load(raw)))
    value = {"added": 8}
    said = {section: {inner[0]: value} if inner else value}
    renamed = names(Plan(kind.model_validate(said))) != names(Plan(load({})))
    # Nobody has asked for a pretrained model.
    assert renamed == (section not in ("figures", "compute", "finetuning"))


@pytest.mark.parametrize("key, default", [("lm.clip", 0.5), ("corpus.examples", 3), ("programs.weights.move", 4.0)])
def test_a_changed_default_renames_what_it_changes(key, default):
    """It is not what earlier results were made with; who says the earlier value finds those again."""
    path, _, name = key.rpartition(".")
    kind = changed_type(path, name, default)
    before, after = names(Plan(load({}))), names(Plan(kind()))
    assert {stage for stage in before if before[stage] != after[stage]} == set(
        DOWNSTREAM[FIRST[path.split(".")[0]]]
    ) - {"figures"}
    earlier = load({}).model_dump(mode="json")
    for part in key.split("."):
        earlier = earlier[part]
    for part in reversed(key.split(".")):
        earlier = {part: earlier}
    assert names(Plan(kind.model_validate(earlier))) == before


def test_every_key_is_recorded():
    """Without that a default could change and nobody would notice."""
    assert list(baseline.recorded()) == list(reference.keys())
    assert baseline.FILE.read_text(encoding="utf-8") == baseline.baseline_text(), "run `make schema`"


def test_adding_a_seed_leaves_the_others_alone():
    more = {"edits": {"features": ["facing"]}, "synthesis": {"writers": ["uniform", "greedy"]}}
    one, two = (Plan(load({"lm": {"seeds": seeds}, **more})) for seeds in ([0], [0, 3]))
    for stage in list(STAGES)[: list(STAGES).index("statistics")]:
        new = two.jobs()[stage] - one.jobs()[stage]
        assert one.jobs()[stage] <= two.jobs()[stage]
        assert all("/seed-3/" in name for name in new)
        unseeded = ("corpus", "tokens", "sequences", "warmup", "transcoders", "writers", "finetuning", "pretrained")
        assert bool(new) == (stage not in unseeded)


def test_an_alternative_of_its_own_digest():
    old = load({})
    alternatives = {name: dict(mapping) for name, mapping in old.interventions.alternatives.items()}
    alternatives["alt-3"]["move"] = "put_marker"
    alternatives["more"] = {"move": "turn_left"}
    new = load({"interventions": {"alternatives": alternatives}})
    before, after = Plan(old), Plan(new)
    changed = set(after.interventions) - set(before.interventions)
    assert {key.rsplit("-", 2)[0] for key in changed} == {"alt-3", "more"}
    assert before.probes.key == after.probes.key


def test_offsets_are_probed_by_themselves():
    """Other offsets are an artifact of their own, so that an edit of them leaves offset 0 as it is."""
    probes = {"offsets": [-2, 0, 1], "offset_checkpoints": "every"}
    plan = Plan(load({"probes": probes, "interventions": {"offsets": [0, -2], "permutations": 1}}))
    assert plan.probes.sections["probes"]["offsets"] == [0]
    assert plan.offsets.sections["probes"]["offsets"] == [-2, 1]
    assert Plan(load({"probes": {"offsets": [0, 2]}})).probes.key == Plan(load({})).probes.key
    offsets = {artifact.name: artifact.sections["probes"]["offsets"] for artifact in plan.interventions.values()}
    assert offsets.pop("perm-pairs-1-1") == [0]  # drawn, not listed
    assert list(offsets) == list(plan.study.interventions.alternatives)
    assert all(given == [0, -2] for given in offsets.values())


def test_more_mirror_pairs_leave_those_before_them_as_they_are():
    """Some are probed by one job, one behind another."""
    some, more = (Plan(load({"interventions": {"permutations": pairs}})) for pairs in (6, 12))
    drawn = [one for one in more.interventions.values() if one.name.startswith("perm-")]
    assert [one.name for one in drawn] == ["perm-pairs-1-5", "perm-pairs-6-10", "perm-pairs-11-12"]
    wanted = [name for pair in mirror_pairs(False)[:12] for name in pair]
    assert [name for one in drawn for name in one.sections["meanings"]] == wanted
    assert set(some.interventions) - set(more.interventions) == {
        one.key for one in some.interventions.values() if one.name == "perm-pairs-6-6"
    }


@pytest.mark.parametrize("kind", ["last", "ends", "every"])
def test_some_results_are_made_at_some_checkpoints_only(kind):
    changes = {
        "interventions": {"permutations": 2, "checkpoints": kind},
        "lm": {"seeds": [3, 5]},
        "probes": {"offset_checkpoints": kind},
        "controls": {"checkpoints": kind},
    }
    plan = Plan(load(changes))
    every = plan.checkpoints(plan.lm)
    last = [(seed, plan.study.lm.steps) for seed in (3, 5)]
    asked = {"last": last, "ends": [(3, 0), last[0], (5, 0), last[1]], "every": every}[kind]
    assert plan.checkpoints(plan.controls) == plan.checkpoints(plan.offsets) == asked
    assert plan.checkpoints(plan.generalisation) == last
    assert plan.checkpoints(plan.probes) == every
    where = {artifact.name: plan.checkpoints(artifact) for artifact in plan.interventions.values()}
    assert where.pop("alt-0") == every  # the difficulty-matched one
    assert where.pop("perm-pairs-1-2") == last
    assert len(where) == 4 and all(places == asked for places in where.values())


def test_what_nobody_asks_for_is_no_job():
    plan = Plan(load({"controls": {"kinds": ()}, "generalisation": {"sets": {}}}))
    assert not plan.jobs()["controls"] and not plan.jobs()["generalisation"]
    assert not {"controls", "generalisation"} & {artifact.stage for artifact in plan.statistics.inputs}


def test_two_studies_share_what_they_have_in_common():
    one, two = Plan(load({"study": "one"})), Plan(load({"study": "two", "probes": {"steps": 777}}))
    assert one.traces.folder == two.traces.folder
    assert one.probes.folder != two.probes.folder


def test_slices_are_all_that_a_job_is_told():
    plan = Plan(load({}))
    slices = [plan.corpus.slice(), plan.tokens.slice(), plan.training_slice("0", "001000"), plan.traces.slice()]
    for text in [*slices, plan.probes.slice()]:
        assert "compute" not in json.loads(text) and "study" not in json.loads(text)
        assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    first, second = plan.study.lm.every_step()[2:4]
    training = json.loads(plan.training_slice("7", f"{second:06d}"))
    assert (training["seed"], training["from"], training["to"]) == (7, first, second)
    assert "seeds" not in training["lm"]
    assert json.loads(plan.training_slice("7", "000000"))["to"] == 0


def test_a_job_reads_its_slice_as_config_types():
    plan = Plan(load({"lm": {"layers": 5}, "corpus": {"examples": 4}}))
    training = job.Job("train", json.loads(plan.training_slice("0", "000600")), {}, {})
    assert training.section("lm").layers == 5
    traces = job.Job("traces", json.loads(plan.traces.slice()), {}, {})
    assert traces.section("corpus").examples == 4 and traces.section("traces") == plan.study.traces


def test_chain_of_checkpoints():
    plan = Plan(load({"lm": {"steps": 20, "checkpoint_every": 10, "decay_steps": 90_000, "seeds": [4]}}))
    assert plan.checkpoints(plan.lm) == [(4, 0), (4, 10), (4, 20)]
    assert plan.before("4", "000000", "weights") == []
    (path,) = plan.before("4", "000020", "weights")
    assert path == f"{plan.lm.folder}/seed-4/step-000010/model.safetensors"


def test_extra_checkpoints_are_links_of_the_chain():
    lm = {"steps": 20, "checkpoint_every": 10, "decay_steps": 90_000, "extra_checkpoints": [15, 3, 10, 20, 99]}
    plan = Plan(load({"lm": lm | {"seeds": [0]}}))
    assert [step for _, step in plan.checkpoints(plan.lm)] == [0, 3, 10, 15, 20]
    assert json.loads(plan.training_slice("0", "000015"))["from"] == 10
    (path,) = plan.before("0", "000010", "state")
    assert path.endswith("step-000003/state.safetensors")


@given(train=st.integers(9, 1000), shard=st.integers(100, 400))
@settings(deadline=None)
def test_shards_hold_the_corpus(train, shard):
    plan = Plan(
        load(
            {
                "corpus": {"train": train, "validation": 100, "test": 100, "shard": shard},
                "traces": {"train": 9, "validation": 4, "test": 4},
            }
        )
    )
    files = plan.shards(plan.corpus, "train")
    assert (len(files) - 1) * shard < train <= len(files) * shard
    assert len(set(files)) == len(files)
    assert plan.shards(plan.corpus, "test") == [plan.corpus.file("test/00000.arrow")]


@given(
    st.dictionaries(
        st.sampled_from(["corpus.seed", "lm.batch", "traces.extra_statements", "probes.seeds", "statistics.seed"]),
        st.integers(1, 4),
    ),
    st.dictionaries(st.sampled_from(["lm.batch", "probes.seeds"]), st.integers(1, 4)),
)
@settings(deadline=None)
def test_equal_folders_are_made_from_equal_slices(first, second):
    """Folders of two studies are equal exactly where all that goes into them is."""

    def plan(changes):
        raw = {}
        for key, value in changes.items():
            section, name = key.split(".")
            raw.setdefault(section, {})[name] = value
        return Plan(load(raw))

    def made_from(artifact):
        return artifact.sections, [made_from(other) for other in artifact.inputs]

    one, two = plan(first), plan(second)
    for name in ("corpus", "tokens", "lm", "traces", "probes", "statistics"):
        a, b = getattr(one, name), getattr(two, name)
        assert (a.folder == b.folder) == (made_from(a) == made_from(b))


def test_planning_imports_nothing_heavy():
    """Snakemake plans at every start."""
    code = (
        "import sys, progsem.study.plan, progsem.workflow.snakefile; "
        "print(*{'numpy', 'torch', 'pyarrow', 'pandas'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert answer.stdout.strip() == ""


class FakeWorkflow:
    """The few things of Snakemake's workflow that say where the config comes from."""

    basedir = ROOT

    def __init__(self, is_main_process: bool):
        self.is_main_process = is_main_process
        settings = ["lm={seeds: [0, 4]}", "interventions={difficulty_matched: alt-3}"]
        self.config_settings = SimpleNamespace(configfiles=[], config_args=settings)


def test_jobs_elsewhere_get_the_config_as_it_was(tmp_path, monkeypatch):
    """The main process freezes every key in a file; a job on another machine reads that and nothing else."""
    monkeypatch.chdir(tmp_path)
    main = FakeWorkflow(is_main_process=True)
    study = snakefile.study_or_exit(main, {})
    assert study.lm.seeds == (0, 4) and study.interventions.difficulty_matched == "alt-3"
    (frozen,) = main.config_settings.configfiles
    assert frozen.is_absolute() and main.config_settings.config_args == []
    monkeypatch.setattr(snakefile, "read_config", lambda path: pytest.fail(f"{path} is read again"))
    elsewhere = snakefile.study_or_exit(
        FakeWorkflow(is_main_process=False), json.loads(frozen.read_text(encoding="utf-8"))
    )
    assert elsewhere == study
    assert Plan(elsewhere).statistics.key == Plan(study).statistics.key


@pytest.mark.parametrize(
    "device, nodes, is_main, expected",
    [
        ("nvidia0", None, True, {"turn": 1}),
        ("nvidiactl", None, True, {}),
        ("nvidia0", 100, True, {"turn": 1}),
        ("tty", None, False, {"turn": 1}),
    ],
)
def test_who_takes_turns(device, nodes, is_main, expected, tmp_path, monkeypatch):
    """Jobs on a machine with a GPU, and those of a group on a cluster; without a GPU all cores are for all."""
    (tmp_path / device).touch()
    monkeypatch.setattr(snakefile, "_DEVICES", tmp_path)
    fake = FakeWorkflow(is_main)
    fake.resource_settings, fake.global_resources = SimpleNamespace(nodes=nodes), {}
    snakefile.take_turns(fake)
    assert fake.global_resources == expected
