"""From a study to its artifacts: folders, digests, files and frozen slices.

An artifact's folder is named by a digest of what the artifact is made from: its
own slice of the config and the digests of its inputs. Editing a key therefore
names new folders beside the old ones, and editing it back finds the old ones
again. What cannot change a result (`compute`, `figures`) is in no digest.

Everything here is a function of the config and of the source files. Nothing
heavy is imported: Snakemake plans each time it starts.
"""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import progsem
from progsem.artifacts import canonical_json, digest
from progsem.config import Study

RESULTS = "results"
FIGURES = f"{RESULTS}/figures"
CHECKPOINT = "seed-{seed}/step-{step}"  # folder of one checkpoint, below an artifact's
STAGES = ("corpus", "tokens", "lm", "traces", "probes", "interventions", "statistics", "figures")
STATISTICS_TABLES = ("checkpoints", "probes", "alternatives", "regression", "offsets", "lengths", "training")
_PACKAGE = Path(progsem.__file__).parent


@dataclass(frozen=True)
class Artifact:
    """A folder of results: `results/STAGE/NAME-DIGEST`.

    `name` helps a person to tell folders apart and is not part of the digest.
    """

    stage: str
    name: str
    sections: dict
    inputs: tuple[Artifact, ...] = ()

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits for the slice and all that goes into it."""
        return digest({"slice": self.sections, "inputs": [artifact.digest for artifact in self.inputs]})

    @property
    def key(self) -> str:
        """Name of the folder, without the stage's."""
        return f"{self.name}-{self.digest}"

    @property
    def folder(self) -> str:
        """Path of the folder, relative to the working directory."""
        return f"{RESULTS}/{self.stage}/{self.key}"

    def file(self, path: str) -> str:
        """Path of a file below the folder; wildcards in braces stay as they are."""
        return f"{self.folder}/{path}"

    def checkpoint_file(self, name: str) -> str:
        """Path of a file in a checkpoint's folder, with the wildcards {seed} and {step}."""
        return self.file(f"{CHECKPOINT}/{name}")

    def slice(self, **more) -> str:
        """The frozen slice of one job as canonical JSON; `more` is said beside the sections."""
        return canonical_json({**self.sections, **more})


