# What a checkpoint writes for each specification, and its hidden states meanwhile.
rule traces:
    input:
        **ancients(PLAN.files(PLAN.lm, "weights", "config")),
        **ancients(
            {
                split: PLAN.shards(PLAN.corpus, split, getattr(STUDY.traces, split))
                for split in SPLITS
            }
        ),
    output:
        **PLAN.files(PLAN.traces),
    log:
        PLAN.traces.log,
    priority: 20
    group:
        "probing"
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        **asked(STUDY, sizes.traces_mb(STUDY), sizes.minutes(STUDY, work.tracing(STUDY)), tensors=1),
    params:
        command=command(
            "traces",
            PLAN.traces.slice_of_checkpoint,
            STUDY.compute.threads,
            device=STUDY.compute.device,
            batch=STUDY.compute.trace_batch,
        ),
    message:
        "Decoding and reading hidden states, seed {wildcards.seed}, step {wildcards.step}"
    shell:
        COMMAND


# What the last checkpoint writes for longer programs, larger worlds, and the like.
rule generalisation:
    input:
        **ancients(PLAN.files(PLAN.lm, "weights", "config")),
    output:
        **PLAN.files(PLAN.generalisation),
    log:
        PLAN.generalisation.log,
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        **asked(
            STUDY,
            sizes.traces_mb(STUDY),
            sizes.minutes(STUDY, work.generalisation(STUDY)),
            tensors=1,
        ),
    params:
        command=command(
            "generalisation",
            PLAN.generalisation.slice_of_checkpoint,
            STUDY.compute.threads,
            device=STUDY.compute.device,
            batch=STUDY.compute.trace_batch,
        ),
    message:
        "Writing programs for specifications of other kinds, seed {wildcards.seed}"
    shell:
        COMMAND
