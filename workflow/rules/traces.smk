# What a checkpoint writes for each specification, and its hidden states meanwhile.
for SUFFIX, MADE, _ in PLAN.makers("traces"):

    rule:
        name:
            f"traces{SUFFIX}"
        input:
            **ancients(MADE.files(MADE.lm, "weights", "config")),
            **ancients(
                {
                    split: MADE.shards(MADE.corpus, split, getattr(MADE.study.traces, split))
                    for split in SPLITS
                }
            ),
        output:
            **MADE.files(MADE.traces),
        log:
            MADE.traces.log,
        priority: 20
        group:
            "probing"
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(
                MADE.study,
                sizes.traces_mb(MADE.study),
                sizes.minutes(MADE.study, work.tracing(MADE.study)),
                tensors=1,
            ),
        params:
            command=command(
                "traces",
                MADE.traces.slice_of_checkpoint,
                MADE.study.compute.threads,
                device=MADE.study.compute.device,
                batch=MADE.study.compute.trace_batch,
            ),
        message:
            "Decoding and reading hidden states, seed {wildcards.seed}, step {wildcards.step}"
        shell:
            COMMAND


# What the last checkpoint writes for longer programs, larger worlds, and the like.
for SUFFIX, MADE, _ in PLAN.makers("generalisation"):

    rule:
        name:
            f"generalisation{SUFFIX}"
        input:
            **ancients(MADE.files(MADE.lm, "weights", "config")),
        output:
            **MADE.files(MADE.generalisation),
        log:
            MADE.generalisation.log,
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(
                MADE.study,
                sizes.traces_mb(MADE.study),
                sizes.minutes(MADE.study, work.generalisation(MADE.study)),
                tensors=1,
            ),
        params:
            command=command(
                "generalisation",
                MADE.generalisation.slice_of_checkpoint,
                MADE.study.compute.threads,
                device=MADE.study.compute.device,
                batch=MADE.study.compute.trace_batch,
            ),
        message:
            "Writing programs for specifications of other kinds, seed {wildcards.seed}"
        shell:
            COMMAND
