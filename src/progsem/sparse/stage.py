"""Stage `transcoders`: sparse dictionaries of every MLP of a checkpoint, and whether their features are program states.

The model reads the corpus' own programs (as for `forced` states). Each MLP's input and output at all tokens of the
training specifications is what dictionaries are fitted to; at the statements of programs, their features are set beside
the states there, under the original semantics and under the difficulty-matched alternative. Beside them stand the
MLP's own neurons, and linear probes of what the MLP reads: the probabilities of their classes, as features.

Writes `scores` (CSV, a row per block, kind and semantics), `properties` (CSV, also per property: which feature says so,
and how well), `activations` (Arrow, how active these are at the statements of test programs) and `dictionaries`
(tensors).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from progsem.hardware import choose_device
from progsem.jobs.job import Job
from progsem.jobs.progress import Progress
from progsem.languages import LANGUAGE
from progsem.languages.labels import Head
from progsem.lm import model as lm
from progsem.lm.language_model import LanguageModel
from progsem.lm.traces import Specifications, positions_of_actions
from progsem.probing.fits import States
from progsem.probing.fits import fit as fit_probes
from progsem.probing.probes import labels_of
from progsem.sparse import activations, dictionary, scores
from progsem.storage.files import save_tensors, write_csv, write_table
from progsem.study.sections import Transcoders
from progsem.study.vocabulary import LINEAR, NEURONS, ORIGINAL, PROBE, TEST, TRAIN, TRANSCODER

SCORES = (
    "layer kind semantics features coverage always reconstruction precise variance rise rise_by_mean active dead"
).split()
PROPERTIES = "layer kind semantics feature head value unit threshold f1 train_f1 precision always".split()


@dataclass(frozen=True)
class Fed:
    """Specifications with their own programs, and the statements in them that have a state under all semantics.

    tokens (D, T) and lengths (D,) are those of documents, split (D,) theirs. Of M statements: document, statement,
    place (its token), and labels (M, heads) by semantics.
    """

    tokens: Tensor
    lengths: Tensor
    split: np.ndarray
    document: np.ndarray
    statement: np.ndarray
    place: np.ndarray
    labels: dict[str, np.ndarray]

    @classmethod
    def of(cls, job: Job, specifications: Specifications, encoding, device) -> Fed:
        """Those of a job; the slice has `meanings` by the names of semantics."""
        recipe, step_limit = job.section("probes"), job.section("programs").step_limit
        programs, worlds = specifications.programs, specifications.worlds.at(np.s_[:, 0])
        prompts = specifications.prompts(encoding, np.s_[:])
        tokens, lengths = encoding.documents(prompts, programs)
        document, position, statement = positions_of_actions(programs)
        found = {}
        for name, mapping in job.slice["meanings"].items():
            meanings = LANGUAGE.codes.semantics(mapping)
            run = LANGUAGE.execution.trace(programs, worlds, step_limit, meanings)
            found[name] = labels_of(run, document, statement, 0, recipe)
        kept = reduce(np.intersect1d, [rows for rows, _ in found.values()])
        document, position, statement = document[kept], position[kept], statement[kept]
        _, _, _, ends = encoding.spell(programs)
        return cls(
            tokens=torch.from_numpy(tokens).to(device),
            lengths=torch.from_numpy(lengths).to(device),
            split=specifications.split,
            document=document,
            statement=statement,
            place=prompts.shape[1] + ends[document, position],
            labels={name: labels[np.isin(rows, kept)] for name, (rows, labels) in found.items()},
        )

    def at(self, split: int) -> np.ndarray:
        """Which statements are of a split."""
        return np.flatnonzero(self.split[self.document] == split)


class Collected:
    """What one MLP does: of the training and the test documents' tokens, and at every statement."""

    def __init__(self, model: LanguageModel, fed: Fed, batch: int):
        self.whole: list[dict[int, tuple[list, list]]] = [{TRAIN: ([], []), TEST: ([], [])} for _ in model.blocks]
        self.at_statements: list[tuple[list, list, list]] = [([], [], []) for _ in model.blocks]
        for first in range(0, len(fed.tokens), batch):
            rows = slice(first, first + batch)
            tokens = fed.tokens[rows].long()
            read = torch.arange(tokens.shape[1], device=tokens.device) < fed.lengths[rows, None]
            chosen = np.flatnonzero((fed.document >= first) & (fed.document < first + batch))
            where = fed.document[chosen] - first, fed.place[chosen]
            for layer, one in enumerate(activations.seen(model, tokens)):
                for split, parts in self.whole[layer].items():
                    of_split = torch.from_numpy(fed.split[rows] == split).to(tokens.device)
                    for part, values in zip(parts, (one.inputs, one.outputs), strict=True):
                        part.append(values[read & of_split[:, None]].float())
                for part, values in zip(self.at_statements[layer], one, strict=True):
                    part.append(values[where].float())

    def vectors(self, layer: int, split: int) -> tuple[Tensor, Tensor]:
        """Inputs and outputs at all tokens of a split, (N, C) each."""
        inputs, outputs = self.whole[layer][split]
        return torch.cat(inputs), torch.cat(outputs)

    def neurons(self, layer: int) -> int:
        """How many the MLP has."""
        return self.at_statements[layer][2][0].shape[1]

    def statements(self, layer: int) -> activations.Seen:
        """Inputs, outputs and neurons at every statement."""
        return activations.Seen(*(torch.cat(part) for part in self.at_statements[layer]))


