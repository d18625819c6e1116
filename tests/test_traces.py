"""Decoding against plain loops over `transformers`' own model, and the files of the stage."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from progsem.data import corpus, tokens
from progsem.hardware import choose_precision
from progsem.jobs.job import Job
from progsem.languages.karel.codes import ACTIONS, CLOSE, ORIGINAL, PAD, WALL
from progsem.languages.karel.grammar import FIRST, NEXT
from progsem.languages.karel.kernels import execute
from progsem.languages.karel.syntax import decode
from progsem.languages.karel.text import ENCODINGS
from progsem.lm import traces
from progsem.lm.codegen import model as codegen
from progsem.lm.decoding import Followed, TokenGrammar
from progsem.storage.files import read_table
from progsem.study import config

COUNTS = {"train": 20, "validation": 10, "test": 20}
OUTPUTS = ("shown", "blank", "copied")
ONLY = np.array([0])  # the programs followed: the first of one


class Setting:
    """A small corpus, an untrained model with sharp preferences, and the traces of it."""

    def __init__(
        self,
        folder: Path,
        encoding: str,
        control_flow: float,
        layers: str = "mean",
        batch: int = 16,
        outputs: str = "shown",
        threads: int = 1,
    ):
        study = config.load(
            {
                "worlds": {"height": 3, "width": 3},
                "programs": {"train_length": [1, 4], "test_length": [1, 4], "control_flow": control_flow},
                "corpus": {**COUNTS, "shard": 100, "examples": 1, "held_out": 2},
                "tokens": {"encoding": encoding},
                "traces": {**COUNTS, "layers": layers, "outputs": outputs},
                "probes": {"layer": "mean"},
            }
        )
        self.study, self.encoding = study, ENCODINGS[encoding]()
        self.shape = codegen.Shape(len(self.encoding.vocabulary), 2, 64, 4, 8)
        slices = study.model_dump(mode="json")
        shards = {split: [folder / f"{split}.arrow"] for split in COUNTS}
        corpus.run(Job("corpus", slices, {}, shards))
        self.specifications_shards = shards
        self.model = codegen.CodeGen(self.shape)
        self.model.initialise(7, 0.35)
        with torch.no_grad():  # so that some programs end
            self.model.lm_head.bias[self.encoding.ids["}"]] = 3.0
        self.files = {name: folder / name for name in ("model.safetensors", "config.json")}
        self.model.save(*self.files.values())
        outputs = {name: [folder / f"{name}.arrow"] for name in ("programs", "generated", "forced")}
        inputs = {**shards, "weights": [self.files["model.safetensors"]], "config": [self.files["config.json"]]}
        job = Job("traces", {**slices, "step": 5, "seed": 0}, inputs, outputs, threads, batch=batch)
        self.specifications = traces.Specifications.of(job)
        traces.run(job)
        self.programs, self.metadata = read_table(folder / "programs.arrow")
        self.generated, _ = read_table(folder / "generated.arrow")
        self.forced, _ = read_table(folder / "forced.arrow")
        self.prompts = self.specifications.prompts(self.encoding, slice(None))
        self.folder = folder


def drawn(cells: np.ndarray, pose: np.ndarray) -> str:
    """A world (H, W) as the text has it, glyph by glyph."""
    glyphs = [["#" if cell == WALL else str(cell) if cell else "." for cell in row] for row in cells]
    glyphs[pose[0]][pose[1]] = "^>v<"[pose[2]]
    return " ".join(glyph for row in glyphs for glyph in row)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Compare in float32, whatever the hardware multiplies fastest."""
    monkeypatch.setattr(traces, "choose_precision", lambda name, device: torch.float32)


def closes_here(encoding, ids):
    """Follow ids from the start; which ids may come next, and whether the program is closed (plain and slow)."""
    grammar = TokenGrammar(encoding, True)
    followed = Followed(grammar, 1, 200, 8)
    for token in ids:
        assert followed.legal(ONLY)[0, token]
        followed.advance(ONLY, np.array([token]))
    return followed


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("control_flow", [0.0, 0.5])
def test_corpus_programs_are_legal_and_read_back(encoding, control_flow, tmp_path):
    setting = Setting(tmp_path, encoding, control_flow)
    ids, lengths, decided, _ = setting.encoding.spell(setting.specifications.programs)
    for row, program in enumerate(setting.specifications.programs):
        followed = closes_here(setting.encoding, ids[row, : lengths[row]])
        assert followed.done[0]
        codes = program[program != PAD]
        np.testing.assert_array_equal(followed.codes[0, : len(codes)], codes)
        assert followed.count[0] == len(codes)


