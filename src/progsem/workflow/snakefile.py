"""What the Snakefile needs beside the plan: the study, the environment of jobs, and what it refuses."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import shlex
import sys
from pathlib import Path

from progsem.errors import UserError
from progsem.stages import FIGURES, RESULTS
from progsem.storage import manifest
from progsem.storage.files import digest, replacing
from progsem.study.checks import remark
from progsem.study.config import Study, changed, load
from progsem.study.configfiles import read_changes, read_config
from progsem.study.forecast import available_cores
from progsem.workflow.redrawing import DRAWN
from progsem.workflow.refusal import refuse, refuse_read_only
from progsem.workflow.rules import literally

_FROZEN = Path(".snakemake/studies")
_DEVICES = Path("/dev")
# Where standard error is closed, tee would end at once, and the job with it.
_LOG = "log() { trap '' INT TERM HUP USR1; true 3>&2 || exec 2> /dev/null; exec tee \"$1\" >&2; };"


def study_or_exit(workflow, frozen: dict) -> Study:
    """The study in config.yaml beside the Snakefile, with the changes from the command line.

    Those are read again here: Snakemake has read YAML 1.1 in files and something else in
    --config. Jobs on other machines read the Snakefile again; for them the config is the
    one that was `frozen` when the workflow started, and config.yaml may have been edited.
    A bad config is refused.
    """
    try:
        if not workflow.is_main_process:
            return load(frozen)
        given = workflow.config_settings
        changes = read_changes(given.configfiles, given.config_args or [])
        study = load(changed(read_config(Path(workflow.basedir) / "config.yaml"), changes))
    except UserError as error:
        refuse(error)
    _freeze(workflow, study)
    return study


def study_of_module_or_exit(root: Path, changes: dict) -> Study:
    """The study in config.yaml in the folder `root`, with the changes that another workflow says (`module`'s `config`).

    That workflow has read them, and says them again in jobs on other machines. A bad config is refused.
    """
    try:
        return load(changed(read_config(root / "config.yaml"), changes))
    except UserError as error:
        refuse(error)


def _freeze(workflow, study: Study) -> None:
    """Write every key of the study to a file, and let that be what Snakemake tells jobs on other machines."""
    # The text has the order of keys, which the plan follows.
    frozen = _FROZEN / f"{digest(study.model_dump_json())}.json"
    with contextlib.suppress(UserError):  # a folder that cannot be written is one that no job runs in
        if not frozen.exists():
            with replacing(frozen) as temporary:
                temporary.write_text(study.model_dump_json(indent=1) + "\n", encoding="utf-8")
        workflow.config_settings.configfiles = [frozen.absolute()]
        workflow.config_settings.config_args = []


def prepare_environment(source: Path, module: bool = False) -> str:
    """Set what every job inherits; returns what its shell command begins with, also inside conda environments.

    `source` is the folder that holds the package. Jobs use the Python that runs
    Snakemake unless an environment of their own is activated, and never the network.
    Of a `module`, those of another workflow would inherit it as well: there, the command sets it.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # an ID without a name, as in a container; Snakemake and torch ask for one
        os.environ["USER"] = str(os.getuid())
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    variables = dict(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        TOKENIZERS_PARALLELISM="false",
        # Keep large temporary tensors in the heap: returning them costs page faults at each step.
        MALLOC_MMAP_THRESHOLD_=str(2**30),
        MALLOC_TRIM_THRESHOLD_=str(2**31 - 1),
        MPLBACKEND="agg",
        PROGSEM_WORKFLOW=str(os.getpid()),  # jobs end when this process does
        PROGSEM_SOURCES=str(source),
        PYTHONSAFEPATH="1",  # a file in the working directory is not a module
        PYTHONUTF8="1",  # whatever the locale
    )
    exported = ""
    if module:
        exported = f"export {' '.join(f'{name}={shlex.quote(value)}' for name, value in variables.items())}; "
    else:
        os.environ.update(variables)
    # Setting a prefix takes the place of Snakemake's own, which is the first command here. What a job
    # says goes to its log and to the terminal, also what it says after a signal that everybody gets.
    commands = f'set -euo pipefail; {exported}export PYTHONPATH="$PROGSEM_SOURCES"; {_LOG} '
    return literally(commands)


def say_less() -> None:
    """Keep from Snakemake's log what is no news: that it has no records, or that figures come before their folder."""
    no_news = ("Missing metadata for file", "Warning: the following output files of rule all were not present")
    logging.getLogger("snakemake.logging").addFilter(lambda record: not record.getMessage().startswith(no_news))


def say_remark(study: Study) -> None:
    """Before jobs start: what the study's intervals will be worth, if that is little."""
    if said := remark(study):
        print(f"progsem: {said}", file=sys.stderr)


def use_every_core(workflow) -> None:
    """Do as `snakemake --cores all` does, which a bare `snakemake` would ask for, once it has read the Snakefile."""
    workflow.resource_settings.cores = available_cores()
    workflow.global_resources["_cores"] = workflow.resource_settings.cores


def take_turns(workflow) -> None:
    """Let jobs that ask for a `turn` run one after the other: on a machine with a GPU, and in a group on a cluster.

    Snakemake computes what a group asks for in the process that submits it and again in
    the job, each time as if all that can run at once did so, on a GPU each.
    """
    local = workflow.is_main_process and workflow.resource_settings.nodes is None
    if not local or any(_DEVICES.glob("nvidia[0-9]*")):
        workflow.global_resources["turn"] = 1


def refuse_other_triggers(workflow) -> None:
    """Before jobs start: refuse to make finished results anew because Snakemake's records of them differ."""
    given = sorted(map(str, workflow.dag_settings.rerun_triggers))
    if given != ["mtime"]:
        refuse(f"given the rerun-triggers {', '.join(given)}, expected mtime alone, as in profiles/default")


def refuse_what_cannot_be_written(outputs: list[str], figures: set[str]) -> None:
    """Before jobs that make these files start: refuse if results/ is read-only, or figures are not to be replaced.

    `figures` are names of files that would take the places of those that are there.
    """
    if DRAWN in outputs and os.path.lexists(FIGURES):
        try:
            manifest.refuse_in_the_way(Path(FIGURES), figures)
        except UserError as error:
            refuse(error)
        if not os.access(FIGURES, os.W_OK):
            refuse_read_only(Path(FIGURES))
    if Path(RESULTS).exists() and not os.access(RESULTS, os.W_OK):
        refuse_read_only(Path(RESULTS))