class Plan:
    """Every artifact of a study, and every file of each.

    `corpus`, `tokens`, `lm`, `traces`, `probes` and `statistics` are artifacts;
    `interventions` maps the folder name of each alternative to its artifact.
    """

    def __init__(self, study: Study):
        self.study = study
        config = study.model_dump(mode="json")
        worlds, programs = config["worlds"], config["programs"]
        shape = f"{study.lm.layers}x{study.lm.width}"
        precision = {"lm": {"precision": study.lm.precision}}

        self.corpus = Artifact(
            "corpus",
            f"{study.worlds.height}x{study.worlds.width}-{study.corpus.examples}examples",
            {"worlds": worlds, "programs": programs, "corpus": config["corpus"]},
        )
        self.tokens = Artifact("tokens", study.tokens.encoding, {"tokens": config["tokens"]}, (self.corpus,))
        self.lm = Artifact("lm", shape, {"lm": _without(config["lm"], "seeds")}, (self.tokens,))
        self.traces = Artifact(
            "traces",
            shape,
            {
                "traces": config["traces"],
                "worlds": worlds,
                "programs": programs,
                "corpus": {key: config["corpus"][key] for key in ("examples", "held_out")},
                "tokens": config["tokens"],
                **precision,
            },
            (self.lm,),
        )
        execution = {"programs": {"step_limit": study.programs.step_limit}, **precision}
        self.probes = Artifact(
            "probes",
            shape,
            {"probes": config["probes"], "semantics": "original", "mapping": {}, **execution},
            (self.traces,),
        )
        # Alternatives are compared with the original at offset 0 only.
        at_zero = {**config["probes"], "offsets": [0]}
        alternatives = [
            Artifact(
                "interventions",
                name,
                {"probes": at_zero, "semantics": name, "mapping": mapping, **execution},
                (self.traces,),
            )
            for name, mapping in config["interventions"]["alternatives"].items()
        ]
        self.interventions = {artifact.key: artifact for artifact in alternatives}
        sections = ("study", "lm", "traces", "probes", "interventions", "statistics", "worlds", "programs", "corpus")
        self.statistics = Artifact(
            "statistics",
            study.study,
            {
                **{section: config[section] for section in sections},
                "figures": {"gallery": study.figures.gallery},
            },
            (self.corpus, self.lm, self.traces, self.probes, *alternatives),
        )
        self.figures_slice = canonical_json({"study": study.study, "figures": config["figures"]})

    def shards(self, artifact: Artifact, split: str) -> list[str]:
        """Shard files of the corpus or its tokens, for `train`, `validation` or `test`."""
        programs = getattr(self.study.corpus, split)
        count = -(-programs // self.study.corpus.shard)
        return [artifact.file(f"{split}/{index:05d}.arrow") for index in range(count)]

    def checkpoints(self) -> list[tuple[int, int]]:
        """Every (seed, step) that is trained, traced and probed."""
        return [(seed, step) for seed in self.study.lm.seeds for step in self.study.lm.checkpoints()]

    def everywhere(self, artifacts: list[Artifact], name: str) -> list[str]:
        """The file of that name at every checkpoint of each artifact."""
        return [
            artifact.checkpoint_file(name).format(seed=seed, step=_step(step))
            for artifact in artifacts
            for seed, step in self.checkpoints()
        ]

    def before(self, seed: str, step: str, name: str) -> list[str]:
        """The file of that name in the checkpoint before this one; none before the untrained one."""
        if int(step) == 0:
            return []
        earlier = self.study.lm.before(int(step))
        return [self.lm.checkpoint_file(name).format(seed=seed, step=_step(earlier))]

    def training_slice(self, seed: str, step: str) -> str:
        """Slice of the job that trains up to `step` from the checkpoint before it."""
        return self.lm.slice(seed=int(seed), **{"from": self.study.lm.before(int(step)), "to": int(step)})

    def statistics_files(self) -> dict[str, str]:
        """Tables and summaries that the figures are drawn from, by name."""
        files = {name: self.statistics.file(f"{name}.csv") for name in STATISTICS_TABLES}
        return {
            "summary": self.statistics.file("summary.json"),
            "gallery": self.statistics.file("gallery.json"),
            **files,
        }

    def manifests(self) -> list[str]:
        """Manifests of all that comes before the statistics."""
        whole = [self.corpus.file("manifest.json"), self.tokens.file("manifest.json")]
        return whole + self.everywhere([self.lm, self.traces, *self.probed()], "manifest.json")

    def probed(self) -> list[Artifact]:
        """The probes of the original semantics and of every alternative."""
        return [self.probes, *self.interventions.values()]

    def jobs(self) -> dict[str, set[str]]:
        """Names of all jobs by stage; a name changes when the job has to run again."""
        checkpoints = [CHECKPOINT.format(seed=seed, step=_step(step)) for seed, step in self.checkpoints()]
        chains = {"lm": [self.lm], "traces": [self.traces], "probes": [self.probes]}
        chains["interventions"] = list(self.interventions.values())
        return {
            "corpus": {self.corpus.folder},
            "tokens": {self.tokens.folder},
            **{
                stage: {artifact.file(checkpoint) for artifact in artifacts for checkpoint in checkpoints}
                for stage, artifacts in chains.items()
            },
            "statistics": {self.statistics.folder},
            "figures": {f"{self.statistics.folder} {self.figures_slice}"},
        }


def reruns(old: Study, new: Study) -> list[str]:
    """Stages that run when a study with all its results becomes another, in order."""
    before, after = Plan(old).jobs(), Plan(new).jobs()
    return [stage for stage in STAGES if after[stage] - before[stage]]


def _step(step: int) -> str:
    return f"{step:06d}"


def _without(section: dict, key: str) -> dict:
    return {name: value for name, value in section.items() if name != key}


def code_closure(module: str) -> list[str]:
    """Source files that `progsem.MODULE` imports within the package, itself included.

    Found by parsing, so that imports inside functions count. The dispatcher in
    `progsem.job` names the other stages only at run time, so they do not count.
    Paths are relative to the working directory.
    """
    found: set[Path] = set()
    waiting = [f"progsem.{module}"]
    if _source(waiting[0]) is None:
        raise ValueError(f"there is no module {waiting[0]} in {_PACKAGE}")
    while waiting:
        path = _source(waiting.pop())
        if path is not None and path not in found:
            found.add(path)
            waiting.extend(_imports(path))
    return sorted(os.path.relpath(path) for path in found)


def _source(name: str) -> Path | None:
    """The file of a module of this package; None for a name that is not a module."""
    stem = _PACKAGE.joinpath(*name.split(".")[1:])
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


@cache
def _imports(path: Path) -> list[str]:
    """Names within the package that a file imports, and the packages they are in."""
    names = set()
    waiting: list[ast.AST] = [ast.parse(path.read_bytes(), filename=str(path))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
        waiting.extend(ast.iter_child_nodes(node))
    inside = [name.split(".") for name in names if name.split(".")[0] == "progsem"]
    return sorted({".".join(parts[:length]) for parts in inside for length in range(1, len(parts) + 1)})
