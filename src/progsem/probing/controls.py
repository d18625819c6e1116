"""Stage `controls`: what the accuracy of a probe is worth.

The probes of the headline (offset 0, the original semantics), but given something else
than the hidden state, or asked something else than the program state:

| kind               | the probes are given |
|--------------------|----------------------|
| counts             | how often each statement stands in the program so far |
| prefix             | every code of the program so far |
| start              | what a program starts from in the first example's input (`LANGUAGE.execution.start`) |
| text               | all that stands in the text about the first example: its grids, and the program so far |
| embedding          | the embedding of the token that the position reads |
| layers             | each hidden state of its own: the controls layer_0, layer_1, …, and the mean of all |
| shuffled           | the hidden state, but they are asked for labels drawn for the program so far (control task) |
| description_length | the hidden state; what is taken is how many bits the labels need |

The program so far includes the statement whose state is asked about, which a generated
state is about to write and a forced one has just read. `counts`, `prefix` and `start` are
what a syntactic record or the input alone would give away, without any language model.

The control task (Hewitt & Liang 2019, arXiv 1909.03368) has a word type for every
program so far, and one label for each type, drawn from the training labels by a hash: the
same in every split, so a probe that reads the program off the hidden state can learn it
by heart. How much worse it does than on the real labels is its selectivity.

The description length is an online code (Voita & Titov 2020, arXiv 2003.12298): the
training states are cut into blocks, and each is coded by probes fitted to all before it.
Probes that extract labels more easily need fewer bits, whatever they reach in the end.

Writes `predictions` and `accuracy` as the stage `probes` does, each with one column more
in front, `control`, `description` (columns in `progsem.storage.columns`), and `probes`, the weights of
the probes of single layers, their names beginning with the layer's in place of the semantics'. The metadata
of description.arrow have `depths`, `seeds`, `features`, `step` and `seed` as those of
predictions.arrow do; `uniform`, by feature, what a state costs in block 0; and `portions`,
by source, at how many states each block ends.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch

from progsem.data.encodings import shown_grids
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.languages.labels import Head, spans
from progsem.limits import FEWEST_STATES
from progsem.lm import model as lm
from progsem.probing.fits import States
from progsem.probing.probes import (
    ACCURACY_COLUMNS,
    DataSet,
    Prober,
    Traced,
    about,
    accuracies,
    named,
    no_predictions,
    one_behind_another,
    predictions,
    usable,
)
from progsem.storage.files import save_tensors, write_csv, write_table
from progsem.study.config import Probes
from progsem.study.vocabulary import (
    DESCRIPTION_LENGTH,
    GENERATED,
    LAYER,
    LAYERS,
    MEAN,
    ORIGINAL,
    PROGRAMS,
    SHUFFLED,
    SOURCES,
    TEST,
    TRAIN,
    VALIDATION,
)

PORTIONS = tuple(2.0**-k for k in range(6, -1, -1))  # of the training states: where blocks end


def run(job: Job) -> None:
    """Fit the probes of every kind, one after another, and report.

    The slice holds `controls.kinds`, `probes` (with offset 0 only), `programs.step_limit`, `lm.precision`,
    `tokens.encoding` and `traces.outputs`.
    """
    torch.set_num_threads(job.threads)
    recipe: Probes = job.section("probes")
    kinds = job.section("controls").kinds
    traced = Traced(job, recipe)
    traced.execute({})
    datasets = usable(job, recipe, traced, ORIGINAL)
    controls = names(kinds, traced.metadata["layers"], recipe.layer)
    described = [Description(data, traced, recipe) for data in datasets if DESCRIPTION_LENGTH in kinds]
    fits = len(controls) * len(datasets) + sum(one.fits for one in described)
    prober = Prober(job, recipe, traced.heads, fits)
    controlled = ControlInputs(job, traced)
    parts, rows, kept = [{"control": np.empty(0, np.int8), **no_predictions(traced.heads, recipe)}], [], {}
    for index, control in enumerate(controls):
        for original in datasets:
            data = replace(original, states=controlled.states(control, original))
            (fitted,) = prober.fit([data.states])
            answers = predictions(data, fitted, traced.heads)
            parts.append({"control": np.full(len(answers["source"]), index, np.int8), **answers})
            scores = accuracies(data, fitted, traced.heads, recipe, ORIGINAL)
            rows += [[control, *row] for row in scores]
            if of_states(control):
                kept |= named(fitted, recipe, f"{control}.{original.source}")
    nothing = np.empty((0, len(recipe.depths) * recipe.seeds))
    blocks = [coded(GENERATED, nothing[:, 0], 0, dict.fromkeys(recipe.features, nothing))]
    for one in described:
        blocks += one.blocks(prober)
    prober.close()
    metadata = about(traced, recipe)
    write_table(
        job.output("predictions"),
        one_behind_another(parts),
        {**metadata, "semantics": ORIGINAL, "controls": controls},
        "controls",
    )
    write_csv(job.output("accuracy"), ["control", *ACCURACY_COLUMNS], rows)
    save_tensors(job.output("probes"), kept)
    write_table(
        job.output("description"),
        one_behind_another(blocks),
        {
            **metadata,
            "uniform": uniform(traced.heads),
            "portions": {one.data.source: one.ends for one in described},
        },
        "description",
    )


def names(kinds: tuple[str, ...], layers: int, read: str) -> list[str]:
    """The controls that probes answer for: the kinds, with one for every hidden state in place of `layers`.

    The mean of all is one of them, unless it is what the study reads.
    """
    each = {LAYERS: [*(f"{LAYER}{layer}" for layer in range(layers + 1)), *{MEAN} - {read}], DESCRIPTION_LENGTH: []}
    return [control for kind in kinds for control in each.get(kind, [kind])]


def of_states(control: str) -> bool:
    """Whether a control is the hidden state of one layer, or the mean of all."""
    return control.startswith(LAYER) or control == MEAN


class ControlInputs:
    """What each control puts in place of the hidden states or of the labels of a data set."""

    def __init__(self, job: Job, traced: Traced):
        self.job, self.traced = job, traced

    def states(self, control: str, data: DataSet) -> States:
        """The states of a data set under a control; equal names give equal minibatches as without it."""
        if control == SHUFFLED:
            so_far, train = self.so_far(data), data.states.split == TRAIN
            return replace(data.states, labels=control_labels(so_far, data.states.labels, train, self.traced.heads))
        if of_states(control):
            return replace(data.states, activations=self.traced.tables[data.source][control])
        if control == "embedding":
            return replace(data.states, activations=self.embeddings, rows=self.tokens_read(data))
        inputs = getattr(self, control)(data)
        return replace(data.states, activations=inputs, rows=np.arange(len(inputs)))

    def so_far(self, data: DataSet) -> np.ndarray:
        """(N, L) codes of each state's program, its own statement the last; PAD behind it."""
        programs = self.traced.programs[PROGRAMS[data.source]][data.program]
        return np.where(np.arange(programs.shape[1]) <= data.position[:, None], programs, np.uint8(LANGUAGE.codes.PAD))

    # What each control gives, by its name.

    def counts(self, data: DataSet) -> np.ndarray:
        """(N, actions) uint8."""
        so_far = self.so_far(data)
        return np.stack([(so_far == action).sum(1, dtype=np.uint8) for action in range(LANGUAGE.codes.STATEMENTS)], 1)

    def prefix(self, data: DataSet) -> np.ndarray:
        """(N, codes) uint8, one-hot at each position."""
        return one_hot(self.so_far(data), data.states.split == TRAIN)

    def start(self, data: DataSet) -> np.ndarray:
        """(N, columns) uint8, one-hot."""
        return one_hot(LANGUAGE.execution.start(self.traced.worlds)[data.program], data.states.split == TRAIN)

    def text(self, data: DataSet) -> np.ndarray:
        """(N, glyphs + codes) uint8, one-hot at each cell of both grids and at each position."""
        return one_hot(np.concatenate([self.grids[data.program], self.so_far(data)], 1), data.states.split == TRAIN)

    @cached_property
    def grids(self) -> np.ndarray:
        """(programs, G) glyphs of the first example's input and output, as `traces.outputs` shows it."""
        worlds, step_limit = self.traced.worlds, self.job.section("programs").step_limit
        outputs, _ = LANGUAGE.execution.execute(self.traced.programs["reference"], worlds, step_limit)
        grids = shown_grids(worlds, outputs, self.job.section("traces").outputs)
        return np.concatenate([grid.reshape(len(grid), -1) for grid in grids], 1)

    @cached_property
    def embeddings(self) -> np.ndarray:
        """(vocabulary, width) float32, of the checkpoint."""
        model = lm.load(self.job.input("weights"), self.job.input("config"), torch.device("cpu"))
        return model.embedding.weight.detach().numpy()

    def tokens_read(self, data: DataSet) -> np.ndarray:
        """(N,) the token at the position that each state is of: the last one that it depends on.

        A generated state is of the token before the one that decides its statement, a
        forced one of the token that ends it.
        """
        encoding = LANGUAGE.text.ENCODINGS[self.job.section("tokens").encoding]()
        ids, _, places, ends = encoding.spell(self.traced.programs[PROGRAMS[data.source]])
        before = encoding.ids[encoding.begin[-1]]
        documents = np.concatenate([np.full((len(ids), 1), before, ids.dtype), ids], 1)
        read = places if data.source == GENERATED else ends + 1
        return documents[data.program, read[data.program, data.position]].astype(np.int64)


