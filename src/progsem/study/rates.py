"""How fast this machine computes a study: operations of a training step, a fit and resamples, a second of one core.

Measured in a second or two by what the jobs themselves run: so a processor's matrix units, its vectors and whatever
they leave to do in between weigh as they do there. A large study is measured with fewer layers and documents. The time
is the processor's, so that other programs make little difference. `measured` asks `python -m progsem.study.rates`, a
process of its own: torch would stay in Snakemake's memory as long as it runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import progsem
from progsem.errors import UserError
from progsem.study import work
from progsem.study.config import Study, load

_SECONDS = 0.25  # of each measurement
_MOST = 1e10  # operations of one measured step
_LAYERS = 3
_VOCABULARY = 60
_STATES = 50_000
_RESAMPLES, _ANSWERS, _PROGRAMS = 200, 50, 5_000


def measured(study: Study) -> dict[str, float]:
    """Operations a second and core by kind. Raises `UserError` where they cannot be measured."""
    environment = os.environ | {"PYTHONPATH": str(Path(progsem.__file__).parents[1])}
    command = [sys.executable, "-m", "progsem.study.rates"]
    done = subprocess.run(
        command, input=study.model_dump_json(), env=environment, capture_output=True, encoding="utf-8"
    )
    try:
        return json.loads(done.stdout)
    except ValueError:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise UserError(f"the rate of this machine cannot be measured: {reason}") from None


def measure(study: Study) -> dict[str, float]:
    """As `measured`, in this process."""
    import torch

    from progsem.hardware import choose_precision

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    precision = choose_precision(study.lm.precision, torch.device("cpu"))
    return {"training": _training(study, precision), "probing": _probing(study, precision), "resampling": _resampling()}


def _training(study: Study, precision) -> float:
    import torch
    from torch.nn import functional as F

    from progsem.lm import model as language_model

    lm = study.lm.model_copy(update={"layers": min(study.lm.layers, _LAYERS)})
    length = round(work.document_tokens(study))
    documents = max(1, min(lm.batch, int(_MOST // work.trained(lm, 1, length))))
    model = language_model.make(lm, _VOCABULARY, 0)
    tokens = torch.randint(_VOCABULARY, (documents, length + 1))

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            logits = model.logits(model(tokens[:, :-1])[-1])
            F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()

    return work.trained(lm, documents, length) / _seconds(step)


def _probing(study: Study, precision) -> float:
    """Fits of the recipe's probes to the sources at one offset, but for their number of steps."""
    import numpy as np
    import torch

    from progsem.languages import language
    from progsem.probing.fits import ProbeBatch, States, whitened
    from progsem.study.vocabulary import TRAIN

    weights = work.probe_weights(study)
    groups = 2
    batch = max(1, min(study.probes.batch, int(_MOST // (groups * work.fitting(weights, 1, 0)))))
    heads = language(study.language).features.heads(study.probes.features, study.worlds.size)
    rng = np.random.default_rng(0)
    count = min(_STATES, round(work.states(study, study.traces.train, study.programs.train_length)))
    states = rng.standard_normal((count, study.lm.width), np.float32)
    labels = np.stack([rng.integers(head.classes, size=len(states), dtype=np.uint8) for head in heads], 1)
    rows = np.arange(len(states))
    datasets = [States(f"{group}", states, rows, labels, np.full(len(rows), TRAIN)) for group in range(groups)]
    recipe = study.probes.model_copy(update={"batch": batch})
    inputs = [whitened(data, "cpu", precision).states for data in datasets]
    probes = ProbeBatch([(data, 0) for data in datasets], inputs, heads, recipe, "cpu")
    starts = torch.tensor([[0], [len(rows)]])

    def step() -> None:
        index = torch.randint(len(rows), (groups, batch)) + starts
        probes.update(probes.gradients(index), 1e-3)

    return groups * work.fitting(weights, batch, 0) / _seconds(step)


def _resampling() -> float:
    import numpy as np
    from threadpoolctl import threadpool_limits

    weights, answers = (np.ones((count, _PROGRAMS), np.float32) for count in (_RESAMPLES, _ANSWERS))
    with threadpool_limits(1):
        return 2 * _RESAMPLES * _PROGRAMS * _ANSWERS / _seconds(lambda: answers @ weights.T)


def _seconds(step: Callable[[], object]) -> float:
    """The processor's seconds of the fastest call, the least disturbed, after one that is not counted."""
    step()
    times: list[float] = []
    while len(times) < 3 or sum(times) < _SECONDS:
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return min(times)


if __name__ == "__main__":
    print(json.dumps(measure(load(json.load(sys.stdin)))))
