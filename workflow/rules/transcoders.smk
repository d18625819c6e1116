# Sparse dictionaries of a checkpoint's MLPs, and whether their features are program states.
for SUFFIX, MADE, _ in PLAN.makers("transcoders"):

    rule:
        name:
            f"transcoders{SUFFIX}"
        input:
            **ancients(MADE.files(MADE.lm, "weights", "config")),
            **ancients(
                {
                    split: MADE.shards(MADE.corpus, split, getattr(MADE.study.traces, split))
                    for split in SPLITS
                }
            ),
        output:
            **MADE.files(MADE.transcoders),
        log:
            MADE.transcoders.log,
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(
                MADE.study,
                sizes.transcoders_mb(MADE.study),
                sizes.minutes(MADE.study, work.transcoders(MADE.study)),
                tensors=1,
            ),
        params:
            command=command(
                "transcoders",
                MADE.transcoders.slice_of_checkpoint,
                MADE.study.compute.threads,
                device=MADE.study.compute.device,
                batch=MADE.study.compute.trace_batch,
            ),
        message:
            "Fitting sparse dictionaries, seed {wildcards.seed}, step {wildcards.step}"
        shell:
            COMMAND
