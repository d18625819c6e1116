"""A model of `transformers` that somebody has trained already (`lm.pretrained`): which files of its folder count.

What names results is what these files hold, not where the folder is or what it is called.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from progsem.errors import UserError
from progsem.storage.files import file_digest
from progsem.study.section import NAME

_WEIGHTS = re.compile(r"(pytorch_)?model(-\d+-of-\d+)?\.(safetensors|bin)")
_OF_MODEL = re.compile(rf"config\.json|generation_config\.json|{_WEIGHTS.pattern}\.index\.json")
_OF_TOKENIZER = (".json", ".txt", ".model", ".spm", ".codes", ".jinja")  # how names of all other files end that count
_OURS = "manifest.json"  # in a folder of results/, which may be given as well


class Files(NamedTuple):
    """Those of a folder that a model is made of: `kind` is what `transformers` calls its type."""

    kind: str
    config: list[Path]
    weights: list[Path]
    tokenizer: list[Path]

    @property
    def name(self) -> str:
        """What a person tells its results by: the type, and how large the weights are."""
        return f"{self.kind}-{-(-sum(path.stat().st_size for path in self.weights) // 10**6)}MB"


class NoModel(Exception):
    """A folder has no model of `transformers`; the text goes on after the name of the folder."""


def files(folder: str) -> Files:
    """What stands in a folder; a `UserError` where that is no model with a tokenizer. Nothing heavy is read."""
    return standing_in_absolute(folder, refusal, tokenizer=True)


def standing_in_absolute(folder: str, refusal: Callable[[str, str], UserError], tokenizer: bool) -> Files:
    """As `standing_in`, of an absolute path in a config; what is wrong is raised as `refusal` says it."""
    place = Path(folder)
    if not place.is_absolute():
        raise refusal(folder, f"a relative path; did you mean {str(place.absolute())!r}?")
    try:
        return standing_in(place, tokenizer)
    except NoModel as problem:
        raise refusal(folder, str(problem)) from None


def standing_in(place: Path, tokenizer: bool = True) -> Files:
    """What stands in a folder; raises `NoModel` where that is no model, or none with a `tokenizer`."""
    try:
        here = sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else []
    except OSError as error:
        raise NoModel(f"which cannot be read ({error.strerror})") from None
    config = [path for path in here if _OF_MODEL.fullmatch(path.name)]
    weights = [path for path in here if _WEIGHTS.fullmatch(path.name)]
    others = [path for path in here if path.suffix in _OF_TOKENIZER and path not in config and path.name != _OURS]
    lacks = {
        "no such folder": place.is_dir(),
        "no config.json there": place / "config.json" in config,
        "no weights (model.safetensors) there": weights,
        "no tokenizer (tokenizer_config.json or the like) there": not tokenizer
        or any("token" in path.name or "vocab" in path.name or path.suffix in (".model", ".spm") for path in others),
    }
    lacks |= {f"whose {path.name} cannot be read": os.access(path, os.R_OK) for path in (*config, *weights, *others)}
    for problem, there in lacks.items():
        if not there:
            raise NoModel(problem)
    return Files(_kind(place), config, weights, others)


def refusal(folder: str | Path, problem: str) -> UserError:
    """What to raise where a folder is not what is needed."""
    return UserError(
        f"lm.pretrained: given {str(folder)!r}, {problem}; expected a folder with a causal or sequence-to-sequence "
        "model of transformers and its tokenizer, as save_pretrained writes them; name another, or leave it empty"
    )


def checksums(folder: str) -> dict[str, str]:
    """SHA-256 by name of all files that count."""
    found = files(folder)
    return {path.name: file_digest(path) for paths in found[1:] for path in paths}


def _kind(place: Path) -> str:
    try:
        kind = json.loads((place / "config.json").read_bytes())["model_type"]
        if re.fullmatch(NAME, kind):
            return kind
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise NoModel("whose config.json has no model_type")
