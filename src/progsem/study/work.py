"""How much each job computes, counted from the study's sizes: floating-point operations, sums and products alike.

Counted are products of matrices and attention, forward (two operations a weight and row) and backward (twice as many).
What follows the number of products closely enough (norms, activations, the optimizer) is in the rates at which they
are done (`progsem.study.rates`).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from progsem.languages import language
from progsem.study import bounds, pretrained
from progsem.study.vocabulary import BEAM, DESCRIPTION_LENGTH, GREEDY, LAYERS, LEARNED, MEAN, TEMPERATURE, TOP_P
from progsem.synthesis import BLOCK

if TYPE_CHECKING:
    from progsem.storage.inventory import Unit
    from progsem.study.config import Study
    from progsem.study.plan import Artifact, Plan
    from progsem.study.sections import LM

LEARNING_STEPS, LEARNING_BATCH = 100, 128  # of a subspace that is learned from what a model does
_SIGNS = 2.5  # tokens of a tokenizer of signs or bytes for one of the study's
PORTIONS = tuple(2.0**-k for k in range(6, 0, -1))  # of the training states, that a description's probes are fitted to


def parameters(study: Study) -> int:
    """Weights of the language model; the vocabulary, some dozens, left out."""
    return 12 * study.lm.layers * study.lm.width**2


def of_unit(plan: Plan, unit: Unit) -> float:
    """Operations of the job that makes a unit; of `corpus`, `tokens`, `sequences` and `writers`, programs."""
    study = plan.study
    match unit.stage:
        case "warmup":
            return warmup(study)
        case "sequences":
            steps, _ = bounds.warmup(study)
            return study.lm.batch * steps
        case "lm":
            step = int(unit.checkpoint.rpartition("-")[2])
            return training(study, step - study.lm.before(step))
        case "traces":
            return tracing(study)
        case "probes" | "interventions":
            (artifact,) = (one for one in plan.probed() if one.key == unit.key)
            return probing(study, artifact)
        case "controls":
            return controls(study)
        case "edits":
            return edits(study)
        case "transcoders":
            return transcoders(study)
        case "generalisation":
            return generalisation(study)
        case "synthesis":
            return synthesis(study)
        case "writers":
            return writers(study)
        case "finetuning":
            return finetuning(study)
        case "pretrained":
            return pretrained_synthesis(study)
        case "statistics":
            return statistics(plan)
        case "playground":
            return 0
    return study.corpus.train + study.corpus.held_apart


def training(study: Study, steps: int) -> float:
    """So many steps."""
    lm, (prompt, _) = study.lm, _tokens(study, study.worlds, 0)
    unpredicted = 0 if lm.predict_inputs else prompt / (2 * study.corpus.examples)  # the first example's input
    return trained(lm, lm.batch, document_tokens(study), unpredicted) * steps


def warmup(study: Study) -> float:
    """All steps of the language model's warm-up; half of a sequence is only read."""
    steps, length = bounds.warmup(study)
    return trained(study.lm, study.lm.batch, length, length / 2) * steps


def document_tokens(study: Study) -> float:
    """Tokens that a training step reads of each document: those of the longest of a batch, the end left out."""
    return sum(_tokens(study, study.worlds, study.programs.train_length[1]))


def trained(lm: LM, documents: int, tokens: float, unpredicted: float = 0) -> float:
    """One step on documents of so many tokens, of which the first so many are only read."""
    return 3 * documents * (_read(lm, tokens) - _unasked(lm, unpredicted))


def tracing(study: Study) -> float:
    """Every specification read with its own program, and one written behind it, token by token."""
    return study.traces.programs * _written(study, study.worlds, sum(study.programs.test_length) / 2, 2)


def generalisation(study: Study) -> float:
    """A program written for every specification of each set."""
    varied = [study.varied(new) for new in study.generalisation.sets.values()]
    return study.generalisation.test * sum(_written(study, worlds, sum(length) / 2, 1) for worlds, length in varied)


def synthesis(study: Study) -> float:
    """Specifications read once for each block of samples and width of beams, and programs written behind them."""
    lm, (prompt, program) = study.lm, _tokens(study, study.worlds, study.programs.longest + 1)
    batches, ways = _batches(study), len(study.synthesis.grammar)
    each = _read(lm, prompt + program) / (prompt + program)
    return study.synthesis.test * ways * sum(each * (prompt + rows * program) for rows in batches)


