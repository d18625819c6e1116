"""Stage `playground`: a page on which the study's first language model writes, is read and is edited, in a browser.

The page is `page.html`, beside this module; `page.js` computes the language model, its probes and the edits, and a
language's `playground.js` executes programs. With it go the weights of every checkpoint: the
language model's, those of the probes of the original semantics and of the difficulty-matched alternative, and where
the study has them those of the probes of single layers and the subspaces that edits have learned.

Weights stand in the page as whole numbers in units of their row's, of 19 bits: with 16, logits
would be off by some thousandths and answers of probes by some hundredths. An architecture other than CodeGen
is not computed by the page, which then says so.
"""

from __future__ import annotations

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
from progsem.study.vocabulary import CODEGEN, LAST, LAYER, LEARNED, MEAN, ORIGINAL, TEST

PAGE = Path(__file__).with_suffix(".html")
ENGINE = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
SIGNS = "".join(chr(code) for code in range(32, 127) if chr(code) not in '"\\<')  # what JSON and HTML leave as it is
CHARACTERS = 3  # a number: 19 bits
HALF = (len(SIGNS) ** CHARACTERS - 1) // 2


def run(job: Job) -> None:
    """Write the page.

    The slice holds `worlds`, `programs`, `corpus.examples`, `tokens`, `traces.outputs`, `traces.extra_statements`,
    `probes`, `model` (type, layers and width), `meanings` (mappings of statements by the names of the semantics),
    `seed`, `steps`, and those of them that were `edited` and that have probes `by_layer`. Its title is put in where it
    is copied (`pages.titled`).
    """
    data = about(job)
    data["checkpoints"] = [checkpoint(job, number, step) for number, step in enumerate(job.slice["steps"])]
    scripts = ENGINE, LANGUAGE.playground.SCRIPT
    job.output("playground").write_text(pages.filled(PAGE, pages.UNTITLED, data, scripts), encoding="utf-8")


def about(job: Job) -> dict:
    """What holds of every checkpoint."""
    programs, recipe = job.section("programs"), job.section("probes")
    encoding = LANGUAGE.text.ENCODINGS[job.section("tokens").encoding]()
    metadata = LANGUAGE.execution.shape(job.section("worlds"))
    heads = LANGUAGE.features.heads(recipe.features, metadata)
    classes = LANGUAGE.features.classes(recipe.features, metadata)
    return {
        "lm_seed": job.slice["seed"],
        "why_not": why_not(job),
        "layers": job.slice["model"]["layers"],
        "layers_read": layers_read(job),
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


def own_layer(job: Job) -> str:
    """The hidden state that the study reads."""
    layer = job.section("probes").layer
    return f"{LAYER}{job.slice['model']['layers']}" if layer == LAST else layer


def layers_read(job: Job) -> list[str]:
    """The hidden state that the study reads, and those that its controls read at some checkpoint."""
    own = own_layer(job)
    others = {name.split(".")[0] for path in job.inputs["probes_by_layer"] for name in load_tensors(path)[0]} - {own}
    return [own, *sorted(others, key=lambda one: (one == MEAN, len(one), one))]


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
    words = {code: bare("".join(encoding.expansion(state, code))) for state, code in grammar.legal()}
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


def bare(text: str) -> str:
    """What a code is spelled as without what belongs to those around it: separators, and one half of a pair."""
    text = text.strip(" ;,")
    unpaired = text.count("(") - text.count(")")
    return text.strip("( ") if unpaired > 0 else text.removesuffix(")") if unpaired < 0 else text


def checkpoint(job: Job, number: int, step: int) -> dict:
    """What the page has of one checkpoint: weights by name, and how often each probe is right in test programs."""
    programs, _ = read_table(job.inputs["programs"][number])
    solved = programs["correct_shown"][programs["split"] == TEST]
    found = {
        "step": step,
        "generative_accuracy": float(solved.mean()),
        "n_test": len(solved),
        "right": right(job, number, step),
    }
    model = the_model(job, number)
    if not isinstance(model, CodeGen):
        return found
    own, read = own_layer(job), {}
    for path in of_probes(job, "probes", number, step):
        # Controls have the study's own layer as well, by probes that are its own once more.
        read |= {name: tensor for name, tensor in load_tensors(path)[0].items() if not name.startswith(f"{own}.")}
    weights = packed(model.state_dict()), packed(read | bases(job, step, model))
    return found | {"shape": vars(model.shape), "weights": weights}


def of_probes(job: Job, name: str, number: int, step: int) -> list[Path]:
    """Files about the probes of a checkpoint: of each semantics, then of single layers where it has them."""
    found = [paths[number] for key, paths in job.inputs.items() if key.removeprefix(f"{name}_").isdigit()]
    layers = job.slice["by_layer"]
    return found + [job.inputs[f"{name}_by_layer"][layers.index(step)] for _ in range(step in layers)]


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


def right(job: Job, number: int, step: int) -> dict:
    """Of each probe the share of test states that it reads right and how many these are.

    By semantics, or the layer that it reads instead of the study's, and by source, depth and feature.
    """
    found: dict = {}
    for path in of_probes(job, "accuracy", number, step):
        for row in read_csv(path):
            if int(row["offset"]) == 0 and int(row["seed"]) == 0:
                at = found
                for key in (row.get("control", row["semantics"]), row["source"], row["depth"]):
                    at = at.setdefault(key, {})
                at[row["feature"]] = [float(row["test_accuracy"]), int(row["n_test"])]
    return found


def packed(tensors: dict[str, Tensor]) -> dict:
    """Tensors as text, CHARACTERS for each number: what `tensorsIn` in page.js takes.

    A row, along the last dimension, has a unit, and its values are multiples of that from -HALF to HALF, minus infinity
    the first of them. A multiple, counted from there, is written in SIGNS, the highest place first.
    """
    listed, found = [], [np.empty(0, np.int64)]
    for name, tensor in tensors.items():
        rows = tensor.float().numpy().reshape(-1, tensor.shape[-1]).astype(np.float64)
        finite = np.where(np.isfinite(rows), rows, 0)
        # In three decimal digits, and so much too large that no multiple is -HALF.
        units = np.array([float(f"{1.01 * largest / HALF:.2e}") for largest in np.abs(finite).max(1)])
        multiples = np.rint(finite / np.where(units, units, 1)[:, None]).astype(np.int64)
        found.append(np.where(np.isfinite(rows), multiples + HALF, 0).reshape(-1))
        listed.append([name, list(tensor.shape), units.tolist()])
    places = len(SIGNS) ** np.arange(CHARACTERS)[::-1]
    written = np.concatenate(found)[:, None] // places % len(SIGNS)
    text = np.frombuffer(SIGNS.encode(), np.uint8)[written].tobytes().decode()
    return {"tensors": listed, "text": text, "signs": SIGNS, "characters": CHARACTERS, "half": HALF}
