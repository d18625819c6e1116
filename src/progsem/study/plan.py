"""From a study to its artifacts: folders, digests, files and frozen slices.

An artifact's folder, `results/STAGE/NAME-CONFIG-CODE`, is named by two digests.
CONFIG is that of its own slice of the config, as far as it says more than a recorded
baseline (`progsem.study.baseline`), and of its inputs' CONFIG; CODE is that of the source
files that its stage is made of and of its inputs' CODE.
Editing a key or a module therefore names new folders beside the old ones, and
going back finds the old ones again. What cannot change a result (`compute`,
`figures`) is in no digest.

Everything here is a function of the config and of the source files. Nothing
heavy is imported: Snakemake plans each time it starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from progsem.languages import language
from progsem.stages import CHECKPOINT, LOGS, RESULTS, STAGES
from progsem.storage.files import canonical_json, digest
from progsem.storage.inventory import Unit, unit_of
from progsem.storage.sources import code_digest
from progsem.study import bounds, given, pretrained
from progsem.study.baseline import beyond_baseline
from progsem.study.checkpoints import checksums, folders
from progsem.study.config import Study, variants
from progsem.study.sizes import played
from progsem.study.vocabulary import COMPARED, LAYERS, ORIGINAL, PERMUTATION

PAIRS_A_JOB = 5  # mirror pairs of permutations, which are probed one behind another
_OF_WARMUP = (  # keys of `lm` that make a warm-up what it is, beside its sequences
    *("model_type", "config", "layers", "width", "heads", "rotary", "batch", "learning_rate", "final_learning_rate"),
    *("betas", "weight_decay", "clip", "initial_std", "precision"),
)
_OF_PROGRAMS = ("programs_for", "unusable")  # keys of `corpus` about `corpus.programs`


@dataclass(frozen=True)
class Artifact:
    """A folder of results: `results/STAGE/NAME-CONFIG-CODE`.

    `name` helps a person to tell folders apart and is part of no digest; `said` is
    what of `sections` names it; `code` is the digest of the stage's own sources.
    """

    stage: str
    name: str
    sections: dict
    said: dict
    code: str
    inputs: tuple[Artifact, ...] = ()

    @cached_property
    def config_digest(self) -> str:
        """Eight hexadecimal digits for the slice and the slices of all that goes into it."""
        return digest({"slice": self.said, "inputs": [artifact.config_digest for artifact in self.inputs]})

    @cached_property
    def code_digest(self) -> str:
        """Eight hexadecimal digits for the sources and the sources of all that goes into it, whatever the config."""
        return digest({"code": self.code, "inputs": sorted({artifact.code_digest for artifact in self.inputs})})

    @property
    def key(self) -> str:
        """Name of the folder, without the stage's."""
        return f"{self.name}-{self.config_digest}-{self.code_digest}"

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

    @property
    def log(self) -> str:
        """What a job that makes it, or a checkpoint's part of it, has said; with the wildcards."""
        folder = f"{RESULTS}/{LOGS}/{self.stage}/{self.key}"
        return f"{folder}/{CHECKPOINT}.log" if STAGES[self.stage].checkpoints else f"{folder}.log"

    def slice(self, **more) -> str:
        """The frozen slice of one job as canonical JSON; `more` is said beside the sections and the code."""
        return canonical_json({**self.sections, "code": self.code, **more})

    def slice_of_checkpoint(self, wildcards) -> str:
        """The slice of the job for the checkpoint that wildcards name."""
        return self.slice(seed=int(wildcards.seed), step=int(wildcards.step))