def _batches(study: Study) -> list[int]:
    """How many programs are written for a specification at a time, each time that it is read."""
    asked = study.synthesis
    sampled = len(asked.temperatures) * (TEMPERATURE in asked.writers) + len(asked.top_p) * (TOP_P in asked.writers)
    batches = [BLOCK] * (sampled * -(-asked.samples // BLOCK)) + [1] * (GREEDY in asked.writers)
    return batches + asked.budgets * (BEAM in asked.writers)


def pretrained_weights(study: Study) -> float:
    """Of the model in `lm.pretrained`, taken for fp32; none where there is no model."""
    given = study.lm.pretrained
    return sum(path.stat().st_size for path in pretrained.files(given).weights) / 4 if given else 0


def finetuning(study: Study) -> float:
    """Documents read forward and backward, in tokens of a tokenizer that is not known here."""
    tokens = _SIGNS * document_tokens(study)
    return 6 * pretrained_weights(study) * tokens * study.finetuning.batch * study.finetuning.steps


def pretrained_synthesis(study: Study) -> float:
    """Specifications read anew for every program that is written."""
    tokens = _SIGNS * sum(_tokens(study, study.worlds, study.programs.longest + 1))
    return 2 * pretrained_weights(study) * tokens * study.synthesis.test * sum(_batches(study))


def writers(study: Study) -> float:
    """Programs that are drawn and judged, without a language model."""
    return study.synthesis.test * study.synthesis.samples * len(study.synthesis.plain)


def probing(study: Study, probes: Artifact) -> float:
    """The fits of all semantics of an artifact at one checkpoint."""
    fits = sum(_fit(study, offset=offset) for offset in probes.sections["probes"]["offsets"])
    return len(probes.sections["meanings"]) * len(study.probes.sources) * fits


def controls(study: Study) -> float:
    """A fit of offset 0 for each kind, for `layers` one for each hidden state, and those of the description length."""
    kinds, width = study.controls.kinds, study.lm.width
    widths = language(study.language).config.control_widths(study.worlds, study.programs)
    fits = sum(
        _fit(study, inputs=widths.get(kind, width)) for kind in kinds if kind not in (LAYERS, DESCRIPTION_LENGTH)
    )
    fits += (LAYERS in kinds) * (study.lm.layers + 1 + (study.probes.layer != MEAN)) * _fit(study)
    if DESCRIPTION_LENGTH in kinds:
        # Perceptrons in fewer steps where there are fewer states, see `progsem.probing.controls`.
        fits += sum(
            _fit(study, depths={name: widths}, steps=math.sqrt(portion) if widths else 1)
            for name, widths in study.probes.depths.items()
            for portion in PORTIONS
        )
    return len(study.probes.sources) * fits


def edits(study: Study) -> float:
    """Programs read, probes of every block, subspaces learned, and what is written on after every edit."""
    asked, lm = study.edits, study.lm
    layers = len(asked.layers) or lm.layers
    tokens = sum(_tokens(study, study.worlds, sum(study.programs.test_length) / 2))
    fits = (layers + 1) * _fit(study)
    learned = LEARNED in asked.kinds
    one = _read(lm, tokens) / tokens  # a position
    learning = 3 * LEARNING_STEPS * LEARNING_BATCH * one * len(asked.dimensions) * learned
    # Of each exchange four to six variants; a position read, and some written on.
    variants = 6 * (len(asked.kinds) - 1 + learned * (len(asked.dimensions) - 1)) + 2 * len(study.probes.depths)
    written = 2 * variants * asked.pairs * (3 + study.programs.longest) * one
    return study.traces.programs * _read(lm, tokens) + fits + layers * len(asked.features) * (learning + written)


def transcoders(study: Study) -> float:
    """Programs read, and the dictionaries of every MLP: encoder and decoder forward and backward."""
    asked, lm = study.transcoders, study.lm
    tokens = sum(_tokens(study, study.worlds, sum(study.programs.test_length) / 2))
    weights = 2 * lm.width * 4 * lm.width * asked.width
    seen = asked.steps * asked.batch + study.traces.train * tokens / 3
    read = study.traces.programs * _read(lm, tokens)
    return read + len(asked.kinds) * lm.layers * 6 * weights * seen


def statistics(plan: Plan) -> float:
    """Products of resamples with the answers of all probes."""
    study, probes = plan.study, plan.study.probes
    fits = sum(
        len(one.sections["meanings"]) * len(one.sections["probes"]["offsets"]) * len(plan.checkpoints(one))
        for one in plan.probed()
    )
    answers = fits * len(probes.sources) * len(probes.depths) * probes.seeds * len(probes.features)
    return 2 * study.statistics.resamples * study.traces.test * answers


def probe_weights(study: Study, inputs: int | None = None, depths: dict | None = None) -> tuple[int, int]:
    """Of one probe of each head and depth: weights of first layers, and of later ones.

    `inputs` are the numbers that it reads, by default a hidden state; `depths` are those of the recipe.
    """
    heads = language(study.language).features.heads(study.probes.features, study.worlds.size)
    classes = max(head.classes for head in heads)  # all heads are as wide as the widest
    first = later = 0
    for widths in (study.probes.depths if depths is None else depths).values():
        own, *others = (before * after for before, after in pairwise([inputs or study.lm.width, *widths, classes]))
        first, later = first + own, later + sum(others)
    return len(heads) * first, len(heads) * later


def fitting(weights: tuple[int, int], trained: float, seen: float) -> float:
    """Of probes with these weights: `trained` states forward and backward, `seen` ones forward alone.

    Nobody asks for the gradient of a hidden state, so the first layers' pass backward is half of the others'.
    """
    first, later = weights
    return (4 * first + 6 * later) * trained + 2 * (first + later) * seen


def whitening(weights: tuple[int, int], inputs: int, trained: float, seen: float) -> float:
    """Of `inputs` numbers of `trained` states whitened, `seen` more mapped, and the map taken into first layers."""
    return 2 * inputs**2 * (2 * trained + seen + inputs) + 2 * weights[0] * inputs


def states(study: Study, programs: int, lengths: tuple[int, int], offset: int = 0) -> float:
    """How many states so many programs give, whose numbers of statements are uniform."""
    short, long = lengths
    counted = [max(0, length - abs(offset) - study.probes.drop_final) for length in range(short, long + 1)]
    return programs * sum(counted) / len(counted)


def _fit(
    study: Study, offset: int = 0, inputs: int | None = None, depths: dict | None = None, steps: float = 1
) -> float:
    """All probes of one data set; `steps` is the share of the recipe's that is done."""
    probes, traces, weights = study.probes, study.traces, probe_weights(study, inputs, depths)
    lengths = study.programs.test_length
    validation, test = (states(study, getattr(traces, split), lengths, offset) for split in ("validation", "test"))
    trained = states(study, traces.train, study.programs.train_length, offset)
    mapped = whitening(weights, inputs or study.lm.width, trained, validation + test)
    seen = (probes.evaluations + 1) * validation + test
    return mapped + probes.seeds * fitting(weights, steps * probes.steps * probes.batch, seen)


def _tokens(study: Study, worlds, statements: float) -> tuple[int, float]:
    """Tokens of a specification, and of a program with so many statements."""
    encoding, asked = study.tokens.encoding, language(study.language).config
    codes = asked.usual_codes(study.programs, statements)
    return asked.prompt_tokens(encoding, worlds, study.corpus.examples), asked.program_tokens(encoding, codes)


def _read(lm: LM, tokens: float) -> float:
    """A document of so many tokens, forward. The first block's products but one are looked up by token."""
    return tokens * (2 * lm.width**2 * (12 * lm.layers - 11) + 2 * lm.layers * lm.width * tokens)


def _written(study: Study, worlds, statements: float, programs: int) -> float:
    """A specification and so many programs behind it, read or written."""
    lm, (prompt, program) = study.lm, _tokens(study, worlds, statements)
    return _read(lm, prompt + programs * program) - _unasked(lm, prompt)


def _unasked(lm: LM, tokens: float) -> float:
    """What the last block is spared for positions whose output nobody asks for."""
    return 20 * lm.width**2 * tokens * (lm.layers > 1)
