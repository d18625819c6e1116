"""Program writers: what they propose, how it is judged, and how many specifications a budget solves."""

import csv
from itertools import combinations, product

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from synthetic import skill, small_study, write_results
from test_editing import random_model, shards, study_of
from test_statistics import WRITERS, refuse_lonely_numbers
from transformers import AutoModelForCausalLM

from progsem.data.special_tokens import END_ID
from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.lm.decoding import TokenGrammar, write_programs
from progsem.lm.traces import Specifications, satisfied
from progsem.measures import statistics
from progsem.measures.synthesis import WriterKey, pass_at, proposed, seconds_per_solution
from progsem.storage.files import read_table, write_json, write_table
from progsem.study.config import load
from progsem.synthesis import models, plain, writers
from progsem.synthesis.sampling import BLOCK, Proposer, parsed, pick

pytestmark = pytest.mark.usefixtures("one_thread")

PAD = LANGUAGE.codes.PAD
ACTIONS = len(LANGUAGE.codes.ACTIONS)


@pytest.fixture(scope="module")
def encoding():
    return LANGUAGE.text.ENCODINGS["compact"]()


@pytest.fixture(scope="module")
def study():
    return study_of(synthesis={"writers": ("greedy", "temperature", "top_p", "beam"), "samples": 70, "test": 20})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, study):
    return shards(tmp_path_factory.mktemp("corpus"), study)


@pytest.fixture(scope="module")
def specifications(corpus):
    return Specifications.read(corpus, {"test": 20})


@pytest.fixture(scope="module")
def network(encoding):
    model = random_model(len(encoding.vocabulary), 2)
    model.initialise(1, 0.2)  # with less it says the same of all tokens, with more it is sure of one
    return model


@pytest.fixture
def proposer(network, encoding):
    return Proposer(network.inference(torch.float32), encoding, 4, 0)


def prompt(specifications, encoding, row: int) -> np.ndarray:
    return specifications.prompts(encoding, slice(row, row + 1))[0]


# The estimator.


@pytest.mark.parametrize("n, right", [(1, 0), (1, 1), (5, 0), (5, 2), (6, 5), (7, 7)])
def test_pass_at_k_is_the_mean_over_all_subsets(n, right):
    """Of all ways to take k of n proposals, the share that has a right one."""
    outcomes = np.arange(n) < right
    for k in range(1, n + 1):
        expected = np.mean([outcomes[list(taken)].any() for taken in combinations(range(n), k)])
        assert pass_at(n, np.array([right]), k)[0] == pytest.approx(expected)


def test_pass_at_k_of_many():
    assert pass_at(10_000, np.array([0, 1, 10_000]), 5_000).tolist() == pytest.approx([0, 0.5, 1])


def table_of(rows: list[tuple]) -> dict[str, np.ndarray]:
    """Columns of a proposals.arrow: writer, program, first, count, whole, shown, held_out, statements."""
    names = "writer program first count whole shown held_out statements".split()
    columns = dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))
    return columns | {name: columns[name].astype(bool) for name in ("whole", "shown", "held_out")}


