"""Edits of the residual stream: on networks whose answer is known, and against `transformers`."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from progsem.data import corpus
from progsem.editing import edits, subspaces
from progsem.editing.prefixes import Beginnings, Meaning
from progsem.editing.streams import Edit, Editable, NextCodes, Texts
from progsem.editing.targets import SURE, towards
from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.languages.karel.codes import LEFT, PAD, PUT
from progsem.languages.labels import spans
from progsem.lm.codegen import model as codegen
from progsem.lm.stock import model as stock
from progsem.lm.traces import Specifications
from progsem.probing.fits import States
from progsem.probing.readers import Reader
from progsem.storage.files import load_tensors, read_table
from progsem.study.config import load
from progsem.study.vocabulary import SPLITS

pytestmark = pytest.mark.usefixtures("one_thread")

OUTPUTS = {
    "counterfactuals": "counterfactuals.arrow",
    "edits": "edits.arrow",
    "readings": "readings.arrow",
    "subspaces": "subspaces.safetensors",
}


def study_of(**sections):
    """A small study that is edited; keyword arguments replace keys of sections."""
    raw = {
        "worlds": {"height": 3, "width": 3},
        "programs": {"train_length": [1, 5], "test_length": [1, 5]},
        "corpus": {"train": 2000, "validation": 100, "test": 200, "held_out": 0, "shard": 2000},
        "lm": {"layers": 2, "width": 32, "rotary": 8},
        "traces": {"train": 400, "validation": 100, "test": 200, "extra_statements": 1},
        "probes": {"depths": {"linear": [], "mlp1": [8]}, "steps": 60, "batch": 128, "offsets": [0]},
        "edits": {"features": ["facing"], "pairs": 40, "dimensions": [1]},
    }
    for name, keys in sections.items():
        raw[name] = {**raw.get(name, {}), **keys}
    return load(raw)


def shards(folder, study) -> dict:
    """The corpus of a study, by split."""
    paths = {split: [folder / f"{split}.arrow"] for split in SPLITS}
    corpus.run(Job("corpus", study.model_dump(mode="json"), {}, paths))
    return paths


def job_of(folder, study, paths: dict, model: codegen.CodeGen, mapping: dict | None = None) -> Job:
    """A job of the stage for a model."""
    weights, config = folder / "model.safetensors", folder / "config.json"
    model.save(weights, config)
    slices = study.model_dump(mode="json") | {"semantics": "original", "mapping": mapping or {}, "step": 1, "seed": 0}
    outputs = {name: [folder / file] for name, file in OUTPUTS.items()}
    return Job("edits", slices, paths | {"weights": [weights], "config": [config]}, outputs, device="cpu")


def texts_of(study, specifications, encoding: str = "compact") -> Texts:
    spelled = LANGUAGE.text.ENCODINGS[encoding]()
    return Texts(specifications, spelled, study.programs, study.traces.extra_statements)


def random_model(vocabulary: int, layers: int = 3, width: int = 32) -> codegen.CodeGen:
    model = codegen.CodeGen(codegen.Shape(vocabulary, layers, width, 4, 8))
    model.initialise(0, 0.5)
    return model


# Counterfactuals.


@pytest.mark.parametrize("feature", ["facing", "offset_from_start"])
@pytest.mark.parametrize("semantics", ["original", "alt-0"])
def test_counterfactuals_differ_in_one_feature_alone(tmp_path, feature, semantics):
    study = study_of(corpus={"examples": 2, "train": 4000, "shard": 4000}, traces={"train": 3000})
    mapping = study.interventions.alternatives.get(semantics, {})
    found = Specifications.of(Job("traces", study.model_dump(mode="json"), shards(tmp_path, study), {}))
    features = study.probes.features
    heads = LANGUAGE.features.heads(features, study.worlds.size)
    meaning = Meaning(heads, LANGUAGE.codes.semantics(mapping), study.programs.step_limit)
    worlds = found.worlds.at(found.shown)
    triples = Beginnings(found.programs, worlds, meaning).counterfactuals((feature,), 100, 0)[feature]
    assert len(triples.program) == 100
    last = triples.length - 1
    rows = np.arange(100)
    base, target = (meaning.labels(codes, worlds.at(triples.program), last) for codes in (triples.base, triples.target))
    donor = meaning.labels(triples.donor, worlds.at(triples.donor_program), last)
    span = spans(heads)[feature]
    others = [head for head in range(len(heads)) if head not in range(span.start, span.stop)]
    for shown in range(2):
        assert (base[:, shown, span] != target[:, shown, span]).any(1).all()
        assert (base[:, shown, others] == target[:, shown, others]).all()
        assert (donor[:, shown, span] == target[:, shown, span]).all()
    assert (triples.had == base[:, 0]).all() and (triples.wanted == target[:, 0]).all()
    assert (triples.program != triples.donor_program).all()
    for codes in (triples.base, triples.target, triples.donor):
        assert ((codes != PAD).sum(1) == triples.length).all()
        assert (codes[rows, last] == triples.base[rows, last]).all()
    assert (found.programs[triples.program, triples.length] != PAD).all()  # the program goes on
    again = Beginnings(found.programs, worlds, meaning).counterfactuals((feature,), 100, 0)[feature]
    assert all((one == other).all() for one, other in zip(triples, again, strict=True))


def test_a_feature_without_counterfactuals(tmp_path):
    """Robots that only put markers face where they faced, whatever has been written."""
    weights = {"pick_marker": 1, "put_marker": 1, "turn_left": 0, "turn_right": 0, "move": 0}
    study = study_of(programs={"weights": weights})
    paths = shards(tmp_path, study)
    job = job_of(tmp_path, study, paths, random_model(len(LANGUAGE.text.ENCODINGS["compact"]().vocabulary), 2))
    edits.run(job)
    columns, about = read_table(job.output("edits"))
    assert about["pairs"] == {"facing": [0, 0]} and not len(columns["effect" if "effect" in columns else "distance"])
    assert len(read_table(job.output("readings"))[0]["program"])


# The next statement.


@pytest.mark.parametrize("encoding", ["compact", "spaced"])
@pytest.mark.parametrize("blocks", [False, True])
def test_the_next_code_by_all_of_its_tokens(tmp_path, encoding, blocks):
    study = study_of(programs={"control_flow": 0.3 if blocks else 0.0})
    found = Specifications.of(Job("traces", study.model_dump(mode="json"), shards(tmp_path, study), {}))
    texts = texts_of(study, found, encoding)
    begun = np.array([[LEFT, PUT, PAD], [PUT, PUT, PAD]], np.uint8)
    spelled = texts.tokens_of(begun, np.array([2, 2]))
    codes = texts.next_codes(spelled[0])
    model = random_model(len(texts.encoding.vocabulary))
    read = Editable(model).read(texts.documents(np.arange(2), spelled))
    scores = read.next_codes(codes, None, read).double().numpy()
    assert np.allclose(np.exp(scores).sum(1), 1, atol=1e-5)
    assert set(range(5)) <= set(codes.codes.tolist())
    # Token by token: of what the grammar allows, the model's share.
    state = texts.encoding.grammar.next_state[
        texts.encoding.grammar.next_state[texts.encoding.grammar.first, LEFT], PUT
    ]
    legal = [ids for (at, code), ids in texts.encoding.expansions.items() if at == state and code in codes.codes]
    for index, code in enumerate(codes.codes.tolist()):
        ids, total = texts.encoding.expansions[state, code], np.zeros(2)
        for place in range(len(ids)):
            choices = sorted({other[place] for other in legal if other[:place] == ids[:place] and len(other) > place})
            if len(choices) == 1:
                continue
            tokens = torch.cat([read.tokens, torch.tensor(ids[:place], dtype=torch.int64).expand(2, place)], 1)
            with torch.no_grad():
                logits = model.logits(model(tokens)[-1][:, -1]).double()
            total += torch.log_softmax(logits[:, choices], 1)[:, choices.index(ids[place])].numpy()
        assert np.allclose(scores[:, index], total, atol=1e-4)


# Hooks, against transformers.


def edits_of_every_kind(layer: int, position: int, width: int):
    """Edits by name."""
    generator = torch.Generator().manual_seed(1)
    basis = subspaces.random_basis(width, 3, generator)
    return {
        "full": Edit(layer, position, subspaces.interchange(None)),
        "subspace": Edit(layer, position, subspaces.interchange(basis)),
        "sham": Edit(layer, position, subspaces.sham(subspaces.interchange(basis), basis)),
        "shift": Edit(layer, position, subspaces.shift(torch.randn(4, width, generator=generator))),
        "onwards": Edit(layer, position, subspaces.interchange(basis), onwards=True),
    }


# Architectures, with where their blocks are.
BLOCKS = {
    "codegen": "transformer.h",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "llama": "model.layers",
    "mamba": "backbone.layers",
}


class Hooked:
    """The same weights in `transformers`, with forward hooks on its blocks."""

    def __init__(self, folder, kind: str):
        eager = {} if kind == "mamba" else {"attn_implementation": "eager"}
        self.model = AutoModelForCausalLM.from_pretrained(folder, **eager).float().eval()
        self.blocks = self.model.get_submodule(BLOCKS[kind])

    def logits(self, tokens, edit=None, source=None) -> torch.Tensor:
        """(B, T, V) of documents; `source` are the other documents."""
        with ExitStack() as stack, torch.no_grad():
            if edit is not None:
                there = self._stream(source, edit.layer)
                stop = tokens.shape[1] if edit.onwards else edit.position + 1
                places = slice(edit.position, stop)
                handle = self.blocks[edit.layer - 1].register_forward_hook(partial(self._changed, edit, places, there))
                stack.callback(handle.remove)
            return self.model(tokens).logits

    def _stream(self, tokens, layer: int) -> torch.Tensor:
        found = []
        handle = self.blocks[layer - 1].register_forward_hook(lambda module, given, out: found.append(_hidden(out)))
        self.model(tokens)
        handle.remove()
        return found[0]

    @staticmethod
    def _changed(edit, places, there, module, given, out):
        hidden = _hidden(out).clone()
        hidden[:, places] = edit.change(hidden[:, places], there[:, places])
        return (hidden, *out[1:]) if isinstance(out, tuple) else hidden


def _hidden(out):
    return out[0] if isinstance(out, tuple) else out


@pytest.fixture(params=BLOCKS)
def both(request, tmp_path):
    """Documents of four programs and of four others as long, with the model that reads them, here and elsewhere."""
    study = study_of()
    found = Specifications.of(Job("traces", study.model_dump(mode="json"), shards(tmp_path, study), {}))
    texts = texts_of(study, found)
    vocabulary = len(texts.encoding.vocabulary)
    model = random_model(vocabulary)
    if request.param != "codegen":
        model = stock.made(request.param, vocabulary, 3, 32, 4, 0.5, {}, 0)
    model.save(tmp_path / "model.safetensors", tmp_path / "config.json")
    rng = np.random.default_rng(0)
    begun = [rng.integers(0, 5, (4, 3)).astype(np.uint8) for _ in range(2)]
    editable = Editable(model)
    reads = [editable.read(texts.documents(np.arange(4), texts.tokens_of(one, np.full(4, 3)))) for one in begun]
    return texts, *reads, Hooked(tmp_path, request.param)


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("kind", ["full", "subspace", "sham", "shift", "onwards"])
def test_logits_are_those_of_hooks_in_transformers(both, layer, before, kind):
    texts, base, target, hooked = both
    edit = edits_of_every_kind(layer, base.last - before, 32)[kind]
    path = (int(base.tokens[0, -1]), int(base.tokens[1, -2]))
    tail = torch.tensor(path).expand(4, 2)
    ours = base.editable.model
    with torch.no_grad():
        logits = ours.logits(ours.norm(base.edited(edit, target, path)[-1]))
    tokens, others = (torch.cat([one.tokens, tail], 1) for one in (base, target))
    theirs, unedited = hooked.logits(tokens, edit, others), hooked.logits(tokens)
    assert torch.allclose(logits, theirs[:, edit.position :], atol=2e-3, rtol=1e-3)
    assert not torch.allclose(logits, unedited[:, edit.position :], atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["full", "subspace", "shift", "onwards"])
@pytest.mark.parametrize("before", [0, 1])
def test_what_is_written_is_what_hooks_in_transformers_write(both, kind, before):
    texts, base, target, hooked = both
    edit = edits_of_every_kind(2, base.last - before, 32)[kind]
    tokens, others = base.tokens, target.tokens
    open_rows = np.ones(4, bool)
    codes = np.full((4, texts.codes), PAD, np.uint8)
    prompt = texts.specifications.prompts(texts.encoding, np.arange(1)).shape[1]
    ids = {texts.encoding.expansions[state, code][0]: code for state, code in texts.encoding.expansions if code < 5}
    codes[:, :3] = [[ids[int(token)] for token in row] for row in tokens[:, prompt:]]
    end = texts.encoding.expansions[texts.encoding.grammar.next_state[texts.encoding.grammar.first, LEFT], 17][0]
    allowed = [*ids, end]
    for place in range(3, texts.codes):
        picked = hooked.logits(tokens, edit, others)[:, -1][:, allowed].argmax(1)
        chosen = torch.tensor(allowed)[picked]
        for row in np.flatnonzero(open_rows):
            if int(chosen[row]) == end:
                open_rows[row] = False
            else:
                codes[row, place] = ids[int(chosen[row])]
        tokens, others = (torch.cat([one, chosen[:, None]], 1) for one in (tokens, others))
    for _ in range(2):  # what one edit writes leaves nothing behind for the next
        assert (base.write(texts, edit, target).codes == codes).all()
        base.write(texts, Edit(1, base.last, subspaces.interchange(None)), target)


# Networks whose answer is known.

CONSTANT, PUTS, WALLS, USED, NOISE, CLEAN = 0, 1, 2, 4, 5, 6  # pairs of dimensions: a value and its negative


def planted(encoding, unused: bool) -> codegen.CodeGen:
    """A model of two blocks that writes put_marker where it has read it more than once, rather than turn_left.

    Tokens have a large constant, by which all norms are about the same, and put_marker and walls are marked. The first
    block counts both by uniform attention, and adds the count of put_marker to the pair USED, from which alone the next
    statement follows; the second block does nothing. If the model has something `unused`, the count is also written to
    CLEAN, in small numbers; USED has the number of walls added to it, many times over, which NOISE has by itself, and
    the next statement follows from the difference of the two.
    """
    model = codegen.CodeGen(codegen.Shape(len(encoding.vocabulary), 2, 16, 4, 2))
    put, other = encoding.ids["put_marker()"], encoding.ids["turn_left()"]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        table, block = model.transformer["wte"].weight, model.transformer["h"][0]
        for tokens, number, value in ((slice(None), CONSTANT, 10.0), (put, PUTS, 2.0), (encoding.ids["#"], WALLS, 2.0)):
            table[tokens, 2 * number], table[tokens, 2 * number + 1] = value, -value
        # Values of the first head are the rows behind its queries.
        block.attn["qkv_proj"].weight[4, 2 * PUTS] = 1.0
        block.attn["qkv_proj"].weight[5, 2 * WALLS] = 1.0
        out, head = block.attn["out_proj"].weight, model.lm_head
        puts, walls = torch.eye(16)[:2]
        written = {USED: 8 * puts + 12 * walls, NOISE: 12 * walls, CLEAN: 0.8 * puts} if unused else {USED: 40 * puts}
        for number, row in written.items():
            out[2 * number], out[2 * number + 1] = row, -row
        gain = 80.0 if unused else 12.0
        head.weight[put, 2 * USED] = gain
        head.weight[put, 2 * NOISE] = -gain * unused
        head.bias[:] = -30.0
        head.bias[other], head.bias[put] = 0.0, -3.5
    return model


def planted_study():
    weights = {"pick_marker": 0, "put_marker": 1, "turn_left": 1, "turn_right": 0, "move": 0}
    return study_of(
        worlds={"marker_probability": 0.0, "wall_probability": 0.3},
        programs={"train_length": [3, 3], "test_length": [3, 3], "weights": weights},
        lm={"width": 16, "rotary": 2},
        traces={"train": 2000},
        probes={"features": ["markers"], "depths": {"linear": []}, "steps": 600, "weight_decay": 0.0},
        edits={"features": ["markers"], "pairs": 100, "dimensions": [1, 2]},
    )


def effects(job: Job) -> dict[tuple, float]:
    """Mean effect by edit, control, source and layer."""
    columns, about = read_table(job.output("edits"))
    effect = 1 - columns["distance"] / columns["distance_base"]
    assert columns["distance_base"].min() > 0.1
    named = [[about[f"{name}s"][value] for value in columns[name]] for name in ("edit", "control", "source")] + [
        columns["layer"].tolist()
    ]
    found: dict[tuple, list[float]] = {}
    for value, *key in zip(effect, *named, strict=True):
        found.setdefault(tuple(key), []).append(float(value))
    return {key: float(np.mean(values)) for key, values in found.items()}


def written_begins_as_its_document(job: Job) -> None:
    """What is written goes on from the beginning that it stands beside, with the likeliest next statement."""
    columns, about = read_table(job.output("edits"))
    pairs, _ = read_table(job.output("counterfactuals"))
    assert (pairs["program"][columns["pair"]] == columns["program"]).all()  # one feature, so a row a pair
    behind_target = columns["edit"] == about["edits"].index("target")
    for name, of in (("base", ~behind_target), ("target", behind_target)):
        written, length = columns["written"][of], columns["length"][of]
        begun = np.arange(pairs[name].shape[1]) < length[:, None]
        assert (np.where(begun, written[:, : begun.shape[1]], PAD) == pairs[name][columns["pair"][of]]).all()
        assert (written[np.arange(len(length)), length] == columns["top"][of]).all()
    assert (pairs["donor_program"] != pairs["program"]).all()


def test_a_direction_that_is_used(tmp_path):
    study = planted_study()
    paths = shards(tmp_path, study)
    job = job_of(tmp_path, study, paths, planted(LANGUAGE.text.ENCODINGS["compact"](), unused=False))
    edits.run(job)
    found = effects(job)
    for layer in (1, 2):
        for source in ("target", "donor"):
            assert found["learned_1", "none", source, layer] == pytest.approx(1, abs=0.1)
            assert found["weights", "none", source, layer] == pytest.approx(1, abs=0.1)
        assert found["full", "none", "target", layer] == pytest.approx(1, abs=1e-3)
        assert found["full", "position", "target", layer] == pytest.approx(0, abs=1e-3)
        assert found["set_linear", "none", "target", layer] > 0.5
        assert found["learned_1", "random", "target", layer] < 0.5
    assert found["none", "none", "target", 0] == pytest.approx(0, abs=1e-6)
    assert found["target", "none", "target", 0] == pytest.approx(1, abs=1e-6)
    written_begins_as_its_document(job)
    # What lies across the planted direction does nothing.
    specifications = Specifications.of(Job("traces", study.model_dump(mode="json"), paths, {}))
    texts = texts_of(study, specifications)
    codes = np.array([[PUT, LEFT], [LEFT, LEFT]], np.uint8)
    spelled = texts.tokens_of(np.pad(codes, ((0, 0), (0, 1)), constant_values=PAD), np.array([2, 2]))
    editable = Editable(planted(texts.encoding, unused=False))
    base, target = (editable.read(texts.documents(np.zeros(1, int), [one])) for one in spelled)
    following = texts.next_codes(spelled[0])
    across = torch.eye(16)[:, [at for at in range(16) if at // 2 != USED]]
    edit = Edit(1, base.last, subspaces.interchange(across))
    before, after = (base.next_codes(following, one, target) for one in (None, edit))
    assert torch.equal(before, after)


def test_a_direction_that_is_read_and_not_used(tmp_path):
    study = planted_study()
    job = job_of(tmp_path, study, shards(tmp_path, study), planted(LANGUAGE.text.ENCODINGS["compact"](), unused=True))
    edits.run(job)
    found = effects(job)
    readings, _ = read_table(job.output("readings"))
    assert readings["right_markers"].mean() > 0.95
    for layer in (1, 2):
        assert found["full", "none", "target", layer] == pytest.approx(1, abs=1e-3)
        assert abs(found["weights", "none", "target", layer]) < 0.25  # its smaller dimensions are noise
        assert found["learned_2", "none", "target", layer] > 0.3  # beside the noise, which it has to leave
    bases, _ = load_tensors(job.output("subspaces"))
    clean = bases["markers.weights.1"][2 * CLEAN : 2 * CLEAN + 2].square().sum()
    assert clean > 0.9  # of one of its dimensions


# Parts.


def test_bases_span_what_they_are_made_of():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 16, generator=generator)
    rows[4] = rows[0] - 2 * rows[1]
    basis = subspaces.basis(rows)
    assert basis.shape == (16, 4)
    assert torch.allclose(basis.T @ basis, torch.eye(4), atol=1e-5)
    assert torch.allclose(rows @ basis @ basis.T, rows, atol=1e-4)


def test_a_pattern_is_where_the_signal_is():
    """Haufe et al.'s example: weights subtract the noise that both channels have, the pattern is the signal alone."""
    generator = torch.Generator().manual_seed(0)
    signal, noise = torch.randn(2, 20_000, generator=generator)
    states = torch.stack([signal + noise, noise], 1)
    pattern = subspaces.pattern(torch.tensor([[1.0, -1.0]]), states)
    assert torch.allclose(pattern / pattern.norm(), torch.tensor([[1.0, 0.0]]), atol=0.05)