def one_hot(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Columns of 0 and 1 for what stands where: (N, K) uint8.

    values: (N, P) uint8, of which PAD is nothing; train: (N,) bool. A column stands for
    one value at one position; those that no training state has are left out, as nothing
    can be learned about them.
    """
    columns = []
    for at in range(values.shape[1]):
        kinds = np.unique(values[train, at])
        columns.append(values[:, at, None] == kinds[kinds != LANGUAGE.codes.PAD])
    return np.concatenate(columns, 1).astype(np.uint8)


def control_labels(so_far: np.ndarray, labels: np.ndarray, train: np.ndarray, heads: list[Head]) -> np.ndarray:
    """Labels of a control task: (N, heads) uint8, equal where the programs so far (N, L) are.

    For every feature a program so far is given one of the label rows of the training
    states, `labels[train]`, as often as they have it. Which one depends on the codes and
    on the feature's name only, besides these frequencies.
    """
    types, of_type = np.unique(so_far, axis=0, return_inverse=True)
    codes = [row[row != LANGUAGE.codes.PAD].tobytes() for row in types]
    control = np.empty_like(labels)
    for feature, span in spans(heads).items():
        values, counts = np.unique(labels[train, span], axis=0, return_counts=True)
        draws = [_uniform(program, feature) for program in codes]
        drawn = np.searchsorted(counts.cumsum() / counts.sum(), draws, side="right")
        control[:, span] = values[drawn][of_type.reshape(-1)]
    return control


def _uniform(program: bytes, feature: str) -> float:
    """A number in [0, 1) that depends on these alone."""
    digest = hashlib.blake2b(program, digest_size=8, key=feature.encode()).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


class Description:
    """The online code of one data set's training labels.

    The states of a program are coded together, programs in an order drawn once and for
    all, so that it says nothing. `ends` lists at how many states the blocks end.
    """

    def __init__(self, data: DataSet, traced: Traced, recipe: Probes):
        self.data, self.recipe, self.heads = data, recipe, traced.heads
        programs = len(traced.programs["split"])
        rank = torch.randperm(programs, generator=torch.Generator().manual_seed(0)).numpy()
        train = data.states.of(TRAIN)
        self.order = train[np.argsort(rank[data.program[train]], kind="stable")]
        self.ends = block_ends(data.program[self.order])

    @property
    def fits(self) -> int:
        """How many data sets' probes it takes."""
        return len(self.ends) - 1

    def blocks(self, prober: Prober) -> list[dict[str, np.ndarray]]:
        """Columns of description.arrow, a table per block."""
        probes, first = len(self.recipe.depths) * self.recipe.seeds, self.ends[0]
        costs = {feature: np.full((first, probes), cost) for feature, cost in uniform(self.heads).items()}
        tables = [coded(self.data.source, self.data.program[self.order[:first]], 0, costs)]
        for block, (start, end) in enumerate(pairwise(self.ends), start=1):
            states = self._states(start, end)
            # Each depth in as many steps as it needs.
            fitted = [
                prober.fit([states], by_likelihood=True, depths={name: widths}, steps=self._steps(widths, start))[0]
                for name, widths in self.recipe.depths.items()
            ]
            bits = np.concatenate([one.bits for one in fitted], 1)  # (states, depths, seeds, heads)
            costs = {
                feature: bits[..., span].sum(-1).reshape(end - start, probes)
                for feature, span in spans(self.heads).items()
            }
            tables.append(coded(self.data.source, self.data.program[self.order[start:end]], block, costs))
        return tables

    def _steps(self, widths: tuple[int, ...], states: int) -> int:
        """Steps of a fit to so many states: for perceptrons in proportion to the square root.

        A perceptron knows a small portion by heart long before the recipe's last step, and
        the snapshot that is kept comes before that. In the default study this is a third of
        the steps, and the code has the same length to 2 %. A linear probe is held back by how
        far a step takes it, not by its states: its code would be an eighth longer.
        """
        return math.ceil(self.recipe.steps * (math.sqrt(states / len(self.order)) if widths else 1))

    def _states(self, start: int, end: int) -> States:
        """What codes the block from `start` to `end`: TRAIN before it, the block itself as TEST, and VALIDATION."""
        states = self.data.states
        chosen = np.concatenate([self.order[:end], states.of(VALIDATION)])
        split = np.repeat([TRAIN, TEST, VALIDATION], [start, end - start, len(chosen) - end])
        return replace(states, rows=states.rows[chosen], labels=states.labels[chosen], split=split)


def coded(source: str, program: np.ndarray, block: int, bits: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of description.arrow for a block: `program` (n,), and `bits` (n, probes) by feature."""
    return {
        "source": np.full(len(program), SOURCES.index(source), np.int8),
        "program": program.astype(np.int32),
        "block": np.full(len(program), block, np.int16),
        **{f"bits_{feature}": values.astype(np.float32) for feature, values in bits.items()},
    }


def uniform(heads: list[Head]) -> dict[str, float]:
    """Bits that a state costs by feature, if all classes of every head are equally likely."""
    return {feature: sum(math.log2(head.classes) for head in heads[span]) for feature, span in spans(heads).items()}


def block_ends(program: np.ndarray) -> list[int]:
    """At how many states the blocks end, in an order in which programs (N,) stand together.

    Those are the PORTIONS, each up to the end of a program, from the first on that is enough to fit a probe to.
    """
    last = np.flatnonzero(np.append(program[1:] != program[:-1], True)) + 1  # ends of programs
    ends = {int(last[np.searchsorted(last, portion * len(program))]) for portion in PORTIONS}
    return sorted(end for end in ends if end >= FEWEST_STATES["train"])
