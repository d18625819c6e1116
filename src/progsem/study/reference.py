"""Files that are generated: the JSON schema of the config, its table of keys and its baseline, and conda's environment.

`python -m progsem.study.reference schema|envs`, run at the root of the repository; a
test compares the files with what is generated here.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from progsem.errors import UserError
from progsem.study import baseline
from progsem.study.config import Study, load
from progsem.study.plan import reruns

SCHEMA = Path("workflow/schemas/config.schema.json")
TABLE = Path("docs/config.md")
LOCK = Path("requirements.lock")
CONDA = Path("envs/progsem.yaml")

# For each key another value than its default: what would run if it were edited.
# Some are only possible beside another (`_NEEDS`), which both studies then have.
EDITS = {
    "study": "another",
    "worlds.height": 5,
    "worlds.width": 5,
    "worlds.wall_probability": 0.2,
    "worlds.marker_probability": 0.2,
    "programs.train_length": [1, 5],
    "programs.test_length": [1, 5],
    "programs.weights.pick_marker": 1,
    "programs.weights.put_marker": 1,
    "programs.weights.turn_left": 1,
    "programs.weights.turn_right": 1,
    "programs.weights.move": 1,
    "programs.control_flow": 0.5,
    "programs.max_depth": 1,
    "programs.step_limit": 100,
    "corpus.train": 1_000_001,
    "corpus.validation": 50_001,
    "corpus.test": 50_001,
    "corpus.examples": 1,
    "corpus.held_out": 1,
    "corpus.shard": 10_001,
    "corpus.seed": 1,
    "tokens.encoding": "spaced",
    "lm.layers": 2,
    "lm.width": 256,
    "lm.heads": 8,
    "lm.rotary": 16,
    "lm.batch": 48,
    "lm.steps": 4_200,
    "lm.checkpoint_every": 600,
    "lm.extra_checkpoints": [100],
    "lm.decay_steps": 100_000,
    "lm.learning_rate": 0.0011,
    "lm.final_learning_rate": 0.0,
    "lm.warmup_steps": 101,
    "lm.betas": [0.9, 0.999],
    "lm.weight_decay": 0.11,
    "lm.clip": 0.55,
    "lm.initial_std": 0.011,
    "lm.precision": "fp32",
    "lm.seeds": [0, 19],
    "traces.train": 501,
    "traces.validation": 501,
    "traces.test": 501,
    "traces.layers": "each",
    "traces.outputs": "copied",
    "traces.extra_statements": 7,
    "probes.features": ["facing", "position"],
    "probes.depths": {"linear": []},
    "probes.sources": ["forced", "generated"],
    "probes.offsets": [0],
    "probes.seeds": 7,
    "probes.steps": 777,
    "probes.batch": 200,
    "probes.learning_rate": 0.0011,
    "probes.weight_decay": 0.21,
    "probes.evaluations": 3,
    "probes.layer": "layer_1",
    "probes.drop_final": True,
    "probes.positions": [[0, 1]],
    "interventions.alternatives": {
        "alt-0": {"turn_left": "turn_right", "turn_right": "turn_left"},
        "still": {"move": "turn_left"},
    },
    "interventions.difficulty_matched": "alt-3",
    "interventions.offsets": [-1, 0],
    "interventions.permutations": 1,
    "controls.kinds": ["counts"],
    "controls.checkpoints": "every",
    "generalisation.sets": {"shifted": {"cells": 2}},
    "generalisation.test": 501,
    "statistics.resamples": 501,
    "statistics.confidence": 0.91,
    "statistics.seed": 1,
    "figures.title": "Another title",
    "figures.gallery": 7,
    "figures.dpi": 301,
    "compute.threads": 3,
    "compute.device": "cpu",
    "compute.processes": 2,
    "compute.trace_batch": 101,
    "compute.recompute": True,
}
_NEEDS = {"probes.layer": ("traces.layers", "each"), "lm.heads": ("lm.rotary", 16)}


def keys(schema: dict | None = None, prefix: str = "") -> dict[str, dict]:
    """Every key of the config by dotted name, in order: its JSON schema, references resolved, with its default."""
    whole = Study.model_json_schema()
    defaults = Study().model_dump(mode="json")

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
    """The default study, and the same with one key edited as in `EDITS`."""
    base: dict = {}
    if key in _NEEDS:  # said in both
        _put(base, *_NEEDS[key])
    changed = json.loads(json.dumps(base))
    _put(changed, key, EDITS[key])
    return load(base), load(changed)


def _put(raw: dict, key: str, value) -> None:
    *sections, name = key.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
    raw[name] = value


def schema_text() -> str:
    """The config's JSON schema, as it stands in workflow/schemas."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Study.model_json_schema()}
    schema["title"] = "progsem study"
    return json.dumps(schema, indent=2) + "\n"


def table_text() -> str:
    """docs/config.md."""
    lines = [
        "# Keys of the config",
        "",
        "Generated by `make schema` from the types in src/progsem/study/config.py and from the plan of the",
        "default study. *Runs* lists the stages that run when a study that has all its results is edited",
        "in this key; results of the earlier value stay, and editing back runs `figures` only.",
        "",
        "`interventions.alternatives`, `probes.depths` and `generalisation.sets` are replaced whole by a",
        "study that names them; all other sections are merged key by key.",
    ]
    section = None
    for key, field in keys().items():
        if key.split(".")[0] != section:
            section = key.split(".")[0]
            title = "" if section == "study" else f"{(Study.model_fields[section].annotation.__doc__ or '').strip()}"
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


def conda_text(lock: str) -> str:
    """envs/progsem.yaml from the text of requirements.lock: the same versions, installed by pip."""
    pins = [line for line in lock.splitlines() if re.fullmatch(r"[A-Za-z0-9._-]+==[^=\s]+", line)]
    return "\n".join(
        [
            "# Generated by `make envs` from requirements.lock: the packages of .venv, for --sdm conda.",
            "channels:",
            "  - conda-forge",
            "  - nodefaults",
            "dependencies:",
            "  - python=3.11",
            "  - pip",
            "  - pip:",
            *(f"      - {pin}" for pin in pins),
            "",
        ]
    )


def main(what: str) -> None:
    """Write the generated files of one kind, where they differ from what is there."""
    texts = {
        "schema": lambda: {SCHEMA: schema_text(), TABLE: table_text(), baseline.FILE: baseline.baseline_text()},
        "envs": lambda: {CONDA: conda_text(LOCK.read_text(encoding="utf-8"))},
    }
    if what not in texts:
        raise UserError(f"reference: given {what!r}, expected {' or '.join(texts)}")
    for path, text in texts[what]().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
