# %% [markdown]
# # A first look
#
# A language model has learned to write programs for a robot, from nothing but text: worlds before and after, and the
# program that leads from the one to the other. Is the world *in between*, which it has never seen, inside of it? We
# train a probe of our own on its hidden states, and then change what the statements mean.

# %%
from sklearn.linear_model import LogisticRegression

import progsem

study = progsem.open_study("config.yaml")
study

# %% [markdown]
# Five language models at several steps of their training. We take the first one, at its end, and look at what it
# writes.

# %%
checkpoint = study.checkpoint()
programs = checkpoint.programs("test")
print(f"{checkpoint}: {programs.correct.mean():.1%} of {len(programs)} test specifications solved")
programs[["reference", "written", "correct"]].head()

# %% [markdown]
# One specification, and what the program that was written for it does, statement by statement. The model was shown
# the input and the output, and none of the worlds between them.

# %%
long = programs.loc[programs.written.str.count(r"\(\)").idxmax()]
before, after = study.world((long.input_1, long.output_1))
study.program(long.written).run(before)

# %% [markdown]
# Each statement has a hidden state: the one out of which the model wrote it. `states` pairs it with the state of the
# program right after that statement. `X` is what a probe sees, `y` what it is asked.

# %%
train, test = (checkpoint.states(split=split) for split in ("train", "test"))
print(train)
train.y.head()

# %% [markdown]
# A probe of our own: where does the robot face? It is trained on programs for other specifications than those that it
# is tested on.

# %%
probe = LogisticRegression(max_iter=5000).fit(train.X, train.y["facing"])
print(f"right for {probe.score(test.X, test.y['facing']):.1%} of {len(test)} states")
print(f"the most frequent heading: {test.y['facing'].value_counts(normalize=True).iloc[0]:.1%}")

# %% [markdown]
# That need not mean much. The probe may compute the heading from a record of the text. So we let the statements mean
# something else, the mirror image: left is right. The hidden states stay what they are, and the new headings are as
# hard to compute. If the probe did the work, it would read them as well.

# %%
mirror = study.config["interventions"]["difficulty_matched"]
print(study.semantics[mirror])
train, test = (checkpoint.states(split=split, semantics=mirror) for split in ("train", "test"))
mirrored = LogisticRegression(max_iter=5000).fit(train.X, train.y["facing"])
print(f"right for {mirrored.score(test.X, test.y['facing']):.1%} of the mirror image's states")

# %% [markdown]
# One model, one feature: that is an anecdote. The study has asked this of all models, features and probes, with
# intervals over models and programs. Here is its figure; the next tutorial makes such an interval for a question that
# nobody has asked.

# %%
study.figure("alternatives")
