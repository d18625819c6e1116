# All checkpoints and semantics together: curves, intervals, tests.
rule statistics:
    input:
        **ancients(
            {
                "programs": PLAN.everywhere([PLAN.traces], "programs"),
                "predictions": PLAN.everywhere(PLAN.probed(), "predictions"),
                "accuracy": PLAN.everywhere(PLAN.probed(), "accuracy"),
                "metrics": PLAN.everywhere([PLAN.lm], "metrics"),
                "manifests": PLAN.manifests(),
                "corpus": PLAN.shards(PLAN.corpus, "train"),
                "controls_predictions": PLAN.everywhere([PLAN.controls], "predictions"),
                "controls_accuracy": PLAN.everywhere([PLAN.controls], "accuracy"),
                "controls_description": PLAN.everywhere([PLAN.controls], "description"),
                "counterfactuals": PLAN.everywhere(list(PLAN.edits.values()), "counterfactuals"),
                "edits": PLAN.everywhere(list(PLAN.edits.values()), "edits"),
                "readings": PLAN.everywhere(list(PLAN.edits.values()), "readings"),
                "generalisation": PLAN.everywhere([PLAN.generalisation], "programs"),
                "proposals": PLAN.proposals(),
            }
        ),
    output:
        **PLAN.files(PLAN.statistics),
    log:
        PLAN.statistics.log,
    conda:
        CONDA
    threads: max(4, STUDY.compute.threads)  # fewer where there are fewer cores: nothing runs beside it
    resources:
        **asked(
            STUDY,
            sizes.statistics_mb(STUDY),
            sizes.minutes(STUDY, work.statistics(PLAN), gpu=False),
        ),
    params:
        command=command("statistics", PLAN.statistics.slice()),
    message:
        "Computing intervals and tests over all checkpoints"
    shell:
        COMMAND
