"""Stage `edits`: whether what a probe reads is also what the model uses.

Behind beginnings of programs (`editing.prefixes`) the residual stream of a checkpoint is edited at the last position
that has been read, behind one block at a time, and what the model then does is compared with what it does behind a
beginning that has led to the edited state. Edits under another semantics are the same stage with another `mapping`:
other labels, so other counterfactuals, other probes and other subspaces.

Edits, by their name in edits.arrow:

full           the whole stream is taken from the other document: how much passes through this place at all
weights        what lies in the row space of the linear probe's weights is
pattern        what lies in the span of its patterns is
means          what lies in the span of the classes' means is
learned_D      what lies in a subspace of D dimensions is, which has been learned
set_DEPTH      the stream is moved until the probe of that depth reads the target's state
none, target   nothing is; `target` is what the model does behind the target, in place of the base

The other document (`source`) is the target's, or the donor's, which another specification has. Controls of an edit:

random         another one, as large, in a random subspace of as many dimensions; of `full` and `set`, in one direction
layer          the subspace found behind another block
position       the edit at the end of the statement before
shuffled       the probe was fitted to labels that follow from the program so far at random

Writes `counterfactuals` (Arrow, a row per feature and pair of test specifications), `edits` (Arrow, a row per pair and
edit), `readings` (Arrow, a row per test state and block) and `subspaces` (safetensors: an orthonormal basis (C, d) for
each `FEATURE.EDIT.LAYER`).

Their columns stand in `progsem.storage.columns`. The metadata of `edits` have also `pairs`, by feature the numbers of
training and test counterfactuals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from progsem.editing import subspaces
from progsem.editing.fed import Fed
from progsem.editing.learned import learn
from progsem.editing.prefixes import Beginnings, Counterfactuals, Meaning
from progsem.editing.streams import Edit, Editable, NextCodes, Read, Texts
from progsem.editing.targets import towards
from progsem.hardware import choose_device
from progsem.jobs.job import Job
from progsem.jobs.progress import Progress
from progsem.languages import LANGUAGE
from progsem.languages.labels import majority_label, spans
from progsem.lm import model as lm
from progsem.lm.traces import Specifications, satisfied, whole_programs
from progsem.probing.readers import Reader
from progsem.storage.files import save_tensors, write_table
from progsem.study.vocabulary import (
    BEHIND_TARGET,
    EDIT_CONTROLS,
    EDIT_SOURCES,
    FULL,
    LEARNED,
    LINEAR,
    MEANS,
    NO_CONTROL,
    PATTERN,
    RANDOM,
    SET,
    TEST,
    TRAIN,
    UNEDITED,
    WEIGHTS,
)

FEWEST = 20  # training counterfactuals from which a subspace is learned
_, _, LAYER, POSITION, SHUFFLED = EDIT_CONTROLS
OF_TARGET, OF_DONOR = EDIT_SOURCES


@dataclass(frozen=True)
class Group:
    """Counterfactuals whose beginnings have as many tokens: `which` of them (B,), and their documents, read.

    before: the position at which the statement before the last one ends.
    """

    which: np.ndarray
    base: Read
    target: Read
    donor: Read
    codes: NextCodes
    before: int

    def source(self, name: str) -> Read:
        """The documents that an edit is taken from."""
        return self.target if name == OF_TARGET else self.donor

    @cached_property
    def wanted(self) -> Tensor:
        """Log-probabilities (B, codes) of what comes behind the target."""
        return self.target.next_codes(self.codes, None, self.target)

    @cached_property
    def unedited(self) -> Tensor:
        """Those behind the base."""
        return self.base.next_codes(self.codes, None, self.base)


def groups(found: Counterfactuals, editable: Editable, texts: Texts) -> list[Group]:
    """Counterfactuals by the number of their tokens."""
    spelled = [texts.tokens_of(codes, found.length) for codes in (found.base, found.target, found.donor)]
    shorter = texts.tokens_of(found.base, found.length - 1)
    sizes = np.array([[len(row) for row in rows] for rows in (*spelled, shorter)])  # (4, P)
    made = []
    for size in sorted(set(map(tuple, sizes.T.tolist()))):
        if len(set(size[:3])) > 1:
            continue  # base, target and donor are not as long
        which = np.flatnonzero((sizes.T == size).all(axis=1))
        programs = (found.program, found.program, found.donor_program)
        base, target, donor = (
            editable.read(texts.documents(program[which], [rows[index] for index in which]))
            for program, rows in zip(programs, spelled, strict=True)
        )
        codes = texts.next_codes(spelled[0][which[0]])
        made.append(Group(which, base, target, donor, codes, base.last - (size[0] - size[3])))
    return made


@dataclass(frozen=True)
class Case:
    """An edit of one feature behind one block: how it is named, and what is done in each group."""

    edit: str
    control: str
    source: str
    layer: int
    make: Callable[[Group], Edit | None]


class Feature:
    """What is done about one feature: its counterfactuals, its subspaces, its cases."""

    def __init__(self, stage: Stage, name: str, test: Counterfactuals, train: Counterfactuals):
        self.stage, self.name, self.found = stage, name, test
        self.span = spans(stage.meaning.heads)[name]
        self.groups = groups(test, stage.editable, stage.texts)
        self.training = groups(train, stage.editable, stage.texts)
        self.trained = len(train.program)
        self.subspaces = {layer: dict(self._subspaces(layer)) for layer in stage.layers}

    def _subspaces(self, layer: int) -> Iterator[tuple[str, Tensor]]:
        """Orthonormal bases behind a block by the name of their edit, in a fixed order."""
        config, fed, reader = self.stage.config, self.stage.fed, self.stage.readers[layer]
        device = self.stage.editable.device
        train = fed.rows[fed.split == TRAIN]
        labels = fed.labels[fed.split == TRAIN, self.span]
        states = torch.from_numpy(fed.streams[layer - 1][train]).to(device)
        if {WEIGHTS, PATTERN} & set(config.kinds):
            directions = reader.directions(self.stage.depths.index(LINEAR), self.span)
            if WEIGHTS in config.kinds:
                yield WEIGHTS, subspaces.basis(directions)
            if PATTERN in config.kinds:
                yield PATTERN, subspaces.basis(subspaces.pattern(directions, states))
        if MEANS in config.kinds:
            yield MEANS, subspaces.basis(subspaces.class_means(states, labels))
        if LEARNED in config.kinds and self.trained >= FEWEST:
            parts = [[getattr(group, name) for group in self.training] for name in ("base", "donor", "wanted", "codes")]
            for dimension in config.dimensions:
                yield f"{LEARNED}_{dimension}", learn(*parts, layer, dimension)

    def cases(self) -> Iterator[Case]:
        """Every edit and control behind every block."""
        for layer in self.stage.layers:
            if FULL in self.stage.config.kinds:
                yield from self._interchanges(FULL, layer, None)
            for name, subspace in self.subspaces[layer].items():
                yield from self._interchanges(name, layer, subspace)
            if WEIGHTS in self.stage.config.kinds:
                yield self._case(WEIGHTS, SHUFFLED, OF_TARGET, layer, self._of_shuffled(layer))
            if SET in self.stage.config.kinds:
                for depth, name in enumerate(self.stage.depths):
                    yield Case(f"{SET}_{name}", NO_CONTROL, OF_TARGET, layer, self._set(layer, depth, False))
                    yield Case(f"{SET}_{name}", RANDOM, OF_TARGET, layer, self._set(layer, depth, True))

    def _interchanges(self, name: str, layer: int, subspace: Tensor | None) -> Iterator[Case]:
        for source in EDIT_SOURCES:
            yield self._case(name, NO_CONTROL, source, layer, subspace)
        width = self.stage.editable.model.width
        generator = torch.Generator().manual_seed(layer)
        dimension = 1 if subspace is None else subspace.shape[1]
        drawn = subspaces.random_basis(width, dimension, generator).to(self.stage.editable.device)
        change = subspaces.sham(subspaces.interchange(subspace), drawn)
        yield Case(name, RANDOM, OF_TARGET, layer, lambda group: self._edit(layer, group.base.last, change))
        if subspace is not None and (others := [one for one in self.stage.layers if one != layer]):
            other = self.subspaces[min(others, key=lambda one: (abs(one - layer), one))][name]
            yield self._case(name, LAYER, OF_TARGET, layer, other)
        exchange = subspaces.interchange(subspace)
        yield Case(name, POSITION, OF_TARGET, layer, lambda group: self._edit(layer, group.before, exchange))

    def _case(self, name: str, control: str, source: str, layer: int, subspace: Tensor | None) -> Case:
        change = subspaces.interchange(subspace)
        return Case(name, control, source, layer, lambda group: self._edit(layer, group.base.last, change))

    def _edit(self, layer: int, position: int, change: subspaces.Change) -> Edit:
        return Edit(layer, position, change, self.stage.config.onwards)

    def _of_shuffled(self, layer: int) -> Tensor:
        return subspaces.basis(self.stage.shuffled[layer].directions(0, self.span))

    def _set(self, layer: int, depth: int, at_random: bool) -> Callable[[Group], Edit]:
        """The stream moved towards the target's labels; or as far, at random."""
        reader, device = self.stage.readers[layer], self.stage.editable.device

        def make(group: Group) -> Edit:
            wanted = torch.from_numpy(self.found.wanted[group.which, self.span].astype(np.int64)).to(device)
            by = towards(reader, depth, self.span, group.base.streams()[layer - 1][:, 0], wanted)
            if at_random:
                drawn = torch.randn(by.shape, generator=torch.Generator().manual_seed(layer)).to(device)
                by = drawn * (by.norm(dim=1) / drawn.norm(dim=1))[:, None]
            return Edit(layer, group.base.last, subspaces.shift(by))

        return make

    def rows(self) -> Iterator[dict[str, np.ndarray]]:
        """Columns of edits.arrow, a table for each case."""
        for name in (UNEDITED, BEHIND_TARGET):
            yield self._row(Case(name, NO_CONTROL, OF_TARGET, 0, lambda group: None))
        for case in self.cases():
            yield self._row(case)

    def _row(self, case: Case) -> dict[str, np.ndarray]:
        parts = [self._scores(case, group) for group in self.groups]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        which = np.concatenate([group.which for group in self.groups])
        count = len(which)
        named = {
            "feature": self.stage.features.index(self.name),
            "edit": self.stage.edit_names.index(case.edit),
            "control": EDIT_CONTROLS.index(case.control),
            "source": EDIT_SOURCES.index(case.source),
            "layer": case.layer,
        }
        return {
            **{name: np.full(count, value, np.int8) for name, value in named.items()},
            "pair": which.astype(np.int32),
            "program": self.stage.number[self.found.program[which]],
            "length": self.found.length[which].astype(np.int8),
            **columns,
        }

    def _scores(self, case: Case, group: Group) -> dict[str, np.ndarray]:
        """What the model does in one group under an edit."""
        stage, found, edit = self.stage, self.found.at(group.which), case.make(group)
        read = group.target if case.edit == BEHIND_TARGET else group.base
        source = group.source(case.source)
        with torch.no_grad():
            after = read.next_codes(group.codes, edit, source)
            streams = read.edited(edit, source)
        before = group.base.streams(edit and edit.position)
        written = read.write(stage.texts, edit, source)
        programs = whole_programs(written)
        place = np.arange(programs.shape[1])
        begun = place < found.length[:, None]
        specified = stage.texts.specifications
        worlds, outputs = (part.at(found.program).at(specified.shown) for part in (specified.worlds, specified.outputs))
        ends = {}
        for name in ("base", "target"):
            beginning = np.pad(getattr(found, name), ((0, 0), (0, max(0, len(place) - found.base.shape[1]))))
            whole = np.where(begun, beginning[:, : len(place)], programs)
            right = satisfied(whole, worlds, outputs, stage.meaning.step_limit).all(axis=1)
            ends[f"ends_{name}"] = right & written.finished
        moved = np.zeros(len(read), np.float32)
        if edit is not None:
            here, there = streams[edit.layer - 1][:, 0], before[edit.layer - 1][:, 0]
            moved = ((here - there).norm(dim=1) / there.norm(dim=1)).cpu().numpy()
        tops = (group.unedited, group.wanted, after)
        return {
            "distance_base": _distance(group.unedited, group.wanted),
            "distance": _distance(after, group.wanted),
            **{
                name: group.codes.codes[scores.argmax(1).cpu().numpy()]
                for name, scores in zip(("top_base", "top_target", "top"), tops, strict=True)
            },
            "written": programs,
            **ends,
            "norm": moved,
            **self._read_after(found, edit, streams, before),
        }

    def _read_after(
        self, found: Counterfactuals, edit: Edit | None, streams: list[Tensor], before: list[Tensor]
    ) -> dict[str, np.ndarray]:
        """What the probes read at the last position, behind the edited block and the last."""
        others = np.ones(len(self.stage.meaning.heads), bool)
        others[self.span] = False
        last = len(streams)
        columns = {}
        for where, layer in (("here", last if edit is None else edit.layer), ("last", last)):
            reader = self.stage.readers[layer]
            now, then = (reader.reads(all_of[layer - 1][:, -1]) for all_of in (streams, before))
            columns[f"target_{where}"] = (now[..., self.span] == found.wanted[:, None, self.span]).all(2)
            columns[f"kept_{where}"] = (now[..., others] == then[..., others]).all(2)
        return columns


