"""Stage `playground`: a page on which the study's first language model writes, is read and is edited, in a browser.

The page is `page.html`, beside this module; `page.js` computes the language model, its probes and the edits, and a
language's `playground.js` executes programs. With it go the weights of every checkpoint: the
language model's, those of the probes of the original semantics and of the difficulty-matched alternative, and where
the study has edits the subspaces that were learned.

Weights stand in the page as 24-bit numbers, the high bytes of float32: with half as many, logits would be off by
some hundredths. An architecture other than CodeGen is not computed by the page, which then says so.
"""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from progsem.data.encodings import Encoding
from progsem.editing import subspaces
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.languages.grammar import ILLEGAL, NOTHING
from progsem.lm import model as lm
from progsem.lm.codegen.model import CodeGen
from progsem.plots import pages, style
from progsem.storage.files import load_tensors, read_csv, read_table
from progsem.study.vocabulary import CODEGEN, LAST, LAYER, LEARNED, ORIGINAL, TEST

PAGE = Path(__file__).with_suffix(".html")
ENGINE = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def run(job: Job) -> None:
    """Write the page.

    The slice holds `worlds`, `programs`, `corpus.examples`, `tokens`, `traces.outputs`, `traces.extra_statements`,
    `probes`, `model` (type, layers and width), `meanings` (mappings of statements by the names of the semantics),
    `seed`, `steps`, and those of them that were `edited`. Its title is put in where it is copied (`pages.titled`).
    """
    data = about(job)
    data["checkpoints"] = [checkpoint(job, number, step) for number, step in enumerate(job.slice["steps"])]
    scripts = ENGINE, LANGUAGE.playground.SCRIPT
    job.output("playground").write_text(pages.filled(PAGE, pages.UNTITLED, data, scripts), encoding="utf-8")


def about(job: Job) -> dict:
    """What holds of every checkpoint."""
    programs, recipe = job.section("programs"), job.section("probes")
    encoding = LANGUAGE.text.ENCODINGS[job.section("tokens").encoding]()
    layers, metadata = job.slice["model"]["layers"], LANGUAGE.execution.shape(job.section("worlds"))
    heads = LANGUAGE.features.heads(recipe.features, metadata)
    classes = LANGUAGE.features.classes(recipe.features, metadata)
    return {
        "lm_seed": job.slice["seed"],
        "why_not": why_not(job),
        "layers": layers,
        "layer": f"{LAYER}{layers}" if recipe.layer == LAST else recipe.layer,
        "features": list(recipe.features),
        "heads": [[head.feature, head.name, names] for head, names in zip(heads, classes, strict=True)],
        "depths": {depth: style.DEPTH_NAMES[depth] for depth in recipe.depths},
        "sources": list(recipe.sources),
        "semantics": {ORIGINAL: {}, **job.slice["meanings"]},
        "examples": job.section("corpus").examples,
        "outputs": job.section("traces").outputs,
        "step_limit": programs.step_limit,
        "encoding": spelling(encoding, programs, job.section("traces").extra_statements),
        "language": LANGUAGE.playground.told(job.section("worlds"), programs),
    }


def why_not(job: Job) -> str | None:
    """Why the page cannot run the language model, if so."""
    asked = job.slice["model"]
    if not job.slice["steps"]:
        return f"with {asked['layers']} layers of width {asked['width']} it is too large for a page"
    if not isinstance(the_model(job, 0), CodeGen):
        return f"its architecture is {asked['model_type']}, and a page computes {CODEGEN} only"
    return None


