"""Config files: YAML read with one-line errors, and put together as Snakemake does with --configfile and --config."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import yaml

from progsem.errors import UserError

# Mappings that are one value: what a study says takes the place of config.yaml's.
REPLACED = (("interventions", "alternatives"), ("probes", "depths"), ("generalisation", "sets"))
# YAML 1.1 takes 1e-5 for text, because it has no point.
_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")


def read_config(path: Path) -> dict:
    """Read a YAML mapping; raises `UserError` with one line that says where it is broken."""
    try:
        raw = _Loader(Path(path).read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise UserError(f"config: {path} cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"config: {path}:{where} not valid YAML ({problem})") from None
    if not isinstance(raw or {}, dict):
        raise UserError(f"config: {path}: given {type(raw).__name__}, expected sections such as `lm:`")
    return raw or {}


class _Loader(yaml.SafeLoader):
    """Refuses a key that a mapping has twice: YAML would take the last and say nothing."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is there twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


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
        named = next((item for item in known.values() if isinstance(item, dict)), None)  # under names of the user's
        return {key: _read(item, known.get(key, named)) for key, item in value.items()}
    if isinstance(value, list):
        example = (like or [0])[0] if isinstance(like, list) else like  # a list in a list holds what that one does
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
