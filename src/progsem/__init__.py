"""progsem: does a language model that writes programs understand what they do?

A Snakemake workflow and the package behind it: sampled programs, a transformer
trained on them from random initialisation, probes that read program states out
of its hidden states, and interventions on what the statements mean.
"""

__version__ = "0.1.0"