def test_means_of_classes():
    states = torch.tensor([[1.0, 0], [3, 0], [0, 5], [0, 7]])
    means = subspaces.class_means(states, np.array([[0], [0], [1], [1]]))
    assert torch.allclose(means, torch.tensor([[1.0, -3], [-1, 3]]))


def test_sham_edits_are_as_large():
    generator = torch.Generator().manual_seed(0)
    stream, source = torch.randn(2, 6, 1, 16, generator=generator)
    real = subspaces.interchange(subspaces.random_basis(16, 3, generator))
    drawn = subspaces.random_basis(16, 3, generator)
    moved = subspaces.sham(real, drawn)(stream, source) - stream
    assert torch.allclose(moved.norm(dim=-1), (real(stream, source) - stream).norm(dim=-1), rtol=1e-4)
    assert torch.allclose(moved @ drawn @ drawn.T, moved, atol=1e-4)


def test_probes_read_what_they_are_set_to():
    rng = np.random.default_rng(0)
    heads = LANGUAGE.features.heads(("facing",), {"height": 3, "width": 3})
    labels = rng.integers(0, 4, (900, 1)).astype(np.uint8)
    states = rng.standard_normal((900, 16)).astype(np.float32)
    states[:, 0] += 3 * np.cos(np.pi / 2 * labels[:, 0])
    states[:, 1] += 3 * np.sin(np.pi / 2 * labels[:, 0])
    recipe = load({"probes": {"depths": {"linear": [], "mlp1": [16]}, "steps": 200}}).probes
    data = States("here", states, np.arange(900), labels, np.repeat([0, 1, 2], 300))
    reader = Reader(data, heads, recipe, torch.device("cpu"))
    assert reader.right.mean() > 0.9
    stream, wanted = torch.from_numpy(states[:50]), torch.from_numpy((labels[:50].astype(np.int64) + 1) % 4)
    for depth in (0, 1):
        by = towards(reader, depth, slice(0, 1), stream, wanted)
        logits = reader.logits(stream + by)[depth, 0]
        assert (torch.softmax(logits, 1).gather(1, wanted) >= SURE).all()
        assert (reader.reads(stream + by)[:, depth] == wanted.numpy()).all()
        assert not by[(torch.softmax(reader.logits(stream)[depth, 0], 1).gather(1, wanted) >= SURE)[:, 0]].any()


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"edits": {"features": ["facing"], "layers": [4]}}, "edits.layers has 4, but the language model has 3 blocks"),
        ({"edits": {"features": ["facing"], "dimensions": [97]}}, "edits.dimensions has 97, but lm.width is 96"),
        ({"edits": {"features": ["position"]}}, "edits.features has position, which is none of probes.features"),
        ({"edits": {"features": ["facing"]}, "probes": {"depths": {"mlp1": [8]}}}, "probes.depths has no linear probe"),
        ({"edits": {"features": ["facing"], "permutations": 40}}, "edits.permutations is 40"),
        ({"edits": {"features": ["offset_from_end"]}}, "edits.features"),
        (
            {
                "edits": {"features": ["facing"]},
                "programs": {"train_length": [1, 2], "test_length": [1, 2]},
                "probes": {"offsets": [0]},
            },
            "programs have at most 2",
        ),
    ],
)
def test_what_cannot_be_edited_is_refused_in_a_line(keys, problem):
    with pytest.raises(UserError) as caught:
        load(keys)
    assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_choices_of_one_token_are_no_choices():
    """A place where the grammar leaves one token has no part in a code's probability."""
    codes = NextCodes(np.array([0, 1], np.uint8), [[]], [[(0, 0)], [(0, 1)]], [np.array([3, 5])])
    scores = codes.log_probabilities([torch.tensor([[9.0, 9, 9, 1, 9, 2]])])
    assert torch.allclose(scores, torch.log_softmax(torch.tensor([[1.0, 2.0]]), 1))