def test_budgets_of_independent_and_of_ordered_proposals():
    rows = [
        (0, 0, 0, 3, 1, 0, 0, 1),  # four proposals, of which one is right on what is shown, of two statements
        (0, 0, 2, 1, 1, 1, 0, 2),
        (0, 1, 0, 4, 0, 0, 0, 0),  # no program at all
        (1, 0, 0, 1, 1, 0, 0, 1),
        (1, 0, 1, 1, 1, 1, 1, 3),  # the second is right
        (1, 0, 2, 1, 1, 1, 1, 2),
        (1, 1, 0, 1, 1, 1, 1, 1),
        (2, 0, 0, 1, 1, 0, 0, 1),  # a beam of one is wrong, one of two is right
        (2, 1, 0, 1, 1, 0, 0, 1),
        (3, 0, 0, 1, 1, 0, 0, 1),
        (3, 0, 1, 1, 1, 1, 1, 1),
        (3, 1, 0, 1, 1, 0, 0, 1),
    ]
    beam = {"name": "beam", "grammar": True, "independent": False}
    about = {
        "test": 2,
        "writers": [
            {"name": "temperature", "value": 1.0, "grammar": True, "independent": True},
            {"name": "enumeration", "value": None, "grammar": True, "independent": False},
            beam | {"value": 1},
            beam | {"value": 2},
        ],
    }
    found = proposed(table_of(rows), about, [1, 2, 4])
    sampled = found[WriterKey("temperature", 1.0, True)]
    assert sampled.solved["solved"][0].tolist() == pytest.approx([0.25, 0.5, 1.0])
    assert sampled.solved["solved"][1].tolist() == sampled.solved["solved_held_out"][0].tolist() == [0, 0, 0]
    assert (sampled.distinct.tolist(), sampled.whole.tolist()) == ([0.5, 0], [1, 0])
    assert sampled.first[0] == 2 and np.isnan(sampled.first[1])
    listed = found[WriterKey("enumeration", None, True)]
    assert listed.solved["solved"].tolist() == [[0, 1, 1], [1, 1, 1]]
    assert (listed.first.tolist(), listed.shortest.tolist()) == ([3, 1], [2, 1])
    searched = found[WriterKey("beam", None, True)]
    assert searched.budgets == [1, 2] and searched.solved["solved"].tolist() == [[0, 1], [0, 0]]


# Sampling.


def test_tokens_are_picked_by_their_shares():
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]]).repeat(1000, axis=0))
    uniforms = (np.arange(1000) + 0.5) / 1000
    counts = np.bincount(pick(logits, uniforms, 1.0, 1.0), minlength=4)
    assert counts.tolist() == [500, 300, 150, 50]
    sharpened = np.bincount(pick(logits, uniforms, 0.5, 1.0), minlength=4) / 1000
    squares = np.array([0.25, 0.09, 0.0225, 0.0025])
    assert sharpened == pytest.approx(squares / squares.sum(), abs=2e-3)
    nucleus = np.bincount(pick(logits, uniforms, 1.0, 0.75), minlength=4)  # the first two reach it
    assert nucleus.tolist() == [625, 375, 0, 0]
    logits[:, 0] = -np.inf
    assert np.bincount(pick(logits, uniforms, 1.0, 1.0), minlength=4).tolist() == [0, 600, 300, 100]


@pytest.mark.parametrize("grammar", [True, False])
def test_samples_do_not_depend_on_how_many_there_are_or_on_threads(proposer, specifications, encoding, grammar):
    def of(count: int, row: int = 3):
        given = prompt(specifications, encoding, row)
        return proposer.samples(given, count, (5, row), 1.3, 0.95, grammar)

    many = of(2 * BLOCK + 3)
    of(10, row=4)  # leaves nothing behind
    few = of(7)
    assert (few.codes == many.codes[:7]).all() and (few.whole == many.whole[:7]).all()
    torch.set_num_threads(3)
    threaded = of(2 * BLOCK + 3)
    torch.set_num_threads(1)
    assert threaded.codes.tobytes() == many.codes.tobytes() and (threaded.whole == many.whole).all()
    if grammar:  # without it, this one hardly ever writes a program
        assert len(np.unique(many.codes, axis=0)) > 5
        assert not (many.codes[:BLOCK] == many.codes[BLOCK : 2 * BLOCK]).all()


def chances(network, encoding, given: np.ndarray, codes: int) -> dict[bytes, float]:
    """Every straight program with at most so many codes, with its chance under the grammar, from whole documents."""
    found = {}
    legal_first = [encoding.expansions[0, action][0] for action in range(ACTIONS)]
    close = encoding.ids["}"]

    def follow(tokens: list[int], actions: list[int], chance: float) -> None:
        with torch.no_grad():
            document = torch.from_numpy(np.append(given, tokens).astype(np.int64))[None]
            logits = network.logits(network(document)[-1])[0, -1].double().numpy()
        legal = legal_first + ([close] if actions else [])
        shares = np.exp(log_softmax(logits[legal]))
        if actions:
            padded = np.full(codes, PAD, np.uint8)
            padded[: len(actions)] = actions
            found[padded.tobytes()] = chance * shares[-1]
        if len(actions) < codes - 1:
            for action, token in enumerate(legal_first):
                follow([*tokens, token], [*actions, action], chance * shares[action])

    follow([], [], 1.0)
    return found


