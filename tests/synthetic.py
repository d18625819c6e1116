"""Results of a study that never ran: files as the earlier stages write them, with known regularities.

Programs are executed and labelled by the real kernels; what the language model
writes and what the probes answer is drawn at random, with probabilities that
rise over the training. Before `babbling` steps the model writes one statement
and too little of its own to be probed. Controls answer at every step as well as
`CONTROL_SKILL` says, those with shuffled labels always the most frequent one.
"""

from __future__ import annotations

import csv
import math
from itertools import product
from pathlib import Path

import numpy as np

from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.languages.karel import codes, features
from progsem.languages.karel.execution import WorldStates, trace
from progsem.languages.karel.permutations import meaning
from progsem.languages.labels import majority_label, spans
from progsem.measures.tables import TABLES
from progsem.sparse.stage import PROPERTIES, SCORES
from progsem.storage.files import write_csv, write_json, write_table
from progsem.study.config import Study, load
from progsem.study.vocabulary import COMPARED, DECODERS, EDIT_CONTROLS, EDIT_SOURCES, PRETRAINED

DEPTH_SKILL = {"linear": 0.35, "mlp1": 0.7, "mlp2": 0.8}
CONTROL_SKILL = {"counts": 0.1, "prefix": 0.25, "start": 0.0, "text": 0.3, "embedding": 0.05}
SOURCES = ("generated", "forced")
ACCURACY = (
    "semantics source offset feature depth seed n_train n_validation n_test classes chosen_step validation_accuracy "
    "test_accuracy majority_accuracy"
).split()


def small_study(**sections) -> Study:
    """A study of a few checkpoints; keyword arguments replace keys of sections."""
    raw = {
        "study": "synthetic",
        "programs": {"train_length": [2, 6], "test_length": [1, 6]},
        "corpus": {"train": 3000, "validation": 100, "test": 400},
        "lm": {
            "steps": 1200,
            "checkpoint_every": 200,
            "extra_checkpoints": [],
            "decay_steps": 1200,
            "warmup_steps": 10,
            "seeds": [0],
        },
        "traces": {"train": 100, "validation": 100, "test": 400},
        "probes": {"layer": "mean", "offset_checkpoints": "every", "seeds": 2},
        "interventions": {"checkpoints": "every"},
        "statistics": {"resamples": 200},
    }
    for name, keys in sections.items():
        raw[name] = {**raw.get(name, {}), **keys}
    return load(raw)


def sample_programs(rng: np.random.Generator, count: int, lengths: tuple[int, int], width: int) -> np.ndarray:
    """Straight-line programs (count, width) uint8, filled up with PAD."""
    programs = rng.choice(5, size=(count, width), p=np.array([2, 2, 3, 3, 5]) / 15).astype(np.uint8)
    length = rng.integers(lengths[0], lengths[1] + 1, size=count)
    programs[np.arange(width) >= length[:, None]] = codes.PAD
    return programs


