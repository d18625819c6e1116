"""What the rules have in common: the command of a job from the files of its rule, and what a scheduler is asked for."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from snakemake.io import ancient

from progsem.study import sizes
from progsem.study.config import Study

COMMAND = "{params.command} 2>&1 | log {log}"  # of every rule


def literally(text: str) -> str:
    """A text for Snakemake, which takes what stands in single braces for its own."""
    return text.replace("{", "{{").replace("}", "}}")


def ancients(files: dict) -> dict:
    """Inputs by name whose times do not matter."""
    return {name: ancient(paths) for name, paths in files.items()}


def command(job: str, slice: str | Callable, threads: int | None = None, files: dict | None = None, **options):
    """A function for the `params` of a rule, which makes `python -m progsem JOB` of its inputs and outputs.

    `slice` is a text or a function of the wildcards. Without `threads`, a job uses the cores that it gets: so where
    results depend on how sums are shared out, a number has to be given. `files` are outputs, by name, in place of the
    rule's.
    """

    def made(wildcards, input, output, threads) -> str:
        said = {"slice": slice(wildcards) if callable(slice) else slice, "threads": number or threads, **options}
        words = [
            "python",
            "-m",
            "progsem",
            job,
            *(word for name, value in said.items() for word in (f"--{name}", value)),
        ]
        for option, named in (("--input", input), ("--output", files or output)):
            for name, paths in named.items():
                words += [option, name, *([paths] if isinstance(paths, str) else paths)]
        return shlex.join(map(str, words))

    number = threads
    return made


def asked(study: Study, memory: int, minutes: int | Callable, tensors: int = 0) -> dict:
    """Resources of a job that takes so many MB and minutes (a number, or a function of the wildcards): at each attempt
    more. `tensors` processes compute on a GPU each, where there are.
    """
    resources = {
        "mem_mb": lambda wildcards, attempt: attempt * memory,
        "runtime": lambda wildcards, attempt: attempt * (minutes(wildcards) if callable(minutes) else minutes),
    }
    if tensors:
        resources |= {"gpu": tensors * sizes.gpus(study), "turn": sizes.gpus(study)}
    return resources