def variance_explained(given: Tensor, wanted: Tensor) -> float:
    """Share of the variance of (N, C) vectors that others give."""
    return float(1 - (wanted - given).square().sum() / (wanted - wanted.mean(0)).square().sum())


class Losses:
    """The model's loss on the test programs with one of its MLPs replaced."""

    def __init__(self, model: LanguageModel, fed: Fed, prompt: int, batch: int):
        self.model, self.prompt, self.batch = model, prompt, batch
        test = torch.from_numpy(fed.split == TEST).to(fed.tokens.device)
        self.tokens, self.lengths = fed.tokens[test], fed.lengths[test]
        self.whole = self._mean()

    def rises(self, layer: int, made: dictionary.Dictionary, kind: str, mean: Tensor) -> dict[str, float]:
        """What the loss rises by, in nats a token, when the MLP gives what a dictionary does, and its mean output."""
        ours = self._with(layer, lambda given, output: made(given if kind == TRANSCODER else output))
        without = self._with(layer, lambda given, output: mean.expand_as(output))
        return {"rise": ours - self.whole, "rise_by_mean": without - self.whole}

    def _with(self, layer: int, by) -> float:
        with activations.replaced(self.model, layer, by):
            return self._mean()

    def _mean(self) -> float:
        found = [
            activations.loss(
                self.model,
                self.tokens[first : first + self.batch].long(),
                self.lengths[first : first + self.batch],
                self.prompt,
            )
            for first in range(0, len(self.tokens), self.batch)
        ]
        total, count = (sum(part) for part in zip(*found, strict=True))
        return total / count


def run(job: Job) -> None:
    """Fit and score the dictionaries of one checkpoint.

    The slice holds `transcoders`, `probes`, `traces`, `programs`, `tokens` and `meanings`.
    """
    torch.set_num_threads(job.threads)
    asked, recipe = job.section("transcoders"), job.section("probes")
    device = choose_device(job.device)
    model = lm.load(job.input("weights"), job.input("config"), device).eval()
    specifications = Specifications.of(job)
    encoding = LANGUAGE.text.ENCODINGS[job.section("tokens").encoding]()
    heads = LANGUAGE.features.heads(recipe.features, specifications.metadata)
    fed = Fed.of(job, specifications, encoding, device)
    collected = Collected(model, fed, job.batch)
    prompt = specifications.prompts(encoding, np.s_[:1]).shape[1]
    losses = Losses(model, fed, prompt, job.batch)
    progress = Progress("transcoders", len(asked.kinds) * model.layers * asked.steps, "steps")
    rows, details, active, tensors = [], [], [], {}
    train, test = fed.at(TRAIN), fed.at(TEST)
    for layer in range(model.layers):
        at = collected.statements(layer)
        found: dict[str, tuple[np.ndarray, dict]] = {NEURONS: (at.neurons.relu().cpu().numpy(), {})}
        for kind in asked.kinds:
            made, about = _dictionary(kind, layer, collected, losses, asked, job.slice["seed"], progress)
            found[kind] = made.encode(at.inputs if kind == TRANSCODER else at.outputs).cpu().numpy(), about
            tensors |= {f"{layer + 1}.{kind}.{name}": value for name, value in made.state_dict().items()}
        for semantics, labels in fed.labels.items():
            where = {"layer": layer + 1, "semantics": semantics}
            read = _probed(at.inputs.cpu().numpy(), labels, fed, heads, recipe, device)
            for kind, (values, about) in (found | {PROBE: (read, {})}).items():
                best = scores.score(values[train], values[test], (labels[train], labels[test]), heads)
                rows.append(where | {"kind": kind} | about | _of_scores(best, values.shape[1]))
                if kind == PROBE:
                    continue
                details += [where | {"kind": kind} | row for row in _of_properties(best, heads)]
                if kind != NEURONS and semantics == ORIGINAL:
                    active.append(_active(layer + 1, asked.kinds.index(kind), values[test][:, best.feature], test, fed))
    progress.close()
    metadata = {"step": job.slice["step"], "seed": job.slice["seed"], "kinds": list(asked.kinds)}
    write_csv(job.output("scores"), SCORES, [[_field(row.get(name)) for name in SCORES] for row in rows])
    write_csv(job.output("properties"), PROPERTIES, [[_field(row[name]) for name in PROPERTIES] for row in details])
    columns = {name: np.concatenate([table[name] for table in active]) for name in active[0]}
    write_table(job.output("activations"), columns, metadata, "activations")
    save_tensors(job.output("dictionaries"), {name: value.cpu().contiguous() for name, value in tensors.items()})