def test_samples_follow_the_model_and_beams_find_the_likeliest(network, encoding, specifications):
    proposer, given = Proposer(network.inference(torch.float32), encoding, 3, 0), prompt(specifications, encoding, 1)
    expected = chances(network, encoding, given, 3)
    count = 3000
    drawn = proposer.samples(given, count, (0, 1))
    counts: dict[bytes, int] = {}
    for codes, whole in zip(drawn.codes, drawn.whole, strict=True):
        if whole:
            counts[codes.tobytes()] = counts.get(codes.tobytes(), 0) + 1
    assert set(counts) <= set(expected)
    for codes, chance in expected.items():
        spread = 5 * np.sqrt(count * chance * (1 - chance)) + 1
        assert abs(counts.get(codes, 0) - count * chance) < spread
    likeliest = sorted(expected, key=expected.get, reverse=True)
    beams = proposer.beams(given, 40)  # more than there are beginnings: nothing is lost
    assert [codes.tobytes() for codes in beams.codes[:10]] == likeliest[:10]
    assert len(beams.codes) <= len(expected) == ACTIONS + ACTIONS**2


@pytest.mark.parametrize("width", [1, 4, 9])
def test_beam_search_is_that_of_transformers(tmp_path, network, encoding, specifications, width):
    network.save(tmp_path / "model.safetensors", tmp_path / "config.json")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).float().eval()
    proposer = Proposer(network.inference(torch.float32), encoding, 4, 0)
    found = 0
    for row in range(6):
        given = prompt(specifications, encoding, row)
        with torch.no_grad():
            generated = theirs.generate(
                torch.from_numpy(given.astype(np.int64))[None],
                num_beams=width,
                num_return_sequences=width,
                length_penalty=0.0,
                do_sample=False,
                max_new_tokens=proposer.tokens + 1,
                eos_token_id=END_ID,
                pad_token_id=0,
                return_dict_in_generate=True,
                output_scores=True,
            )
        ended = [
            row[len(given) :].tolist() for row in generated.sequences.numpy() if END_ID in row[len(given) :].tolist()
        ]
        texts = [tokens[: tokens.index(END_ID)] for tokens in ended]
        ours = proposer.beams(given, width, grammar=False)
        written = [np.array([*tokens, END_ID]) for tokens in texts]
        read = parsed(written, proposer.grammar, proposer.codes, proposer.max_depth)
        assert len(ours.codes) >= len(texts)
        assert (ours.codes[: len(texts)] == read.codes).all() and (ours.whole[: len(texts)] == read.whole).all()
        found += len(texts)
    assert found > 0


def test_greedy_is_what_traces_write(proposer, network, encoding, specifications):
    inference = network.inference(torch.float32)
    grammar = TokenGrammar(encoding, False)
    for row in range(5):
        given = prompt(specifications, encoding, row)
        cache = inference.cache()
        document = torch.from_numpy(given.astype(np.int64))[None]
        states = inference.prefill(document, cache, 1, len(given) + proposer.tokens)
        written = write_programs(
            inference, cache, grammar, [state[:, 0] for state in states], len(given), 4, proposer.tokens, 0, 1
        )
        greedy, free = proposer.greedy(given), proposer.greedy(given, grammar=False)
        assert greedy.whole[0] == written.finished[0] and free.whole[0] == written.parses_freely[0]
        if greedy.whole[0]:
            assert (greedy.codes == written.codes).all()


# Writers without a model.


def test_every_program_is_enumerated_once_shorter_ones_first():
    found = plain.enumerated(4, 0, 10_000).codes
    lengths = (found != PAD).sum(axis=1)
    assert len(found) == ACTIONS + ACTIONS**2 + ACTIONS**3 == len(np.unique(found, axis=0))
    assert (np.diff(lengths) >= 0).all()
    assert found[:ACTIONS, 0].tolist() == list(range(ACTIONS))
    assert (plain.enumerated(4, 0, 7).codes == found[:7]).all()


