"""One checkpoint of a study: its model, programs and hidden states, and what it does when it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from progsem.api.names import chosen, chosen_layer, layer_named, whole
from progsem.api.pictures import Example, Program, World
from progsem.errors import UserError
from progsem.languages import LANGUAGE
from progsem.study.vocabulary import (
    GENERATED,
    LINEAR,
    ORIGINAL,
    SOURCES,
    SPLITS,
)

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from progsem.api.edited import Edited
    from progsem.api.probe import Probe
    from progsem.api.states import States
    from progsem.api.study import Study
    from progsem.api.writing import Writing
    from progsem.lm.language_model import LanguageModel
    from progsem.lm.traces import Specifications
    from progsem.probing.probes import DataSet, Traced
    from progsem.study.config import Probes

Examples = Sequence[Example | tuple[World | str, World | str] | str]


class Checkpoint:
    """A language model at one step of its training. Made by `Study.checkpoints` and `Study.checkpoint`.

    study, seed, step: whose, and which. folder: with the files of the model, as `transformers` opens them.
    """

    def __init__(self, study: Study, seed: int, step: int):
        self.study, self.seed, self.step = study, seed, step
        self._plan = study._plan
        self._probes: dict[tuple, Probe] = {}

    def __repr__(self) -> str:
        return f"checkpoint of {self.study.name}: model seed {self.seed}, step {self.step}"

    @property
    def folder(self) -> Path:
        """The folder with the model's files; raises `UserError` while it has not been made."""
        return self._job(self._plan.lm, (self._plan.lm, ("weights", "config"))).input("config").parent

    def model(self) -> PreTrainedModel:
        """The language model as `transformers` has it, in evaluation mode."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(self.folder, local_files_only=True).eval()

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer as `transformers` has it."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder, local_files_only=True)

    def programs(self, split: str | None = None) -> pd.DataFrame:
        """What it writes for the specifications that are traced, of one split or all: a row each.

        Columns: `split`, `row` (of the corpus), `input_K` and `output_K` (of example K, from 1), `reference` (the
        corpus' own program), `written`, all as text, and whether what is written is `finished`, right on the shown
        examples (`correct`) and on the held-out ones as well (`correct_all`). The index is the number by which states
        say their program.
        """
        import pandas as pd
        from tqdm.auto import tqdm

        from progsem.lm.traces import Specifications
        from progsem.storage.files import read_table

        job = self._reading_job()
        columns, _ = read_table(self._job(self._plan.traces, (self._plan.traces, ("programs",))).input("programs"))
        specifications = Specifications.of(job)
        which = self._of_split(columns["split"], split)
        examples = self._plan.study.corpus.examples
        written, source = LANGUAGE.reading.written, LANGUAGE.text.source
        rows = []
        for index in tqdm(which, desc="programs as text", disable=len(which) < 5000, leave=False):
            row = {"split": SPLITS[columns["split"][index]], "row": int(columns["row"][index])}
            for k in range(examples):
                row[f"input_{k + 1}"] = written(specifications.worlds.at((index, k)))
                row[f"output_{k + 1}"] = written(specifications.outputs.at((index, k)))
            row |= {"reference": source(columns["reference"][index]), "written": source(columns["generated"][index])}
            row |= {"finished": bool(columns["generated_finished"][index])}
            row |= {name: bool(columns[f"correct_{which}"][index]) for name, which in _CORRECT.items()}
            rows.append(row)
        return pd.DataFrame(rows, index=pd.Index(which, name="program"))

    def states(
        self,
        source: str = GENERATED,
        split: str | None = None,
        layer: str | int | None = None,
        semantics: str | Mapping[str, str] = ORIGINAL,
        offset: int = 0,
        features: Sequence[str] | None = None,
    ) -> States:
        """Hidden states at statements of programs, and the program states that they are paired with.

        source: `generated`, programs that the model writes, or `forced`, those of the corpus that it reads. split:
        `train`, `validation` or `test`; all of them without. layer: `mean`, `last`, or a number, where 0 is the
        embedding; the study's own without. semantics: a name in `Study.semantics`, or any mapping of statements, under
        which the programs are executed now. offset: how many statements later (earlier, below 0) the program state is
        that a hidden state is paired with. features: what is asked of it; without, as the study.

        Hidden states without a partner are left out, and with `probes.drop_final` those at a program's last statement.
        Raises `UserError` for a name that there is not, and while the checkpoint has not been traced.
        """
        from progsem.api.states import states_of

        only = None if split is None else SPLITS.index(chosen("split", split, SPLITS))
        data, traced, recipe = self._labelled(source, layer, semantics, offset, features, only)
        if not len(data.program):
            raise UserError(f"{self}: no state of {source} programs has a partner at offset {offset}")
        return states_of(data, traced, tuple(recipe.features))

    def probe(
        self,
        depth: str = LINEAR,
        source: str = GENERATED,
        layer: str | int | None = None,
        semantics: str | Mapping[str, str] = ORIGINAL,
        offset: int = 0,
        features: Sequence[str] | None = None,
    ) -> Probe:
        """A probe fitted to these states by the study's recipe: the study's own of probe seed 0, if it has that.

        depth: `linear`, `mlp1` or `mlp2`, as far as `probes.depths` has it; the others as for `states`. Takes seconds
        when it is first asked for, and is kept.
        """
        from tqdm.auto import tqdm

        from progsem.api.probe import Probe
        from progsem.hardware import choose_device
        from progsem.probing.probes import FEWEST

        chosen("depth", depth, self._plan.study.probes.depths)
        key = (depth, source, layer, str(sorted(self.study._mapping(semantics).items())), offset, str(features))
        if key in self._probes:
            return self._probes[key]
        data, traced, recipe = self._labelled(source, layer, semantics, offset, features)
        for split, fewest in FEWEST.items():
            if (count := len(data.states.of(split))) < fewest:
                raise UserError(
                    f"{self}: {count} {SPLITS[split]} states of {source} programs at offset {offset}, expected at "
                    f"least {fewest}; raise traces.{SPLITS[split]}"
                )
        recipe = recipe.model_copy(update={"depths": {depth: self._plan.study.probes.depths[depth]}, "seeds": 1})
        with tqdm(total=recipe.steps, desc=f"{depth} probe", leave=False, delay=1) as bar:
            self._probes[key] = Probe(data, traced, recipe, choose_device(self._plan.study.compute.device), bar.update)
        return self._probes[key]

    def write(self, *examples: Example | tuple[World | str, World | str] | str) -> Writing:
        """What the model writes for a specification of one's own, with as many examples as the study shows.

        An example is what `Study.world` returns, or what it takes. Raises `UserError` for another number of them, and
        for what no example can be.
        """
        from progsem.api.writing import Writing

        job = self._reading_job()
        return Writing(self, self._specification(examples), job)

    def edit(
        self,
        examples: Examples,
        beginning: str | Program,
        source: str | Program,
        layer: int,
        *,
        source_examples: Examples | None = None,
        subspace: np.ndarray | str | None = None,
        feature: str | None = None,
        sham: bool = False,
        seed: int = 0,
    ) -> Edited:
        """Edit the residual stream behind a beginning of a program, and see what the model writes then.

        As the stage `edits` does it: at the last position that has been read, behind block `layer` (from 1), the stream
        is exchanged for that behind another beginning, `source`, of as many tokens: in the same specification, or in
        `source_examples`. subspace: an orthonormal basis (C, d), and only what lies in that is exchanged; or the name
        of an edit that the study has found subspaces for, as `learned_4`, with the `feature`; the whole stream without.
        sham: the control, a change of equal size in a random subspace of as many dimensions (of the whole stream: along
        one random direction) instead, drawn by `seed`: what one of them does says little.

        Raises `UserError` for what is no beginning, or not as long, and while there are no such subspaces.
        """
        from progsem.api.edited import edited

        job = self._reading_job()
        here = self._specification(examples)
        there = here if source_examples is None else self._specification(source_examples)
        layer = whole("layer", layer)
        basis = self._subspace(subspace, feature, layer) if isinstance(subspace, str) else subspace
        programs = [one if isinstance(one, Program) else self.study.program(one) for one in (beginning, source)]
        return edited(self, job, (here, there), programs, layer, basis, whole("seed", seed) if sham else None)

    @cached_property
    def _own(self) -> LanguageModel:
        """The model as the stages have it."""
        from progsem.hardware import choose_device
        from progsem.lm import model as lm

        job = self._job(self._plan.lm, (self._plan.lm, ("weights", "config")))
        return lm.load(job.input("weights"), job.input("config"), choose_device(self._plan.study.compute.device)).eval()

    def _job(self, artifact, *inputs, **more):
        return self.study._job(artifact, *inputs, seed=self.seed, step=self.step, **more)

    def _reading_job(self):
        """The job of the stage `traces`, without the shards that this study's other sizes would need."""
        wanted = {
            split: self._plan.shards(self._plan.corpus, split, getattr(self._plan.study.traces, split))
            for split in SPLITS
        }
        return self._job(self._plan.traces, (self._plan.lm, ("weights", "config")), **wanted)

    @staticmethod
    def _of_split(splits: np.ndarray, split: str | None) -> np.ndarray:
        if split is None:
            return np.arange(len(splits))
        return np.flatnonzero(splits == SPLITS.index(chosen("split", split, SPLITS)))

    def _labelled(
        self,
        source: str,
        layer: str | int | None,
        semantics: str | Mapping[str, str],
        offset: int,
        features: Sequence[str] | None,
        only: int | None = None,
    ) -> tuple[DataSet, Traced, Probes]:
        """A data set of the stage `probes`, its traces and the recipe that it is of."""
        from progsem.probing.probes import Traced, labelled

        changes: dict = {"sources": (chosen("source", source, SOURCES),)}
        known, offset = self.study._language.config.FEATURES, whole("offset", offset)
        if layer is not None:
            changes["layer"] = layer_named(layer)
        if features is not None:
            names = (features,) if isinstance(features, str) else features
            if not isinstance(names, Iterable) or not (names := list(dict.fromkeys(names))):
                raise UserError(f"given the features {features!r:.60}, expected one or several of {', '.join(known)}")
            changes["features"] = tuple(chosen("feature", one, known) for one in names)
        mapping = self.study._mapping(semantics)
        job = self._job(self._plan.probes, (self._plan.traces, ("programs", *changes["sources"])))
        recipe = job.section("probes").model_copy(update=changes)
        traced = Traced(job, recipe)
        chosen_layer(traced.layer, [name for name in traced.tables[source] if name not in _PLACES])
        traced.execute(mapping)
        return labelled(traced, source, offset, recipe, only), traced, recipe

    def _specification(self, examples: Examples) -> Specifications:
        """One specification of these examples."""
        from progsem.lm.traces import Specifications

        study, language = self._plan.study, self.study._language
        count = study.corpus.examples
        if isinstance(examples, Example) or not isinstance(examples, list | tuple):
            given = "one example" if isinstance(examples, Example) else f"a {type(examples).__name__}"
            raise UserError(f"given {given}, expected a list of examples ({count}, as corpus.examples says)")
        if len(examples) != count:
            raise UserError(
                f"given a list of {len(examples)}, expected {count} examples, as corpus.examples says, each a pair of "
                "worlds or what Study.world takes"
            )
        pairs = [
            [world.state for world in Example.of(one, f"example {number}", language, study.worlds)]
            for number, one in enumerate(examples, 1)
        ]
        worlds, outputs = (
            type(side[0])(*(np.stack(arrays)[None] for arrays in zip(*side, strict=True)))
            for side in zip(*pairs, strict=True)
        )
        room = language.codes.most_codes(study.programs, study.traces.extra_statements)
        return Specifications(
            programs=np.full((1, room), language.codes.PAD, np.uint8),
            worlds=worlds,
            outputs=outputs,
            split=np.zeros(1, np.int8),
            row=np.zeros(1, np.int32),
            shown=np.s_[:, : len(examples)],
            metadata=language.execution.shape(study.worlds) | {"worlds": 1},
            outputs_in_text=study.traces.outputs,
        )

    def _subspace(self, name: str, feature: str | None, layer: int) -> np.ndarray:
        """One that the stage `edits` has found, under the original semantics."""
        from progsem.storage.files import load_tensors

        (original,) = [one for one in self._plan.edits.values() if one.name == ORIGINAL] or [None]
        if original is None or (self.seed, self.step) not in self._plan.checkpoints(original):
            raise UserError(
                f"{self} has no subspaces: the study asks for no edits there; give a basis (C, d), or set "
                "edits.features and edits.checkpoints"
            )
        found, _ = load_tensors(self._job(original, (original, ("subspaces",))).input("subspaces"))
        features, names, layers = (sorted(set(one)) for one in zip(*(key.split(".") for key in found), strict=True))
        if feature is None:
            raise UserError(f"given the subspace {name!r} and no feature; give feature=, one of {', '.join(features)}")
        parts = chosen("feature", feature, features), chosen("subspace", name, names)
        return found[".".join([*parts, chosen("layer", str(layer), layers)])].numpy()


_CORRECT = {"correct": "shown", "correct_all": "all"}
_PLACES = ("program", "position", "statement")
