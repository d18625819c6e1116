"""`progsem verify`: check every file of results/ against the manifest that names it, and what was made from what."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from progsem.errors import UserError
from progsem.housekeeping import common
from progsem.jobs.progress import Progress
from progsem.stages import FIGURES, RESULTS
from progsem.storage import manifest
from progsem.storage.files import file_digest
from progsem.storage.inventory import Unit, duration, is_figures_leftover, is_temporary, survey, unit_of, was_kept

_UNFINISHED = "unfinished: it has no manifest; snakemake makes it when a study needs it"
_TEMPORARY = "left by a process that was killed; `progsem prune --delete` deletes it"
_UNNAMED = "no manifest names it; delete it if you do not know it"


def main(argv: list[str]) -> int:
    """Print a line for each problem and a summary; returns the status, 1 if anything is damaged."""
    parser = common.parser(
        "verify",
        "Check a folder of results: the checksum of every manifest and of every file, files that are missing or that "
        "no manifest names, and whether each result was made from what stands there now. "
        "The status is 1 if anything is damaged, else 0.",
    )
    parser.add_argument("results", nargs="?", default=RESULTS, help="the folder (default: results)")
    results = common.results_folder(parser.parse_args(argv).results)
    started = time.monotonic()
    check = Verification(results)
    check.run()
    for line in check.damages:
        common.say(f"damaged  {line}")
    if check.damages:
        common.say("(a study's --configfile goes behind the target)")
    for line in check.remarks:
        common.say(f"note     {line}")
    common.say(
        f"{common.times(check.files, 'file')}, {common.human(check.bytes)}, {duration(time.monotonic() - started)}: "
        f"{len(check.damages) or 'nothing'} damaged, {common.times(len(check.remarks), 'note')}"
    )
    return 1 if check.damages else 0


class Verification:
    """What is found below a folder of results: `damages` and `remarks`, a line each, and how much was read."""

    def __init__(self, results: Path):
        self._results = results
        self.damages: list[str] = []
        self.remarks: list[str] = []
        self.files = self.bytes = 0
        self._manifests: dict[Path, dict] = {}  # whole ones, by the folder they are in
        self._digests: dict[Path, str] = {}  # of manifests that something was made from
        self._units: list[Unit] = []

    def run(self) -> None:
        """Look at everything once: manifests, then all files that they name, then who made what from what."""
        self._units, foreign = survey(self._results)
        self.remarks += [f"{path}: {_UNNAMED}" for path in foreign]
        self.remarks += [
            f"{path}: {_TEMPORARY}" for path in sorted(self._results.iterdir()) if is_figures_leftover(path)
        ]
        figures = self._results / Path(FIGURES).name
        for folder in [*(unit.path for unit in self._units), *([figures] if figures.is_dir() else [])]:
            self._read_manifest(folder)
        self._check_files()
        self._check_chain(figures, None)
        for unit in self._units:
            self._check_chain(unit.path, unit)

    def _read_manifest(self, folder: Path) -> None:
        """Read the manifest in a folder, and look for files that it does not name."""
        path = folder / manifest.NAME
        if not path.exists():
            self.remarks.append(f"{folder}: {_UNFINISHED}")
            return
        self.files += 1
        try:
            made = manifest.read(path)
        except UserError as error:
            self.damages.append(str(error))
            return
        self.bytes += path.stat().st_size
        self._manifests[folder] = made
        named = {folder / name for name in (*made["files"], manifest.NAME)}
        for other in sorted(folder.rglob("*")):
            if not other.is_dir() and other not in named and other.name != manifest.MARK:
                self.remarks.append(f"{other}: {_TEMPORARY if is_temporary(other) else _UNNAMED}")

    def _check_files(self) -> None:
        """Compare every file with its checksum, several at once."""
        wanted = [
            (folder / name, said) for folder, made in self._manifests.items() for name, said in made["files"].items()
        ]
        sizes = [path.stat().st_size if path.is_file() else 0 for path, _ in wanted]
        with _threads() as pool, _bar(sum(sizes)) as progress:
            answers = pool.map(_digest, [path for path, _ in wanted])
            for (path, said), size, (found, problem) in zip(wanted, sizes, answers, strict=True):
                progress(size)
                if problem == "missing" and path.name == manifest.TEMPORARY:
                    continue
                self.files += 1
                self.bytes += size
                if problem == "missing":
                    self.damages.append(f"{path}: missing; {_remedy(path)}")
                elif problem:
                    self.damages.append(f"{path}: cannot be read ({problem}); {_remedy(path)}")
                elif found != said:
                    self.damages.append(
                        f"{path}: altered (SHA-256 is {found[:12]}…, its manifest says {said[:12]}…); {_remedy(path)}"
                    )

    def _check_chain(self, folder: Path, unit: Unit | None) -> None:
        """Look whether a result was made from what stands now where its inputs were."""
        made = self._manifests.get(folder)
        if made is None:
            return
        others = {}
        for path, said in (item for paths in made["inputs"].values() for item in paths.items()):
            recorded = unit_of(Path(path))
            if recorded is None or said is None:
                continue
            makers = [replace(recorded, results=self._results)]
            if unit is not None and was_kept(unit, made) and makers[0].path not in self._manifests:
                # Inputs have been given another name, as this one has.
                makers = [other for other in self._units if other.result == recorded.result]
            name = Path(path).relative_to(recorded.path).as_posix()
            found = [self._digest_said(maker.path, name) for maker in makers if maker.path in self._manifests]
            if found and said not in found:
                others.setdefault(makers[0].path, name)
        for maker, name in others.items():
            self.damages.append(f"{folder}: made from another {name} than that in {maker}; {_remedy(folder)}")

    def _digest_said(self, folder: Path, name: str) -> str | None:
        """SHA-256 of a file as the manifest in its folder says; None for a file that it does not name."""
        if name != manifest.NAME:
            return self._manifests[folder]["files"].get(name)
        if folder not in self._digests:
            self._digests[folder] = file_digest(folder / name)
        return self._digests[folder]


def _remedy(path: Path) -> str:
    """How to get a file or a result again. Without a target, Snakemake makes only what the figures still lack."""
    folder = next((folder for folder in (path, *path.parents) if folder.name == Path(FIGURES).name), None)
    target = folder or (path / manifest.NAME if path.is_dir() else path)
    what = "" if not path.exists() else f"delete {folder}, and " if folder else "delete it, and "
    return f"{what}`snakemake {target}` makes it again"


def _digest(path: Path) -> tuple[str, str]:
    """SHA-256 of a file and, where there is none, why not."""
    try:
        return file_digest(path), ""
    except (FileNotFoundError, NotADirectoryError):
        return "", "missing"
    except OSError as error:
        return "", error.strerror or str(error)


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for reading, as many as there are cores; an interrupt does not wait for what is still to be read."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """Something to call with the number of bytes that were read; shows them where a person watches."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    with contextlib.closing(Progress("verifying", total, "B")) as progress:
        yield progress.update