def sample_worlds(rng: np.random.Generator, count: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells (count, H, W) and poses (count, 3)."""
    draw = rng.random((count, height, width))
    cells = np.where(draw < 0.1, codes.WALL, np.where(draw < 0.2, 1, 0)).astype(np.uint8)
    poses = np.stack([rng.integers(0, n, count) for n in (height, width, 4)], axis=1).astype(np.uint8)
    cells[np.arange(count), poses[:, 0], poses[:, 1]] = 0
    return cells, poses


def skill(study: Study, step: int) -> float:
    """How far the training is: 0 to 1, rising around the middle."""
    return 1 / (1 + math.exp(-14 * (step / study.lm.steps - 0.55)))


def write_results(folder: Path, study: Study, *, babbling: int = 0, gap: float = 0.1, seed: int = 0) -> Job:
    """Write all inputs of the stage `statistics` below `folder`; returns its job.

    `gap` is how much less skilled probes of alternative semantics are at the end.
    """
    rng = np.random.default_rng(seed)
    height, width = study.worlds.height, study.worlds.width
    pairs = LANGUAGE.config.mirror_pairs(study)[: study.interventions.permutations]
    test, longest = study.traces.test, max(study.programs.train_length[1], study.programs.test_length[1])
    reference = sample_programs(rng, test, study.programs.test_length, longest)
    cells, poses = sample_worlds(rng, test, height, width)
    train = sample_programs(rng, study.corpus.train, study.programs.train_length, longest)
    shards = [folder / "corpus" / f"{index:05d}.arrow" for index in range(2)]
    for path, programs in zip(shards, np.array_split(train, 2), strict=True):
        write_table(path, {"program": programs}, {"height": height, "width": width, "worlds": 5, "examples": 2})
    lists = "programs predictions accuracy metrics manifests generalisation".split()
    lists += "counterfactuals edits readings proposals".split()
    lists += [f"controls_{name}" for name in ("predictions", "accuracy", "description")]
    lists += [f"transcoders_{name}" for name in ("scores", "properties", "activations")]
    inputs = {"corpus": shards} | {name: [] for name in lists}
    steps = study.lm.every_step()
    for lm_seed in study.lm.seeds:
        for step in steps:
            place = folder / f"seed-{lm_seed}" / f"step-{step:06d}"
            inputs["metrics"].append(_metrics(place / "metrics.csv", study, step))
            generated = _generate(rng, study, reference, step, babbling)
            inputs["programs"].append(
                _programs(place / "programs.arrow", rng, study, lm_seed, step, reference, generated, cells, poses)
            )
            for stage, seconds in (("train", 10.0), ("traces", 2.5)):
                inputs["manifests"].append(place / f"{stage}.json")
                counted = {"notes": {"parameters": 300_000}} if stage == "train" else {}
                write_json(inputs["manifests"][-1], {"stage": stage, "seconds": seconds} | counted)
            asked, matched = study.interventions, study.interventions.difficulty_matched
            semantics = [({"original": {}}, [0])]
            if len(study.probes.offsets) > 1 and step in study.lm.chosen(study.probes.offset_checkpoints):
                semantics.append(({"original": {}}, [offset for offset in study.probes.offsets if offset != 0]))
            semantics += [
                ({name: mapping}, asked.offsets)
                for name, mapping in asked.alternatives.items()
                if name == matched or step in study.lm.chosen(asked.checkpoints)
            ]
            if step == steps[-1]:
                semantics += [({name: meaning(name) for pair in pairs for name in pair}, [0])] if pairs else []
            for meanings, offsets in semantics:
                worse = 0.0 if "original" in meanings else gap * skill(study, step)
                here = place / (next(iter(meanings)) if 0 in offsets else "offsets")
                paths = here / "predictions.arrow", here / "accuracy.csv"
                _predictions(
                    *paths,
                    rng,
                    study,
                    lm_seed,
                    step,
                    meanings,
                    offsets,
                    (generated, reference),
                    cells,
                    poses,
                    babbling,
                    worse,
                )
                inputs["predictions"].append(paths[0])
                inputs["accuracy"].append(paths[1])
            if study.controls.kinds and step in study.lm.chosen(study.controls.checkpoints):
                paths = [
                    place / "controls" / name for name in ("predictions.arrow", "accuracy.csv", "description.arrow")
                ]
                _controls(*paths[:2], rng, study, lm_seed, step, (generated, reference), cells, poses, babbling)
                _description(paths[2], rng, study, lm_seed, step, (generated, reference), babbling)
                for name, path in zip(("predictions", "accuracy", "description"), paths, strict=True):
                    inputs[f"controls_{name}"].append(path)
            if step in study.transcoders.steps_of(study.lm):
                for name, path in _transcoders(place / "transcoders", rng, study, lm_seed, step).items():
                    inputs[f"transcoders_{name}"].append(path)
            for name in _edited(study, step):
                counterfactuals = _counterfactuals(study, name)
                tables = {
                    "counterfactuals": (counterfactuals, {"features": list(study.probes.features)}),
                    "edits": _edits(rng, study, step, name, counterfactuals),
                    "readings": _readings(rng, study, step),
                }
                about = {"semantics": name, "step": step, "seed": lm_seed}
                for file, (columns, more) in tables.items():
                    inputs[file].append(place / "edits" / name / f"{file}.arrow")
                    write_table(inputs[file][-1], columns, about | more)
            if step in study.synthesis.steps(study.lm):
                about = {"seed": lm_seed, "step": step}
                inputs["proposals"].append(place / "proposals.arrow")
                write_table(inputs["proposals"][-1], *_proposals(rng, study, skill(study, step), about))
        if study.generalisation.sets:
            inputs["generalisation"].append(folder / f"seed-{lm_seed}" / "generalisation.arrow")
            _generalisation(inputs["generalisation"][-1], rng, study, lm_seed)
    if study.synthesis.plain:
        inputs["proposals"].append(folder / "proposals.arrow")
        write_table(inputs["proposals"][-1], *_proposals(rng, study, 0.3, {}))
    if study.lm.pretrained:
        inputs["proposals"].append(folder / "pretrained.arrow")
        write_table(inputs["proposals"][-1], *_proposals(rng, study, 0.5, {"seed": PRETRAINED, "step": None}))
    config = study.model_dump(mode="json")
    sections = "study lm traces probes interventions controls edits transcoders generalisation synthesis".split()
    sections += "statistics worlds programs corpus".split()
    output = folder / "statistics"
    files = {name: [output / f"{name}.csv"] for name in TABLES}
    files |= {name: [output / f"{name}.json"] for name in ("summary", "gallery", "viewer", "manifest")}
    frozen = {name: config[name] for name in sections}
    frozen |= {"figures": {"gallery": study.figures.gallery}, "permutations": [list(pair) for pair in pairs]}
    frozen |= {"pretrained": bool(study.lm.pretrained)}
    return Job("statistics", frozen, inputs, files)


def _transcoders(folder: Path, rng, study: Study, lm_seed: int, step: int) -> dict[str, Path]:
    """scores.csv, properties.csv and activations.arrow of one checkpoint: features get better over the training."""
    scored, detailed = [], []
    for layer in range(1, study.lm.layers + 1):
        for kind in ("neurons", *study.transcoders.kinds, "probe"):
            for semantics in ("original", *study.interventions.matched):
                where = {"layer": layer, "kind": kind, "semantics": semantics}
                better = 0.3 + 0.5 * skill(study, step) - 0.1 * (semantics != "original")
                coverage, reconstruction = (min(1.0, better + rng.normal(0, 0.02)) for _ in range(2))
                scored.append(where | {"coverage": coverage, "reconstruction": reconstruction})
                scored[-1] |= {"features": 64, "precise": 7, "always": 0.3}
                if kind == "probe":
                    continue
                if kind != "neurons":
                    scored[-1] |= {
                        "variance": 0.9,
                        "rise": 0.01 * layer,
                        "rise_by_mean": 0.2,
                        "active": 16.0,
                        "dead": 0.1,
                    }
                asked = {"feature": "facing", "head": "heading", "value": 2, "unit": 5, "threshold": 0.3}
                detailed.append(
                    where | asked | {"f1": coverage, "train_f1": coverage, "precision": 0.97, "always": 0.4}
                )
    paths = {"scores": folder / "scores.csv", "properties": folder / "properties.csv"}
    for (name, path), rows in zip(paths.items(), (scored, detailed), strict=True):
        columns = {"scores": SCORES, "properties": PROPERTIES}[name]
        write_csv(path, columns, [[row.get(column) for column in columns] for row in rows])
    paths["activations"] = folder / "activations.arrow"
    layers = np.repeat(np.arange(1, study.lm.layers + 1, dtype=np.int8), study.traces.test)
    test = np.tile(np.arange(study.traces.test, dtype=np.int32), study.lm.layers)
    columns = {"layer": layers, "kind": np.zeros(len(test), np.int8)}
    columns |= {"program": test, "statement": np.zeros(len(test), np.int16)}
    about = {"step": step, "seed": lm_seed, "kinds": list(study.transcoders.kinds)}
    write_table(paths["activations"], columns | {"activation": rng.random((len(test), 1)).astype(np.float16)}, about)
    return paths


def figures_job(statistics: Job, folder: Path, title: str = "", variants: dict[str, Job] | None = None) -> Job:
    """The job that draws what `statistics` wrote, and the same of variants by name."""
    names, variants = (*TABLES, "summary", "gallery", "viewer"), variants or {}
    frozen = {name: statistics.slice[name] for name in ("study", "worlds", "programs", "corpus", "lm")}
    frozen |= {"figures": {"title": title, "gallery": 4, "dpi": 100}}
    frozen |= {"variants": [[name, name] for name in variants]} if variants else {}
    inputs = {name: statistics.outputs[name] for name in names}
    inputs["playground"] = [statistics.output("summary").with_name("playground.html")]
    inputs["playground"][0].parent.mkdir(parents=True, exist_ok=True)
    inputs["playground"][0].write_text("<!doctype html><title>no model</title>", encoding="utf-8")
    for name in ("summary", *COMPARED):
        inputs |= {f"variants_{name}": [one.output(name) for one in variants.values()]} if variants else {}
    return Job("figures", frozen, inputs, {"directory": [folder]})


def _generate(rng, study: Study, reference: np.ndarray, step: int, babbling: int) -> np.ndarray:
    """What the model writes: one statement, then random programs, then more and more of the reference."""
    generated = np.full((len(reference), reference.shape[1] + 2), codes.PAD, np.uint8)
    if step < babbling:
        generated[:, 0] = codes.MOVE
        return generated
    generated[:, :-2] = sample_programs(rng, len(reference), (1, 3), reference.shape[1])
    solved = rng.random(len(reference)) < 0.95 * skill(study, step)
    generated[solved, :-2] = reference[solved]
    return generated


def _metrics(path: Path, study: Study, step: int) -> Path:
    """One interval's metrics.csv; tokens and programs since the row before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    every = max(study.lm.checkpoint_every // 4, 1)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow("step tokens programs loss learning_rate gradient_norm".split())
        for at in range(step - study.lm.checkpoint_every + every, step + 1, every) if step else ():
            loss = 0.5 + 1.5 * math.exp(-4 * at / study.lm.steps)
            writer.writerow([at, 70 * 32 * every, 32 * every, round(loss, 6), 1e-3, 0.7])
    return path


def _programs(path, rng, study, lm_seed, step, reference, generated, cells, poses) -> Path:
    """programs.arrow: training rows, which repeat test rows, then the test rows."""
    count = len(reference)
    others = np.arange(study.traces.train) % count
    split = np.r_[np.zeros(len(others), np.int8), np.full(count, 2, np.int8)]
    padded = np.full_like(generated, codes.PAD)
    padded[:, : reference.shape[1]] = reference
    correct = (padded == generated).all(axis=1)
    tokens = [((programs < 5).sum(axis=1) + 1).astype(np.int16) for programs in (generated, reference)]
    surprise = 0.5 + 1.2 * (1 - skill(study, step))

    def with_others(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[others], values])

    columns = {
        "reference": reference,
        "generated": generated,
        "generated_finished": np.ones(count, bool),
        "correct_shown": correct,
        "correct_all": correct & (rng.random(count) < 0.97),
        "generated_log_likelihood": (-tokens[0] * surprise * 0.4).astype(np.float32),
        "reference_log_likelihood": (-tokens[1] * surprise).astype(np.float32),
        "generated_tokens": tokens[0],
        "reference_tokens": tokens[1],
        "unconstrained_parses": rng.random(count) < 0.2 + 0.8 * skill(study, step),
        "unconstrained_correct": correct & (rng.random(count) < 0.98),
        "cells": cells.reshape(count, -1),
        "poses": poses,
    }
    rows = np.r_[np.arange(len(others)), np.arange(count)].astype(np.int32)
    about = {"height": cells.shape[1], "width": cells.shape[2], "worlds": 1, "step": step, "seed": lm_seed, "layers": 3}
    table = {"split": split, "row": rows} | {name: with_others(values) for name, values in columns.items()}
    write_table(path, table, about)
    return path