def test_blocks_are_enumerated_as_they_nest():
    found = plain.enumerated(7, 1, 100_000).codes
    texts = {LANGUAGE.text.source(codes) for codes in found}
    assert "def run() { if (front_is_clear()) { move() } }" in texts and len(texts) == len(found)
    assert not any(text.count("if") > 1 for text in texts)  # one needs all of the codes


def test_uniform_writers_choose_every_code_alike():
    drawn = plain.Uniform(12, 0).propose(np.zeros(4, np.uint8), 4000, (0, 0))
    lengths = (drawn.codes[drawn.whole] != PAD).sum(axis=1)
    assert np.mean(lengths == 1) == pytest.approx(1 / 6, abs=0.03)  # five statements or the end
    assert np.bincount(drawn.codes[drawn.whole][:, 0], minlength=ACTIONS) / drawn.whole.sum() == pytest.approx(
        np.full(ACTIONS, 0.2), abs=0.03
    )
    again = plain.Uniform(12, 0).propose(np.zeros(4, np.uint8), 10, (0, 0))
    assert (again.codes == drawn.codes[:10]).all()


@pytest.mark.parametrize("context", [False, True])
def test_regressions_say_what_follows_from_the_specification(context):
    """The first statement is what the first glyph says, the second the first one once more."""
    rng = np.random.default_rng(0)
    glyphs = rng.integers(0, 3, (2000, 5)).astype(np.uint8)
    first = glyphs[:, 0] if not context else rng.integers(0, 3, 2000)
    programs = np.stack([first, first, np.full(2000, PAD)], axis=1).astype(np.uint8)
    writer = plain.Learned(4, 0, glyphs, programs, context)
    drawn = writer.propose(np.array([2, 0, 1, 0, 1], np.uint8), 300, (0, 0))
    assert drawn.whole.mean() > 0.95
    codes = drawn.codes[drawn.whole]
    assert np.mean(codes[:, 1] == (codes[:, 0] if context else 2)) > 0.95
    assert np.mean(codes[:, 0] == 2) > 0.95 or context


def test_the_corpus_own_programs_are_drawn_as_they_are_frequent():
    programs = np.array([[0, PAD], [0, PAD], [0, PAD], [1, 2]], np.uint8)
    drawn = plain.drawn_from(programs, 4, 2000, (0, 0)).codes
    assert drawn.shape == (2000, 4)
    assert np.mean(drawn[:, 0] == 0) == pytest.approx(0.75, abs=0.04)


# The stages.


def job_of(folder, study, corpus, stage: str, network=None) -> Job:
    inputs = dict(corpus)
    if network is not None:
        network.save(folder / "model.safetensors", folder / "config.json")
        inputs |= {"weights": [folder / "model.safetensors"], "config": [folder / "config.json"]}
    slices = study.model_dump(mode="json") | {"step": 7, "seed": 1}
    return Job(stage, slices, inputs, {"proposals": [folder / f"{stage}.arrow"]}, device="cpu")


def test_a_checkpoint_proposes_and_is_judged(tmp_path, study, corpus, network, specifications):
    job = job_of(tmp_path, study, corpus, "synthesis", network)
    models.run(job)
    columns, about = read_table(job.output("proposals"))
    labels = [(one["name"], one["value"], one["grammar"]) for one in about["writers"]]
    asked = [("greedy", None)] + [("temperature", value) for value in (0.5, 1.0, 1.5)] + [("top_p", 0.9)]
    asked += [("beam", width) for width in (1, 2, 5, 10, 20, 50, 70)]
    assert labels == [(*one, grammar) for grammar, one in product((True, False), asked)]
    assert (about["test"], about["proposals"], about["seed"], about["step"]) == (20, 70, 1, 7)
    totals = np.zeros((len(labels), 20), int)
    np.add.at(totals, (columns["writer"], columns["program"]), columns["count"])
    sampled = [index for index, label in enumerate(labels) if label[0] in ("temperature", "top_p")]
    assert (totals[sampled] == 70).all()
    assert (totals[labels.index(("greedy", None, True))] == 1).all()
    assert columns["whole"][np.isin(columns["writer"], np.flatnonzero([label[2] for label in labels]))].mean() > 0.5
    right = satisfied(
        columns["codes"],
        *(part.at(columns["program"]) for part in (specifications.worlds, specifications.outputs)),
        200,
    )
    shown = right[:, : study.corpus.examples].all(axis=1) & columns["whole"]
    assert (columns["shown"] == shown).all() and (columns["held_out"] == right.all(axis=1) & columns["whole"]).all()
    assert columns["shown"].any()
    assert about["references"] == [int((codes < ACTIONS).sum()) for codes in specifications.programs]
    before = job.output("proposals").read_bytes()
    models.run(job)
    assert job.output("proposals").read_bytes() == before


