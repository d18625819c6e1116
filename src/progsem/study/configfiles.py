"""Config files and command-line settings: YAML 1.2, read with one-line errors, and put together.

Scalars are those of YAML 1.2's core schema, wherever they stand: 010 is ten, `yes` and
2024-11-29 are text, 1e5 is a number, and what is in quotes is text. Beyond the schema,
digits of an integer may be grouped, as in 400_000.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from progsem.errors import UserError

# Mappings that are one value: what a study says takes the place of config.yaml's.
REPLACED = (
    ("lm", "config"),
    ("lm", "checkpoints"),
    ("interventions", "alternatives"),
    ("probes", "depths"),
    ("generalisation", "sets"),
    ("variants",),
)


def read_config(path: Path) -> dict:
    """Read a YAML mapping; raises `UserError` with one line that says where it is broken."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"config: {path} cannot be read ({error.strerror})") from None
    raw = _parsed(content, str(path))
    if not isinstance(raw or {}, dict):
        raise UserError(f"config: {path}: given {type(raw).__name__}, expected sections such as `lm:`")
    return raw or {}


def read_settings(settings: Iterable[str]) -> dict:
    """Read what --config was given, KEY=VALUE each; a VALUE that is not a list or a mapping is text as it stands."""
    read: dict = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        value = _parsed(text, f"--config {key}")
        if not isinstance(value, dict | list | str):
            value = text.strip()
        read = merge(read, {key: value}, replaced=())
    return read


def read_changes(paths: Iterable[Path], settings: Iterable[str]) -> dict:
    """What --configfile and --config say, the later over the earlier, key by key throughout."""
    changes: dict = {}
    for path in paths:
        changes = merge(changes, read_config(path), replaced=())
    return merge(changes, read_settings(settings), replaced=())


def merge(base: dict, changes: dict, replaced: Iterable[tuple[str, ...]] = REPLACED, at: tuple[str, ...] = ()) -> dict:
    """`base` with `changes` put in, key by key; the mappings in `replaced` are replaced whole."""
    merged = dict(base)
    for key, value in changes.items():
        here = (*at, key)
        if isinstance(value, dict) and isinstance(base.get(key), dict) and here not in replaced:
            merged[key] = merge(base[key], value, replaced, here)
        else:
            merged[key] = value
    return merged


def _parsed(content: bytes | str, name: str):
    """The value of a YAML document, `name` being where it comes from."""
    try:
        return _Loader(content).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"config: {name}:{where} not valid YAML ({problem})") from None


class _Loader(yaml.SafeLoader):
    """Reads the scalars in `_SCALARS` instead of YAML 1.1's, and refuses a key that a mapping has twice."""

    yaml_implicit_resolvers: dict = {}
    yaml_constructors = {
        f"tag:yaml.org,2002:{name}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{name}"]
        for name in ("str", "seq", "map")
    } | {None: yaml.SafeLoader.construct_undefined}

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is there twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _integer(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


# YAML 1.2.2, section 10.3.2; a plain scalar that is none of these is text.
_SCALARS = {
    "null": (r"~|null|Null|NULL|", lambda text: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    "int": (r"[-+]?[0-9]+(_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+", _integer),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        _float,
    ),
}


def _learn(tag: str, pattern: re.Pattern, read) -> None:
    def construct(loader, node):
        text = loader.construct_scalar(node)
        if not pattern.match(text):  # after a tag that names the type
            raise yaml.constructor.ConstructorError(None, None, f"{text!r} is no {tag}", node.start_mark)
        return read(text)

    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", pattern, None)
    _Loader.add_constructor(f"tag:yaml.org,2002:{tag}", construct)


for _tag, (_pattern, _read) in _SCALARS.items():
    _learn(_tag, re.compile(rf"(?:{_pattern})\Z"), _read)
