"""A study as it is opened: which checkpoints, tables and figures it has, and what is still to be made."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progsem.api.names import chosen, listed
from progsem.errors import UserError
from progsem.housekeeping.common import repository, study_file, times
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE, Language, language
from progsem.measures.tables import TABLES, described, read_rows
from progsem.stages import FIGURES, RESULTS, STAGES
from progsem.storage import manifest
from progsem.storage.inventory import unit_of
from progsem.study import config as configs
from progsem.study.configfiles import merge, read_changes, read_config
from progsem.study.plan import Artifact, Plan
from progsem.study.vocabulary import ORIGINAL

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from progsem.api.checkpoint import Checkpoint
    from progsem.api.pictures import Example, Program

_BASE = "config.yaml"


def open_study(
    study: str | Path = "config.yaml", config: Mapping[str, Any] | None = None, folder: str | Path | None = None
) -> Study:
    """Open a study, whatever has been made of it.

    study: config.yaml, another study file, or a study's name, as in studies/NAME.yaml. config: what Snakemake's
    `--config` would change, as `{"lm": {"seeds": [0]}}`. folder: the one that holds results/; without it, that of the
    workflow that the file belongs to. Nothing is read but the config, whatever the size of the results.

    Raises `UserError` where there is no such study, and for a bad config.
    """
    if config is not None and not isinstance(config, Mapping):
        raise UserError(f"config: given {config!r:.60}, expected a mapping such as {{'lm': {{'seeds': [0]}}}}")
    path = _file(study)
    root = _workflow(path)
    place = root if folder is None else _results_of(folder)
    base = root / _BASE
    changes = read_changes([] if path.samefile(base) else [path], ())
    changes = merge(changes, dict(config or {}), replaced=())
    try:
        plan = Plan(configs.load(configs.changed(read_config(base), changes)))
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix('config: ')}") from None
    command = ["snakemake", FIGURES]
    if not path.samefile(base):
        command += ["--configfile", str(path)]
    if config:
        command += ["--config", *(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in config.items())]
    return Study(plan, path, place, shlex.join(command))


def _file(given: str | Path) -> Path:
    """The file of a study, by its path, also one in the workflow's folder, or its name."""
    if not isinstance(given, str | Path):
        raise UserError(f"given the study {given!r:.60}, expected a file, or a name as in studies/NAME.yaml")
    path = Path(given).expanduser()
    for one in (path, repository() / path):
        if one.is_file():
            return one.resolve()
    if path.is_dir():
        raise UserError(f"given the folder {str(given)!r} as a study, expected a file, such as {path / _BASE}")
    return study_file(str(given)).resolve()


def _said(column: str, unit: str, n: str, meaning: str) -> tuple[str, str, str]:
    """Unit, n and meaning of a column of a table; ends of intervals are described as what they are the ends of."""
    for end, place in (("_low", "lower"), ("_high", "upper")):
        if column.endswith(end):
            return unit, n, f"{place} end of the interval of: {meaning}"
    return unit, n, meaning


def _results_of(folder: str | Path) -> Path:
    """A folder that may hold results/; a `UserError` for what is none."""
    path = Path(folder).expanduser().resolve()
    if not path.is_dir() or path.name == RESULTS:
        raise UserError(f"folder: given {str(folder)!r}, expected the folder that {RESULTS}/ is in")
    return path


def _workflow(path: Path) -> Path:
    """The folder with config.yaml that a study's file belongs to: one that it is in, or else the package's."""
    for folder in path.parents:
        if (folder / _BASE).is_file() and (folder / "Snakefile").is_file():
            return folder
    return repository()