def test_writers_without_a_model(tmp_path, study, corpus):
    names = ("uniform", "corpus", "unigram", "bigram", "enumeration")
    asked = study_of(synthesis={"writers": names, "samples": 30, "test": 20})
    job = job_of(tmp_path, asked, corpus, "writers")
    writers.run(job)
    columns, about = read_table(job.output("proposals"))
    assert [one["name"] for one in about["writers"]] == list(names)
    found = proposed(columns, about, asked.synthesis.budgets)
    solved = {key.writer: one.solved["solved"].mean(axis=0) for key, one in found.items()}
    assert all((np.diff(each) >= -1e-12).all() for each in solved.values())
    assert solved["enumeration"][-1] > 0.3  # thirty programs are all of one and two statements
    assert min(each[-1] for each in solved.values()) > 0.05
    before = job.output("proposals").read_bytes()
    writers.run(job)
    assert job.output("proposals").read_bytes() == before


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"test": 4000}, ["synthesis.test is 4000", "corpus.test has 3000"]),
        ({"writers": ("greedy", "greedy")}, ["synthesis.writers", "give each once"]),
        ({"writers": ("nobody",)}, ["synthesis.writers", "nobody", "enumeration"]),
        ({"temperatures": (0.0,)}, ["synthesis.temperatures", "0.01"]),
        ({"top_p": (1.0,)}, ["synthesis.top_p", "less than 1"]),
        ({"samples": 0}, ["synthesis.samples", "equal to 1"]),
    ],
)
def test_what_cannot_be_asked_is_one_line(keys, said):
    with pytest.raises(UserError) as caught:
        load({"synthesis": {"writers": ("greedy",), **keys}})
    line = str(caught.value)
    assert "\n" not in line and all(part in line for part in said)


