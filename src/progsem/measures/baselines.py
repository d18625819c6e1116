"""What a probe's accuracy is worth: tables `baselines` and `layers`, of the checkpoints that have controls.

Baselines, each with the same probes:

model
    The hidden states of the checkpoint, as in the table `probes`.
majority
    The most frequent label of the training states, always.
counts, prefix, start, text, embedding
    Probes that are given no hidden state (stage `controls`).
input_only
    Of counts, prefix and start the one with the highest validation accuracy, chosen for
    each source, depth and feature (and LM seed). Its interval is that of the chosen one:
    that another sample might have chosen differently is not in it.
untrained
    The hidden states of the same language model before its first step. In forced traces
    the states are the same as the model's, and the comparison is paired; generated ones
    are of the programs that it wrote then, so that other states of the same
    specifications are compared, paired by specification only.
shuffled
    The model's hidden states, but control labels; the difference is the selectivity
    (Hewitt & Liang 2019).

`difference` is model less baseline on the corrected scale, mean over the features that are
defined for both. Both are of the same draws of programs; the variance of their fits, which
see different inputs, is added up. The model's is that of its neighbouring checkpoints as
well, as in the table `probes`. A baseline borrows from its neighbours only where every
checkpoint has controls. What needs no language model sees the same in all forced traces,
so its fits are the same ones at every checkpoint, and of every LM seed: it borrows from
none, and the pooled row repeats that of the first LM seed.

`bits` is the online code length of a training state's label (Voita & Titov 2020), in total
bits over states; `compression` is by how many times a uniform code is longer. Their
resamples are of the training programs, and their states are those of `settings.states[0]`.
"""

from __future__ import annotations

from itertools import product

from progsem.measures.analysis import Analysis
from progsem.measures.content_estimates import CONTENT, rows_of
from progsem.measures.controls import MODEL, ORDER, ControlKey, completed_controls
from progsem.study.vocabulary import LAYER, LAYERS, MEAN


def baseline_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table `baselines`."""
    settings, rows = analysis.settings, []
    for at, estimated, coded in analysis.once(completed_controls):
        for source, states, baseline in product(settings.sources, settings.states, ORDER):
            key = ControlKey(baseline, source, states)
            if key not in estimated.counts:
                continue
            columns = estimated.estimates[key]
            for (f, _), row in rows_of(columns, settings):
                row |= at | key._asdict() | estimated.counts[key].at(f)
                if "difference" in columns:
                    row |= {"difference_low": row.pop("ci_low"), "difference_high": row.pop("ci_high")}
                if "bits" in columns:
                    row |= coded[baseline][source].compression(row, f)
                rows.append(row)
    return rows


def layer_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table `layers`: the hidden states that controls have, and that of the model itself."""
    settings, rows = analysis.settings, []
    if LAYERS not in settings.controls.kinds:
        return rows
    layers = {f"{LAYER}{layer}": f"{LAYER}{layer}" for layer in range(settings.lm.layers + 1)}  # baseline: its layer
    layers = {MODEL if settings.probes.layer == MEAN else MEAN: MEAN} | layers
    for at, estimated, _ in analysis.once(completed_controls):
        for source, states, baseline in product(settings.sources, settings.states, layers):
            key = ControlKey(baseline, source, states)
            if key in estimated.counts:
                where = at | {"source": source, "states": states, "layer": layers[baseline]}
                columns = {column: estimated.estimates[key][column] for column in CONTENT}
                rows += [row | where | estimated.counts[key].at(f) for (f, _), row in rows_of(columns, settings)]
    return rows
