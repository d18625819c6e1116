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


# A model that somebody has trained already, in a folder of the user's, learns the study's text.
rule finetuning:
    input:
        **ancients(PLAN.files(PLAN.tokens, "train")),
    output:
        **PLAN.files(PLAN.finetuning),
    log:
        PLAN.finetuning.log,
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        **asked(
            STUDY,
            sizes.pretrained_mb(STUDY),
            sizes.minutes(STUDY, work.finetuning(STUDY)),
            tensors=1,
        ),
    params:
        command=command(
            "finetuning",
            PLAN.finetuning.slice(folder=STUDY.lm.pretrained),
            STUDY.compute.threads,
            device=STUDY.compute.device,
        ),
    message:
        f"Fine-tuning the model in {literally(STUDY.lm.pretrained)}"
    shell:
        COMMAND


# Programs that it proposes then.
rule pretrained:
    input:
        **ancients(
            PLAN.files(PLAN.finetuning, "weights", "config", "generation_config", "tokenizer")
        ),
        test=ancient(PLAN.shards(PLAN.corpus, "test", STUDY.synthesis.test)),
    output:
        **PLAN.files(PLAN.pretrained),
    log:
        PLAN.pretrained.log,
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        **asked(
            STUDY,
            sizes.pretrained_mb(STUDY),
            sizes.minutes(STUDY, work.pretrained_synthesis(STUDY), 0.02),
            tensors=1,
        ),
    params:
        command=command(
            "pretrained",
            PLAN.pretrained.slice(),
            STUDY.compute.threads,
            device=STUDY.compute.device,
        ),
    message:
        "Proposing programs by the fine-tuned model"
    shell:
        COMMAND