# The tables.


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Those of a synthetic study of two language models."""
    names = ("uniform", "enumeration", "greedy", "temperature", "beam")
    asked = small_study(
        synthesis={"writers": names, "samples": 40, "test": 200, "temperatures": (1.0,), "checkpoints": "ends"},
        lm={"steps": 600, "decay_steps": 600, "seeds": [0, 1]},
    )
    job = write_results(tmp_path_factory.mktemp("tables"), asked)
    statistics.run(job)
    found = {}
    for name in ("synthesis", "writers"):
        with open(job.output(name), newline="", encoding="utf-8") as handle:
            found[name] = list(csv.DictReader(handle))
    return asked, found


def rows_of(table: list[dict], **where) -> list[dict]:
    return [row for row in table if all(row[key] == str(value) for key, value in where.items())]


def test_solved_shares_are_those_of_the_chances(tables):
    asked, found = tables
    share = skill(asked, 600)
    rows = rows_of(found["synthesis"], lm_seed="pooled", step=600, writer="temperature", grammar=True)
    assert [int(row["budget"]) for row in rows] == asked.synthesis.budgets == [1, 2, 5, 10, 20, 40]
    for row in rows:
        expected = 1 - (1 - share) ** int(row["budget"])
        assert float(row["solved"]) == pytest.approx(expected, abs=0.03)
        assert float(row["solved_low"]) <= float(row["solved"]) <= float(row["solved_high"])
        assert float(row["solved_held_out"]) < float(row["solved"]) + 1e-9
    (greedy,) = rows_of(found["synthesis"], lm_seed=1, step=600, writer="greedy", grammar=True, budget=1)
    assert float(greedy["solved"]) == pytest.approx(share, abs=0.1)
    beams = rows_of(found["synthesis"], lm_seed=0, step=600, writer="beam", grammar=True)
    assert [int(row["budget"]) for row in beams] == asked.synthesis.budgets and {row["value"] for row in beams} == {""}
    for row in rows_of(found["synthesis"], lm_seed="none", writer="enumeration", budget=1):
        solved, width = float(row["solved"]), float(row["solved_high"]) - float(row["solved_low"])
        # Of a share of 200 specifications; they are some of those that are drawn from.
        assert width == pytest.approx(2 * 1.96 * (solved * (1 - solved) / 200) ** 0.5, rel=0.15)
    plain = rows_of(found["synthesis"], lm_seed="none", writer="uniform")
    assert {row["step"] for row in plain} == {""} and float(plain[0]["solved"]) == pytest.approx(0.3, abs=0.03)
    assert {row["step"] for row in found["synthesis"]} == {"", "0", "600"}


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_every_number_has_interval_and_n(tables, name):
    _, found = tables
    refuse_lonely_numbers(name, found[name])


def test_lengths_and_distinct_programs(tables):
    _, found = tables
    (row,) = rows_of(found["writers"], lm_seed="pooled", step=600, writer="temperature", grammar=False)
    assert float(row["distinct"]) < 2 / 40 + 1e-6
    assert 2 <= float(row["first_length"]) <= 4
    assert 0 <= float(row["longer"]) <= 2 and int(row["n_solved"]) <= 400
    (uniform,) = rows_of(found["writers"], lm_seed="none", writer="uniform")
    assert float(uniform["programs"]) == 1
    # Of a geometric distribution with chance p, 1 / p up to the first; some stop at the last one.
    assert float(uniform["per_solution"]) == pytest.approx(1 / 0.3, rel=0.1)
    (best,) = rows_of(found["writers"], lm_seed="none", writer="enumeration")
    assert float(best["per_solution"]) > 0


def test_seconds_are_those_up_to_the_first_right_proposal(tmp_path):
    """Two writers on three specifications, of which the second solves none with its last proposal."""
    rows = [(0, 0, 0, 1, False), (0, 0, 1, 3, True), (0, 1, 0, 4, True), (0, 2, 0, 4, False), (1, 0, 0, 1, False)]
    rows += [(1, 1, 0, 1, False), (1, 2, 0, 1, False)]
    names = ("writer", "program", "first", "count", "shown")
    columns = {name: np.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    columns |= {"held_out": columns["shown"], "whole": np.ones(len(rows), bool), "statements": np.ones(len(rows), int)}
    writers = [{"name": "uniform", "value": None, "grammar": True, "independent": True}]
    writers += [{"name": "greedy", "value": None, "grammar": True, "independent": False}]
    write_table(tmp_path / "proposals.arrow", columns, {"writers": writers, "test": 3, "proposals": 4, "step": 10})
    write_json(tmp_path / "manifest.json", {"notes": {"writer_seconds": {"uniform": 24.0, "greedy": 3.0}}})
    write_json(tmp_path / "other.json", {"notes": {}})
    # In expectation 5 / 4, 1 and all 4 of 4 proposals, at two seconds each, for two solutions.
    found = seconds_per_solution([tmp_path / "other.json", tmp_path / "manifest.json"])
    assert found == {"uniform": pytest.approx(2 * 6.25 / 2)}


def test_missing_proposals_are_named(tmp_path):
    asked = small_study(synthesis={"writers": ("greedy", "uniform"), "test": 100}, lm={"seeds": [0, 1]})
    job = write_results(tmp_path, asked)
    for left in range(3):
        inputs = job.inputs | {"proposals": [path for at, path in enumerate(job.inputs["proposals"]) if at != left]}
        with pytest.raises(UserError, match="no proposals of"):
            statistics.run(Job(job.stage, job.slice, inputs, job.outputs))
