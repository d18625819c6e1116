"""Manifests: what an artifact was made from, by what, and the checksums of its files.

Each job writes `manifest.json` last, beside what it made. Before a job reads a
file it compares it with the manifest that names it, so a file that was cut
short, altered or put there by something else is refused, by name.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import progsem
from progsem.errors import UserError
from progsem.storage.files import canonical_json, file_digest, replacing
from progsem.storage.sources import code_files
from progsem.study.vocabulary import SPLITS

NAME = "manifest.json"
MARK = ".snakemake_timestamp"  # Snakemake's, in a folder that is an output
ANY = "any"  # in place of a checksum, while files are being replaced
_SUBFOLDERS = (*SPLITS, "tokenizer")  # of shards and tokenizer files, below their manifest
TEMPORARY = "state.safetensors"  # listed, and deleted once the next checkpoint is there
_PACKAGES = ("numpy", "numba", "pyarrow", "torch", "matplotlib")
# Stage, digest of the config, checkpoint. The name before the digest and that of the code behind it may be others:
# `progsem keep` puts a result, with its manifest, under the name of another code.
_PLACE = re.compile(r"(?:^|/)([a-z]+)/[^/]+-([0-9a-f]{8})-[0-9a-f]{8}((?:/seed-\d+/step-\d+)?)/manifest\.json$")


def write(job, folder: Path, files: list[Path]) -> None:
    """Write the manifest of the files that a job made in `folder`.

    `inputs` maps names to {path: SHA-256}, `files` paths below the folder to
    SHA-256, `code` source files; `notes` are facts that the stage wants kept,
    such as counts and overlaps; `checksum` is the SHA-256 of all the rest.
    """
    versions = {"python": platform.python_version(), "progsem": progsem.__version__}
    versions |= {package: importlib.metadata.version(package) for package in _PACKAGES if package in sys.modules}
    body = {
        "stage": job.stage,
        "command": job.command,
        "slice": job.slice,
        "inputs": {
            name: {str(path): job.checksums.get(str(path)) for path in paths} for name, paths in job.inputs.items()
        },
        "files": {path.relative_to(folder).as_posix(): file_digest(path) for path in files},
        "code": code_files(job.stage),
        "versions": versions,
        "platform": platform.platform(),
        "threads": job.threads,
        "device": job.device,
        "seconds": round(time.monotonic() - job.started, 3),
        "notes": job.notes,
    }
    with replacing(folder / NAME) as temporary:
        temporary.write_text(
            json.dumps({**body, "checksum": checksum(body)}, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )


def read(path: Path) -> dict:
    """The manifest in a file; a damaged one, or another result's, is a `UserError` that names it."""
    path = Path(path)
    try:
        given = json.loads(path.read_bytes())
        body = {key: value for key, value in given.items() if key != "checksum"}
        problem = None if given.get("checksum") == checksum(body) else "its checksum is another"
    except FileNotFoundError:
        problem = "there is none"
    except (OSError, ValueError, AttributeError) as error:
        problem = str(error).splitlines()[0]
    if problem is None and not _at_home(path, given):
        problem = "it is another result's"
    if problem:
        raise UserError(f"{path}: not a whole manifest ({problem}); {_remedy(f'the folder {path.parent}')}")
    return given


def _at_home(path: Path, given: dict) -> bool:
    """Whether a manifest stands where its job has put it; true where either place is not one of `results/`."""
    said = re.search(r"--output manifest (\S+)", given["command"])
    places = [_PLACE.search(place) for place in (path.as_posix(), said[1] if said else "")]
    return not all(places) or places[0].groups() == places[1].groups()


def changed_or_unknown(folder: Path) -> set[str]:
    """Names of what stands in a folder and is not as its manifest says: the user's own, or changed by the user."""
    named = _named(folder)

    def is_ours(path: Path) -> bool:
        said = named.get(path.name)
        return said is not None and path.is_file() and not path.is_symlink() and said in (ANY, file_digest(path))

    return {path.name for path in folder.iterdir() if path.name not in (NAME, MARK) and not is_ours(path)}


def put(new: Path, folder: Path) -> None:
    """Give the files of a whole folder the places of those that the manifest in `folder` names; all else there stays.

    Raises `UserError`, before anything is done, where something else is in such a place.
    """
    names = {path.name for path in new.iterdir()} - {NAME}
    refuse_in_the_way(folder, names)
    earlier = _named(folder).keys() - changed_or_unknown(folder)
    # Until all are in place, it is no whole manifest: it says whose the files are and not what is in them.
    with replacing(folder / NAME) as temporary:
        temporary.write_text(
            json.dumps({"files": dict.fromkeys(sorted(earlier | names), ANY)}) + "\n", encoding="utf-8"
        )
    for name in sorted(names):
        (new / name).replace(folder / name)
    for name in earlier - names:
        (folder / name).unlink(missing_ok=True)
    (new / NAME).replace(folder / NAME)


def refuse_in_the_way(folder: Path, names: set[str]) -> None:
    """Raise `UserError` if something in a folder that is not as its manifest says has one of these names."""
    if folder.is_symlink() or not folder.is_dir():
        kind = "a symbolic link" if folder.is_symlink() else "a file"
        raise UserError(f"{folder}: given {kind}, expected a folder; move it elsewhere, and run again")
    others = sorted(names & changed_or_unknown(folder))
    if others:
        raise UserError(
            f"{folder / others[0]}: not as {folder / NAME} says, and in the way of a new one; "
            "move it elsewhere if it is yours, or delete it, and run again"
        )


def _named(folder: Path) -> dict[str, str]:
    """SHA-256, or `ANY`, by the names in a folder's manifest, even in a damaged one."""
    try:
        return dict(json.loads((folder / NAME).read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def verify_inputs(job) -> dict[str, str]:
    """SHA-256 by path of every input file, each as the manifest beside it says; else a `UserError` that names it."""
    return verify(path for paths in job.inputs.values() for path in paths)


def verify(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 by path of these files, each as the manifest beside it says; else a `UserError` that names it."""
    manifests: dict[Path, dict] = {}
    return {str(path): _verified(path, manifests) for path in paths}


def _verified(path: Path, manifests: dict[Path, dict]) -> str:
    """SHA-256 of one input; `manifests` holds those that have been read, by folder."""
    folder = _folder(path)
    if folder not in manifests:
        manifests[folder] = read(folder / NAME)
    try:
        found = file_digest(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {_remedy('it')}") from None
    if path.name == NAME:
        return found
    expected = manifests[folder]["files"].get(path.relative_to(folder).as_posix())
    if expected is None:
        raise UserError(f"{path}: not one of the files that {folder / NAME} names; {_remedy(f'the folder {folder}')}")
    if found != expected:
        raise UserError(
            f"{path}: damaged (SHA-256 is {found[:12]}…, {folder / NAME} says {expected[:12]}…); {_remedy('it')}"
        )
    return found


def _folder(path: Path) -> Path:
    """Where the manifest of a file is, or should be: shards and tokenizers are a folder below it."""
    below = path.parent.name in _SUBFOLDERS and not (path.parent / NAME).exists()
    return path.parent.parent if below else path.parent


def _remedy(what: str) -> str:
    return f"put back a copy of {what}, or delete it and run snakemake again"


def checksum(body: dict) -> str:
    """SHA-256 of a manifest without its checksum, as canonical JSON."""
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()
