"""What the Snakefile needs beside the plan: the config, read with one-line errors, and the environment of jobs."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

import yaml

from progsem.config import Study, load
from progsem.errors import UserError

# Mappings that are one value: what a study says takes the place of config.yaml's.
REPLACED = (("interventions", "alternatives"), ("probes", "depths"))
# YAML 1.1 takes 1e-5 for text, because it has no point.
_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")


def study_or_exit(path: Path, changes: dict) -> Study:
    """The study in a config file, with the changes from the command line.

    A bad config ends the process with status 2 and one line on stderr. SystemExit
    passes through Snakemake, which would print a traceback for anything else.
    """
    try:
        return load(merge(read_config(path), changes))
    except UserError as error:
        print(f"progsem: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def read_config(path: Path) -> dict:
    """Read a YAML mapping; raises `UserError` with one line that says where it is broken."""
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UserError(f"config: {path} cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"config: {path}:{where} not valid YAML ({problem})") from None
    if not isinstance(raw or {}, dict):
        raise UserError(f"config: {path}: given {type(raw).__name__}, expected sections such as `lm:`")
    return raw or {}


def merge(base: dict, changes: dict, at: tuple[str, ...] = ()) -> dict:
    """`base` with `changes` put in, key by key; the mappings in `REPLACED` are replaced whole.

    Snakemake hands over what stands inside a --config value as text; where `base`
    has a number or a truth value, such text is read as one.
    """
    merged = {key: _read(value, value) for key, value in base.items()}
    for key, value in changes.items():
        here = (*at, key)
        if isinstance(value, dict) and isinstance(merged.get(key), dict) and here not in REPLACED:
            merged[key] = merge(merged[key], value, here)
        else:
            merged[key] = _read(value, merged.get(key))
    return merged


def _read(value, like):
    """`value` with its texts read as numbers or truth values where `like` has one there."""
    if isinstance(value, dict):
        known = like if isinstance(like, dict) else {}
        return {key: _read(item, known.get(key)) for key, item in value.items()}
    if isinstance(value, list):
        example = (like or [0])[0] if isinstance(like, list) else None
        return [_read(item, example) for item in value]
    if isinstance(value, str):
        if _EXPONENT.fullmatch(value):
            return float(value)
        if isinstance(like, bool | int | float):
            return _scalar(value)
    return value


def _scalar(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def prepare_environment(source: Path) -> str:
    """Set what every job inherits; returns the shell prefix that also holds inside conda environments.

    `source` is the folder that holds the package. Jobs use the Python that runs
    Snakemake unless an environment of their own is activated, and never the network.
    """
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        TOKENIZERS_PARALLELISM="false",
        # Keep large temporary tensors in the heap: returning them costs page faults at each step.
        MALLOC_MMAP_THRESHOLD_=str(2**30),
        MALLOC_TRIM_THRESHOLD_=str(2**31 - 1),
        MPLBACKEND="agg",
    )
    # Setting a prefix takes the place of Snakemake's own, which is the first command here.
    return f"set -euo pipefail; export PYTHONPATH='{source}'; "


def use_every_core(workflow) -> None:
    """Do as `snakemake --cores all` does, which a bare `snakemake` would ask for, once it has read the Snakefile."""
    workflow.resource_settings.cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    workflow.global_resources["_cores"] = workflow.resource_settings.cores