class Study:
    """A study: its checkpoints, tables and figures. Made by `open_study`.

    name: as its config says. file: its config. folder: the one that holds results/. command: what makes all of it,
    to be run in the workflow's folder. semantics: names of the meanings of statements under which it probes, the
    original first. features: what it probes. checkpoints: every `Checkpoint` by (model seed, step). variants: the
    studies that it compares, by name.
    """

    def __init__(self, plan: Plan, file: Path, folder: Path, command: str):
        self._plan, self.file, self.folder, self.command = plan, file, folder, command
        self.name = plan.study.study
        self.features: tuple[str, ...] = tuple(plan.study.probes.features)
        self.checkpoints = Checkpoints(self)

    @property
    def config(self) -> dict[str, Any]:
        """Every key of the study, as plain values; a copy."""
        return self._plan.study.model_dump(mode="json")

    @property
    def semantics(self) -> dict[str, dict[str, str]]:
        """Mappings of statements by the names of the semantics that are probed; the original's is empty."""
        interventions, seam = self._plan.study.interventions, self._language
        pairs = seam.config.mirror_pairs(self._plan.study)[: interventions.permutations]
        drawn = {name: dict(seam.permutations.meaning(name)) for pair in pairs for name in pair}
        return {ORIGINAL: {}, **{name: dict(one) for name, one in interventions.alternatives.items()}, **drawn}

    @property
    def variants(self) -> dict[str, Study]:
        """What is compared, each as a study of its own."""
        return {name: Study(plan, self.file, self.folder, self.command) for name, plan in self._plan.variants.items()}

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables (docs/tables.md)."""
        return tuple(TABLES)

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures; some are of what this study may not have."""
        from progsem.plots.figures import FIGURES as drawn

        return tuple(drawn)

    def made(self) -> pd.DataFrame:
        """What has been made: a row a stage, with its `jobs`, how many are `made`, and `missing` files' folders."""
        import pandas as pd

        units: dict[str, list[Path]] = {}
        for unit in self._plan.units():
            units.setdefault(unit.stage, []).append(unit.path)
        rows = []
        for stage in STAGES:
            missing = [path for path in units.get(stage, []) if not (self.folder / path / manifest.NAME).is_file()]
            if stage in units:
                jobs = len(units[stage])
                rows.append({"stage": stage, "jobs": jobs, "made": jobs - len(missing), "missing": missing})
        return pd.DataFrame(rows).set_index("stage")

    def checkpoint(self, seed: int | None = None, step: int | None = None) -> Checkpoint:
        """One checkpoint; without a seed that of the first language model, without a step the last."""
        lm = self._plan.study.lm
        return self.checkpoints[lm.seeds[0] if seed is None else seed, lm.every_step()[-1] if step is None else step]

    def table(self, name: str) -> pd.DataFrame:
        """A table of the statistics; `attrs["columns"]` says unit, n and meaning of each column.

        Raises `UserError` where there is no such table, and where the statistics have not been made.
        """
        import pandas as pd

        job = self._job(self._plan.statistics, (self._plan.statistics, (chosen("table", name, TABLES),)))
        frame = pd.DataFrame(read_rows(job.input(name)), columns=list(TABLES[name].columns))
        for column in [one for one in frame if frame[one].dtype.kind == "O"]:
            if frame[column].map(lambda value: value is None or isinstance(value, int | float)).all():
                frame[column] = pd.to_numeric(frame[column])  # empty fields are NaN, also where all are
        frame.attrs = {"columns": {column: _said(column, *about) for column, about in described(name).items()}}
        return frame

    def figure(self, name: str) -> Figure:
        """A figure of the study, to be changed and saved as any of matplotlib's.

        Raises `UserError` where there is no such figure, where the study has nothing for it, and where the statistics
        have not been made.
        """
        from matplotlib import pyplot

        from progsem.plots import figures

        chosen("figure", name, figures.FIGURES)
        pyplot.switch_backend(pyplot.get_backend())  # a notebook shows figures once this has been loaded
        names = [name for name in STAGES["statistics"].files if name != "manifest"]
        compared = {f"variants_{table}": paths for table, paths in self._plan.compared().items()}
        job = self._job(self._plan.statistics, (self._plan.statistics, names), **compared)
        job.slice = json.loads(self._plan.figures_slice)
        with figures.looks():
            drawn = figures.FIGURES[name](figures.read(job))
        if not drawn:
            raise UserError(
                f"the study {self.name} has nothing for the figure {name!r}; docs/results.md says what it is of"
            )
        return drawn[0]

    def world(self, text: str | tuple[str, str]) -> Example:
        """An example, the input and the output that is asked for, as `Checkpoint.write` takes them.

        Of Karel two drawings, border included, as `print` shows them; of rectangles the output's text. What comes back
        is a pair of worlds. Raises `UserError` for what no example can be.
        """
        from progsem.api.pictures import Example

        return Example.of(text, "example", self._language, self._plan.study.worlds)

    def program(self, text: str) -> Program:
        """A program of the study's language; raises `UserError` for a text that is none, or that it does not have."""
        from progsem.api.pictures import Program

        if not isinstance(text, str):
            raise UserError(f"given {text!r:.60} as a program, expected its text")
        return Program.of(text, self._language, self._plan.study.programs)

    def __repr__(self) -> str:
        made = self.made()
        models, steps = len(self._plan.study.lm.seeds), len(self._plan.study.lm.every_step())
        file = self.file.relative_to(Path.cwd()) if self.file.is_relative_to(Path.cwd()) else self.file
        size = f"{times(models, 'language model')}, {times(steps, 'checkpoint')} each"
        lines = [f"study {self.name} ({file}): {size}"]
        lines.append(", ".join(f"{stage} {row.made} of {row.jobs}" for stage, row in made.iterrows()))
        if (made.made < made.jobs).any():
            lines.append(f"to make what is missing, in {self._where}: {self.command}")
        return "\n".join(lines)

    def _mapping(self, semantics: str | Mapping[str, str]) -> dict[str, str]:
        """What statements mean under semantics that are given by name or as a mapping; else a `UserError`."""
        from progsem.api.pictures import checked

        if isinstance(semantics, str):
            known = self.semantics
            return known[chosen("semantics", semantics, known)]
        return checked(semantics, self._language)

    @property
    def _where(self) -> str:
        """Where `command` is to be run."""
        return str(self.folder) if (self.folder / "Snakefile").is_file() else "the workflow's folder"

    @property
    def _language(self) -> Language:
        return language(self._plan.study.language)

    def _job(
        self,
        artifact: Artifact,
        *inputs: tuple[Artifact, Iterable[str]],
        seed: int = 0,
        step: int = 0,
        **more: list[str],
    ) -> Job:
        """What the workflow would give to the job for an artifact, of a checkpoint or not: its slice and its inputs.

        inputs: artifacts, and names of their files; more: paths by name. Raises `UserError` where one is not there.
        """
        paths = {name: files for made, names in inputs for name, files in self._plan.files(made, *names).items()} | more
        found = {}
        for name, given in paths.items():
            listed = [given] if isinstance(given, str) else given
            found[name] = [self.folder / path.format(seed=seed, step=f"{step:06d}") for path in listed]
            for path in found[name]:
                self._refuse_missing(path, seed, step)
        job = Job(STAGES[artifact.stage].job, json.loads(artifact.slice(seed=seed, step=step)), found, {})
        LANGUAGE.use(job.language)
        return job

    def _refuse_missing(self, path: Path, seed: int, step: int) -> None:
        if path.is_file():
            return
        unit = unit_of(path, self.folder / RESULTS)
        of = f" of model seed {seed}, step {step}" if unit.checkpoint else ""
        kept = f"; or take those that earlier code has made: progsem keep {self.file}" if unit.earlier() else ""
        raise UserError(
            f"the study {self.name} has no {unit.stage}{of} yet; to make them, in {self._where}: {self.command}{kept}"
        )


class Checkpoints(Mapping[tuple[int, int], "Checkpoint"]):
    """The checkpoints of a study by (model seed, step), in order."""

    def __init__(self, study: Study):
        self._study = study
        lm = study._plan.study.lm
        self._keys = [(seed, step) for seed in lm.seeds for step in lm.every_step()]

    def __getitem__(self, key: tuple[int, int]) -> Checkpoint:
        from progsem.api.checkpoint import Checkpoint

        if key not in self:
            seeds, steps = (sorted(set(one)) for one in zip(*self._keys, strict=True))
            raise UserError(
                f"the study {self._study.name} has no checkpoint {key}; expected (model seed, step), seeds "
                f"{listed(seeds)} and steps {listed(steps)}"
            )
        return Checkpoint(self._study, *self._keys[self._keys.index(key)])  # not the numbers of another type

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def get(self, key: tuple[int, int], default=None):
        """The checkpoint, or `default`."""
        return self[key] if key in self else default

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"checkpoints of {self._study.name} by (model seed, step): {listed(self._keys)}"