def test_grammar_offers_what_the_parser_takes():
    """Random legal codes always parse, and an illegal code never does."""
    encoding = ENCODINGS["compact"]()
    grammar = TokenGrammar(encoding, True)
    random = np.random.default_rng(0)
    first_code = encoding.expansions[FIRST, 0][0]
    for _ in range(200):
        followed = Followed(grammar, 1, 200, 2)
        while not followed.done[0] and followed.count[0] < 150:
            legal = np.flatnonzero(followed.legal(ONLY)[0])
            close = encoding.expansions[NEXT, CLOSE][0]
            token = close if close in legal and random.random() < 0.5 else random.choice(legal)
            followed.advance(ONLY, np.array([token]))
        codes = [int(code) for code in followed.codes[0, : followed.count[0]]]
        if followed.done[0]:
            decode(codes)
            at = random.integers(len(codes))
            state = closes_here(encoding, [first_code + code for code in codes[:at]])
            illegal = np.setdiff1d(
                np.arange(first_code, len(encoding.vocabulary)), np.flatnonzero(state.legal(ONLY)[0])
            )
            illegal = illegal[illegal != encoding.expansions[NEXT, CLOSE][0]]
            with pytest.raises(ValueError):
                decode([*codes[:at], int(random.choice(illegal)) - first_code, *codes[at:]])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("control_flow", [0.0, 0.5])
def test_against_a_plain_decoder(encoding, control_flow, tmp_path):
    """One specification at a time, no cache, `transformers`' model: the same programs, scores and states."""
    from transformers import AutoModelForCausalLM

    setting = Setting(tmp_path, encoding, control_flow)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    grammar = TokenGrammar(setting.encoding, control_flow > 0)
    codes = setting.programs["generated"].shape[1]
    unfinished = 0
    for row in range(0, 50, 5):
        followed = Followed(grammar, 1, codes, 2 if control_flow else 0)
        ids, score, free, states = setting.prompts[row].tolist(), 0.0, True, []
        while not followed.done[0] and followed.count[0] < codes and len(ids) < 120:
            with torch.no_grad():
                out = theirs(torch.tensor([ids]), output_hidden_states=True)
            logits = out.logits[0, -1].double()
            legal = torch.from_numpy(followed.legal(ONLY)[0])
            token = int(logits.masked_fill(~legal, -torch.inf).argmax())
            free &= token == int(logits.argmax())
            score += float(torch.log_softmax(logits, 0)[token])
            if followed.decides(ONLY, np.array([token]))[0]:
                states.append(torch.stack(out.hidden_states)[:, 0, -1].mean(0))
            followed.advance(ONLY, np.array([token]))
            ids.append(token)
        if len(ids) >= 120:
            continue
        assert setting.programs["generated_finished"][row] == followed.done[0]
        if not followed.done[0]:
            unfinished += 1
        else:
            np.testing.assert_array_equal(setting.programs["generated"][row], followed.codes[0])
            mine = setting.generated["program"] == row
            expected = torch.stack(states).numpy()
            np.testing.assert_allclose(setting.generated["mean"][mine], expected, rtol=1e-3, atol=3e-3)
        assert setting.programs["generated_log_likelihood"][row] == pytest.approx(score, abs=1e-3)
        assert setting.programs["generated_tokens"][row] == len(ids) - setting.prompts.shape[1]
        assert setting.programs["unconstrained_parses"][row] == (free and followed.done[0])
    assert unfinished < 10


