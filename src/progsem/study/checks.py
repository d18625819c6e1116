"""What a study is refused for although each of its sections is right: keys that contradict each other, and sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from progsem.errors import UserError
from progsem.languages import language
from progsem.limits import FEWEST_STATES, MAX_POSITIONS
from progsem.study import bounds, checkpoints, given, pretrained
from progsem.study.sections import MOST_STEPS
from progsem.study.vocabulary import (
    DECODERS,
    LAST,
    LAYER,
    LAYERS,
    LEARNED,
    MEAN,
    NO_WARMUP,
    PATTERN,
    SPLITS,
    WEIGHTS,
)

if TYPE_CHECKING:
    from progsem.study.config import Study

# One command names all files that the statistics read, another all shards; the system takes 2 MB at most.
MOST_FILES = 9_000
MOST_SHARDS = 8_000
MOST_GIGABYTES = 16  # of one array, wherever a job holds all of it: more than that is rather a mistake than a study


def check(study: Study) -> None:
    """Raise ValueError for the first problem, with its keys, what was given and what to do."""
    language(study.language).config.check(study)
    for problem in chain(
        _given(study),
        _documents(study),
        _probes(study),
        _edits(study),
        _generalisation(study),
        _synthesis(study),
        _warmup(study),
        _checkpoints(study),
        _pretrained(study),
        _sizes(study),
    ):
        raise ValueError(problem)


def remark(study: Study) -> str:
    """What the intervals of a study of two language models are worth, in a line; empty for any other number."""
    if len(study.lm.seeds) != 2:
        return ""
    confidence = study.statistics.confidence
    factor = math.tan(math.pi * confidence / 2)  # Student's t with one degree of freedom
    return (
        f"lm.seeds has two language models, whose {confidence:.0%} intervals reach {factor:.1f} standard errors to "
        "either side, and say little of a third; give five or more"
    )


def _given(study: Study) -> Iterator[str]:
    corpus, programs = study.corpus, study.programs
    if not corpus.programs:
        return
    if corpus.programs_for == "all" and programs.train_length != programs.test_length:
        yield (
            f"corpus.programs_for is all, but programs.train_length is {list(programs.train_length)} and "
            f"programs.test_length {list(programs.test_length)}; make them the same, as any program may come into any "
            "split"
        )
    try:
        given.refuse_unreadable(corpus.programs)
    except UserError as error:
        yield str(error)


def _documents(study: Study) -> Iterator[str]:
    longest = study.programs.longest
    if study.programs.step_limit <= longest:
        yield (
            f"programs.step_limit is {study.programs.step_limit}, but programs have up to {longest} statements; "
            f"give at least {longest + 1}"
        )
    tokens = bounds.most_tokens(study)
    if tokens > MAX_POSITIONS:
        yield (
            f"a document takes up to {tokens} tokens, but the language model reads at most {MAX_POSITIONS}; "
            f"lower {', '.join(f'worlds.{key}' for key in study.worlds.size)}, corpus.examples or programs"
        )
    apart = study.corpus.held_apart
    test, train = study.programs.test_length, study.programs.train_length
    there = bounds.specifications(study, *test)
    if 2 * apart > there:
        yield (
            f"corpus.validation and corpus.test are {apart} together, but these worlds and programs make at most "
            f"{there} different specifications, half of which are left for training; lower them, or raise worlds, "
            "programs.test_length or corpus.examples"
        )
    if test[0] <= train[0] and train[1] <= test[1]:
        there = bounds.specifications(study, *train)
        taken = round(apart * (train[1] - train[0] + 1) / (test[1] - test[0] + 1))
        if 2 * taken > there:
            yield (
                f"corpus.validation and corpus.test take about {taken} specifications as short as training's, of "
                f"which there are at most {there}; lower them, or raise worlds, programs.train_length or "
                "corpus.examples"
            )
    for split in SPLITS:
        wanted, there = getattr(study.traces, split), getattr(study.corpus, split)
        if wanted > there:
            yield f"traces.{split} is {wanted}, but corpus.{split} has only {there}; lower the first"
        states = wanted * bounds.most_states(study, split)
        if states < FEWEST_STATES[split]:
            yield (
                f"traces.{split} is {wanted}, which gives at most {states} states, but probes need "
                f"{FEWEST_STATES[split]}; raise it"
            )
    if study.figures.gallery > study.traces.test:
        yield (
            f"figures.gallery is {study.figures.gallery}, but traces.test has only {study.traces.test}; lower the first"
        )


def _probes(study: Study) -> Iterator[str]:
    # Without its last state, a program has one state less to look back from.
    furthest_back = study.programs.longest - 1 - study.probes.drop_final
    furthest_ahead = study.programs.longest - 1
    if furthest_back < 0:
        yield ("probes.drop_final is true, but programs have one statement and no other state; set it to false")
    if 0 not in study.probes.offsets:
        yield (
            f"probes.offsets {list(study.probes.offsets)} lack 0, which the curves and alternatives are drawn from; "
            "add it"
        )
    for offset in study.probes.offsets:
        if not -furthest_back <= offset <= furthest_ahead:
            yield (
                f"probes.offsets has {offset}, but programs have at most {study.programs.longest} statements; "
                f"give offsets between {-furthest_back} and {furthest_ahead}"
            )
    for offset in study.interventions.offsets:
        if offset not in study.probes.offsets:
            yield (
                f"interventions.offsets has {offset}, which is none of probes.offsets {list(study.probes.offsets)}; "
                "add it there"
            )
        elif offset != 0 and study.probes.offset_checkpoints != "every":
            yield (
                f"interventions.offsets has {offset}, but probes.offset_checkpoints is "
                f"{study.probes.offset_checkpoints}; set it to every, for the original to be compared with"
            )
    for first, last in study.probes.positions:
        if first >= study.programs.longest:
            yield (
                f"probes.positions has [{first}, {last}], but programs have at most {study.programs.longest} "
                "statements, of which the first is 0"
            )
    if LAYERS in study.controls.kinds and study.traces.layers != "each":
        yield "controls.kinds has layers; set traces.layers to 'each' to keep them"
    if study.probes.layer == LAST and study.traces.layers == "mean":
        yield "probes.layer is last; set traces.layers to 'last' or 'each' to keep it"
    if study.probes.layer not in (MEAN, LAST):
        layer = int(study.probes.layer.removeprefix(LAYER))
        if study.traces.layers != "each":
            yield f"probes.layer is {study.probes.layer}; set traces.layers to 'each' to keep it"
        if layer > study.lm.layers:
            yield (f"probes.layer is {study.probes.layer}; expected layer_0 (embedding) to layer_{study.lm.layers}")


def _edits(study: Study) -> Iterator[str]:
    edits, probed = study.edits, study.probes.features
    for feature in edits.features:
        if feature not in probed:
            yield f"edits.features has {feature}, which is none of probes.features {list(probed)}; add it there"
    for layer in edits.layers:
        if layer > study.lm.layers:
            yield f"edits.layers has {layer}, but the language model has {study.lm.layers} blocks; give 1 to that"
    for dimension in edits.dimensions if LEARNED in edits.kinds else ():
        if dimension > study.lm.width:
            yield f"edits.dimensions has {dimension}, but lm.width is {study.lm.width}; give at most that"
    linear = [name for name, widths in study.probes.depths.items() if not widths]
    for kind in {WEIGHTS, PATTERN} & set(edits.kinds) if edits.features and not linear else ():
        yield f"edits.kinds has {kind}, but probes.depths has no linear probe; add linear: [], or leave {kind} out"
    if edits.features and study.programs.longest < 3:
        yield (
            f"edits.features asks for beginnings of two statements and a third, but programs have at most "
            f"{study.programs.longest}; raise programs.test_length, or set edits.features to []"
        )


def _generalisation(study: Study) -> Iterator[str]:
    programs = study.programs
    for name, new in study.generalisation.sets.items():
        key = f"generalisation.sets.{name}"
        if new.statements < 0 and programs.train_length[0] == 1:
            yield (
                f"{key}.statements is {new.statements}, but training has programs of one statement, and none are "
                "shorter; give a number above 0, or raise programs.train_length"
            )
        worlds, length = study.varied(new)
        if programs.step_limit <= length[1]:
            yield (
                f"programs.step_limit is {programs.step_limit}, but {key} has programs of up to {length[1]} "
                f"statements; give at least {length[1] + 1}"
            )
        tokens = bounds.most_tokens(study, worlds, length[1])
        if tokens > MAX_POSITIONS:
            yield (
                f"{key}: a document takes up to {tokens} tokens, but the language model reads at most "
                f"{MAX_POSITIONS}; lower its statements or cells"
            )
        there = bounds.specifications(study, *length, worlds)
        if 2 * study.generalisation.test > there:
            yield (
                f"generalisation.test is {study.generalisation.test}, but {key} has at most {there} different "
                "specifications, half of which may be drawn; lower the first, or raise its statements or cells"
            )


def _synthesis(study: Study) -> Iterator[str]:
    asked = study.synthesis
    if asked.writers and asked.test > study.corpus.test:
        yield (
            f"synthesis.test is {asked.test}, but corpus.test has {study.corpus.test} specifications; lower the first, "
            "or raise the second"
        )


def _warmup(study: Study) -> Iterator[str]:
    asked = study.lm.warmup
    if asked.task == NO_WARMUP:
        return
    if study.lm.checkpoints:
        yield (
            f"lm.warmup.task is {asked.task}, but lm.checkpoints are models that nothing is trained of; set it to "
            f"{NO_WARMUP}"
        )
    steps, length = bounds.warmup(study)
    if not 1 <= steps <= MOST_STEPS:
        batch = study.lm.batch * length
        yield (
            f"lm.warmup.tokens is {asked.tokens}, but a step takes {batch} (lm.batch sequences of {length} tokens, "
            f"the longest document's); give {batch} to {batch * MOST_STEPS}"
        )


def _checkpoints(study: Study) -> Iterator[str]:
    lm = study.lm
    for step, folder in lm.checkpoints.items():
        if len(lm.seeds) > 1 and checkpoints.SEED not in folder:
            yield (
                f"lm.checkpoints.{step} is one folder for {len(lm.seeds)} language models; name it with "
                f"{checkpoints.SEED}, which stands for each of lm.seeds, or set lm.seeds to [0]"
            )
    for folder in checkpoints.folders(lm).values():
        try:
            checkpoints.files(folder)
        except UserError as error:
            yield str(error)


def _pretrained(study: Study) -> Iterator[str]:
    if not study.lm.pretrained:
        return
    if not study.synthesis.decoders:
        yield (
            f"lm.pretrained is given, but synthesis.writers {list(study.synthesis.writers)} has no way of decoding; "
            f"add one of {', '.join(DECODERS)}, or leave lm.pretrained empty"
        )
    try:
        pretrained.files(study.lm.pretrained)
    except UserError as error:
        yield str(error)


def _sizes(study: Study) -> Iterator[str]:
    if study.lm.batch % study.compute.processes:
        yield (
            f"compute.processes is {study.compute.processes}, which does not divide lm.batch {study.lm.batch}; give "
            "a number that does"
        )
    if study.corpus.shards > MOST_SHARDS:
        yield (
            f"corpus.shard is {study.corpus.shard}, which cuts the corpus into {study.corpus.shards} files; give a "
            f"larger one, for at most {MOST_SHARDS}"
        )
    files = bounds.statistics_files(study)
    if files > MOST_FILES:
        yield (
            "lm.checkpoint_every, lm.extra_checkpoints and lm.seeds make "
            f"{bounds.checkpoints(study)} checkpoints, whose statistics are of {files} files; make fewer, for at most "
            f"{MOST_FILES}"
        )
    for what, size in bounds.memory(study).items():
        if size > MOST_GIGABYTES * 10**9:
            yield f"{what} take {size / 10**9:.0f} GB of memory; ask for at most {MOST_GIGABYTES}"
