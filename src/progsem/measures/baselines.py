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

from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.bootstrap import Estimate
from progsem.measures.content import (
    Content,
    comparable,
    contents_of,
    in_all,
    pool,
    state_sets,
    with_mean,
)
from progsem.measures.draws import TRAINING_PROGRAMS, Draws, drawn
from progsem.measures.results import (
    ORIGINAL,
    POOLED,
    SOURCES,
    TRAIN,
    Checkpoint,
    Settings,
    read_controls,
    read_outcomes,
    read_programs,
)
from progsem.measures.tables import CONTENT, Counts, estimates_of, rows_of
from progsem.storage.files import read_csv, read_table

MODEL, MAJORITY, UNTRAINED, INPUT_ONLY = "model", "majority", "untrained", "input_only"
INPUTS = ("counts", "prefix", "start")  # that `input_only` is chosen from
# What these see in forced traces is the same at every checkpoint, and so are their fits.
SAME_EVERYWHERE = (*INPUTS, INPUT_ONLY, "text")
ORDER = (MODEL, MAJORITY, *INPUTS, INPUT_ONLY, "text", "embedding", UNTRAINED, "shuffled")
LAYER = "layer_"  # how names of the controls that are hidden states begin


@dataclass(frozen=True)
class Bits:
    """The description of one source's training labels.

    values: bits per state (1 + R, U, F + 1, D); uniform: those of the uniform code
    (F + 1,); the last feature is the mean over features. states, programs: that were coded.
    """

    values: np.ndarray
    uniform: np.ndarray
    states: int
    programs: int


@dataclass(frozen=True)
class Measured:
    """What controls say at one step, by language model (and pooled): estimates and counts by key, bits by source.

    model: the contents of the model itself, by key; of the first step only.
    """

    estimates: dict[int | str, dict]
    counts: dict[int | str, dict]
    bits: dict[int | str, dict[str, Bits]]
    model: dict[int | str, dict]


def measure_controls(
    checkpoints: list[Checkpoint], settings: Settings, draws: Draws, workers: Executor
) -> dict[int, Future[Measured]]:
    """What controls say at each step that has any, and at the first, whose model is a baseline everywhere."""

    def measured(step: int, first: Future[Measured] | None) -> Measured:
        here = [one for one in checkpoints if one.step == step]
        return measure_step(here, settings, draws, first.result().model if first else {})

    found = {}
    for step in sorted({0, *settings.control_steps}) if settings.control_steps else ():
        found[step] = workers.submit(measured, step, found.get(0))
    return found


def measure_step(
    checkpoints: list[Checkpoint], settings: Settings, draws: Draws, untrained: dict[int | str, dict]
) -> Measured:
    """What controls say at one step; of the replicates only what the intervals need is kept.

    `untrained` has the contents of the first step's model, of each language model.
    """
    contents = {one.seed: control_contents(one, settings, draws) for one in checkpoints}
    coded = {one.seed: description_bits(one, settings) for one in checkpoints}
    if settings.pooled:
        contents[POOLED] = pool_contents(list(contents.values()))
        each = list(coded.values())
        coded[POOLED] = {source: pool_bits([one[source] for one in each]) for source in in_all(each)}
    found = Measured({}, {}, coded, {})
    for name, here in contents.items():
        if not untrained:
            found.model[name] = {(UNTRAINED, *key[1:]): content for key, content in here.items() if key[0] == MODEL}
        here |= untrained.get(name, {})
        found.estimates[name] = control_estimates(name, here, coded[name], settings)
        found.counts[name] = {key: Counts.of(content) for key, content in here.items()}
    return found