def _predictions(
    path, table, rng, study, lm_seed, step, meanings, offsets, programs, cells, poses, babbling, worse
) -> None:
    """predictions.arrow and accuracy.csv of one checkpoint and some semantics."""
    parts, accuracies = [], []
    for number, (name, mapping) in enumerate(meanings.items()):
        for source, offset in product(_probed(study, step, babbling), offsets):
            states, labels = _states(study, source, programs, cells, poses, mapping, offset)
            if len(labels) < 20:
                continue
            # Programs differ in how hard they are: the states of one are alike, as in reality.
            hard = rng.normal(0, 0.15, study.traces.test)[states["program"] - study.traces.train]
            chances = {
                depth: (0.1 + 0.9 * skill(study, step)) * DEPTH_SKILL[depth] - worse - 0.12 * abs(offset) + hard
                for depth in study.probes.depths
            }
            answers, rows = _answers(rng, study, labels, chances, [name, source, offset])
            parts.append({"semantics": np.full(len(labels), number, np.int16)} | states | answers)
            accuracies += rows
    about = {"semantics": list(meanings), "offsets": list(offsets), "step": step, "seed": lm_seed}
    _write(path, parts, study, about, {"semantics": np.int16})
    _write_accuracies(table, ACCURACY, accuracies)


def _controls(path, table, rng, study, lm_seed, step, programs, cells, poses, babbling) -> None:
    """predictions.arrow and accuracy.csv of the controls."""
    skills = {name: CONTROL_SKILL[name] for name in CONTROL_SKILL if name in study.controls.kinds}
    if "layers" in study.controls.kinds:
        skills |= {f"layer_{layer}": 0.1 * (layer + 1) for layer in range(study.lm.layers + 1)}
        skills |= {"mean": 0.25} if study.probes.layer != "mean" else {}
    if "shuffled" in study.controls.kinds:
        skills["shuffled"] = -1
    parts, accuracies = [], []
    for number, (name, share) in enumerate(skills.items()):
        for source in _probed(study, step, babbling):
            states, labels = _states(study, source, programs, cells, poses, {}, 0)
            if name == "shuffled":
                labels = _shuffled(rng, programs[SOURCES.index(source)], states, labels, study)
            chances = {depth: np.full(len(labels), share) for depth in study.probes.depths}
            answers, rows = _answers(rng, study, labels, chances, ["original", source, 0])
            parts.append({"control": np.full(len(labels), number, np.int8)} | states | answers)
            accuracies += [[name, *row] for row in rows]
    about = {"controls": list(skills), "semantics": "original", "step": step, "seed": lm_seed}
    _write(path, parts, study, about, {"control": np.int8})
    _write_accuracies(table, ["control", *ACCURACY], accuracies)