def _dictionary(
    kind: str, layer: int, collected: Collected, losses: Losses, asked: Transcoders, seed: int, progress: Progress
) -> tuple[dictionary.Dictionary, dict]:
    """A dictionary of one MLP, fitted to the training specifications, and what it is worth on the test ones."""
    (read, outputs), (test_read, test_given) = (collected.vectors(layer, split) for split in (TRAIN, TEST))
    if kind != TRANSCODER:  # which gives what it reads
        read, test_read = outputs, test_given
    features = asked.width * collected.neurons(layer)
    recipe = dictionary.Recipe(features, asked.active, asked.steps, asked.batch, asked.learning_rate)
    made = dictionary.fit(read, outputs, recipe, seed, progress.update)
    encoded = made.encode(test_read)
    return made, {
        "variance": variance_explained(made(test_read), test_given),
        **losses.rises(layer, made, kind, outputs.mean(0)),
        "active": float((encoded > 0).sum(1).float().mean()),
        "dead": float((made.encode(read) > 0).any(0).logical_not().float().mean()),
    }


def _of_scores(best: scores.Found, features: int) -> dict:
    return {
        "features": features,
        "coverage": best.coverage,
        "always": float(best.always.mean()),
        "reconstruction": best.reconstruction,
        "precise": best.precise,
    }


def _of_properties(best: scores.Found, heads: list[Head]) -> list[dict]:
    """A row a property."""
    return [
        {
            "feature": heads[one.head].feature,
            "head": heads[one.head].name,
            "value": one.value,
            "unit": int(best.feature[number]),
            "threshold": float(best.threshold[number]),
            "f1": float(best.f1[number]),
            "train_f1": float(best.train_f1[number]),
            "precision": float(best.precision[number]),
            "always": float(best.always[number]),
        }
        for number, one in enumerate(best.properties)
    ]


def _active(layer: int, kind: int, values: np.ndarray, test: np.ndarray, fed: Fed) -> dict[str, np.ndarray]:
    """Columns of activations.arrow: of each property's best feature, (N, P), at the statements `test` (N,)."""
    number = np.cumsum(fed.split == TEST) - 1  # of a document among the test documents
    return {
        "layer": np.full(len(test), layer, np.int8),
        "kind": np.full(len(test), kind, np.int8),
        "program": number[fed.document[test]].astype(np.int32),
        "statement": fed.statement[test].astype(np.int16),
        "activation": values.astype(np.float16),
    }


def _probed(vectors: np.ndarray, labels: np.ndarray, fed: Fed, heads: list[Head], recipe, device) -> np.ndarray:
    """The probability that linear probes of vectors (M, C) give to each class of each head at M statements: (M, F)."""
    linear = recipe.model_copy(update={"depths": {LINEAR: ()}, "seeds": 1})
    split = fed.split[fed.document]
    states = States("transcoders", vectors, np.arange(len(vectors)), labels, split)
    (fitted,) = fit_probes([states], heads, linear, device, torch.float32)
    ((weight, bias),) = fitted.weights[0]
    logits = torch.einsum("mc,hkc->mhk", torch.from_numpy(vectors), weight) + bias
    return torch.cat(
        [one[:, : head.classes] for head, one in zip(heads, logits.softmax(2).unbind(1), strict=True)], 1
    ).numpy()


def _field(value):
    return round(value, 6) if isinstance(value, float) else value