def baseline_rows(
    controls: dict[int, Future[Measured]], settings: Settings, results: dict
) -> tuple[list[dict], list[dict]]:
    """Rows of the tables `baselines` and `layers`; `results` has the model's `estimates` and `counts` at every step."""
    names = (*settings.lm.seeds, POOLED) if settings.pooled else settings.lm.seeds
    measured = {step: one.result() for step, one in controls.items()}
    estimates, counts, bits = (
        {name: {step: getattr(one, kind)[name] for step, one in measured.items()} for name in names}
        for kind in ("estimates", "counts", "bits")
    )
    baselines, layers = [], []
    for name in names:
        if name != POOLED:
            estimates[name] = borrow_where_they_differ(estimates[name], settings)
    for step in settings.control_steps:
        for name in names:
            at = {"lm_seed": name, "step": step}
            model, number = _headline(results, name, step, settings)
            number |= counts[name][step] | {(MAJORITY, *key[1:]): count for key, count in number.items()}
            coded, first = {MODEL: bits[name][step]}, {}
            if step > 0:
                first, _ = _headline(results, name, 0, settings)
                first |= {key[1:]: estimate for key, estimate in estimates[name][0].items() if key[3] == "bits"}
                coded[UNTRAINED] = bits[name][0]
            found = completed(name, estimates[name][step], model, first)
            baselines += [at | row for row in _baselines(found, number, coded, settings)]
            layers += [at | row for row in _layers(found, number, settings)]
    return baselines, layers


def control_contents(
    checkpoint: Checkpoint, settings: Settings, draws: Draws | None
) -> dict[tuple[str, str, str], Content]:
    """Semantic content of the model and of the controls that there are, at offset 0, by (baseline, source, states)."""
    rows = read_programs(checkpoint.programs, settings.test)["row_in_file"]
    model = read_outcomes(checkpoint.predictions[ORIGINAL], settings, rows)
    controls = checkpoint.controls
    groups = {}
    for baseline, outcome in chain(
        [(MODEL, model)], read_controls(controls.predictions, settings, rows) if controls else ()
    ):
        groups |= {
            (baseline, source, states): chosen
            for (source, _, states), chosen in state_sets(outcome, (0,), settings).items()
        }
    contents = {key: made() for key, made in contents_of(groups, settings, draws).items()}
    return contents | (best_of_inputs(contents, validation_accuracies(controls.accuracy, settings)) if controls else {})


def validation_accuracies(table: Path, settings: Settings) -> dict[tuple[str, str], np.ndarray]:
    """Mean over probe seeds of the validation accuracy by (control, source): (F, D)."""
    found = {}
    for row in read_csv(table):
        if row["feature"] in settings.features and row["depth"] in settings.depths:
            at = settings.features.index(row["feature"]), settings.depths.index(row["depth"])
            shape = len(settings.features), len(settings.depths)
            accuracies = found.setdefault((row["control"], row["source"]), np.zeros(shape))
            accuracies[at] += float(row["validation_accuracy"]) / settings.probes.seeds
    return found


def best_of_inputs(contents: dict, validation: dict) -> dict[tuple[str, str, str], Content]:
    """The contents `input_only`: for each feature and depth that of the best of `INPUTS` on validation states.

    Among equals the first is taken.
    """
    best = {}
    for source, states in dict.fromkeys(key[1:] for key in contents if key[0] in INPUTS):
        there = [name for name in INPUTS if (name, source, states) in contents]
        choice = np.argmax([validation[name, source] for name in there], axis=0)  # (F, D)
        each = [contents[name, source, states] for name in there]
        accuracy, corrected = (
            with_mean(np.choose(choice, [getattr(one, values)[:, :, :-1] for one in each]))
            for values in ("accuracy", "corrected")
        )
        best[INPUT_ONLY, source, states] = replace(each[0], accuracy=accuracy, corrected=corrected)
    return best


