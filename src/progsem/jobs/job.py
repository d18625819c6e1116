"""One job of the workflow: a stage, its frozen slice of the config, its files.

`python -m progsem STAGE --slice JSON --input NAME PATH… --output NAME PATH…`
calls `run(job)` of the stage's module (`progsem.stages`). A job never reads config.yaml, so an edit made
while it runs cannot reach it. With `--processes N`, or started by `torchrun`,
several processes do the job together.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from progsem.errors import UserError
from progsem.jobs import compiled, interruption, progress
from progsem.languages import DEFAULT, LANGUAGE
from progsem.stages import MODULES
from progsem.storage import manifest
from progsem.storage.files import clear_leftovers
from progsem.storage.sources import code_digest
from progsem.study import config

_PATIENCE = 10.0  # seconds for the first of several processes to say what is wrong for all


@dataclass
class Job:
    """What a stage is given.

    `slice` holds the sections of the config that its result depends on (JSON
    values, validated where they are read); `inputs` and `outputs` hold paths by
    name. `threads`, `device` and `batch` say how to compute, not what. Of `processes`
    that do it together this is number `rank`, and of the GPUs that it sees it uses
    number `gpu`; only number 0 writes.
    `checksums` holds the SHA-256 of every input by path, `notes` what the stage
    wants to stand in its manifest, `obsolete` files that nobody needs once that is
    written.
    """

    stage: str
    slice: dict
    inputs: dict[str, list[Path]]
    outputs: dict[str, list[Path]]
    threads: int = 1
    device: str = "auto"
    batch: int = 256
    processes: int = 1
    rank: int = 0
    gpu: int = 0
    command: str = ""
    checksums: dict[str, str] = field(default_factory=dict)
    notes: dict = field(default_factory=dict)
    obsolete: list[Path] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def language(self) -> str:
        """The language that it is about."""
        return self.slice.get("language", DEFAULT)

    def section(self, name: str):
        """A section of the slice as its config type, for example `job.section("lm").width`."""
        model = config.study_type(self.language).model_fields[name].annotation
        return model.model_validate(config.tuples(self.slice[name]))

    def input(self, name: str) -> Path:
        """The single input of that name."""
        (path,) = self.inputs[name]
        return path

    def output(self, name: str) -> Path:
        """The single output of that name."""
        (path,) = self.outputs[name]
        return path


def main(argv: list[str]) -> int | None:
    """Parse a job's command line, check its inputs, run its stage, write its manifest; returns the exit status."""
    parser = argparse.ArgumentParser(prog="progsem", description="Run one stage of the workflow.")
    parser.add_argument("stage", choices=MODULES)
    parser.add_argument("--slice", required=True, help="the stage's part of the config, as JSON")
    parser.add_argument("--input", nargs="+", action="append", default=[], metavar=("NAME", "PATH"))
    parser.add_argument("--output", nargs="+", action="append", default=[], metavar=("NAME", "PATH"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--batch", type=int, default=256, help="specifications decoded at once")
    parser.add_argument(
        "--processes", type=int, default=1, help="processes that train together (train and warmup only)"
    )
    arguments = parser.parse_args(argv)
    if arguments.processes > 1 and arguments.stage not in ("train", "warmup"):
        parser.error("--processes is for the stages train and warmup")
    job = Job(
        stage=arguments.stage,
        slice=json.loads(arguments.slice),
        inputs={name: [Path(path) for path in paths] for name, *paths in arguments.input},
        outputs={name: [Path(path) for path in paths] for name, *paths in arguments.output},
        threads=arguments.threads,
        device=arguments.device,
        batch=arguments.batch,
        command=shlex.join(["python", "-m", "progsem", *argv]),
    )
    LANGUAGE.use(job.language)
    interruption.stop_cleanly()
    interruption.follow_workflow()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # which torchrun sets, and nobody else
        job.processes, job.rank, job.gpu = (int(os.environ[name]) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
    elif arguments.processes > 1:
        return importlib.import_module("progsem.jobs.launch").launch(arguments.processes, job.device, argv, _watch(job))
    if job.rank > 0:
        return _follow(job)
    interruption.heed_time_limit()
    stage = _checked(job)
    for path in (path for paths in job.outputs.values() for path in paths):
        clear_leftovers(path)
    stage.run(job)
    with interruption.deferred():  # it is done: a signal that comes now does not make it fail
        if "manifest" in job.outputs:
            made = [path for name, paths in job.outputs.items() for path in paths if name != "manifest"]
            manifest.write(job, job.output("manifest").parent, made)
        for path in job.obsolete:
            path.unlink(missing_ok=True)
    return None


def _checked(job: Job):
    """The module of a job's stage, once the job's code and inputs are known to be the right ones."""
    compiled.forget_outdated()
    stage = importlib.import_module(MODULES[job.stage])
    refuse_other_code(job)
    for path in (path for paths in job.inputs.values() for path in paths):
        if not path.exists():
            raise UserError(f"{path}: input of {job.stage} is missing; run snakemake to make it")
    job.checksums = manifest.verify_inputs(job)
    return stage


def _follow(job: Job) -> None:
    """Run a stage as one of several processes, not the first: it writes nothing, and says only what the first cannot.

    What the user has to mend is as a rule met by all. The first one says it and ends,
    and whoever started them then ends the others.
    """
    progress.be_quiet()
    try:
        _checked(job).run(job)
    except UserError:
        time.sleep(_PATIENCE)
        raise


def _watch(job: Job) -> Callable[[], bool]:
    """A function that tells whether the manifest has been written since now."""

    def stamp() -> int | None:
        return next((path.stat().st_mtime_ns for path in job.outputs.get("manifest", []) if path.exists()), None)

    before = stamp()
    return lambda: stamp() not in (None, before)


def refuse_other_code(job: Job) -> None:
    """Raise `UserError` where the stage's sources, which have just been imported, are not those of the plan.

    The folder that a job writes into is named by its code. Code that was changed
    or pulled while the workflow runs would put another result under that name.
    """
    planned, now = job.slice.get("code"), code_digest(job.stage)
    if planned != now:
        raise UserError(
            f"{job.stage}: this job was planned with code {planned}, and src/progsem is now {now}; "
            "run snakemake again to plan with the code as it is"
        )