@pytest.mark.parametrize(
    "encoding, outputs", [("compact", "shown"), ("spaced", "shown"), ("compact", "blank"), ("compact", "copied")]
)
def test_forced_states_and_likelihoods(encoding, outputs, tmp_path):
    from transformers import AutoModelForCausalLM

    setting = Setting(tmp_path, encoding, 0.5, layers="each", outputs=outputs)
    np.testing.assert_array_equal(setting.programs["reference"], corpus_programs(setting))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids, lengths, _, ends = setting.encoding.spell(setting.specifications.programs)
    start = setting.prompts.shape[1]
    for row in range(0, 50, 7):
        document = np.concatenate([setting.prompts[row], ids[row, : lengths[row]]]).astype(np.int64)
        with torch.no_grad():
            out = theirs(torch.from_numpy(document)[None], output_hidden_states=True)
        scores = torch.log_softmax(out.logits[0].double(), 1)
        expected = sum(float(scores[t - 1, document[t]]) for t in range(start, len(document)))
        assert setting.programs["reference_log_likelihood"][row] == pytest.approx(expected, abs=1e-3)
        assert setting.programs["reference_tokens"][row] == lengths[row]
        states = torch.stack(out.hidden_states)[:, 0].numpy()
        mine = np.flatnonzero(setting.forced["program"] == row)
        actions = np.flatnonzero(setting.specifications.programs[row] < len(ACTIONS))
        np.testing.assert_array_equal(setting.forced["position"][mine], actions)
        np.testing.assert_array_equal(setting.forced["statement"][mine], np.arange(len(actions)))
        for at, position in zip(mine, actions, strict=True):
            read = states[:, start + ends[row, position]]
            np.testing.assert_allclose(setting.forced["mean"][at], read.mean(0), rtol=1e-3, atol=3e-3)
            for layer in range(3):
                np.testing.assert_allclose(setting.forced[f"layer_{layer}"][at], read[layer], rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_correctness_is_what_the_worlds_say(outputs, tmp_path):
    """By the real outputs, whatever stands in the text."""
    setting = Setting(tmp_path, "compact", 0.0, outputs=outputs)
    read, programs = setting.specifications, setting.programs
    cells, poses, _ = execute(programs["generated"], *read.worlds, np.array(ORIGINAL, np.uint8), 200)

    for row in range(50):
        right = [drawn(cells[row, k], poses[row, k]) == drawn(*read.outputs.at((row, k))) for k in range(3)]
        finished = bool(programs["generated_finished"][row])
        assert programs["correct_shown"][row] == (right[0] and finished)
        assert programs["correct_all"][row] == (all(right) and finished)
    # References satisfy their own specification.
    assert traces.satisfied(read.programs, read.worlds, read.outputs, 200).all()


def corpus_programs(setting):
    """The programs of the corpus, split by split, as its files have them."""
    shards = [path for split in COUNTS for path in setting.specifications_shards[split]]
    return np.concatenate([read_table(path)[0]["program"] for path in shards])


def specifications(folder: Path, outputs: str) -> traces.Specifications:
    """A corpus with two examples, read with the outputs of the examples as wanted."""
    shards = {split: [folder / f"{split}.arrow"] for split in COUNTS}
    study = config.load(
        {
            "worlds": {"height": 2, "width": 3, "marker_probability": 0.4},
            "programs": {"train_length": [2, 4], "test_length": [2, 4]},
            "corpus": {**COUNTS, "shard": 100, "examples": 2, "held_out": 1},
            "traces": {**COUNTS, "outputs": outputs},
        }
    ).model_dump(mode="json")
    if not shards["train"][0].exists():
        corpus.run(Job("corpus", study, {}, shards))
    return traces.Specifications.of(Job("traces", study, shards, {}))


@pytest.mark.parametrize("name", ENCODINGS)
def test_only_the_output_grids_leave_the_text(name, tmp_path):
    encoding = ENCODINGS[name]()
    tokenizer = encoding.tokenizer()
    for outputs in OUTPUTS:
        read = specifications(tmp_path, outputs)
        prompts = read.prompts(encoding, slice(None))
        for row in range(len(read)):
            words = []
            for k in range(2):
                given = drawn(*read.worlds.at((row, k)))
                real = drawn(*read.outputs.at((row, k)))
                words += [given, {"shown": real, "blank": ". . . . . .", "copied": given}[outputs]]
            text = f"Examples: {' '.join(words)} Code: def run() {{"
            assert tokenizer.encode(text).ids == prompts[row].tolist()


@pytest.mark.parametrize("name", ENCODINGS)
def test_outputs_that_are_not_shown_cannot_be_read(name, tmp_path):
    """Exchange the outputs for those of another specification: the text does not change."""
    for outputs in OUTPUTS:
        read = specifications(tmp_path, outputs)
        before = read.prompts(ENCODINGS[name](), slice(None))
        exchanged = dataclasses.replace(read, outputs=read.outputs.at(np.roll(np.arange(len(read)), 1)))
        after = exchanged.prompts(ENCODINGS[name](), slice(None))
        assert (before.tobytes() == after.tobytes()) == (outputs != "shown")


def test_batch_size_changes_no_program(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = Setting(tmp_path / "a", "compact", 0.5, batch=7), Setting(tmp_path / "b", "compact", 0.5, batch=50)
    np.testing.assert_array_equal(one.programs["generated"], other.programs["generated"])
    np.testing.assert_allclose(one.generated["mean"], other.generated["mean"], atol=2e-3)
    assert one.metadata == {"height": 3, "width": 3, "worlds": 1, "step": 5, "seed": 0, "layers": 2}


def test_threads_change_no_bit(tmp_path):
    """More of them than cores, in the type that the hardware multiplies fastest."""
    for threads in (1, 3):
        folder = tmp_path / str(threads)
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(traces, "choose_precision", choose_precision)
            Setting(folder, "compact", 0.0, batch=7, threads=threads)
    for name in ("programs", "generated", "forced"):
        one, other = ((tmp_path / threads / f"{name}.arrow").read_bytes() for threads in ("1", "3"))
        assert one == other


def test_tokens_stage_writes_documents(tmp_path):
    setting = Setting(tmp_path, "compact", 0.0)
    outputs = {split: [tmp_path / f"tokens-{split}.arrow"] for split in COUNTS}
    outputs |= {"tokenizer": [tmp_path / "tokenizer.json"], "tokenizer_config": [tmp_path / "tokenizer_config.json"]}
    tokens.run(Job("tokens", setting.study.model_dump(mode="json"), setting.specifications_shards, outputs))
    columns, metadata = read_table(tmp_path / "tokens-test.arrow")
    tests = setting.specifications.split == 2
    ids, lengths, _, _ = setting.encoding.spell(setting.specifications.programs[tests])
    start = metadata["prompt_length"]
    assert start == setting.prompts.shape[1]
    np.testing.assert_array_equal(columns["length"], start + lengths + 1)
    for row, length in enumerate(columns["length"].astype(int)):
        program = [*ids[row, : lengths[row]], setting.encoding.ids["<eos>"]]
        filling = [metadata["pad"]] * (columns["tokens"].shape[1] - length)
        assert columns["tokens"][row].tolist() == [*setting.prompts[tests][row], *program, *filling]
