# %% [markdown]
# # Read, or used?
#
# What a probe reads out of a hidden state the model need not use. To find out, the hidden state is changed, and one
# sees what the model then writes. This takes the study `edits`, whose stage of that name has looked for the subspaces
# in which the heading may be kept.

# %%
import numpy as np
import pandas as pd

import progsem

study = progsem.open_study("studies/edits.yaml")
checkpoint = study.checkpoint()
layer = max(1, study.config["lm"]["layers"] - 1)
layer = (study.config["edits"]["layers"] or [layer])[0]
programs = checkpoint.programs("test")

# %% [markdown]
# One specification, and two beginnings of a program: one that turns left, one that turns right. What does the model
# want to write next behind each, and behind the first if its hidden state is exchanged for that of the second?

# %%
LEFT, RIGHT = "def run() { turn_left() }", "def run() { turn_right() }"


def examples(row):
    """The examples of a specification, as `write` and `edit` take them."""
    count = study.config["corpus"]["examples"]
    return [(row[f"input_{k}"], row[f"output_{k}"]) for k in range(1, count + 1)]


turning = programs[programs.reference.str.contains("turn")]
edited = checkpoint.edit(examples(turning.iloc[0]), LEFT, RIGHT, layer)
edited.probabilities.round(3)

# %% [markdown]
# The whole residual stream behind one block was exchanged, at one position. `distance` says how far the model then is
# from what it does behind the other beginning: 0 would be all the way.

# %%
edited.distance

# %% [markdown]
# A change of the same size in a random direction is the control: what is broken looks like an effect as well. One
# direction says little; below, each specification has its own, by `seed`.

# %%
checkpoint.edit(examples(turning.iloc[0]), LEFT, RIGHT, layer, sham=True).distance

# %% [markdown]
# Now only what lies in a subspace: `weights` is what a linear probe for the heading reads, and nothing else.
# `learned_…` has been searched for among all subspaces of its size, by what the model does.

# %%
learned = f"learned_{study.config['edits']['dimensions'][-1]}"
cases = {
    "whole stream": {},
    "whole stream, sham": {"sham": True},
    "what the probe reads": {"subspace": "weights", "feature": "facing"},
    "what the probe reads, sham": {"subspace": "weights", "feature": "facing", "sham": True},
    "what was learned": {"subspace": learned, "feature": "facing"},
}
rows = []
for number, row in turning.head(30).iterrows():
    for name, how in cases.items():
        distance = checkpoint.edit(examples(row), LEFT, RIGHT, layer, **how, seed=number).distance
        rows.append({"program": number, "edit": name, **distance})
frame = pd.DataFrame(rows)
frame.groupby("edit", sort=False)[["unedited", "edited"]].mean().round(3)

# %% [markdown]
# The share of the way to the other beginning that an edit makes, over these specifications, with an interval over
# them:


# %%
def share(one, draws=2000):
    """1 - edited / unedited, with its 95 % interval over specifications."""
    pairs = one[["unedited", "edited"]].to_numpy()
    drawn = pairs[np.random.default_rng(0).integers(len(pairs), size=(draws, len(pairs)))].sum(axis=1)
    low, high = np.quantile(1 - drawn[:, 1] / drawn[:, 0], [0.025, 0.975])
    total = pairs.sum(axis=0)
    return pd.Series({"share of the way": 1 - total[1] / total[0], "low": low, "high": high})


frame.groupby("edit", sort=False)[["unedited", "edited"]].apply(share).round(3)

# %% [markdown]
# What the probe reads can be exchanged with hardly an effect, while the whole stream there has one. The study asks
# this of pairs in which one feature differs and no other, behind every block, for several models, beside the mirror
# image's subspaces: [docs/edits.md](../edits.md).

# %%
study.figure("edits")
