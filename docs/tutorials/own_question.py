# %% [markdown]
# # A question of one's own
#
# What if a statement meant something that the study has not asked about? Any mapping of statements is a meaning: the
# programs are executed under it on the spot. We ask whether models know that `turn_left` and `turn_right` differ, and
# put an interval on the answer, over programs and over models.

# %%
import numpy as np
import pandas as pd
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import progsem

study = progsem.open_study("config.yaml")
meanings = {
    "original": {},
    "exchanged": {"turn_left": "turn_right", "turn_right": "turn_left"},
    "markers": {"pick_marker": "put_marker", "put_marker": "pick_marker"},
}

# %% [markdown]
# `exchanged` is the mirror image of the turns alone: for the heading as hard as the original, and another. `markers`
# turns nothing, so the heading is what it was: a check that must give a difference of exactly 0.


# %%
def right(checkpoint, meaning):
    """For each test state, whether a linear probe reads the heading right, with the program that it belongs to."""
    train, test = (
        checkpoint.states("forced", split, semantics=meaning, features="facing") for split in ("train", "test")
    )
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train.X, train.y["facing"])
    return pd.DataFrame({"program": test.groups, "right": probe.predict(test.X) == test.y["facing"].to_numpy()})


# %% [markdown]
# In programs that the models read (`forced`) all see the same states. First one model.

# %%
checkpoint = study.checkpoint()
answers = {name: right(checkpoint, meaning) for name, meaning in meanings.items()}
{name: round(float(one.right.mean()), 3) for name, one in answers.items()}

# %% [markdown]
# States of one program resemble each other, so programs are what is drawn at random, not states: the difference is
# resampled over whole programs.


# %%
def over_programs(first, second, draws=2000):
    """Difference in the share that is right, with its 95 % interval over programs."""
    sums = [one.groupby("program").right.agg(["sum", "count"]) for one in (first, second)]
    programs = sums[0].index.intersection(sums[1].index)
    sums = [one.loc[programs].to_numpy() for one in sums]
    drawn = np.random.default_rng(0).integers(len(programs), size=(draws, len(programs)))
    shares = [one[drawn].sum(axis=1) for one in sums]
    differences = shares[0][:, 0] / shares[0][:, 1] - shares[1][:, 0] / shares[1][:, 1]
    return first.right.mean() - second.right.mean(), *np.quantile(differences, [0.025, 0.975])


pd.DataFrame(
    {name: over_programs(answers["original"], answers[name]) for name in ("exchanged", "markers")},
    index=["difference", "low", "high"],
).T

# %% [markdown]
# That interval is about this model. Another seed is another model, and what we want to know is about those that we
# have not trained: so the models are what is drawn.

# %%
seeds = sorted({seed for seed, _ in study.checkpoints})
steps = sorted({step for _, step in study.checkpoints})
rows = []
for seed in seeds:
    for step in (steps[0], steps[-1]):
        one = study.checkpoint(seed, step)
        share = {name: right(one, meanings[name]).right.mean() for name in ("original", "exchanged")}
        rows.append({"seed": seed, "step": step, "difference": share["original"] - share["exchanged"]})
found = pd.DataFrame(rows).pivot(index="seed", columns="step", values="difference")
found


# %%
def over_models(differences):
    """Mean with its 95 % interval over models, by Student's t; a single model has none."""
    mean, count = differences.mean(), len(differences)
    half = stats.t.ppf(0.975, count - 1) * differences.std(ddof=1) / count**0.5 if count > 1 else np.nan
    return pd.Series({"models": count, "mean": mean, "low": mean - half, "high": mean + half})


found.apply(over_models).T

# %% [markdown]
# The first row is before training: weights that are random, and whatever a probe can make of the text itself. Only
# what the last row has beyond it has been learned. A question that has become worth it is a line in a study's
# `interventions.alternatives`, and every probe, model and checkpoint is asked.
