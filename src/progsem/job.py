"""One job of the workflow: a stage, its frozen slice of the config, its files.

`python -m progsem STAGE --slice JSON --input NAME PATH… --output NAME PATH…`
calls `progsem.STAGE.run(job)`. A job never reads config.yaml, so an edit made
while it runs cannot reach it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import progsem
from progsem import config
from progsem.artifacts import write_json
from progsem.errors import UserError

STAGES = ("corpus", "tokens", "train", "traces", "probes", "statistics", "figures")


@dataclass
class Job:
    """What a stage is given.

    `slice` holds the sections of the config that its result depends on (JSON
    values, validated where they are read); `inputs` and `outputs` hold paths by
    name. `threads`, `device` and `batch` say how to compute, not what.
    """

    stage: str
    slice: dict
    inputs: dict[str, list[Path]]
    outputs: dict[str, list[Path]]
    threads: int = 1
    device: str = "auto"
    batch: int = 256
    notes: dict = field(default_factory=dict)

    def section(self, name: str):
        """A section of the slice as its config type, for example `job.section("lm").width`."""
        model = config.Study.model_fields[name].annotation
        return model.model_validate(config.tuples(self.slice[name]))

    def input(self, name: str) -> Path:
        """The single input of that name."""
        (path,) = self.inputs[name]
        return path

    def output(self, name: str) -> Path:
        """The single output of that name."""
        (path,) = self.outputs[name]
        return path


def write_manifest(job: Job, seconds: float) -> None:
    """Say beside the artifact what it was made from, with what, and how long it took.

    `notes` are facts that the stage wants kept, such as counts and overlaps.
    """
    import importlib.metadata

    versions = {"python": platform.python_version(), "progsem": progsem.__version__}
    for package in ("numpy", "numba", "pyarrow", "torch"):
        if package in sys.modules:
            versions[package] = importlib.metadata.version(package)
    write_json(
        job.output("manifest"),
        {
            "stage": job.stage,
            "slice": job.slice,
            "inputs": {name: [str(path) for path in paths] for name, paths in job.inputs.items()},
            "versions": versions,
            "threads": job.threads,
            "seconds": round(seconds, 3),
            "notes": job.notes,
        },
    )


def main(argv: list[str]) -> None:
    """Parse a job's command line, run its stage, write its manifest."""
    parser = argparse.ArgumentParser(prog="progsem", description="Run one stage of the workflow.")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--slice", required=True, help="the stage's part of the config, as JSON")
    parser.add_argument("--input", nargs="+", action="append", default=[], metavar=("NAME", "PATH"))
    parser.add_argument("--output", nargs="+", action="append", default=[], metavar=("NAME", "PATH"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--batch", type=int, default=256, help="specifications decoded at once")
    arguments = parser.parse_args(argv)
    job = Job(
        stage=arguments.stage,
        slice=json.loads(arguments.slice),
        inputs={name: [Path(path) for path in paths] for name, *paths in arguments.input},
        outputs={name: [Path(path) for path in paths] for name, *paths in arguments.output},
        threads=arguments.threads,
        device=arguments.device,
        batch=arguments.batch,
    )
    for path in (path for paths in job.inputs.values() for path in paths):
        if not path.exists():
            raise UserError(f"{path}: input of {job.stage} is missing; run snakemake to make it")
    started = time.monotonic()
    importlib.import_module(f"progsem.{job.stage}").run(job)
    if "manifest" in job.outputs:
        write_manifest(job, time.monotonic() - started)
