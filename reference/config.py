"""The JSON schema of the config, and docs/config.md, its table of keys."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from progsem.errors import UserError
from progsem.languages import DEFAULT, NAMES, language
from progsem.study.config import Study, load, study_type
from progsem.study.configfiles import merge
from progsem.study.plan import reruns

SCHEMA = Path("workflow/schemas/config.schema.json")
TABLE = Path("docs/config.md")

_ALTERNATIVES = language(DEFAULT).config.ALTERNATIVES
# Files that pass for a pretrained model, and one of them for programs, as long as nobody reads what is in them.
_FOLDER = TemporaryDirectory()
for _name in ("config.json", "model.safetensors", "tokenizer.json"):
    Path(_FOLDER.name, _name).write_text('{"model_type": "t5"}', encoding="utf-8")
_PROGRAMS = {"programs": str(Path(_FOLDER.name, "config.json"))}
# Where `edited` needs help: another value than the default, and what both studies have beside it.
_EDITS = {
    "corpus.programs": _PROGRAMS["programs"],
    "lm.heads": 8,
    "lm.seeds": [0, 1, 2, 3, 4, 5],
    "probes.layer": "layer_1",
    "probes.positions": [[0, 1]],
    "interventions.alternatives": dict(zip(_ALTERNATIVES, reversed(_ALTERNATIVES.values()), strict=True)),
    "interventions.difficulty_matched": list(_ALTERNATIVES)[-1],
    "edits.features": ["facing"],
    "edits.layers": [1],
    "edits.checkpoints": "ends",
    "transcoders.kinds": ["transcoder"],
    "transcoders.checkpoints": "ends",
    "synthesis.writers": ["uniform", "temperature"],
    "lm.pretrained": _FOLDER.name,
    "lm.model_type": "gpt2",
    "lm.warmup.tokens": 2_000_000,
    "lm.config": {"n_inner": 64},
    "lm.checkpoints": {"100": _FOLDER.name},
    "variants": {"wider": {"lm": {"width": 128}}},
}
_BESIDE = {
    "lm.config": {"lm": {"model_type": "gpt2"}},
    "lm.checkpoints": {"lm": {"seeds": [0]}},
    "corpus.programs_for": {"corpus": _PROGRAMS},
    "corpus.unusable": {"corpus": _PROGRAMS},
    "lm.heads": {"lm": {"rotary": 12}},
    "lm.warmup.tokens": {"lm": {"warmup": {"task": "set"}}},
    "lm.warmup.transfer": {"lm": {"warmup": {"task": "set"}}},
    "probes.layer": {"traces": {"layers": "each"}},
    "lm.pretrained": {"synthesis": {"writers": ["greedy"]}},
    "interventions.offsets": {"probes": {"offset_checkpoints": "every"}},
}
# And what sections have that ask for nothing by default, for their other keys.
_ASKED = {
    "edits": {"edits": {"features": ["facing", "wall_ahead"], "checkpoints": "last"}},
    "transcoders": {"transcoders": {"kinds": ["transcoder", "autoencoder"], "checkpoints": "last"}},
    "synthesis": {"synthesis": {"writers": ["uniform", "greedy"]}},
    "finetuning": {"lm": {"pretrained": _FOLDER.name}, "synthesis": {"writers": ["greedy"]}},
}


def keys(schema: dict | None = None, prefix: str = "") -> dict[str, dict]:
    """Every key of the config by dotted name, in order: its JSON schema, references resolved, with its default."""
    whole = study_type(DEFAULT).model_json_schema()
    defaults = load({}).model_dump(mode="json")

    def walk(node: dict, default: dict, prefix: str):
        for name, field in node["properties"].items():
            field = _resolve(field, whole)
            if "properties" in field:
                yield from walk(field, default[name], f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", {**field, "default": default[name]}

    return dict(walk(whole, defaults, ""))


def _resolve(node, whole: dict):
    if isinstance(node, list):
        return [_resolve(item, whole) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        node = {**whole["$defs"][node["$ref"].rsplit("/", 1)[1]], **{k: v for k, v in node.items() if k != "$ref"}}
    return {key: _resolve(value, whole) for key, value in node.items()}


def edited(key: str) -> tuple[Study, Study]:
    """The default study, and the same with another value for one key."""
    beside, field = _BESIDE.get(key) or _ASKED.get(key.split(".")[0], {}), keys()[key]
    for value in [_EDITS[key]] if key in _EDITS else _others(field, field["default"]):
        change = value
        for part in reversed(key.split(".")):
            change = {part: change}
        try:
            return load(beside), load(merge(beside, change))
        except UserError:  # not beside the other defaults: the next one
            continue
    raise ValueError(f"no other value of {key} is known; add one to _EDITS")


def _others(field: dict, value) -> list:
    """Values of a key's type that are another than the given one."""
    if "enum" in field:
        return [other for other in field["enum"] if other != value]
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, 2 * value, value // 2]
        case float():
            return [value / 2 or 0.5, 0.9 * value]
        case str():
            return [f"{value}2"]
        case dict():
            return [dict(list(value.items())[:-1])]
    if "prefixItems" not in field and len(value) > 1:
        return [value[:-1]]
    last = _others({}, value[-1])[0]
    return [[*value[:-1], last] if "prefixItems" in field else [*value, last]]