def description_bits(checkpoint: Checkpoint, settings: Settings) -> dict[str, Bits]:
    """Online code length per state of the training labels, by source; none without controls."""
    if checkpoint.controls is None:
        return {}
    columns, about = read_table(checkpoint.controls.description)
    train = np.flatnonzero(read_table(checkpoint.programs)[0]["split"] == TRAIN)
    depths = [about["depths"].index(depth) for depth in settings.depths]
    sums = {}
    for source in settings.sources:
        here = np.flatnonzero(columns["source"] == SOURCES.index(source))
        if not len(here):
            continue
        cluster = np.searchsorted(train, columns["program"][here])
        coded = [
            columns[f"bits_{feature}"][here].reshape(len(here), len(about["depths"]), about["seeds"])[:, depths]
            for feature in settings.features
        ]
        coded = np.stack(coded, axis=1)  # (N, F, D, S)
        flat = np.concatenate([np.ones((len(here), 1)), coded.reshape(len(here), -1)], axis=1)
        sums[source] = np.stack([np.bincount(cluster, weights=column, minlength=len(train)) for column in flat.T])
    if not sums:
        return {}
    counted = drawn(settings, TRAINING_PROGRAMS, len(train)).totals(np.stack(list(sums.values()), axis=1).T)
    uniform = np.array([about["uniform"][feature] for feature in settings.features])
    found = {}
    for index, (source, (states, *_)) in enumerate(sums.items()):
        of_source = counted[:, index]
        per_state = bootstrap.ratio(of_source[:, 1:], of_source[:, :1])
        per_state = per_state.reshape(len(counted), len(settings.features), len(settings.depths), -1)
        found[source] = Bits(
            values=with_mean(np.moveaxis(per_state, 3, 1)),
            uniform=np.append(uniform, uniform.mean()),
            states=int(states.sum()),
            programs=int((states > 0).sum()),
        )
    return found


def pool_bits(each: list[Bits]) -> Bits:
    """Descriptions with the language models as units, each the mean of its probes; counts are summed."""
    return Bits(
        values=np.stack([one.values.mean(axis=1) for one in each], axis=1),
        uniform=each[0].uniform,
        states=sum(one.states for one in each),
        programs=sum(one.programs for one in each),
    )


def pool_contents(each: list[dict[tuple, Content]]) -> dict[tuple, Content]:
    """Contents with the language models as units; what is the same in all of them stays as it is."""
    return {key: each[0][key] if is_same_everywhere(key) else pool([one[key] for one in each]) for key in in_all(each)}


def is_same_everywhere(key: tuple) -> bool:
    """Whether the probes of a (baseline, source, …) see the same at every checkpoint of every language model."""
    return key[0] in SAME_EVERYWHERE and key[1] == "forced"


def fits_pair(name: int | str, key: tuple) -> bool:
    """Whether the units of a baseline and of the model go together, because they are language models."""
    return name == POOLED and not is_same_everywhere(key)


def control_estimates(name: int | str, contents: dict, coded: dict[str, Bits], settings: Settings) -> dict:
    """Estimates of one checkpoint by (baseline, source, states, column).

    `difference` is that from the model, without the fits' part of its variance where units do
    not pair (`completed` has it); the description of the model's labels is `bits`.
    """
    estimates = {}
    for key, content in contents.items():
        estimates |= {(*key, column): one for column, one in estimates_of(content, settings).items()}
        if key[0] in ORDER[1:] and (MODEL, *key[1:]) in contents:
            model, baseline = (one.corrected for one in comparable(contents[MODEL, *key[1:]], content))
            if not fits_pair(name, key):
                model, baseline = (one.mean(axis=1, keepdims=True) for one in (model, baseline))
            estimates[*key, "difference"] = bootstrap.estimate(
                model - baseline, settings.statistics.confidence, content.programs[:, None]
            )
    for source, bits in coded.items():
        estimates[MODEL, source, settings.states[0], "bits"] = bootstrap.estimate(
            bits.values, settings.statistics.confidence, bits.programs
        )
    return estimates


def borrow_where_they_differ(by_step: dict[int, dict], settings: Settings) -> dict[int, dict]:
    """The variance of fits from neighbouring checkpoints, where all have controls and these are other fits there."""
    if settings.controls.checkpoints != "every":
        return by_step
    borrowed = bootstrap.borrow(by_step)
    return {
        step: {key: estimate if is_same_everywhere(key) else borrowed[step][key] for key, estimate in estimates.items()}
        for step, estimates in by_step.items()
    }