def _description(path, rng, study, lm_seed, step, programs, babbling) -> None:
    """description.arrow: a tenth of the training states in the uniform code, the others cheaper by skill and depth."""
    heads = features.heads(study.probes.features, study.worlds.model_dump())
    uniform = {
        feature: float(sum(np.log2(head.classes) for head in heads[span])) for feature, span in spans(heads).items()
    }
    shape = (len(study.probes.depths), study.probes.seeds)
    portions, parts = {}, []
    for source in _probed(study, step, babbling) if "description_length" in study.controls.kinds else ():
        of_test = (programs[SOURCES.index(source)] < 5).sum(axis=1)
        length = of_test[np.arange(study.traces.train) % len(of_test)]
        program = rng.permutation(np.repeat(np.arange(study.traces.train), length))
        portions[source] = [len(program) // 10, len(program)]
        block = (np.arange(len(program)) >= portions[source][0]).astype(np.int16)
        columns = {
            "source": np.full(len(program), SOURCES.index(source), np.int8),
            "program": program.astype(np.int32),
            "block": block,
        }
        share = 1 - 0.8 * skill(study, step) * np.array([DEPTH_SKILL[depth] for depth in study.probes.depths])
        for feature, bits in uniform.items():
            noise = rng.uniform(0.8, 1.2, (len(program), *shape))
            coded = np.where((block == 0)[:, None, None], bits, bits * share[:, None] * noise)
            columns[f"bits_{feature}"] = coded.astype(np.float32).reshape(len(program), -1)
        parts.append(columns)
    if not parts:
        empty = {"source": np.int8, "program": np.int32, "block": np.int16}
        columns = {name: np.zeros(0, dtype) for name, dtype in empty.items()}
        parts = [columns | {f"bits_{feature}": np.zeros((0, np.prod(shape)), np.float32) for feature in uniform}]
    about = _about(study, heads) | {"uniform": uniform, "portions": portions, "step": step, "seed": lm_seed}
    write_table(path, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, about)


def _edited(study: Study, step: int) -> list[str]:
    """Semantics under which a checkpoint is edited."""
    names = ["original", *study.interventions.matched] if step in study.edits.steps(study.lm) else []
    pairs = LANGUAGE.config.mirror_pairs(study)[: study.edits.permutations] if names and step == study.lm.steps else []
    return names + [name for pair in pairs for name in pair]


def edit_effect(study: Study, step: int, semantics: str, edit: str, control: str, source: str) -> float:
    """Mean effect of an edit: what is learned for the original does most, its controls and linear probes little."""
    full = skill(study, step)
    if control != "none" or edit == "none":
        return 0.0
    if edit in ("target", "full") and source == "target":
        return full
    if edit.startswith("learned"):
        return full * (0.8 if semantics == "original" else 0.3)
    return 0.1 * full


def _counterfactuals(study: Study, semantics: str) -> dict[str, np.ndarray]:
    """Columns of counterfactuals.arrow: 60 pairs a feature, of two statements, the same at every checkpoint."""
    rng, count = np.random.default_rng(len(semantics)), 60
    features_ = np.repeat([list(study.probes.features).index(name) for name in study.edits.features], count)
    beginnings = np.full((3, len(features_), 6), codes.PAD, np.uint8)
    beginnings[:, :, 1] = rng.integers(0, 5, len(features_))
    beginnings[:, :, 0] = (rng.integers(0, 5, len(features_)) + np.arange(3)[:, None]) % 5
    program = np.stack([np.sort(rng.permutation(study.traces.test)[:count]) for _ in study.edits.features])
    return {
        "feature": features_.astype(np.int8),
        "pair": np.tile(np.arange(count, dtype=np.int32), len(study.edits.features)),
        "program": program.reshape(-1).astype(np.int32),
        "donor_program": rng.integers(0, study.traces.test, len(features_)).astype(np.int32),
        "length": np.full(len(features_), 2, np.int8),
        **dict(zip(("base", "target", "donor"), beginnings, strict=True)),
    }


def _edits(rng, study, step, semantics, pairs) -> tuple[dict, dict]:
    """Columns and metadata of edits.arrow, of `_counterfactuals`: apart but at the first checkpoint.

    Behind the base a `move` is written, and `turn_left` behind the target and where an edit has moved the model.
    """
    depths, features_ = list(study.probes.depths), list(study.probes.features)
    learned = [f"learned_{dimension}" for dimension in study.edits.dimensions]
    names = ["none", "target", "full", "weights", "pattern", "means", *learned, *(f"set_{depth}" for depth in depths)]
    cases = [("none", "none", "target", 0), ("target", "none", "target", 0)]
    for layer in study.edits.layers or range(1, study.lm.layers + 1):
        for name in names[2:]:
            cases += [
                (name, "none", source, layer) for source in EDIT_SOURCES if name[:3] != "set" or source == "target"
            ]
            cases.append((name, "random", "target", layer))
    parts = []
    for feature in map(features_.index, study.edits.features):
        of_feature = {name: values[pairs["feature"] == feature] for name, values in pairs.items()}
        count = len(of_feature["pair"])
        apart = np.full(count, 0.05 if step == 0 else 0.6, np.float32)
        tops = rng.integers(0, 5, (2, count)).astype(np.uint8)
        for case in cases:
            effect = edit_effect(study, step, semantics, *case[:3]) + rng.normal(0, 0.05, count)
            moved, right = rng.random(count) < effect, rng.random(count) < 0.5
            numbers = {
                "feature": feature,
                "edit": names.index(case[0]),
                "control": EDIT_CONTROLS.index(case[1]),
                "source": EDIT_SOURCES.index(case[2]),
                "layer": case[3],
            }
            read = np.repeat(moved[:, None], len(depths), axis=1)
            written = of_feature["target" if case[0] == "target" else "base"].copy()
            written[:, 2] = np.where(moved, codes.LEFT, codes.MOVE)
            parts.append(
                {name: np.full(count, value, np.int8) for name, value in numbers.items()}
                | {name: of_feature[name] for name in ("pair", "program", "length")}
                | {
                    "distance_base": apart,
                    "distance": (apart * (1 - effect)).clip(0, 1).astype(np.float32),
                    "norm": np.full(count, 0.3 * (case[3] > 0), np.float32),
                    "top_base": tops[0],
                    "top_target": tops[1],
                    "top": np.where(moved, tops[1], tops[0]),
                    "written": written,
                    "ends_target": moved & right,
                    "ends_base": ~moved & right,
                    "target_here": read,
                    "target_last": read,
                    "kept_here": ~read | right[:, None],
                    "kept_last": ~read | right[:, None],
                }
            )
    about = {"depths": depths, "features": features_}
    about |= {"edits": names, "controls": list(EDIT_CONTROLS), "sources": list(EDIT_SOURCES)}
    about |= {"pairs": {name: [60, 60] for name in study.edits.features}}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, about


def _readings(rng, study, step) -> tuple[dict, dict]:
    """Columns and metadata of readings.arrow: a state a test program, read better in later blocks."""
    depths, layers = list(study.probes.depths), list(range(1, study.lm.layers + 1))
    test = study.traces.test
    layer = np.repeat(np.array(layers, np.int8), test)
    columns = {
        "layer": layer,
        "program": np.tile(np.arange(test, dtype=np.int32), len(layers)),
        "statement": np.zeros(len(layer), np.int16),
        "final": np.zeros(len(layer), bool),
    }
    for feature in study.probes.features:
        chance = 0.4 + 0.5 * skill(study, step) * layer[:, None] / len(layers)
        columns[f"right_{feature}"] = rng.random((len(layer), len(depths))) < chance
        columns[f"majority_{feature}"] = np.tile(rng.random(test) < 0.3, len(layers))
    return columns, {"depths": depths, "features": list(study.probes.features)}


def _proposals(rng, study, chance: float, about: dict) -> tuple[dict, dict]:
    """Columns and metadata of proposals.arrow: of each specification, so large a share of proposals is right.

    Without the grammar it is half of that. What comes in an order has its first right one at a place drawn likewise.
    """
    asked, count = study.synthesis, study.synthesis.test
    names = [name for name in asked.writers if (name in DECODERS) == ("seed" in about)]
    writers = []
    for grammar in {PRETRAINED: (False,), None: (True,)}.get(about.get("seed"), asked.grammar):
        for name in names:
            values = {"temperature": asked.temperatures, "top_p": asked.top_p, "beam": asked.budgets}.get(name, (None,))
            independent = name not in ("greedy", "beam", "enumeration")
            named = {"name": name, "grammar": grammar, "independent": independent}
            writers += [named | {"value": value} for value in values]
    parts = []
    for number, writer in enumerate(writers):
        share = chance if writer["grammar"] else chance / 2
        total = {"greedy": 1, "beam": writer["value"]}.get(writer["name"], asked.samples)
        first = rng.geometric(share, count)
        right = rng.binomial(total, share, count) if writer["independent"] else (first <= total).astype(int)
        for column, here in ((True, right), (False, total - right)):
            rows = np.flatnonzero(here)
            parts.append(
                {
                    "writer": np.full(len(rows), number, np.int8),
                    "program": rows.astype(np.int32),
                    "first": np.full(len(rows), 0 if column else 1, np.int32),
                    "count": here[rows].astype(np.int32),
                    "whole": np.full(len(rows), column or writer["grammar"]),
                    "shown": np.full(len(rows), column),
                    "held_out": np.full(len(rows), column) & (rng.random(len(rows)) < 0.8),
                    "statements": rng.integers(2, 5, len(rows)).astype(np.int16),
                }
            )
    about |= {"writers": writers, "test": count, "proposals": asked.samples, "references": [3] * count}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, about


def _generalisation(path, rng, study, lm_seed) -> None:
    """The sets' programs: of those as short as in training nine in ten are solved, of longer ones half."""
    sets = {name: study.varied(new) for name, new in sorted(study.generalisation.sets.items())}
    count, width = study.generalisation.test, max(length[1] for _, length in sets.values())
    parts = []
    for number, (_, lengths) in enumerate(sets.values()):
        reference = sample_programs(np.random.default_rng(number), count, lengths, width)  # for every LM seed
        familiar = (reference < 5).sum(axis=1) <= study.programs.train_length[1]
        solved = rng.random(count) < np.where(familiar, 0.9, 0.5)
        generated = np.full((count, width + 2), codes.PAD, np.uint8)
        generated[:, :width] = reference
        generated[~solved, 0] = (generated[~solved, 0] + 1) % 5
        strict, free = solved & (rng.random(count) < 0.9), rng.random(count) < 0.8
        parts.append(
            {
                "set": np.full(count, number, np.int8),
                "reference": reference,
                "generated": generated,
                "generated_finished": np.ones(count, bool),
                "correct_shown": solved,
                "correct_all": strict,
                "unconstrained_parses": free,
                "unconstrained_correct": free & solved,
            }
        )
    shapes = {
        name: {"length": list(length), "height": worlds.height, "width": worlds.width}
        for name, (worlds, length) in sets.items()
    }
    about = {"sets": list(sets), "shapes": shapes, "seed": lm_seed, "step": study.lm.steps}
    write_table(path, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, about)


def _probed(study: Study, step: int, babbling: int) -> list[str]:
    """Sources that have enough states to be probed."""
    return [source for source in SOURCES if source in study.probes.sources and (source == "forced" or step >= babbling)]


def _states(study, source, programs, cells, poses, mapping, offset) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns that say which test states these are, and their labels (N, heads)."""
    program, probes = programs[SOURCES.index(source)], study.probes
    run = trace(program, WorldStates(cells, poses), 1000, codes.semantics(mapping))
    length = run.actions
    index, statement = np.nonzero(np.arange(program.shape[1]) < length[:, None])
    final = statement == length[index] - 1
    keep = (statement + offset >= 0) & (statement + offset < length[index])
    if probes.drop_final:
        keep &= ~final
    index, statement, final = index[keep], statement[keep], final[keep]
    columns = {
        "source": np.full(len(index), SOURCES.index(source), np.int8),
        "offset": np.full(len(index), offset, np.int8),
        "program": (index + study.traces.train).astype(np.int32),
        "statement": statement.astype(np.int16),
        "final": final,
    }
    return columns, features.labels(probes.features, run.states(index, statement + offset))


def _shuffled(rng, program, states, labels, study) -> np.ndarray:
    """Control labels: every prefix of statements has the label row of some state."""
    rows = {}
    for number, statement in zip(states["program"] - study.traces.train, states["statement"], strict=True):
        rows.setdefault(program[number, : statement + 1].tobytes(), len(rows))
    drawn = labels[rng.integers(0, len(labels), len(rows))]
    keys = zip(states["program"] - study.traces.train, states["statement"], strict=True)
    return drawn[[rows[program[number, : statement + 1].tobytes()] for number, statement in keys]]


def _answers(rng, study, labels, chances, key) -> tuple[dict[str, np.ndarray], list[list]]:
    """Columns of labels and answers, and rows of accuracy.csv; `chances` (N,) by depth, of knowing the label."""
    heads = features.heads(study.probes.features, study.worlds.model_dump())
    columns, rows = {}, []
    seeds = study.probes.seeds
    for feature, span in spans(heads).items():
        label, count = labels[:, span], span.stop - span.start
        most = majority_label(label)
        answers = np.empty((len(labels), len(chances), seeds, count), np.uint8)
        for d, chance in enumerate(chances.values()):
            knows = rng.random((len(labels), seeds)) < chance[:, None]
            answers[:, d] = np.where(knows[..., None], label[:, None], most)
        columns[f"label_{feature}"] = label
        columns[f"majority_{feature}"] = (label == most).all(axis=1)
        columns[f"predicted_{feature}"] = answers.reshape(len(labels), -1)
        confidence = rng.uniform(0.3, 1, (len(labels), len(chances) * seeds))
        columns[f"confidence_{feature}"] = confidence.astype(np.float16)
        for d, depth in enumerate(chances):
            for s in range(seeds):
                right = (answers[:, d, s] == label).all(axis=1).mean()
                majority = columns[f"majority_{feature}"].mean()
                rows.append([*key, feature, depth, s, 5000, 500, len(labels), 4, 600, right, right, majority])
    return columns, rows


def _about(study, heads) -> dict:
    """Metadata that all predictions have."""
    return {
        "depths": list(study.probes.depths),
        "seeds": study.probes.seeds,
        "features": {
            feature: {"heads": span.stop - span.start, "classes": [head.classes for head in heads[span]]}
            for feature, span in spans(heads).items()
        },
    }


def _write(path, parts, study, about, more=None) -> None:
    """A predictions.arrow, with columns but no rows where there are no parts; `more` names further columns."""
    heads = features.heads(study.probes.features, study.worlds.model_dump())
    if not parts:
        types = (more or {}) | {
            "source": np.int8,
            "offset": np.int8,
            "program": np.int32,
            "statement": np.int16,
            "final": bool,
        }
        columns = {name: np.zeros(0, dtype) for name, dtype in types.items()}
        probes = len(study.probes.depths) * study.probes.seeds
        for feature, span in spans(heads).items():
            count = span.stop - span.start
            columns[f"label_{feature}"] = np.zeros((0, count), np.uint8)
            columns[f"majority_{feature}"] = np.zeros(0, bool)
            columns[f"predicted_{feature}"] = np.zeros((0, probes * count), np.uint8)
            columns[f"confidence_{feature}"] = np.zeros((0, probes), np.float16)
        parts = [columns]
    merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    write_table(path, merged, _about(study, heads) | about)


def _write_accuracies(path, columns, rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows(rows)


def table(job: Job, name: str) -> list[dict[str, str]]:
    """The rows of a table that a job has written."""
    with open(job.output(name), newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def only(rows: list[dict[str, str]], **where) -> dict[str, str]:
    """The one row in which every named column has that value."""
    (row,) = (row for row in rows if all(row[key] == str(value) for key, value in where.items()))
    return row