class Plan:
    """Every artifact of a study, and every file of each.

    `corpus`, `tokens`, `sequences`, `warmup`, `lm`, `traces`, `probes`, `offsets`, `controls`, `transcoders`,
    `generalisation`, `writers`, `synthesis`, `finetuning`, `pretrained`, `statistics` and `playground` are artifacts,
    `offsets` of the stage `probes`; `interventions` map folder names to the artifacts of each alternative, and of some
    drawn pairs each; `edits` to those of each semantics. `variants` are plans of the study's variants, by name, which
    may have artifacts in common with it and with each other. `steps` says at which checkpoints an artifact is made, by
    its key, where that is not at every one; `codes` has the digest of the code that each stage has now, which is the
    same whatever the config. A plan that `is_variant` ends with its statistics.
    """

    def __init__(self, study: Study, is_variant: bool = False):
        self.study = study
        self._is_variant = is_variant
        self.variants = {name: Plan(one, is_variant=True) for name, one in variants(study).items()}
        config = study.model_dump(mode="json")
        # Where a model, checkpoints and programs from elsewhere are is in no digest, but what they hold.
        folder, self._programs = config["lm"].pop("pretrained"), config["corpus"].pop("programs")
        config["lm"]["checkpoints"] = dict.fromkeys(study.lm.checkpoints, "")
        self._folders = folders(study.lm)
        if not self._programs:  # what would be done with them names nothing
            config["corpus"] = {key: value for key, value in config["corpus"].items() if key not in _OF_PROGRAMS}
        seam = language(study.language)
        code = {job: code_digest(job, study.language) for job in {stage.job for stage in STAGES.values()}}
        shape = f"{study.lm.layers}x{study.lm.width}"
        last = study.lm.chosen("last")

        def of(names: str) -> dict:
            """Sections of the config, and keys of sections by dotted names."""
            found: dict = {}
            for section, _, key in (name.partition(".") for name in names.split()):
                if key:
                    found.setdefault(section, {}).update({key: config[section][key]} if key in config[section] else {})
                else:
                    found[section] = config[section]
            return found

        def artifact(stage: str, name: str, sections: dict, *inputs: Artifact) -> Artifact:
            sections = of("language") | sections
            said = beyond_baseline(sections, type(study))
            return Artifact(stage, name, sections, said, code[STAGES[stage].job], inputs)

        def probing(stage: str, name: str, offsets: list[int], asked: dict) -> Artifact:
            recipe = {key: value for key, value in config["probes"].items() if key != "offset_checkpoints"}
            recipe = {"probes": {**recipe, "offsets": offsets}}
            return artifact(stage, name, of("programs.step_limit lm.precision") | recipe | asked, self.traces)

        def editing(semantics: str, mapping: dict) -> Artifact:
            asked = of(
                "programs tokens edits.features edits.kinds edits.layers edits.dimensions edits.onwards edits.pairs "
                "edits.seed traces.train traces.validation traces.test traces.outputs traces.extra_statements "
                "probes.features probes.depths probes.steps probes.batch probes.learning_rate probes.weight_decay "
                "probes.evaluations probes.drop_final"
            )
            return artifact("edits", semantics, asked | {"semantics": semantics, "mapping": mapping}, self.lm)

        size = "x".join(map(str, study.worlds.size.values()))
        drawn = of("worlds programs corpus") | given.slice_of(self._programs)
        self.corpus = artifact("corpus", f"{size}-{study.corpus.examples}examples", drawn)
        self.tokens = artifact("tokens", study.tokens.encoding, of("tokens"), self.corpus)
        steps, length = bounds.warmup(study)
        trained = {key: value for key, value in config["lm"].items() if key != "seeds"}
        warmed = {key: value for key, value in trained.items() if key in _OF_WARMUP}
        # A schedule of its own, in which the rate rises over a tenth of the steps at most.
        warmed |= dict.fromkeys(("steps", "checkpoint_every", "decay_steps"), max(1, steps))
        warmed |= {"warmup_steps": min(study.lm.warmup_steps, steps // 10), "predict_inputs": False}
        if not steps:
            del trained["warmup"]
        self._sequences = study.lm.batch * steps
        drawn = {"task": study.lm.warmup.task, "sequences": self._sequences, "length": length}
        drawn |= {"shard": study.corpus.shard, "seed": study.corpus.seed}
        self.sequences = artifact("sequences", study.lm.warmup.task, {"warmup": drawn})
        self.warmup = artifact("warmup", f"{study.lm.warmup.task}-{shape}", {"lm": warmed}, self.sequences)
        self._checksums = {at: checksums(folder) for at, folder in self._folders.items()}
        if self._folders:
            trained = {key: trained[key] for key in ("layers", "width", "checkpoints")}
        made = {"lm": trained} | ({"given": _by_checkpoint(self._checksums)} if self._folders else {})
        self.lm = artifact("lm", shape, made, self.tokens, *([self.warmup] if steps else []))
        sampling = "worlds programs corpus.examples corpus.held_out tokens lm.precision"
        self.traces = artifact("traces", shape, of(f"traces {sampling}"), self.lm)
        original = {"meanings": {ORIGINAL: {}}}
        self.probes = probing("probes", shape, [0], original)
        others = [offset for offset in study.probes.offsets if offset != 0]
        self.offsets = probing("probes", f"{shape}-offsets", others, original)
        every_pair = seam.config.mirror_pairs(study)
        pairs = every_pair[: study.interventions.permutations]
        named = [
            probing("interventions", name, config["interventions"]["offsets"], {"meanings": {name: mapping}})
            for name, mapping in study.interventions.alternatives.items()
        ]
        drawn = []
        for first in range(0, len(pairs), PAIRS_A_JOB):
            some = pairs[first : first + PAIRS_A_JOB]
            meanings = {name: seam.permutations.meaning(name) for pair in some for name in pair}
            name = f"{PERMUTATION}pairs-{first + 1}-{first + len(some)}"
            drawn.append(probing("interventions", name, [0], {"meanings": meanings}))
        self.interventions = {one.key: one for one in (*named, *drawn)}
        self.controls = probing("controls", shape, [0], of("controls.kinds tokens traces.outputs"))
        edited = {ORIGINAL: {}} if study.edits.features else {}
        edited |= {name: mapping for name, mapping in study.interventions.matched.items() if edited}
        more = [name for pair in every_pair[: study.edits.permutations] for name in pair if edited]
        edits = [editing(name, mapping) for name, mapping in edited.items()]
        edits_drawn = [editing(name, seam.permutations.meaning(name)) for name in more]
        self.edits = {one.key: one for one in (*edits, *edits_drawn)}
        self.transcoders = artifact(
            "transcoders",
            shape,
            of("programs tokens probes.features probes.drop_final probes.steps probes.batch probes.learning_rate")
            | of("probes.weight_decay probes.evaluations")
            | of("traces.train traces.validation traces.test traces.outputs")
            | {"transcoders": {key: value for key, value in config["transcoders"].items() if key != "checkpoints"}}
            | {"meanings": {ORIGINAL: {}, **study.interventions.matched}},
            self.lm,
        )
        sets = {name: study.varied(new) for name, new in study.generalisation.sets.items()}
        specified = {name: {"length": list(length), **worlds.size} for name, (worlds, length) in sets.items()}
        self.generalisation = artifact(
            "generalisation",
            shape,
            of(f"{sampling} corpus.seed traces.extra_statements")
            | {"generalisation": {"test": study.generalisation.test, "sets": specified}},
            self.lm,
        )
        proposed = "programs traces.extra_statements synthesis.samples synthesis.test synthesis.seed"
        self.writers = artifact("writers", size, _asking(of(proposed), study.synthesis.plain), self.corpus)
        decoded = of(f"{proposed} tokens lm.precision synthesis.temperatures synthesis.top_p synthesis.grammar")
        self.synthesis = artifact("synthesis", shape, _asking(decoded, study.synthesis.decoders), self.lm)
        # Without a folder, what would be asked of one: its code has a digest all the same.
        kind, self._tokenizer, model = "none", [], {}
        if folder:
            found, model = pretrained.files(folder), pretrained.checksums(folder)
            kind, self._tokenizer = found.name, [path.name for path in found.tokenizer]
        tuned = of("finetuning programs tokens traces.extra_statements lm.precision") | {"model": model}
        self.finetuning = artifact("finetuning", kind, tuned, self.tokens)
        written = of(f"{proposed} tokens lm.precision synthesis.temperatures synthesis.top_p")
        self.pretrained = artifact("pretrained", kind, _asking(written, study.synthesis.decoders), self.finetuning)
        self.steps = {
            self.warmup.key: [steps] if steps else [],
            **{one.key: study.interventions.steps(study.lm, one.name) for one in named},
            **{one.key: last for one in drawn},
            self.offsets.key: study.probes.offset_steps(study.lm),
            self.controls.key: study.controls.steps(study.lm),
            **{one.key: study.edits.steps(study.lm) for one in edits},
            **{one.key: last for one in edits_drawn},
            self.transcoders.key: study.transcoders.steps_of(study.lm),
            self.generalisation.key: last if study.generalisation.sets else [],
            self.synthesis.key: study.synthesis.steps(study.lm),
        }
        self.statistics = artifact(
            "statistics",
            study.study,
            of("study lm traces probes interventions controls edits transcoders generalisation synthesis statistics")
            | of("worlds programs corpus")
            | of("figures.gallery")
            | {"permutations": [list(pair) for pair in pairs]}
            | ({"pretrained": True} if folder else {}),
            *(self.corpus, self.lm, self.traces, *self.probed(), *self.edits.values()),
            *(
                one
                for one in (self.controls, self.transcoders, self.generalisation, self.synthesis)
                if self.steps[one.key]
            ),
            *([self.writers] if study.synthesis.plain else []),
            *([self.pretrained] if folder else []),
        )
        # The first language model's checkpoints on a page, the probes that read it, and the edits.
        self._played = played(study)
        self._read = [self.probes, *(one for one in named if one.name in study.interventions.matched)]
        self._edited = edits[:1]
        # Controls of which the page shows the probes of single layers.
        by_layer = LAYERS in study.controls.kinds
        self._by_layer = [step for step in study.controls.steps(study.lm) if by_layer and step in self._played]
        self.playground = artifact(
            "playground",
            shape,
            of("worlds programs corpus.examples tokens traces.outputs traces.extra_statements")
            | of("probes.features probes.depths probes.sources probes.layer")
            | {"model": of("lm.model_type lm.layers lm.width")["lm"]}
            | {"meanings": {ORIGINAL: {}, **study.interventions.matched}, "seed": study.lm.seeds[0]}
            | {"steps": self._played, "edited": [step for step in study.edits.steps(study.lm) if step in self._played]}
            | {"by_layer": self._by_layer},
            *(self.lm, self.traces, *self._read, *edits[:1], *([self.controls] if self._by_layer else [])),
        )
        of_stages = (
            self.corpus,
            self.tokens,
            self.sequences,
            self.warmup,
            self.lm,
            self.traces,
            self.probes,
            self.controls,
            self.generalisation,
        )
        of_stages += (self.transcoders, self.writers, self.synthesis, self.finetuning, self.pretrained, self.statistics)
        of_stages += (self.playground,)
        self.codes = {one.stage: one.code_digest for one in of_stages}
        # Interventions are the same module on the same inputs as probes; of edits there may be none.
        self.codes |= {"interventions": self.probes.code_digest, "edits": editing(ORIGINAL, {}).code_digest}
        # Figures have one place, whatever they show; their slice says what that is.
        shown = {"statistics": self.statistics.key, "playground": self.playground.key, "code": code["figures"]}
        if self.variants:
            shown["variants"] = [[name, one.statistics.key] for name, one in self.variants.items()]
        self.figures_slice = canonical_json(of("study language figures worlds programs corpus lm") | shown)

    def shards(self, artifact: Artifact, split: str, programs: int | None = None) -> list[str]:
        """Shard files of the corpus or its tokens that hold the first `programs` (default: all) of a split.

        Splits are `train`, `validation` and `test`; sequences to warm up on have the first alone.
        """
        whole = self._sequences if artifact.stage == "sequences" else getattr(self.study.corpus, split)
        programs = programs or whole
        count = -(-programs // self.study.corpus.shard)
        return [artifact.file(f"{split}/{index:05d}.arrow") for index in range(count)]

    def checkpoints(self, artifact: Artifact) -> list[tuple[int, int]]:
        """Every (seed, step) at which an artifact is made."""
        steps = self.steps.get(artifact.key, self.study.lm.every_step())
        return [(seed, step) for seed in self.study.lm.seeds for step in steps]

    def files(self, artifact: Artifact, *names: str) -> dict[str, str | list[str]]:
        """Paths by the names that `progsem.stages` gives to files, a checkpoint's with wildcards; without names all."""
        stage = STAGES[artifact.stage]
        place = artifact.checkpoint_file if stage.checkpoints else artifact.file
        found: dict = {split: self.shards(artifact, split) for split in stage.shards}
        found |= {name: place(file) for name, file in stage.files.items()}
        found |= {"tokenizer": [place(file) for file in self._tokenizer]} if artifact is self.finetuning else {}
        return {name: found[name] for name in names or found}

    def everywhere(self, artifacts: list[Artifact], name: str) -> list[str]:
        """The file of that name at every checkpoint of each artifact."""
        return [
            artifact.checkpoint_file(STAGES[artifact.stage].files[name]).format(seed=seed, step=_step(step))
            for artifact in artifacts
            for seed, step in self.checkpoints(artifact)
        ]

    def before(self, seed: str, step: str, name: str) -> list[str]:
        """The file of that name in the checkpoint before this one; before the untrained one, that of a warm-up."""
        if int(step) == 0 and name in STAGES["warmup"].files:
            return [file for file in self.everywhere([self.warmup], name) if f"/seed-{seed}/" in file]
        if int(step) == 0 or self._folders:
            return []
        earlier = self.study.lm.before(int(step))
        return [self.files(self.lm)[name].format(seed=seed, step=_step(earlier))]

    def corpus_slice(self) -> str:
        """Slice of the job that makes the corpus, with the file that programs are read from."""
        return self.corpus.slice(**({"file": self._programs} if self._programs else {}))

    def training_slice(self, seed: str, step: str) -> str:
        """Slice of the job that trains up to `step` from the checkpoint before it, or takes it from a folder."""
        at = int(seed), int(step)
        if self._folders:
            found = {"folder": self._folders[at], "model": self._checksums[at]}
            return self.lm.slice(seed=at[0], to=at[1], tokens={"encoding": self.study.tokens.encoding}, **found)
        return self.lm.slice(seed=int(seed), **{"from": self.study.lm.before(int(step)), "to": int(step)})

    def warmup_slice(self, seed: str, step: str) -> str:
        """Slice of the job that warms up a language model, in so many steps."""
        return self.warmup.slice(seed=int(seed), **{"from": 0, "to": int(step)})

    def manifests(self) -> list[str]:
        """Manifests of all that comes before the statistics."""
        behind = ("statistics", "playground")
        return [f"{unit.path}/manifest.json" for unit in self.own_units() if unit.stage not in behind]

    def probed(self) -> list[Artifact]:
        """The probes of the original semantics, the same at other offsets than 0, and those of every alternative."""
        offsets = [self.offsets] if self.steps[self.offsets.key] else []
        return [self.probes, *offsets, *self.interventions.values()]

    def proposals(self) -> list[str]:
        """What writers propose: those without a language model, each checkpoint that is asked, a pretrained model."""
        plain = [self.writers.file("proposals.arrow")] if self.study.synthesis.plain else []
        tuned = [self.pretrained.file("proposals.arrow")] if self.study.lm.pretrained else []
        return [*plain, *self.everywhere([self.synthesis], "proposals"), *tuned]

    def of_playground(self) -> dict[str, list[str]]:
        """Inputs of the job that makes the playground, by name, in the order of its checkpoints."""
        seed, edited = self.study.lm.seeds[0], self.study.edits.steps(self.study.lm)

        def of(artifact: Artifact, name: str, steps: list[int]) -> list[str]:
            path = self.files(artifact)[name]
            return [path.format(seed=seed, step=_step(step)) for step in steps if step in self._played]

        every = self._played
        found = {"weights": of(self.lm, "weights", every), "configs": of(self.lm, "config", every)}
        found["programs"] = of(self.traces, "programs", every)
        for number, artifact in enumerate(self._read):
            found |= {f"{name}_{number}": of(artifact, name, every) for name in ("probes", "accuracy")}
        found |= {f"{name}_by_layer": of(self.controls, name, self._by_layer) for name in ("probes", "accuracy")}
        return found | {"subspaces": [path for one in self._edited for path in of(one, "subspaces", edited)]}

    def compared(self) -> dict[str, list[str]]:
        """Files of the variants' statistics that are laid side by side, by name, in the order of the variants."""
        names = ("summary", *COMPARED) if self.variants else ()
        return {name: [plan.files(plan.statistics)[name] for plan in self.variants.values()] for name in names}

    def whole(self) -> list[Plan]:
        """This plan, and those of the variants."""
        return [self, *self.variants.values()]

    def makers(self, stage: str) -> list[tuple[str, Plan, dict[str, Artifact]]]:
        """What makes the artifacts of a stage: how the names of its rules end, the plan, and by key what is new in it.

        This plan always, and those variants that have artifacts which no plan before them has.
        """
        found, seen = [], set()
        for name, plan in {"": self, **self.variants}.items():
            new = {one.key: one for one in plan.made(stage) if one.key not in seen}
            if new or plan is self:
                found.append((f"_{name}".replace("-", "_") if name else "", plan, new))
            seen |= set(new)
        return found

    def made(self, stage: str) -> list[Artifact]:
        """The artifacts of a stage, as the rule of its name makes them: that of probes makes interventions as well."""
        if stage == "probes":
            return self.probed()
        return list(self.edits.values()) if stage == "edits" else [getattr(self, stage)]

    def units(self) -> list[Unit]:
        """What each job makes, of this study and its variants, figures left out."""
        return list(dict.fromkeys(unit for plan in self.whole() for unit in plan.own_units()))

    def own_units(self) -> list[Unit]:
        """What each job makes without the variants, in the order of the stages and of training."""
        whole = [self.corpus.file("manifest.json"), self.tokens.file("manifest.json")]
        whole += [self.sequences.file("manifest.json")] if self._sequences else []
        stages = [
            self.warmup,
            self.lm,
            self.traces,
            *self.probed(),
            self.controls,
            *self.edits.values(),
            self.transcoders,
            self.generalisation,
        ]
        proposed = [file.replace("proposals.arrow", "manifest.json") for file in self.proposals()]
        proposed += [self.finetuning.file("manifest.json")] if self.study.lm.pretrained else []
        shown = [self.statistics, *([] if self._is_variant else [self.playground])]
        paths = [*whole, *self.everywhere(stages, "manifest"), *proposed, *(one.file("manifest.json") for one in shown)]
        return [unit_of(Path(path)) for path in paths]

    def jobs(self) -> dict[str, set[str]]:
        """Names of all jobs by stage; a name changes when the job has to run again."""
        names: dict[str, set[str]] = {stage: set() for stage in STAGES}
        for unit in self.units():
            names[unit.stage].add(str(unit.path))
        return names | {"figures": {self.figures_slice}}


def reruns(old: Study, new: Study) -> list[str]:
    """Stages that run when a study with all its results becomes another, in order."""
    before, after = Plan(old).jobs(), Plan(new).jobs()
    return [stage for stage in STAGES if after[stage] - before[stage]]


def _asking(sections: dict, writers: list[str]) -> dict:
    """Sections of a slice in which `synthesis` asks for these writers alone."""
    return sections | {"synthesis": {**sections["synthesis"], "writers": writers}}


def _by_checkpoint(found: dict[tuple[int, int], dict]) -> dict:
    return {CHECKPOINT.format(seed=seed, step=_step(step)): value for (seed, step), value in found.items()}


def _step(step: int) -> str:
    return f"{step:06d}"