def spelling(encoding: Encoding, programs, extra_statements: int) -> dict:
    """How prompts and programs are spelled, and which code may follow which, as `page.js` asks for it."""
    grammar, spelled = encoding.grammar, encoding.expansions
    ids = {part: [encoding.ids[token] for token in getattr(encoding, part)] for part in ("head", "behind", "begin")}
    words = {code: "".join(encoding.expansion(state, code)).strip(" ;,") for state, code in grammar.legal()}
    return {
        "prompt": ids | {"glyph": encoding.ids[encoding.glyph]},
        "vocabulary": encoding.vocabulary,
        "words": [words.get(code, "") for code in range(grammar.codes)],
        "first": grammar.first,
        "next_state": grammar.next_state.tolist(),
        "pushes": grammar.pushes.tolist(),
        "closes": grammar.closes,
        "illegal": ILLEGAL,
        "nothing": NOTHING,
        "expansions": [
            [spelled.get((state, code)) for code in range(grammar.codes)] for state in range(grammar.states)
        ],
        "statements": LANGUAGE.codes.STATEMENTS,
        "control_flow": programs.control_flow > 0,
        "max_depth": programs.depth,
        "codes": LANGUAGE.codes.most_codes(programs, extra_statements),
        "empty": int(LANGUAGE.text.EMPTY),
    }


def checkpoint(job: Job, number: int, step: int) -> dict:
    """What the page has of one checkpoint: weights by name, and how often each probe is right in test programs."""
    programs, _ = read_table(job.inputs["programs"][number])
    solved = programs["correct_shown"][programs["split"] == TEST]
    tensors, shape = {}, None
    model = the_model(job, number)
    if isinstance(model, CodeGen):
        shape = vars(model.shape)
        tensors |= {name: tensor.float() for name, tensor in model.state_dict().items()}
        of_probes = [paths[number] for name, paths in job.inputs.items() if name.startswith("probes")]
        for path in of_probes:
            tensors |= load_tensors(path)[0]
        tensors |= bases(job, step, model)
    return {
        "step": step,
        "generative_accuracy": float(solved.mean()),
        "n_test": len(solved),
        "shape": shape,
        "right": right(job, number),
        "tensors": [[name, list(tensor.shape)] for name, tensor in tensors.items()],
        "weights": packed(list(tensors.values())),
    }


def the_model(job: Job, number: int):
    """The language model of a checkpoint."""
    return lm.load(job.inputs["weights"][number], job.inputs["configs"][number], torch.device("cpu")).eval()


def bases(job: Job, step: int, model: CodeGen) -> dict[str, Tensor]:
    """Subspaces of edits by `learned.FEATURE.DIMENSION.LAYER`, and by `random.DIMENSION.LAYER` those of their shams."""
    found = {}
    if step in job.slice["edited"]:
        kept, _ = load_tensors(job.inputs["subspaces"][job.slice["edited"].index(step)])
        for name, basis in kept.items():
            feature, edit, layer = name.split(".")
            if edit.startswith(f"{LEARNED}_"):
                found[f"{LEARNED}.{feature}.{edit.removeprefix(f'{LEARNED}_')}.{layer}"] = basis
    dimensions = {1, *(basis.shape[1] for basis in found.values())}
    for layer in range(1, model.layers + 1):
        for dimension in sorted(dimensions):
            drawn = subspaces.random_basis(model.width, dimension, torch.Generator().manual_seed(layer))
            found[f"random.{dimension}.{layer}"] = drawn
    return found


def right(job: Job, number: int) -> dict:
    """By semantics, source, depth and feature: the share of test states that the probe reads right, and how many."""
    found: dict = {}
    for path in [paths[number] for name, paths in job.inputs.items() if name.startswith("accuracy")]:
        for row in read_csv(path):
            if int(row["offset"]) == 0 and int(row["seed"]) == 0:
                at = found
                for key in ("semantics", "source", "depth"):
                    at = at.setdefault(row[key], {})
                at[row["feature"]] = [float(row["test_accuracy"]), int(row["n_test"])]
    return found


def packed(tensors: list[Tensor]) -> str:
    """Numbers of tensors one behind another, three bytes each: the high ones of float32, rounded; as base64."""
    if not tensors:
        return ""
    numbers = np.concatenate([tensor.numpy().reshape(-1) for tensor in tensors]).astype("<f4")
    rounded = np.where(np.isfinite(numbers), numbers.view("<u4") + np.uint32(0x80), numbers.view("<u4"))
    return base64.b64encode(rounded.astype("<u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()).decode()
