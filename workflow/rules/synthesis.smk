# Programs that writers without a language model propose for test specifications.
rule writers:
    input:
        **ancients(
            {
                "train": PLAN.shards(PLAN.corpus, "train"),
                "test": PLAN.shards(PLAN.corpus, "test", STUDY.synthesis.test),
            }
        ),
    output:
        **PLAN.files(PLAN.writers),
    log:
        PLAN.writers.log,
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        **asked(STUDY, sizes.data_mb(STUDY), sizes.writers_minutes(STUDY)),
    params:
        command=command("writers", PLAN.writers.slice()),
    message:
        "Proposing programs without a language model"
    shell:
        COMMAND


# Programs that a checkpoint proposes, by several ways of decoding.
rule synthesis:
    input:
        **ancients(PLAN.files(PLAN.lm, "weights", "config")),
        test=ancient(PLAN.shards(PLAN.corpus, "test", STUDY.synthesis.test)),
    output:
        **PLAN.files(PLAN.synthesis),
    log:
        PLAN.synthesis.log,
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        **asked(
            STUDY,
            sizes.traces_mb(STUDY),
            sizes.minutes(STUDY, work.synthesis(STUDY), 0.02),
            tensors=1,
        ),
    params:
        command=command(
            "synthesis",
            PLAN.synthesis.slice_of_checkpoint,
            STUDY.compute.threads,
            device=STUDY.compute.device,
        ),
    message:
        "Proposing programs, seed {wildcards.seed}, step {wildcards.step}"
    shell:
        COMMAND