class Stage:
    """What all features have in common."""

    def __init__(self, job: Job):
        recipe, programs = job.section("probes"), job.section("programs")
        self.config = job.section("edits")
        device = choose_device(job.device)
        model = lm.load(job.input("weights"), job.input("config"), device)
        self.editable = Editable(model)
        specifications = Specifications.of(job)
        encoding = LANGUAGE.text.ENCODINGS[job.section("tokens").encoding]()
        self.texts = Texts(specifications, encoding, programs, job.section("traces").extra_statements)
        heads = LANGUAGE.features.heads(recipe.features, specifications.metadata)
        self.meaning = Meaning(heads, LANGUAGE.codes.semantics(job.slice["mapping"]), programs.step_limit)
        self.features, self.depths = list(recipe.features), list(recipe.depths)
        self.layers = list(self.config.layers) or list(range(1, model.layers + 1))
        self.number = np.zeros(len(specifications), np.int32)
        test = specifications.split == TEST
        self.number[test] = np.arange(test.sum())
        self.fed = Fed.by(self.editable, self.texts, self.meaning, recipe, job.batch)
        self.readers, self.shuffled = {}, {}
        for layer in sorted({*self.layers, model.layers}):
            self.readers[layer] = Reader(self.fed.states(layer), heads, recipe, device)
            if layer in self.layers and WEIGHTS in self.config.kinds:
                linear = recipe.model_copy(update={"depths": {LINEAR: recipe.depths[LINEAR]}})
                self.shuffled[layer] = Reader(self.fed.shuffled(layer, heads), heads, linear, device)
        learned = [f"{LEARNED}_{dimension}" for dimension in self.config.dimensions]
        sets = [f"{SET}_{depth}" for depth in self.depths]
        self.edit_names = [UNEDITED, BEHIND_TARGET, FULL, WEIGHTS, PATTERN, MEANS, *learned, *sets]

    def counterfactuals(self, split: int) -> dict[str, Counterfactuals]:
        """Those of one split by feature."""
        specifications = self.texts.specifications
        rows = np.flatnonzero(specifications.split == split)
        worlds = specifications.worlds.at(rows).at(specifications.shown)
        found = Beginnings(specifications.programs[rows], worlds, self.meaning).counterfactuals(
            self.config.features, self.config.pairs, self.config.seed
        )
        return {
            feature: one._replace(program=rows[one.program], donor_program=rows[one.donor_program])
            for feature, one in found.items()
        }

    def pairs(self, found: dict[str, Counterfactuals]) -> dict[str, np.ndarray]:
        """Columns of counterfactuals.arrow."""
        counts = {self.features.index(name): len(one.program) for name, one in found.items()}
        every = {
            name: np.concatenate([getattr(one, name) for one in found.values()])
            for name in ("program", "donor_program", "length", "base", "target", "donor")
        }
        return {
            "feature": np.repeat(np.array(list(counts), np.int8), list(counts.values())),
            "pair": np.concatenate([np.arange(count, dtype=np.int32) for count in counts.values()]),
            "program": self.number[every.pop("program")],
            "donor_program": self.number[every.pop("donor_program")],
            "length": every.pop("length").astype(np.int8),
            **every,
        }

    def readings(self) -> dict[str, np.ndarray]:
        """Columns of readings.arrow."""
        fed, heads = self.fed, spans(self.meaning.heads)
        test, train = fed.split == TEST, fed.labels[fed.split == TRAIN]
        rows, layers = fed.rows[test], sorted(self.readers)
        columns = {
            "layer": np.repeat(np.array(layers, np.int8), len(rows)),
            "program": np.tile(self.number[fed.program[rows]], len(layers)),
            "statement": np.tile(fed.statement[rows].astype(np.int16), len(layers)),
            "final": np.tile(fed.final[test], len(layers)),
        }
        for feature, span in heads.items():
            right = [self.readers[layer].right[..., span].all(2) for layer in layers]
            columns[f"right_{feature}"] = np.concatenate(right)
            majority = (fed.labels[test, span] == majority_label(train[:, span])).all(1)
            columns[f"majority_{feature}"] = np.tile(majority, len(layers))
        return columns


