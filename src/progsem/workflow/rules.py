"""The rules of the Snakefile: what each kind of job is made from, what it makes, and what it is run with.

The figures are left out: they have one place, and rules of their own.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from progsem.stages import CHECKPOINT, FIGURES, LOGS, RESULTS, STAGES
from progsem.study import sizes
from progsem.study.plan import Artifact, Plan
from progsem.study.vocabulary import SPLITS

Paths = str | list[str] | Callable  # or a function of the wildcards


@dataclass(frozen=True)
class Rule:
    """What Snakemake is told of one kind of job.

    `job` is its name for `python -m progsem`, `place` its folder below results/, with wildcards. `slice` (a text,
    or a function of the wildcards), `memory` (MB) and `minutes` (a number, or a function of the wildcards) are those
    of a job. `tensors`: it computes on a GPU where there is one; `all_cores`: nothing runs beside it.
    """

    plan: Plan
    name: str
    message: str
    job: str
    place: str
    slice: str | Callable
    inputs: dict[str, Paths]
    outputs: dict[str, Paths]
    memory: int
    minutes: int | Callable
    group: str | None = None
    priority: int = 0
    tensors: bool = False
    all_cores: bool = False
    decodes: bool = False
    processes: int = 1

    @property
    def log(self) -> str:
        """What a job says."""
        return f"{RESULTS}/{LOGS}/{self.place}.log"

    @property
    def threads(self) -> int:
        """Cores of a job; Snakemake gives fewer where there are fewer."""
        threads = self.plan.study.compute.threads
        return max(4, threads) if self.all_cores else threads * self.processes

    @property
    def resources(self) -> dict:
        """What a scheduler is asked for, more at each attempt."""
        compute, gpus = self.plan.study.compute, sizes.gpus(self.plan.study)
        asked = {
            "mem_mb": lambda wildcards, attempt: attempt * self.memory,
            "runtime": lambda wildcards, attempt: attempt * _of(self.minutes, wildcards),
        }
        if self.tensors:
            asked |= {"device": compute.device, "gpu": gpus * self.processes, "turn": gpus}
        return asked

    def command(self, wildcards, input, output, threads) -> str:
        """The shell command of a job, from what Snakemake has made of its rule."""
        compute = self.plan.study.compute
        # A number that does not depend on how many cores there are: where threads change the order of sums.
        options = {"slice": _of(self.slice, wildcards), "threads": threads if self.all_cores else compute.threads}
        if self.tensors:
            options["device"] = compute.device
        if self.decodes:
            options["batch"] = compute.trace_batch
        if self.processes > 1:
            options["processes"] = self.processes
        return command(self.job, options, dict(input.items()), dict(output.items()))


def command(job: str, options: dict, inputs: dict[str, Paths], outputs: dict[str, Paths]) -> str:
    """`python -m progsem JOB` with its options and files."""
    words = ["python", "-m", "progsem", job]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    for option, named in (("--input", inputs), ("--output", outputs)):
        for name, paths in named.items():
            words += [option, name, *([paths] if isinstance(paths, str) else paths)]
    return shlex.join(words)


def figures_command(plan: Plan, input, threads: int) -> str:
    """The command that draws into `results/figures`."""
    # A title may have `</script>`, which would end that of the report, where commands stand.
    options = {"slice": plan.figures_slice.replace("<", r"\u003c"), "threads": threads}
    return command("figures", options, dict(input.items()), {"figures": FIGURES})


def _of(value, wildcards):
    return value(wildcards) if callable(value) else value


def rules(plan: Plan) -> list[Rule]:
    """All but those of the figures, in the order of the stages."""
    study = plan.study

    def rule(artifact: Artifact, message: str, **said) -> Rule:
        """One whose jobs make an artifact, or a checkpoint's part of it."""
        stage = STAGES[artifact.stage]
        shards = {split: plan.shards(artifact, split) for split in SPLITS} if stage.shards else {}
        defaults = {
            "name": artifact.stage,
            "place": f"{artifact.stage}/{artifact.key}" + (f"/{CHECKPOINT}" if stage.checkpoints else ""),
            "slice": artifact.slice(),
            "inputs": {},
            "outputs": shards | artifact.files(),
        }
        return Rule(plan, message=message, job=stage.job, **(defaults | said))

    def of_checkpoint(artifact: Artifact) -> Callable:
        return lambda wildcards: artifact.slice(seed=int(wildcards.seed), step=int(wildcards.step))

    def before(name: str) -> Callable:
        file = STAGES["lm"].files[name]
        return lambda wildcards: plan.before(wildcards.seed, wildcards.step, file)

    def everywhere(artifacts: list[Artifact], name: str) -> list[str]:
        return plan.everywhere(artifacts, STAGES[artifacts[0].stage].files[name])

    data = {"group": "data", "memory": sizes.data_mb(study), "minutes": sizes.data_minutes(study)}
    probing = {"group": "probing", "tensors": True}
    traced = {split: plan.shards(plan.corpus, split, getattr(study.traces, split)) for split in SPLITS}
    traces = plan.traces.files("programs", "generated", "forced")
    probed = {f"{artifact.stage}/{artifact.key}": artifact for artifact in plan.probed()}
    where = ", seed {wildcards.seed}, step {wildcards.step}"
    return [
        rule(
            plan.corpus,
            f"Sampling and executing {study.corpus.train} training programs and {study.corpus.test} test programs",
            **data,
        ),
        rule(
            plan.tokens,
            f"Encoding the corpus as {study.tokens.encoding} tokens",
            inputs={split: plan.shards(plan.corpus, split) for split in SPLITS},
            **data,
        ),
        # Each checkpoint starts from the one before it, and the early ones are probed meanwhile. Within a long interval
        # the job saves its state beside the outputs, every ten minutes and when it is asked to stop.
        rule(
            plan.lm,
            f"Training the language model{where} of {study.lm.steps}",
            name="checkpoint",
            slice=lambda wildcards: plan.training_slice(wildcards.seed, wildcards.step),
            inputs={
                "train": plan.shards(plan.tokens, "train"),
                **plan.tokens.files("tokenizer", "tokenizer_config"),
                "model": before("weights"),
                "config": before("config"),
                "state": before("state"),
            },
            priority=100,  # the chain is the longest path: whatever waits for it waits longest
            tensors=True,
            processes=study.compute.processes,
            memory=sizes.training_mb(study),
            minutes=lambda wildcards: sizes.training_minutes(study, int(wildcards.step)),
        ),
        rule(
            plan.traces,
            f"Decoding and reading hidden states{where}",
            slice=of_checkpoint(plan.traces),
            inputs=plan.lm.files("weights", "config") | traced,
            priority=20,
            decodes=True,
            memory=sizes.traces_mb(study),
            minutes=sizes.traces_minutes(study),
            **probing,
        ),
        # The original semantics and every alternative: the same probes on the same programs.
        rule(
            plan.probes,
            f"Probing, {{wildcards.probed}}{where}",
            place=f"{{probed}}/{CHECKPOINT}",
            slice=lambda wildcards: probed[wildcards.probed].slice(),
            inputs=traces,
            outputs={
                name: f"{RESULTS}/{{probed,{'|'.join(probed)}}}/{CHECKPOINT}/{file}"
                for name, file in STAGES["probes"].files.items()
            },
            priority=10,
            memory=sizes.probes_mb(study),
            minutes=sizes.probes_minutes(study),
            **probing,
        ),
        rule(
            plan.controls,
            f"Probing controls{where}",
            inputs=traces | plan.lm.files("weights"),
            memory=sizes.controls_mb(study),
            minutes=sizes.controls_minutes(study),
            **probing,
        ),
        rule(
            plan.generalisation,
            f"Writing programs for specifications of other kinds{where}",
            slice=of_checkpoint(plan.generalisation),
            inputs=plan.lm.files("weights", "config"),
            tensors=True,
            decodes=True,
            memory=sizes.generalisation_mb(study),
            minutes=sizes.generalisation_minutes(study),
        ),
        rule(
            plan.statistics,
            "Computing intervals and tests over all checkpoints",
            inputs={
                "programs": everywhere([plan.traces], "programs"),
                "predictions": everywhere(plan.probed(), "predictions"),
                "accuracy": everywhere(plan.probed(), "accuracy"),
                "metrics": everywhere([plan.lm], "metrics"),
                "manifests": plan.manifests(),
                "corpus": plan.shards(plan.corpus, "train"),
                "controls_predictions": everywhere([plan.controls], "predictions"),
                "controls_accuracy": everywhere([plan.controls], "accuracy"),
                "controls_description": everywhere([plan.controls], "description"),
                "generalisation": everywhere([plan.generalisation], "programs"),
            },
            all_cores=True,
            memory=sizes.statistics_mb(study),
            minutes=sizes.statistics_minutes(study),
        ),
    ]
