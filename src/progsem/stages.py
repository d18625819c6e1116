"""The stages of the workflow, in order: `python -m progsem STAGE` calls `run(job)` of a module."""

MODULES = {
    "corpus": "progsem.data.corpus",
    "tokens": "progsem.data.tokens",
    "train": "progsem.lm.train",
    "traces": "progsem.lm.traces",
    "probes": "progsem.probing.probes",
    "controls": "progsem.probing.controls",
    "generalisation": "progsem.lm.generalisation",
    "statistics": "progsem.measures.statistics",
    "figures": "progsem.plots.figures",
}