def run(job: Job) -> None:
    """Edit one checkpoint under one semantics.

    The slice holds `edits`, `probes`, `traces`, `programs`, `tokens`, `semantics` and `mapping`.
    """
    torch.set_num_threads(job.threads)
    config = job.section("edits")
    stage = Stage(job)
    test, train = stage.counterfactuals(TEST), stage.counterfactuals(TRAIN)
    asked = [name for name in config.features if len(test[name].program)]
    progress = Progress(f"edits of step {job.slice['step']}, {job.slice['semantics']}", len(asked), "features")
    tables, found = [], {}
    for name in asked:
        feature = Feature(stage, name, test[name], train[name])
        tables += feature.rows()
        found |= {
            f"{name}.{edit}.{layer}": subspace.cpu().contiguous()
            for layer, bases in feature.subspaces.items()
            for edit, subspace in bases.items()
        }
        progress.update(1)
    progress.close()
    metadata = {
        "semantics": job.slice["semantics"],
        "step": job.slice["step"],
        "seed": job.slice["seed"],
        "depths": stage.depths,
        "features": stage.features,
    }
    named = {"edits": stage.edit_names, "controls": list(EDIT_CONTROLS), "sources": list(EDIT_SOURCES)}
    pairs = {name: [len(train[name].program), len(test[name].program)] for name in config.features}
    tables = tables or [no_rows(len(stage.depths), stage.texts.codes)]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    write_table(job.output("counterfactuals"), stage.pairs(test), metadata, "counterfactuals")
    write_table(job.output("edits"), columns, {**metadata, **named, "pairs": pairs}, "edits")
    write_table(job.output("readings"), stage.readings(), metadata, "readings")
    save_tensors(job.output("subspaces"), found)
    job.notes["pairs"] = pairs


def no_rows(depths: int, codes: int) -> dict[str, np.ndarray]:
    """The columns of edits.arrow, without a row, for programs of up to so many codes."""
    kinds = {
        np.int8: "feature edit control source layer length",
        np.int32: "pair program",
        np.float32: "distance_base distance norm",
        np.uint8: "top_base top_target top",
        np.bool_: "ends_target ends_base",
    }
    wide = {"written": (codes, np.uint8)}
    wide |= {f"{what}_{where}": (depths, np.bool_) for what in ("target", "kept") for where in ("here", "last")}
    columns = {name: np.empty(0, kind) for kind, names in kinds.items() for name in names.split()}
    return columns | {name: np.empty((0, width), kind) for name, (width, kind) in wide.items()}


def _distance(first: Tensor, second: Tensor) -> np.ndarray:
    """Total variation (B,) between distributions that are given as log-probabilities (B, codes)."""
    return (first.exp() - second.exp()).abs().sum(1).div(2).cpu().numpy().astype(np.float32)
