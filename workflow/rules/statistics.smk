# All checkpoints and semantics together: curves, intervals, tests.
for SUFFIX, MADE, _ in PLAN.makers("statistics"):

    rule:
        name:
            f"statistics{SUFFIX}"
        input:
            **ancients(
                {
                    "programs": MADE.everywhere([MADE.traces], "programs"),
                    "predictions": MADE.everywhere(MADE.probed(), "predictions"),
                    "accuracy": MADE.everywhere(MADE.probed(), "accuracy"),
                    "metrics": MADE.everywhere([MADE.lm], "metrics"),
                    "warmup_metrics": MADE.everywhere([MADE.warmup], "metrics"),
                    "manifests": MADE.manifests(),
                    "corpus": MADE.shards(MADE.corpus, "train"),
                    "controls_predictions": MADE.everywhere([MADE.controls], "predictions"),
                    "controls_accuracy": MADE.everywhere([MADE.controls], "accuracy"),
                    "controls_description": MADE.everywhere([MADE.controls], "description"),
                    "counterfactuals": MADE.everywhere(
                        list(MADE.edits.values()), "counterfactuals"
                    ),
                    "edits": MADE.everywhere(list(MADE.edits.values()), "edits"),
                    "readings": MADE.everywhere(list(MADE.edits.values()), "readings"),
                    **{
                        f"transcoders_{name}": MADE.everywhere([MADE.transcoders], name)
                        for name in ("scores", "properties", "activations")
                    },
                    "generalisation": MADE.everywhere([MADE.generalisation], "programs"),
                    "proposals": MADE.proposals(),
                }
            ),
        output:
            **MADE.files(MADE.statistics),
        log:
            MADE.statistics.log,
        conda:
            CONDA
        threads: max(4, MADE.study.compute.threads)  # fewer where there are fewer cores: nothing runs beside it
        resources:
            **asked(
                MADE.study,
                sizes.statistics_mb(MADE.study),
                sizes.minutes(MADE.study, work.statistics(MADE), gpu=False),
            ),
        params:
            command=command("statistics", MADE.statistics.slice()),
        message:
            "Computing intervals and tests over all checkpoints"
        shell:
            COMMAND