def completed(name: int | str, own: dict, model: dict, untrained: dict) -> dict:
    """The estimates of one checkpoint with those of the model, the majority and the untrained model.

    own: `control_estimates`; model, untrained: those of the table `probes` by (source, states,
    column), at this step and at the first.
    """
    estimates = dict(own)
    for (source, states, column), estimate in model.items():
        estimates[MODEL, source, states, column] = estimate
        if column == "majority":
            estimates[MAJORITY, source, states, "accuracy"] = estimates[MAJORITY, source, states, column] = estimate
        if column == "corrected":
            estimates[MAJORITY, source, states, "corrected"] = _nothing(estimate)
            estimates[MAJORITY, source, states, "difference"] = estimate
    for key, estimate in untrained.items():
        estimates[UNTRAINED, *key] = estimate
    for key in own:
        if key[3] == "difference" and not fits_pair(name, key):
            sides = (estimates[baseline, *key[1:3], "corrected"] for baseline in (MODEL, key[0]))
            estimates[key] = with_fits_of(own[key], *sides)
    return estimates


def _nothing(estimate: Estimate) -> Estimate:
    """What is 0 whatever is drawn, where an estimate is defined."""
    parts = "value below above programs crossed units".split()
    return replace(estimate, **{name: 0 * getattr(estimate, name) for name in parts})


def with_fits_of(difference: Estimate, first: Estimate, second: Estimate) -> Estimate:
    """A difference of means, with the variance over the fits of both sides, which are independent.

    Degrees of freedom after Satterthwaite.
    """
    units = first.units + second.units
    spread = first.units**2 / first.unit_df + second.units**2 / second.unit_df
    df = np.divide(units**2, spread, out=np.full(np.shape(spread), np.inf), where=spread > 0)
    return replace(difference, crossed=first.crossed + second.crossed, units=units, unit_df=df)


def _headline(results: dict, name: int | str, step: int, settings: Settings) -> tuple[dict, dict]:
    """The model's estimates at offset 0 by (source, states, column), and counts by (MODEL, source, states)."""
    keys = [(source, states) for source in settings.sources for states in settings.states]
    estimates, counts = results["estimates"][name][step], results["counts"][name][step]
    there = [(source, states) for source, states in keys if (ORIGINAL, source, 0, states) in counts]
    return (
        {(*key, column): estimates[ORIGINAL, key[0], 0, key[1], column] for key in there for column in CONTENT},
        {(MODEL, *key): counts[ORIGINAL, key[0], 0, key[1]] for key in there},
    )


def _baselines(estimates: dict, counts: dict, coded: dict[str, dict[str, Bits]], settings: Settings) -> list[dict]:
    rows = []
    for source in settings.sources:
        for states in settings.states:
            for baseline in ORDER:
                key = baseline, source, states
                if key not in counts:
                    continue
                columns = {
                    name: estimates[*key, name]
                    for name in (*CONTENT, "difference", "bits")
                    if (*key, name) in estimates
                }
                bits = coded.get(baseline, {}).get(source) if "bits" in columns else None
                for (f, _), row in rows_of(columns, settings):
                    row |= {"source": source, "states": states, "baseline": baseline}
                    row |= counts[key].at(f)
                    if "difference" in columns:
                        row |= {"difference_low": row.pop("ci_low"), "difference_high": row.pop("ci_high")}
                    if bits:
                        row |= _compression(row, bits, f)
                    rows.append(row)
    return rows


def _compression(row: dict, bits: Bits, feature: int) -> dict:
    """By how many times the uniform code is longer, and what was coded."""
    times = bootstrap.ratio(bits.uniform[feature], np.array([row["bits"], row["bits_high"], row["bits_low"]]))
    return {
        "compression": times[0],
        "compression_low": times[1],
        "compression_high": times[2],
        "n_coded_states": bits.states,
        "n_coded_programs": bits.programs,
    }


def _layers(estimates: dict, counts: dict, settings: Settings) -> list[dict]:
    """One row a hidden state: those that controls have, and that of the model itself."""
    names = (
        [f"{LAYER}{layer}" for layer in range(settings.lm.layers + 1)] if "layers" in settings.controls.kinds else []
    )
    if names and settings.probes.layer not in names:
        names.insert(0, MODEL)
    rows = []
    for source in settings.sources:
        for states in settings.states:
            for name in names:
                key = name, source, states
                if key not in counts:
                    continue
                layer = settings.probes.layer if name == MODEL else name
                for (f, _), row in rows_of({column: estimates[*key, column] for column in CONTENT}, settings):
                    row |= {"source": source, "states": states, "layer": layer}
                    row |= counts[key].at(f)
                    rows.append(row)
    return rows
