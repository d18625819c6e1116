"""What `snakemake --report` says beside each figure.

A figure's caption is `workflow/report/figures/NAME.rst`. It begins with two comments,
the title and the category under which the report lists the figure, and names facts of
the study as `|fact|`. `workflow/report/caption.rst` puts the two together.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from progsem.study import work
from progsem.study.config import Statistics, Study
from progsem.study.vocabulary import FORCED, GENERATED

_LABEL = re.compile(r"^\.\. (title|category): (.+)$", re.MULTILINE)
KINDS = {"png": "figure", "csv": "table", "html": "page", "json": "data", "md": "text"}  # by the end of a file's name
_SOURCES = {GENERATED: "the programs that the model writes", FORCED: "fixed programs that it reads"}
_OUTPUTS = {
    "shown": "",
    "blank": ", traced with their outputs blanked",
    "copied": ", traced with each output replaced by its input",
}
_FROM_FILE = " (from a file)"
_DEPTHS = {"linear": "linear", "mlp1": "one hidden layer", "mlp2": "two hidden layers"}


class Heading(NamedTuple):
    """Under what the report lists a figure."""

    title: str
    category: str


def captions(folder: Path) -> dict[str, Heading]:
    """Title and category of each figure, by its name, from the captions in a folder.

    Raises ValueError for a caption that does not begin with them.
    """
    found = {}
    for path in sorted(folder.glob("*.rst")):
        labels = dict(_LABEL.findall(path.read_text(encoding="utf-8")))
        if set(labels) != {"title", "category"}:
            raise ValueError(f"{path}: given {sorted(labels)}, expected comments `.. title: …` and `.. category: …`")
        found[path.stem] = Heading(**labels)
    return found


def files_of(captioned: dict[str, Heading]) -> set[str]:
    """Names of all files that there may be of these figures."""
    return {f"{name}.{kind}" for name in captioned for kind in ("pdf", *KINDS)}


def patterns(captioned: dict[str, Heading]) -> list[str]:
    """Which files of the figures' folder a report holds, as patterns with the wildcards {figure} and {kind}."""
    return [f"{{figure,{'|'.join(captioned)}}}.{{kind,{'|'.join(KINDS)}}}"]


def labels(captioned: dict[str, Heading], figure: str, kind: str) -> dict[str, str]:
    """What stands in the row of one of these files, by column."""
    return {"figure": captioned[figure].title, "as": KINDS[kind]}


def facts(study: Study) -> dict[str, str]:
    """Parameters of a study in words, by the name under which captions quote them."""
    lm, traces, probes, interventions = study.lm, study.traces, study.probes, study.interventions
    # Language models, where there are several, vary by their probes as well.
    models = f"{len(lm.seeds)} LM seeds" if len(lm.seeds) > 1 else ""
    fits = f"{probes.seeds} probe seeds" if probes.seeds > 1 and not models else ""
    tuning = f"; pretrained: {study.finetuning.steps:,} steps of {_count(study.finetuning.batch, 'program')}"
    tuned = tuning if study.lm.pretrained else ""
    depths = [_DEPTHS[name] + (f" ({_list(widths)})" if widths else "") for name, widths in probes.depths.items()]
    of_file = study.corpus.programs_for if study.corpus.programs else ""
    sets = {name: study.varied(new) for name, new in study.generalisation.sets.items()}
    trained = "trained elsewhere" if lm.checkpoints else f"{lm.steps:,} steps of {_count(lm.batch, 'program')}"
    return {
        "study": study.study,
        "data": f"worlds of {study.worlds.described}, "
        f"{_count(study.corpus.examples, 'example')} in the text of each program, {study.corpus.train:,} training "
        f"programs of {_range(study.programs.train_length)}" + _FROM_FILE * (of_file == "all"),
        "model": f"{lm.architecture}, {_count(lm.layers, 'layer')} of width {lm.width} (about "
        f"{_rough(work.parameters(study))} weights), {trained}, {_count(len(lm.seeds), 'LM seed')} ({_list(lm.seeds)})",
        "checkpoints": _count(len(lm.every_step()), "checkpoint"),
        "last": f"step {lm.every_step()[-1]:,}",
        "first_seed": str(lm.seeds[0]),
        "n": f"n = {traces.test:,} test specifications, made from programs of {_range(study.programs.test_length)}"
        + _FROM_FILE * bool(of_file)
        + _OUTPUTS[traces.outputs],
        "sources": " and ".join(text for name, text in _SOURCES.items() if name in probes.sources),
        "features": _list(name.replace("_", " ") for name in probes.features),
        "probing": f"Probes: {_list(depths)}; {_count(probes.seeds, 'fit')} of each, {probes.steps:,} steps of "
        f"{_count(probes.batch, 'state')}, on states ({probes.layer.replace('_', ' ')}) of {traces.train:,} training "
        f"specifications, chosen on {traces.validation:,} validation ones",
        "states": "without each program's last state" if probes.drop_final else "all states",
        "offsets": _list(sorted(probes.offsets)),
        "compared": _list(sorted(interventions.offsets)),
        "alternatives": "; ".join(map(_meaning, interventions.alternatives, interventions.alternatives.values()))
        or "none",
        "matched": interventions.difficulty_matched if interventions.alternatives else "none",
        "pairs": _count(interventions.permutations, "pair"),
        "controls": _list(name.replace("_", " ") for name in study.controls.kinds) or "none",
        "sets": "; ".join(f"{name}: {_range(length)}, {worlds.described}" for name, (worlds, length) in sets.items())
        or "none",
        "generalisation": _count(study.generalisation.test, "specification"),
        "proposals": f"{_count(study.synthesis.test, 'test specification')}, up to "
        f"{_count(study.synthesis.samples, 'program')} each" + tuned,
        "gallery": _count(study.figures.gallery, "specification"),
        "intervals": _intervals(study.statistics, models, fits),
        "intervals_of_programs": _intervals(study.statistics, models),
    }


def _meaning(name: str, mapping: dict[str, str]) -> str:
    changed = [
        f"{said.replace('_', ' ')} is {meant.replace('_', ' ')}" for said, meant in mapping.items() if said != meant
    ]
    return f"{name}: {_list(changed)}"


def _intervals(statistics: Statistics, *seeds: str) -> str:
    units = [f"test programs ({statistics.resamples:,} bootstrap resamples)", *filter(None, seeds)]
    return f"Intervals: {100 * statistics.confidence:g} %, over {' and '.join(units)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _range(lengths: tuple[int, int]) -> str:
    shortest, longest = lengths
    return _count(longest, "statement") if shortest == longest else f"{shortest} to {_count(longest, 'statement')}"


def _rough(count: int) -> str:
    return f"{count / 1e6:.2g} million" if count >= 100_000 else f"{count:,}"


def _list(items) -> str:
    return ", ".join(map(str, items))
