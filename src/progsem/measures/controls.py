"""What probes read without the model, or of other parts of it: estimates of the controls at every checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from progsem.measures import intervals
from progsem.measures.analysis import Analysis
from progsem.measures.content import Content, StateSet, comparable, contents_of, in_all, pool, state_sets, with_mean
from progsem.measures.content_estimates import CONTENT, Estimated, borrowed
from progsem.measures.description import Bits, description_bits, pool_bits
from progsem.measures.intervals import Estimate, quotient
from progsem.measures.resampling import Resamples
from progsem.measures.results import POOLED, Checkpoint, Settings, read_controls, read_outcomes, read_programs
from progsem.storage.files import read_csv
from progsem.study.vocabulary import FORCED, ORIGINAL

MODEL, MAJORITY, UNTRAINED, INPUT_ONLY = "model", "majority", "untrained", "input_only"
INPUTS = ("counts", "prefix", "start")  # that `input_only` is chosen from
# What these see in forced traces is the same at every checkpoint, and so are their fits.
SAME_EVERYWHERE = (*INPUTS, INPUT_ONLY, "text")
ORDER = (
    MODEL,
    MAJORITY,
    *INPUTS,
    INPUT_ONLY,
    "text",
    "embedding",
    UNTRAINED,
    "shuffled",
)


class ControlKey(NamedTuple):
    """What answered, and about which states."""

    baseline: str
    source: str
    states: str


@dataclass(frozen=True)
class MeasuredControls:
    """What controls say of one language model, or of all together, at one step."""

    estimated: Estimated
    bits: dict[str, Bits]  # by source


def measure_controls(analysis: Analysis) -> dict[int | str, dict[int, MeasuredControls]]:
    """What controls say by language model and step: at each step that has any, and of untrained models."""
    settings, draws = analysis.settings, analysis.draws
    if not settings.control_steps:
        return {name: {} for name in analysis.names}
    contents = analysis.at_each(
        settings.untrained, lambda here: [_model_contents(one, settings, draws) for one in here]
    )
    untrained = contents.get(0, [{} for _ in settings.lm.seeds])
    measured = analysis.at_each(
        sorted({*settings.untrained, *settings.control_steps}),
        lambda here: measure_step(here, settings, draws, untrained),
    )
    found = {name: {step: here[name] for step, here in measured.items()} for name in analysis.names}
    for seed in settings.lm.seeds if settings.controls.checkpoints == "every" else ():
        found[seed] = borrow_where_they_differ(found[seed])
    return found


def measure_step(
    checkpoints: list[Checkpoint], settings: Settings, draws: Resamples, untrained: list[dict[ControlKey, Content]]
) -> dict[int | str, MeasuredControls]:
    """What controls say at one step, by LM seed and `pooled` if there are several.

    `untrained` has the contents of each language model before training, as far as they are there: a baseline at all
    other steps.
    """
    contents, coded = {}, {}
    for one, first in zip(checkpoints, untrained, strict=True):
        contents[one.seed] = control_contents(one, settings, draws)
        coded[one.seed] = description_bits(one, settings)
        if one.step > 0:
            contents[one.seed] |= {key._replace(baseline=UNTRAINED): content for key, content in first.items()}
    if settings.pooled:
        contents[POOLED] = pool_contents(list(contents.values()))
        coded[POOLED] = pool_bits(list(coded.values()))
    return {
        name: MeasuredControls(control_estimates(name, here, coded[name], settings), coded[name])
        for name, here in contents.items()
    }


def _model_contents(checkpoint: Checkpoint, settings: Settings, draws: Resamples) -> dict[ControlKey, Content]:
    rows = read_programs(checkpoint.programs, settings.test)["row_in_file"]
    outcome = read_outcomes(checkpoint.predictions[ORIGINAL], settings, rows)
    return _named(MODEL, contents_of(outcome, state_sets(outcome, (0,), settings), settings, draws))


def _named(baseline: str, contents: dict[StateSet, Content]) -> dict[ControlKey, Content]:
    return {ControlKey(baseline, key.source, key.states): content for key, content in contents.items()}


def control_contents(checkpoint: Checkpoint, settings: Settings, draws: Resamples) -> dict[ControlKey, Content]:
    """Semantic content of the model and of the controls that there are, at offset 0."""
    contents = _model_contents(checkpoint, settings, draws)
    if checkpoint.controls is None:
        return contents
    rows = read_programs(checkpoint.programs, settings.test)["row_in_file"]
    for name, outcome in read_controls(checkpoint.controls.predictions, settings, rows):
        contents |= _named(name, contents_of(outcome, state_sets(outcome, (0,), settings), settings, draws))
    return contents | best_of_inputs(contents, validation_accuracies(checkpoint.controls.accuracy, settings))


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


def best_of_inputs(
    contents: dict[ControlKey, Content], validation: dict[tuple[str, str], np.ndarray]
) -> dict[ControlKey, Content]:
    """The contents `input_only`: for each feature and depth that of the best of `INPUTS` on validation states.

    Among equals the first is taken.
    """
    best = {}
    for key in {key._replace(baseline=INPUT_ONLY): None for key in contents if key.baseline in INPUTS}:
        there = [name for name in INPUTS if key._replace(baseline=name) in contents]
        choice = np.argmax([validation[name, key.source] for name in there], axis=0)  # (F, D)
        each = [contents[key._replace(baseline=name)] for name in there]
        accuracy, corrected = (
            with_mean(np.choose(choice, [getattr(one, values)[:, :, :-1] for one in each]))
            for values in ("accuracy", "corrected")
        )
        best[key] = replace(each[0], accuracy=accuracy, corrected=corrected)
    return best


def pool_contents(each: Sequence[dict[ControlKey, Content]]) -> dict[ControlKey, Content]:
    """Contents with the language models as units; what is the same in all of them stays as it is."""
    return {key: each[0][key] if is_same_everywhere(key) else pool([one[key] for one in each]) for key in in_all(each)}


def is_same_everywhere(key: ControlKey) -> bool:
    """Whether the probes of a (baseline, source, …) see the same at every checkpoint of every language model."""
    return key.baseline in SAME_EVERYWHERE and key.source == FORCED


def fits_pair(name: int | str, key: ControlKey) -> bool:
    """Whether the units of a baseline and of the model go together, because they are language models."""
    return name == POOLED and not is_same_everywhere(key)


def control_estimates(
    name: int | str, contents: dict[ControlKey, Content], coded: dict[str, Bits], settings: Settings
) -> Estimated:
    """Estimates of one checkpoint.

    `difference` is that from the model, without the fits' part of its variance where units do
    not pair (`completed` has it); the description of the model's labels is `bits`.
    """
    found = Estimated()
    for key, content in contents.items():
        found.add(key, content, settings)
        model = key._replace(baseline=MODEL)
        if key.baseline in ORDER[1:] and model in contents:
            sides = [one.corrected for one in comparable(contents[model], content)]
            if not fits_pair(name, key):
                sides = [one.mean(axis=1, keepdims=True) for one in sides]
            found.estimates[key]["difference"] = intervals.estimate(
                sides[0] - sides[1], settings.statistics.confidence, content.programs[:, None]
            )
    for source, bits in coded.items():
        found.estimates[ControlKey(MODEL, source, settings.states[0])]["bits"] = bits.estimate(settings)
    return found


def borrow_where_they_differ(by_step: dict[int, MeasuredControls]) -> dict[int, MeasuredControls]:
    """The variance of fits from neighbouring checkpoints, where these are other fits there."""
    lent = borrowed({step: one.estimated for step, one in by_step.items()})
    for step, one in by_step.items():
        own = {key: columns for key, columns in one.estimated.estimates.items() if is_same_everywhere(key)}
        lent[step].estimates.update(own)
    return {step: replace(one, estimated=lent[step]) for step, one in by_step.items()}


def completed(
    name: int | str, own: Estimated, model: Estimated, untrained: dict[ControlKey, dict[str, Estimate]]
) -> Estimated:
    """The controls of one checkpoint, with the model, the majority and the untrained model.

    own: `control_estimates`; model: what the table `probes` has of the model at this step; untrained: the estimates of
    the first step's, with its `bits`.
    """
    found = Estimated({key: dict(columns) for key, columns in own.estimates.items()}, model.counts | own.counts)
    for key, columns in model.estimates.items():
        found.estimates[key] = found.estimates.get(key, {}) | columns
        majority = key._replace(baseline=MAJORITY)
        found.counts[majority] = model.counts[key]
        found.estimates[majority] = {
            "accuracy": columns["majority"],
            "majority": columns["majority"],
            "corrected": _nothing(columns["corrected"]),
            "difference": columns["corrected"],
        }
    for key, columns in untrained.items():
        first = key._replace(baseline=UNTRAINED)
        found.estimates[first] = found.estimates.get(first, {}) | columns
    for key, columns in own.estimates.items():
        if "difference" in columns and not fits_pair(name, key):
            sides = (found.estimates[one]["corrected"] for one in (key._replace(baseline=MODEL), key))
            found.estimates[key]["difference"] = with_fits_of(columns["difference"], *sides)
    return found


def _nothing(estimate: Estimate) -> Estimate:
    """What is 0 whatever is drawn, where an estimate is defined."""
    parts = "value below above programs crossed units".split()
    return replace(estimate, **{name: 0 * getattr(estimate, name) for name in parts})


def with_fits_of(difference: Estimate, first: Estimate, second: Estimate) -> Estimate:
    """A difference of means, with the variance over the fits of both sides, which are independent.

    Degrees of freedom after Satterthwaite.
    """
    units = first.units + second.units
    df = quotient(units**2, first.units**2 / first.unit_df + second.units**2 / second.unit_df, np.inf)
    return replace(difference, crossed=first.crossed + second.crossed, units=units, unit_df=df)


def completed_controls(analysis: Analysis) -> list[tuple[dict, Estimated, dict[str, dict[str, Bits]]]]:
    """By step and language model: the columns that say which, estimates, and by baseline and source what was coded."""
    settings, measured = analysis.settings, analysis.once(measure_controls)
    found = []
    for step in settings.control_steps:
        for name in analysis.names:
            here, first = measured[name][step], measured[name].get(0)
            bits, untrained = {MODEL: here.bits}, {}
            if step > 0 and first:
                bits[UNTRAINED] = first.bits
                untrained = headline(analysis, name, 0).estimates
                for key, columns in first.estimated.estimates.items():
                    if "bits" in columns:
                        untrained[key] = untrained.get(key, {}) | {"bits": columns["bits"]}
            estimated = completed(name, here.estimated, headline(analysis, name, step), untrained)
            found.append(({"lm_seed": name, "step": step}, estimated, bits))
    return found


def headline(analysis: Analysis, name: int | str, step: int) -> Estimated:
    """What the table `probes` has of the model: under the original semantics, at offset 0."""
    contents, found = analysis.contents[name][step], Estimated()
    for key, columns in contents.estimates.items():
        if (key.semantics, key.offset) == (ORIGINAL, 0):
            model = ControlKey(MODEL, key.source, key.states)
            found.estimates[model] = {column: columns[column] for column in CONTENT}
            found.counts[model] = contents.counts[key]
    return found
