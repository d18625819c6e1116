"""How much a job needs: memory and time that a scheduler is asked for, from the study's sizes.

Rough on the safe side: a job that asks for too little is killed and asks for more
the next time, one that asks for too much waits longer. Rates are those of an A100
and of a CPU core, halved; small products reach a tenth of them.
"""

from __future__ import annotations

from itertools import pairwise

from progsem.languages import language
from progsem.study.bounds import most_tokens
from progsem.study.config import Study
from progsem.study.vocabulary import LAYERS
from progsem.study.work import parameters, pretrained_weights, probe_weights, writers

_GPU_FLOPS = 6e13  # a second, bf16
_CPU_FLOPS = 5e10  # a second and core
_START_MINUTES = 5  # imports, files, first kernels
_BASE_MB = 2_500  # Python, torch, and the Snakemake that runs the job
_PAGE = 14_500_000  # characters that a page may have
_OF_WEIGHT = 3.1  # characters, as `progsem.playground.page` packs it
_HEADS, _CLASSES = 1.4, 7  # of a feature, about


def minutes(study: Study, operations: float, share: float = 0.1, gpu: bool = True) -> int:
    """Of a job with so many operations, which reaches that share of the rate of the device."""
    rate = _GPU_FLOPS if gpu and gpus(study) else _CPU_FLOPS * study.compute.threads
    return _START_MINUTES + round(operations / rate / share / 60)


def gpus(study: Study) -> int:
    """GPUs that a job with tensors asks for; `compute.device: cpu` asks for none."""
    return int(study.compute.device != "cpu")


def played(study: Study) -> list[int]:
    """Checkpoints of the first language model whose weights, and those of the probes, fit into a page.

    The last one, the first, and between them as many as there is room for; none of a large model. The weights of probes
    are estimated: to count the heads of features takes numpy, which nobody waits for who plans.
    """
    every, probes = study.lm.every_step(), study.probes
    of_head = sum(
        before * after
        for widths in probes.depths.values()
        for before, after in pairwise([study.lm.width, *widths, _CLASSES])
    )
    read = of_head * len(probes.sources) * len(probes.features) * _HEADS  # by the probes of one semantics
    by_layer = study.controls.steps(study.lm) if LAYERS in study.controls.kinds else []

    def needed(step: int) -> float:
        fitted = 1 + bool(study.interventions.alternatives) + (step in by_layer) * (study.lm.layers + 1)
        return _OF_WEIGHT * (parameters(study) + fitted * read)

    for room in range(len(every), 1, -1):
        chosen = [every[round(k * (len(every) - 1) / (room - 1))] for k in range(room)]
        if sum(map(needed, chosen)) <= _PAGE:
            return chosen
    return [step for step in every[-1:] if needed(step) <= _PAGE]


def data_mb(study: Study) -> int:
    """Corpus and tokens: a few shards at a time, by `compute.threads`."""
    worlds = study.corpus.examples + study.corpus.held_out
    row = language(study.language).codes.most_codes(study.programs) + most_tokens(study)
    row += worlds * language(study.language).config.world_bytes(study.worlds)
    shards = (study.compute.threads + 1) * study.corpus.shard
    return _BASE_MB + _mb(4 * row * shards + 16 * study.corpus.held_apart)


def data_minutes(study: Study) -> int:
    """Corpus and tokens, at 10 000 programs a second."""
    return _START_MINUTES + study.corpus.train // 600_000


def training_mb(study: Study) -> int:
    """In each process: weights, gradients, two moments and a copy to write; the tokens; activations on a CPU."""
    tokens = study.corpus.train * most_tokens(study)
    activations = 0 if gpus(study) else study.lm.batch * most_tokens(study) * study.lm.width * study.lm.layers * 80
    return study.compute.processes * (_BASE_MB + _mb(32 * parameters(study) + 2 * tokens + activations))


def traces_mb(study: Study) -> int:
    """The model, a batch with its cache for each thread, and the hidden states of all statements until written.

    Of generalisation too, which keeps no hidden states.
    """
    states = 2 * study.traces.programs * (study.programs.longest + study.traces.extra_statements)
    kept = study.lm.width * (study.traces.states(study.lm.layers))
    cache = study.compute.threads * study.compute.trace_batch * most_tokens(study) * study.lm.width * study.lm.layers
    return _BASE_MB + _mb(16 * parameters(study) + 4 * states * kept + (0 if gpus(study) else 12 * cache))


def probes_mb(study: Study) -> int:
    """Hidden states as they are kept and as they are fitted, and all probes with their moments."""
    states = 2 * study.traces.programs * study.programs.longest
    fits = study.probes.seeds * len(study.probes.sources) * len(study.probes.offsets)
    return _BASE_MB + _mb(states * study.lm.width * 8 + 16 * fits * sum(probe_weights(study)))


def controls_mb(study: Study) -> int:
    """As for probes; what they get in place of the hidden state may be wider: two grids and a program, one-hot."""
    states = 2 * study.traces.programs * study.programs.longest
    return probes_mb(study) + _mb(
        states * 4 * max(language(study.language).config.control_widths(study.worlds, study.programs).values())
    )


def edits_mb(study: Study) -> int:
    """The model, the stream behind every statement at every block, as it is kept and as it is fitted, and caches."""
    states = study.traces.programs * study.programs.longest * study.lm.layers
    caches = 8 * study.edits.pairs * most_tokens(study) * study.lm.width * study.lm.layers
    return _BASE_MB + _mb(16 * parameters(study) + 12 * states * study.lm.width + 8 * caches)


def transcoders_mb(study: Study) -> int:
    """The model, what every MLP reads and gives at all tokens of training and test, and its neurons at statements."""
    tokens = (study.traces.train + study.traces.test) * most_tokens(study)
    states = study.traces.programs * study.programs.longest * 4 * study.lm.width * (1 + study.transcoders.width)
    return _BASE_MB + _mb(16 * parameters(study) + study.lm.layers * (8 * tokens * study.lm.width + 4 * states))


def writers_minutes(study: Study) -> int:
    """Programs without a language model, at some thousands a second."""
    return _START_MINUTES + round(writers(study) / 300_000)


def pretrained_mb(study: Study) -> int:
    """Of fine-tuning: weights, gradients, two moments and a copy to write; the tokens; activations of a batch."""
    tokens = study.corpus.train * most_tokens(study)
    activations = 500_000 * study.finetuning.batch * most_tokens(study)
    return _BASE_MB + _mb(24 * pretrained_weights(study) + 2 * tokens + activations)


def statistics_mb(study: Study) -> int:
    """One checkpoint's answers at a time, and the draws of the bootstrap over test programs."""
    states = study.traces.test * study.programs.longest
    answers = states * len(study.probes.offsets) * len(study.probes.features) * 3 * study.probes.seeds
    draws = study.statistics.resamples * study.traces.test
    return _BASE_MB + _mb(16 * answers * (1 + len(study.interventions.alternatives)) + 8 * draws)


def playground_mb(study: Study) -> int:
    """The page's text, and a checkpoint's weights."""
    return _BASE_MB + _mb(8 * parameters(study) * bool(played(study)) + 4 * _PAGE)


def _mb(count: float) -> int:
    return round(count / 1e6)