def schema_text() -> str:
    """The config's JSON schema, as it stands in workflow/schemas: by the value of `language`, that of each."""
    kinds = {name: study_type(name).model_json_schema(ref_template=f"#/$defs/{name}/$defs/{{model}}") for name in NAMES}
    schema: dict = {"$ref": f"#/$defs/{DEFAULT}"}
    for name in sorted(set(NAMES) - {DEFAULT}):
        asked = {"properties": {"language": {"const": name}}, "required": ["language"]}
        schema = {"if": asked, "then": {"$ref": f"#/$defs/{name}"}, "else": schema}
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "progsem study"}
    return json.dumps(about | schema | {"$defs": kinds}, indent=2) + "\n"


def table_text() -> str:
    """docs/config.md."""
    lines = [
        "# Keys of the config",
        "",
        "Generated by `make schema` from the types in src/progsem/study and from the plan of the",
        "default study. *Runs* lists the stages that run when a study that has all its results is edited",
        "in this key; results of the earlier value stay, and editing back runs `figures` only.",
        "",
        "`lm.config`, `lm.checkpoints`, `interventions.alternatives`, `probes.depths`, `generalisation.sets` and",
        "`variants` are replaced whole by a study that names them; all other sections are merged key by key.",
    ]
    section, kind = None, study_type(DEFAULT)
    for key, field in keys().items():
        if key.split(".")[0] != section:
            section = key.split(".")[0]
            title = "" if section == key else (kind.model_fields[section].annotation.__doc__ or "").strip()
            lines += ["", f"## {section}", ""]
            if title:
                lines += [title, ""]
            lines += ["| key | type | default | meaning | runs |", "|---|---|---|---|---|"]
        cells = (
            f"`{key}`",
            type_text(field),
            _default_text(key, field["default"]),
            field.get("description", ""),
            _runs_text(reruns(*edited(key))),
        )
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default_text(key: str, default) -> str:
    if key == "interventions.alternatives":
        return f"the authors': {', '.join(default)}"
    return f"`{json.dumps(default)}`" if default != "" else "empty"


def _runs_text(stages: list[str]) -> str:
    if not stages:
        return "nothing"
    if stages[0] == "corpus":
        return "everything"
    return ", ".join(stages)


def type_text(field: dict) -> str:
    """A JSON schema as a few words: `integer, 2 to 30`."""
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        if "prefixItems" in field:
            return f"list of {len(field['prefixItems'])}: {type_text(field['prefixItems'][0])}"
        return f"list of {type_text(field['items'])}"
    if field["type"] == "object":
        return "mapping"
    bounds = {
        "minimum": "at least {}",
        "exclusiveMinimum": "above {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "below {}",
        "maxLength": "at most {} characters",
        "pattern": "`{}`",
    }
    limits = [text.format(field[name]) for name, text in bounds.items() if name in field]
    words = {"boolean": "true or false", "string": "text"}
    return ", ".join([words.get(field["type"], field["type"]), *limits])
