"""Sparse dictionaries: planted features are found, scores are what they are said to be, MLPs are read and replaced."""

import csv

import numpy as np
import pytest
import torch
from scipy.special import stdtrit
from synthetic import small_study, write_results
from tree import tiny

from progsem.errors import UserError
from progsem.languages.labels import Head
from progsem.lm import model as lm
from progsem.measures import statistics
from progsem.plots.figures import read_rows
from progsem.sparse import activations, dictionary, scores
from progsem.sparse.stage import variance_explained
from progsem.storage.files import read_csv, read_table
from progsem.study.config import LM
from progsem.study.plan import Plan

MIRROR = {"turn_left": "turn_right", "turn_right": "turn_left"}
HEADS = [Head("facing", "heading", 4), Head("wall_ahead", "wall", 2)]
ARCHITECTURES = {"codegen": {}, "gpt2": {"n_positions": 64}, "gpt_neox": {}, "llama": {}}


def model(kind: str, seed: int = 0):
    """A small model of an architecture."""
    sizes = {"layers": 2, "width": 32, "heads": 4, "rotary": 8}
    config = ARCHITECTURES.get(kind, {"num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 8})
    return lm.make(LM.model_validate({"model_type": kind, "config": config, **sizes}), 20, seed).eval()


# Dictionaries.


@pytest.fixture(scope="module")
def planted(one_thread):
    """An MLP of 24 features, of which three are active at a time, and a transcoder of its inputs and outputs."""
    rng = torch.Generator().manual_seed(0)
    features, inputs, outputs = 24, 32, 16
    read, written = torch.randn(features, inputs, generator=rng), torch.randn(features, outputs, generator=rng)
    written /= written.norm(dim=1, keepdim=True)
    read /= read.norm(dim=1, keepdim=True)
    active = torch.zeros(20_000, features)
    chosen = torch.rand(20_000, features, generator=rng).topk(3, dim=1).indices
    active.scatter_(1, chosen, 0.5 + torch.rand(20_000, 3, generator=rng))
    given, wanted = active @ read, active @ written
    recipe = dictionary.Recipe(features=48, active=3, steps=1500, batch=256, learning_rate=1e-2)
    made = dictionary.fit(given[:18_000], wanted[:18_000], recipe, 0)
    return made, given[18_000:], wanted[18_000:], active[18_000:], written


def test_planted_features_are_found(planted):
    made, given, wanted, _, written = planted
    assert variance_explained(made(given), wanted) > 0.9
    alike = (written @ made.decoder.weight).max(dim=1).values  # cosines: both have the length 1
    assert (alike > 0.9).float().mean() > 0.9


def test_planted_features_cover_what_they_stand_for(planted):
    """Each is a property of its own: whether the planted feature is active."""
    made, given, _, active, _ = planted
    labels = (active > 0).numpy().astype(np.uint8)
    heads = [Head("planted", str(number), 2) for number in range(labels.shape[1])]
    values, half = made.encode(given).numpy(), len(labels) // 2
    found = scores.score(values[:half], values[half:], (labels[:half], labels[half:]), heads)
    of_active = [f1 for one, f1 in zip(found.properties, found.f1, strict=True) if one.value]
    assert np.mean(of_active) > 0.9


def test_no_more_than_so_many_are_active_and_dead_ones_are_revived(planted, one_thread):
    made, given, *_ = planted
    encoded = made.encode(given)
    assert (encoded >= 0).all() and ((encoded > 0).sum(1) <= 3).all()
    torch.testing.assert_close(made.decoder.weight.norm(dim=0), torch.ones(48))


def test_revival_makes_features_useful_that_were_never_among_the_largest(planted, one_thread, monkeypatch):
    made, given, wanted, *_ = planted
    monkeypatch.setattr(dictionary, "_DEAD_AFTER", 10**9)
    recipe = dictionary.Recipe(features=48, active=3, steps=1500, batch=256, learning_rate=1e-2)
    without = dictionary.fit(given, wanted, recipe, 0)
    alive = [(one.encode(given) > 0).any(0).float().mean() for one in (made, without)]
    assert alive[0] > alive[1] + 0.1


@pytest.mark.parametrize("factors", [(1, 0.01), (0.01, 1), (30, 30)])
def test_a_fit_does_not_depend_on_the_scale(one_thread, factors):
    """Outputs of an untrained MLP are a hundred times smaller than its inputs."""
    rng = torch.Generator().manual_seed(3)
    given = torch.randn(2_000, 12, generator=rng) + 1
    wanted = torch.relu(given @ torch.randn(12, 20, generator=rng)) @ torch.randn(20, 8, generator=rng)
    recipe = dictionary.Recipe(features=40, active=6, steps=200, batch=256, learning_rate=3e-3)
    one = dictionary.fit(given, wanted, recipe, 0)
    other = dictionary.fit(factors[0] * given, factors[1] * wanted, recipe, 0)
    torch.testing.assert_close(other(factors[0] * given), factors[1] * one(given), rtol=2e-2, atol=2e-2 * factors[1])
    torch.testing.assert_close(other.decoder.weight.norm(dim=0), torch.ones(40))


def test_the_same_seed_gives_the_same_dictionary(one_thread):
    rng = torch.Generator().manual_seed(1)
    given, recipe = torch.randn(500, 8, generator=rng), dictionary.Recipe(16, 2, 20, 64, 1e-3)
    one, again, other = (dictionary.fit(given, given, recipe, seed) for seed in (0, 0, 1))
    assert torch.equal(one.encoder.weight, again.encoder.weight)
    assert not torch.equal(one.encoder.weight, other.encoder.weight)


# Scores.


def labelled(count=400, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(4, size=count), rng.integers(2, size=count)], axis=1).astype(np.uint8)


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.concatenate([labels[:, [0]] == np.arange(4), labels[:, [1]] == np.arange(2)], axis=1).astype(np.float32)


def test_perfect_features_cover_and_reconstruct_everything():
    train, test = labelled(), labelled(seed=1)
    found = scores.score(3 * one_hot(train), 3 * one_hot(test), (train, test), HEADS)
    assert found.coverage == 1 and found.reconstruction == 1 and found.precise == 6
    assert list(found.feature) == list(range(6)) and (found.precision == 1).all()


def test_features_of_nothing_are_no_better_than_to_say_yes_always():
    train, test = labelled(), labelled(seed=1)
    rng = np.random.default_rng(2)
    found = scores.score(rng.random((400, 50)), rng.random((400, 50)), (train, test), HEADS)
    always = np.mean([2 * share / (1 + share) for share in one_hot(test).mean(axis=0)])
    assert found.coverage < always + 0.03 and found.reconstruction < 0.2


def test_of_many_features_of_nothing_none_is_precise_by_chance():
    """Also where a value holds nearly always, so that ten right answers in a row are no sign of anything."""
    rng = np.random.default_rng(3)
    shares = [[0.9, 0.04, 0.04, 0.02], [0.87, 0.13]]
    train, test = (
        np.stack([rng.choice(len(one), 4000, p=one) for one in shares], axis=1).astype(np.uint8) for _ in range(2)
    )
    values = [rng.random((4000, 700)).astype(np.float32) * (rng.random((4000, 700)) < 0.02) for _ in range(2)]
    found = scores.score(*values, (train, test), HEADS)
    assert found.precise <= 2 and found.reconstruction < 0.05
    # What is right by more than chance is precise, of the rare value as well.
    knowing = np.where((train == [1, 1])[:, :1], rng.random((4000, 1)), 0).astype(np.float32)
    again = np.where((test == [1, 1])[:, :1], rng.random((4000, 1)), 0).astype(np.float32)
    found = scores.score(
        *(np.concatenate(two, 1) for two in zip(values, (knowing, again), strict=True)), (train, test), HEADS
    )
    assert found.feature[1] == 700 and found.f1[1] > 0.99 and found.reconstruction > 0.03


def test_a_score_by_hand():
    """One feature that is active in two of three states of a value, and in one other."""
    labels = np.array([[0, 0]] * 3 + [[1, 1]] * 5, np.uint8)
    values = np.zeros((8, 1), np.float32)
    values[[0, 1, 3]] = 1
    found = scores.score(values, values, (labels, labels), HEADS)
    assert [(one.head, one.value) for one in found.properties] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    np.testing.assert_allclose(found.f1, [2 * 2 / (3 + 3), 2 / (3 + 5), 4 / 6, 2 / 8])
    np.testing.assert_allclose(found.precision, [2 / 3, 1 / 3, 2 / 3, 1 / 3])
    np.testing.assert_allclose(found.always, [2 * 3 / 11, 2 * 5 / 13] * 2)


def test_thresholds_are_chosen_on_training_states():
    """A feature that says a value by how active it is: above seven tenths of its largest."""
    train, test = labelled(), labelled(seed=1)
    activation = [np.where(labels[:, :1] == 2, 1.0, 0.65).astype(np.float32) for labels in (train, test)]
    found = scores.score(*activation, (train, test), HEADS)
    place = found.properties.index(scores.Property(0, 2))
    assert found.threshold[place] == 0.7 and found.f1[place] == 1


# MLPs.


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_mlps_read_and_give_is_what_the_model_computes(kind):
    one = model(kind)
    tokens = torch.randint(20, (3, 11), generator=torch.Generator().manual_seed(0))
    for mlp, seen in zip(activations.mlps(one), activations.seen(one, tokens), strict=True):
        assert seen.inputs.shape == seen.outputs.shape == (3, 11, 32) and seen.neurons.shape == (3, 11, 128)
        torch.testing.assert_close(mlp(seen.inputs), seen.outputs)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_an_mlp_that_is_replaced_by_itself_changes_nothing(kind):
    one = model(kind)
    tokens = torch.randint(20, (3, 11), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([11, 9, 11])
    whole = activations.loss(one, tokens, lengths, 6)
    assert whole[1] == 5 + 3 + 5
    for layer in range(2):
        with activations.replaced(one, layer, lambda given, output: output):
            assert activations.loss(one, tokens, lengths, 6)[0] == pytest.approx(whole[0])
        with activations.replaced(one, layer, lambda given, output: 0 * output):
            assert activations.loss(one, tokens, lengths, 6)[0] != pytest.approx(whole[0], abs=1e-4)
    assert activations.loss(one, tokens, lengths, 6)[0] == pytest.approx(whole[0])


def test_without_mlps_there_are_no_transcoders():
    with pytest.raises(UserError, match="^transcoders: .* have no MLP; set transcoders.kinds to "):
        activations.mlps(model("mamba2"))


# In a study.


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Statistics of three language models, with what the stage said of each, by LM seed."""
    study = small_study(
        lm={"steps": 400, "checkpoint_every": 200, "decay_steps": 400, "seeds": [3, 5, 8]},
        interventions={"alternatives": {"mirror": MIRROR}, "difficulty_matched": "mirror"},
        transcoders={"kinds": ["transcoder"]},
    )
    job = write_results(tmp_path_factory.mktemp("transcoders"), study)
    statistics.run(job)
    said = {
        seed: read_csv(path)
        for path, seed in zip(job.inputs["transcoders_scores"], [3, 3, 5, 5, 8, 8], strict=True)
        if "000400" in str(path)
    }
    return read_rows(job.output("transcoders")), said, read_rows(job.output("transcoder_properties"))


def test_the_table_is_the_mean_over_blocks_and_models(tables):
    rows, said, details = tables

    def mean(seed: int, semantics: str) -> float:
        where = ("transcoder", semantics)
        return np.mean([float(row["coverage"]) for row in said[seed] if (row["kind"], row["semantics"]) == where])

    each = [mean(seed, "original") for seed in said]
    ahead = [mean(seed, "original") - mean(seed, "mirror") for seed in said]
    where = {"lm_seed": "pooled", "step": 400, "layer": "mean", "kind": "transcoder", "semantics": "original"}
    (row,) = (row for row in rows if where.items() <= row.items())
    for name, values in (("coverage", each), ("coverage_ahead", ahead)):
        reach = stdtrit(2, 0.975) * np.std(values, ddof=1) / np.sqrt(3)
        assert row[name] == pytest.approx(np.mean(values), abs=2e-6)
        assert row[f"{name}_low"] == pytest.approx(np.mean(values) - reach, abs=2e-6)
        assert row[f"{name}_high"] == pytest.approx(np.mean(values) + reach, abs=2e-6)
    # Of what the loss of all blocks together rises by.
    rises = [np.mean([float(one["rise"]) for one in said[seed] if one["rise"]]) for seed in said]
    assert row["dead"] == 0.1 and row["loss_recovered"] == pytest.approx(1 - np.mean(rises) / 0.2)
    assert {row["lm_seed"] for row in details} == set(said) and {row["kind"] for row in details} == {
        "neurons",
        "transcoder",
    }


def test_the_tiny_study_has_them(finished):
    plan = Plan(tiny())
    drawn = list(csv.DictReader((finished / "results/figures/transcoders.csv").open(encoding="utf-8")))
    assert {row["step"] for row in drawn} == {"0", "20"} and {row["score"] for row in drawn} >= {"coverage", "variance"}
    for path in plan.everywhere([plan.transcoders], "scores"):
        rows = list(csv.DictReader((finished / path).open(encoding="utf-8")))
        assert {row["kind"] for row in rows} == {"transcoder", "autoencoder", "neurons", "probe"}
        assert {row["semantics"] for row in rows} == {"original", "mirror"} and {row["layer"] for row in rows} == {
            "1",
            "2",
        }
        assert all(0 <= float(row["coverage"]) <= 1 for row in rows)
    active, about = read_table(finished / plan.everywhere([plan.transcoders], "activations")[-1])
    assert about["step"] == 20 and set(active["layer"]) == {1, 2} and set(active["kind"]) == {0, 1}
