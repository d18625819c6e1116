"""The stages of the workflow in order, and where in results/ their files are: the one list that all others go by."""

from typing import NamedTuple

from progsem.measures.tables import TABLES
from progsem.study.vocabulary import SPLITS

RESULTS = "results"
FIGURES = f"{RESULTS}/figures"
LOGS = "logs"
CHECKPOINT = "seed-{seed}/step-{step}"  # folder of one checkpoint, below an artifact's


class Stage(NamedTuple):
    """Of one stage: the `job` that makes it (`python -m progsem JOB`), the `module` whose `run(job)` that calls, and
    what is made, as paths below the artifact's folder or a checkpoint's by the names under which jobs know them.
    `shards` are splits of which there are Arrow shards as well; with `checkpoints`, there is a job a checkpoint.
    """

    job: str
    module: str
    files: dict[str, str]
    shards: tuple[str, ...] = ()
    checkpoints: bool = False


def _named(*files: str) -> dict[str, str]:
    """Files by their names without what is behind the dot, and the manifest."""
    return {file.split(".")[0]: file for file in (*files, "manifest.json")}


_PROBES = Stage(
    "probes",
    "progsem.probing.probes",
    _named("predictions.arrow", "accuracy.csv", "probes.safetensors"),
    checkpoints=True,
)
STAGES = {
    "corpus": Stage("corpus", "progsem.data.corpus", _named(), shards=SPLITS),
    "tokens": Stage(
        "tokens",
        "progsem.data.tokens",
        {"tokenizer": "tokenizer/tokenizer.json", "tokenizer_config": "tokenizer/tokenizer_config.json"} | _named(),
        shards=SPLITS,
    ),
    "sequences": Stage("sequences", "progsem.warmup.sequences", _named(), shards=SPLITS[:1]),
    "warmup": Stage(
        "warmup",
        "progsem.warmup.training",
        {"weights": "model.safetensors"} | _named("config.json", "metrics.csv"),
        checkpoints=True,
    ),
    "lm": Stage(
        "train",
        "progsem.lm.train",
        {"weights": "model.safetensors"}
        | _named("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
        | _named("metrics.csv", "state.safetensors"),
        checkpoints=True,
    ),
    "traces": Stage(
        "traces",
        "progsem.lm.traces",
        _named("programs.arrow", "generated.arrow", "forced.arrow"),
        checkpoints=True,
    ),
    "probes": _PROBES,
    "interventions": _PROBES,
    "controls": Stage(
        "controls",
        "progsem.probing.controls",
        _named("predictions.arrow", "accuracy.csv", "description.arrow", "probes.safetensors"),
        checkpoints=True,
    ),
    "edits": Stage(
        "edits",
        "progsem.editing.edits",
        _named("counterfactuals.arrow", "edits.arrow", "readings.arrow", "subspaces.safetensors"),
        checkpoints=True,
    ),
    "transcoders": Stage(
        "transcoders",
        "progsem.sparse.stage",
        _named("scores.csv", "properties.csv", "activations.arrow", "dictionaries.safetensors"),
        checkpoints=True,
    ),
    "generalisation": Stage("generalisation", "progsem.lm.generalisation", _named("programs.arrow"), checkpoints=True),
    "writers": Stage("writers", "progsem.synthesis.writers", _named("proposals.arrow")),
    "synthesis": Stage("synthesis", "progsem.synthesis.models", _named("proposals.arrow"), checkpoints=True),
    "finetuning": Stage(
        "finetuning",
        "progsem.lm.finetuning",
        {"weights": "model.safetensors"} | _named("config.json", "generation_config.json", "metrics.csv"),
    ),
    "pretrained": Stage("pretrained", "progsem.synthesis.pretrained", _named("proposals.arrow")),
    "statistics": Stage(
        "statistics",
        "progsem.measures.statistics",
        _named("summary.json", "gallery.json", "viewer.json", *(f"{table}.csv" for table in TABLES)),
    ),
    "playground": Stage("playground", "progsem.playground.page", _named("playground.html")),
    "figures": Stage("figures", "progsem.plots.figures", {}),
}
MODULES = {stage.job: stage.module for stage in STAGES.values()}
