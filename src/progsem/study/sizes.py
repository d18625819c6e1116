"""How much a job needs: memory and time that a scheduler is asked for, from the study's sizes.

Rough on the safe side: a job that asks for too little is killed and asks for more
the next time, one that asks for too much waits longer. Rates are those of an A100
and of a CPU core, halved.
"""

from __future__ import annotations

from progsem.languages import LANGUAGE
from progsem.study.bounds import checkpoints, most_tokens
from progsem.study.config import Study

_GPU_FLOPS = 6e13  # a second, bf16
_CPU_FLOPS = 5e10  # a second and core
_START_MINUTES = 5  # imports, files, first kernels
_BASE_MB = 2_500  # Python, torch, and the Snakemake that runs the job


def parameters(study: Study) -> int:
    """Weights of the language model; the vocabulary, some dozens, left out."""
    return 12 * study.lm.layers * study.lm.width**2


def gpus(study: Study) -> int:
    """GPUs that a job with tensors asks for; `compute.device: cpu` asks for none."""
    return int(study.compute.device != "cpu")


def data_mb(study: Study) -> int:
    """Corpus and tokens: a few shards at a time, by `compute.threads`."""
    worlds = study.corpus.examples + study.corpus.held_out
    row = LANGUAGE.codes.most_codes(study.programs) + most_tokens(study)
    row += worlds * LANGUAGE.config.world_bytes(study.worlds)
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


def training_minutes(study: Study, step: int) -> int:
    """The interval that ends at a step: six operations a weight and token."""
    steps = step - study.lm.before(step)
    return _minutes(study, 6 * parameters(study) * study.lm.batch * most_tokens(study) * steps)


def traces_mb(study: Study) -> int:
    """The model, a batch with its cache for each thread, and the hidden states of all statements until written."""
    states = 2 * study.traces.programs * (study.programs.longest + study.traces.extra_statements)
    kept = study.lm.width * (study.lm.layers + 2 if study.traces.layers == "each" else 1)
    cache = study.compute.threads * study.compute.trace_batch * most_tokens(study) * study.lm.width * study.lm.layers
    return _BASE_MB + _mb(16 * parameters(study) + 4 * states * kept + (0 if gpus(study) else 12 * cache))


def traces_minutes(study: Study) -> int:
    """Every specification read once and written once; token by token the hardware is used to a tenth."""
    return _minutes(study, 2 * parameters(study) * study.traces.programs * most_tokens(study) * 10)


def probes_mb(study: Study) -> int:
    """Hidden states as they are kept and as they are fitted, and all probes with their moments."""
    states = 2 * study.traces.programs * study.programs.longest
    return _BASE_MB + _mb(states * study.lm.width * 8 + 16 * _probe_weights(study))


def probes_minutes(study: Study) -> int:
    """All fits of one semantics: forward and backward, small products at a tenth of the rate."""
    return _minutes(study, 6 * _probe_weights(study) * study.probes.batch * study.probes.steps * 10)


def controls_mb(study: Study) -> int:
    """As for probes; what they get in place of the hidden state may be wider: two grids and a program, one-hot."""
    states = 2 * study.traces.programs * study.programs.longest
    return probes_mb(study) + _mb(states * 4 * LANGUAGE.config.one_hot_width(study.worlds, study.programs))


def controls_minutes(study: Study) -> int:
    """As many fits as there are kinds and layers, of one offset, and some more for the description length."""
    fits = len(study.controls.kinds) + study.lm.layers + 8
    return _START_MINUTES + fits * probes_minutes(study) // len(study.probes.offsets)


def generalisation_mb(study: Study) -> int:
    """As for traces, without hidden states that are kept."""
    return traces_mb(study)


def generalisation_minutes(study: Study) -> int:
    """Every specification written once."""
    tokens = study.generalisation.test * len(study.generalisation.sets) * most_tokens(study)
    return _minutes(study, 2 * parameters(study) * tokens * 10)


def statistics_mb(study: Study) -> int:
    """One checkpoint's answers at a time, and the draws of the bootstrap over test programs."""
    states = study.traces.test * study.programs.longest
    answers = states * len(study.probes.offsets) * len(study.probes.features) * 3 * study.probes.seeds
    return _BASE_MB + _mb(16 * answers * (1 + len(study.interventions.alternatives)) + 8 * _draws(study))


def statistics_minutes(study: Study) -> int:
    """Products of draws and answers, for every checkpoint and semantics."""
    products = _draws(study) * len(study.probes.features) * 3 * study.probes.seeds
    each = 2 * products * len(study.probes.sources) * (1 + len(study.interventions.alternatives))
    return _START_MINUTES + round(checkpoints(study) * each / _CPU_FLOPS * 10 / 60)


def _probe_weights(study: Study) -> int:
    """Of all probes that are fitted together: every depth, seed, source, offset and head."""
    total = 0
    for widths in study.probes.depths.values():
        sizes = [study.lm.width, *widths, 32]
        total += sum(first * second for first, second in zip(sizes, sizes[1:], strict=False))
    fits = study.probes.seeds * len(study.probes.sources) * len(study.probes.offsets)
    return total * fits * 2 * len(study.probes.features)


def _draws(study: Study) -> int:
    return study.statistics.resamples * study.traces.test


def _mb(count: float) -> int:
    return round(count / 1e6)


def _minutes(study: Study, operations: float) -> int:
    rate = _GPU_FLOPS if gpus(study) else _CPU_FLOPS * study.compute.threads
    return _START_MINUTES + round(operations / rate / 60)
