"""Results of a study that never ran: files as the earlier stages write them, with known regularities.

Programs are executed and labelled by the real kernels; what the language model
writes and what the probes answer is drawn at random, with probabilities that
rise over the training. Before `babbling` steps the model writes one statement
and too little of its own to be probed.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from progsem import features
from progsem.artifacts import write_json, write_table
from progsem.config import Study, load
from progsem.job import Job
from progsem.karel import codes, kernels

DEPTH_SKILL = {"linear": 0.35, "mlp1": 0.7, "mlp2": 0.8}
TABLES = ("checkpoints", "probes", "alternatives", "regression", "offsets", "lengths", "training")


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
        },
        "traces": {"train": 100, "validation": 100, "test": 400},
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
    test, longest = study.traces.test, max(study.programs.train_length[1], study.programs.test_length[1])
    reference = sample_programs(rng, test, study.programs.test_length, longest)
    cells, poses = sample_worlds(rng, test, height, width)
    train = sample_programs(rng, study.corpus.train, study.programs.train_length, longest)
    shards = [folder / "corpus" / f"{index:05d}.arrow" for index in range(2)]
    for path, programs in zip(shards, np.array_split(train, 2), strict=True):
        write_table(path, {"program": programs}, {"height": height, "width": width, "worlds": 5, "examples": 2})
    inputs = {"programs": [], "predictions": [], "accuracy": [], "metrics": [], "manifests": [], "corpus": shards}
    for lm_seed in study.lm.seeds:
        for step in study.lm.checkpoints():
            place = folder / f"seed-{lm_seed}" / f"step-{step:06d}"
            inputs["metrics"].append(_metrics(place / "metrics.csv", study, step))
            generated = _generate(rng, study, reference, step, babbling)
            inputs["programs"].append(
                _programs(place / "programs.arrow", rng, study, lm_seed, step, reference, generated, cells, poses)
            )
            for stage, seconds in (("train", 10.0), ("traces", 2.5)):
                inputs["manifests"].append(place / f"{stage}.json")
                write_json(inputs["manifests"][-1], {"stage": stage, "seconds": seconds})
            for name, mapping in {"original": {}, **study.interventions.alternatives}.items():
                worse = 0.0 if name == "original" else gap * skill(study, step)
                paths = place / name / "predictions.arrow", place / name / "accuracy.csv"
                _predictions(
                    *paths,
                    rng,
                    study,
                    lm_seed,
                    step,
                    name,
                    mapping,
                    (generated, reference),
                    cells,
                    poses,
                    babbling,
                    worse,
                )
                inputs["predictions"].append(paths[0])
                inputs["accuracy"].append(paths[1])
    config = study.model_dump(mode="json")
    sections = ("study", "lm", "traces", "probes", "interventions", "statistics", "worlds", "programs", "corpus")
    output = folder / "statistics"
    files = {name: [output / f"{name}.csv"] for name in TABLES}
    files |= {name: [output / f"{name}.json"] for name in ("summary", "gallery", "manifest")}
    frozen = {name: config[name] for name in sections} | {"figures": {"gallery": study.figures.gallery}}
    return Job("statistics", frozen, inputs, files)


def figures_job(statistics: Job, folder: Path, title: str = "") -> Job:
    """The job that draws what `statistics` wrote."""
    names = (*TABLES, "summary", "gallery")
    frozen = {"study": statistics.slice["study"], "figures": {"title": title, "gallery": 4, "dpi": 100}}
    return Job("figures", frozen, {name: statistics.outputs[name] for name in names}, {"directory": [folder]})


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
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow("step tokens programs loss learning_rate gradient_norm".split())
        for at in range(step - study.lm.checkpoint_every + every, step + 1, every) if step else ():
            loss = 0.5 + 1.5 * math.exp(-4 * at / study.lm.steps)
            writer.writerow([at, 70 * 32 * every, 32 * every, round(loss, 6), 1e-3, 0.7])
    return path


def _programs(path, rng, study, lm_seed, step, reference, generated, cells, poses) -> Path:
    """programs.arrow: 20 training rows that nothing may look at, then the test rows."""
    others, count = 20, len(reference)
    split = np.r_[np.zeros(others, np.int8), np.full(count, 2, np.int8)]
    padded = np.full_like(generated, codes.PAD)
    padded[:, : reference.shape[1]] = reference
    correct = (padded == generated).all(axis=1)
    tokens = [((programs < 5).sum(axis=1) + 1).astype(np.int16) for programs in (generated, reference)]
    surprise = 0.5 + 1.2 * (1 - skill(study, step))

    def with_others(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[:others], values])

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
        "pose": poses,
    }
    rows = np.r_[np.arange(others), np.arange(count)].astype(np.int32)
    about = {"height": cells.shape[1], "width": cells.shape[2], "step": step, "seed": lm_seed, "layers": 3}
    table = {"split": split, "row": rows} | {name: with_others(values) for name, values in columns.items()}
    write_table(path, table, about)
    return path


def _predictions(
    path, table, rng, study, lm_seed, step, name, mapping, programs, cells, poses, babbling, worse
) -> None:
    """predictions.arrow and accuracy.csv of one checkpoint and semantics."""
    probes, test = study.probes, study.traces.test
    depths, seeds = tuple(probes.depths), probes.seeds
    offsets = probes.offsets if name == "original" else (0,)
    heads = features.heads(probes.features, cells.shape[1], cells.shape[2])
    spans = features.spans(heads)
    meanings = codes.semantics(mapping)
    parts, accuracies = [], []
    for source_code, source in enumerate(("generated", "forced")):
        if source not in probes.sources or (source == "generated" and step < babbling):
            continue
        program = programs[source_code]
        trace = kernels.trace(program, cells, poses, meanings, 1000)
        length = (program < 5).sum(axis=1)
        end = trace.poses[np.arange(test), length - 1]
        for offset in offsets:
            index, statement = np.nonzero(np.arange(program.shape[1]) < length[:, None])
            final = statement == length[index] - 1
            keep = (statement + offset >= 0) & (statement + offset < length[index])
            if probes.drop_final:
                keep &= ~final
            index, statement, final = index[keep], statement[keep], final[keep]
            if len(index) < 20:
                continue
            labels = features.labels(
                probes.features, cells[index], poses[index], end[index], trace.poses[index, statement + offset]
            )
            columns = {
                "source": np.full(len(index), source_code, np.int8),
                "offset": np.full(len(index), offset, np.int8),
                "program": (index + 20).astype(np.int32),
                "statement": statement.astype(np.int16),
                "final": final,
            }
            # Programs differ in how hard they are: the states of one are alike, as in reality.
            hard = rng.normal(0, 0.15, test)[index]
            for feature, span in spans.items():
                label, count = labels[:, span], span.stop - span.start
                most = features.majority_label(label)
                answers = np.empty((len(index), len(depths), seeds, count), np.uint8)
                for d, depth in enumerate(depths):
                    chance = (0.1 + 0.9 * skill(study, step)) * DEPTH_SKILL[depth] - worse - 0.12 * abs(offset)
                    knows = rng.random((len(index), seeds)) < (chance + hard)[:, None]
                    answers[:, d] = np.where(knows[..., None], label[:, None], most)
                columns[f"label_{feature}"] = label
                columns[f"majority_{feature}"] = (label == most).all(axis=1)
                columns[f"predicted_{feature}"] = answers.reshape(len(index), -1)
                for d, depth in enumerate(depths):
                    for s in range(seeds):
                        right = (answers[:, d, s] == label).all(axis=1).mean()
                        majority = columns[f"majority_{feature}"].mean()
                        row = [name, source, offset, feature, depth, s, 5000, 500, len(index), 4, 600, right, right]
                        accuracies.append([*row, majority])
            parts.append(columns)
    empty = {"source": np.int8, "offset": np.int8, "program": np.int32, "statement": np.int16, "final": bool}
    if parts:
        merged = {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
    else:
        merged = {column: np.zeros(0, dtype) for column, dtype in empty.items()}
        for feature, span in spans.items():
            count = span.stop - span.start
            merged[f"label_{feature}"] = np.zeros((0, count), np.uint8)
            merged[f"majority_{feature}"] = np.zeros(0, bool)
            merged[f"predicted_{feature}"] = np.zeros((0, len(depths) * seeds * count), np.uint8)
    about = {
        "depths": list(depths),
        "seeds": seeds,
        "features": {
            feature: {"heads": span.stop - span.start, "classes": [head.classes for head in heads[span]]}
            for feature, span in spans.items()
        },
        "semantics": name,
        "step": step,
        "seed": lm_seed,
    }
    write_table(path, merged, about)
    with table.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(
            "semantics source offset feature depth seed n_train n_validation n_test classes chosen_step "
            "validation_accuracy test_accuracy majority_accuracy".split()
        )
        writer.writerows(accuracies)
