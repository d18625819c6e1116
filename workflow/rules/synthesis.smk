# Programs that writers without a language model propose for test specifications.
for SUFFIX, MADE, _ in PLAN.makers("writers"):

    rule:
        name:
            f"writers{SUFFIX}"
        input:
            **ancients(
                {
                    "train": MADE.shards(MADE.corpus, "train"),
                    "test": MADE.shards(MADE.corpus, "test", MADE.study.synthesis.test),
                }
            ),
        output:
            **MADE.files(MADE.writers),
        log:
            MADE.writers.log,
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(MADE.study, sizes.data_mb(MADE.study), sizes.writers_minutes(MADE.study)),
        params:
            command=command("writers", MADE.writers.slice()),
        message:
            "Proposing programs without a language model"
        shell:
            COMMAND


# Programs that a checkpoint proposes, by several ways of decoding.
for SUFFIX, MADE, _ in PLAN.makers("synthesis"):

    rule:
        name:
            f"synthesis{SUFFIX}"
        input:
            **ancients(MADE.files(MADE.lm, "weights", "config")),
            test=ancient(MADE.shards(MADE.corpus, "test", MADE.study.synthesis.test)),
        output:
            **MADE.files(MADE.synthesis),
        log:
            MADE.synthesis.log,
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(
                MADE.study,
                sizes.traces_mb(MADE.study),
                sizes.minutes(MADE.study, work.synthesis(MADE.study), 0.02),
                tensors=1,
            ),
        params:
            command=command(
                "synthesis",
                MADE.synthesis.slice_of_checkpoint,
                MADE.study.compute.threads,
                device=MADE.study.compute.device,
            ),
        message:
            "Proposing programs, seed {wildcards.seed}, step {wildcards.step}"
        shell:
            COMMAND


# A model that somebody has trained already, in a folder of the user's, learns the study's text.
for SUFFIX, MADE, _ in PLAN.makers("finetuning"):

    rule:
        name:
            f"finetuning{SUFFIX}"
        input:
            **ancients(MADE.files(MADE.tokens, "train")),
        output:
            **MADE.files(MADE.finetuning),
        log:
            MADE.finetuning.log,
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(
                MADE.study,
                sizes.pretrained_mb(MADE.study),
                sizes.minutes(MADE.study, work.finetuning(MADE.study)),
                tensors=1,
            ),
        params:
            command=command(
                "finetuning",
                MADE.finetuning.slice(folder=MADE.study.lm.pretrained),
                MADE.study.compute.threads,
                device=MADE.study.compute.device,
            ),
        message:
            "Fine-tuning a model that has been trained already"
        shell:
            COMMAND


# Programs that it proposes then.
for SUFFIX, MADE, _ in PLAN.makers("pretrained"):

    rule:
        name:
            f"pretrained{SUFFIX}"
        input:
            **ancients(
                MADE.files(MADE.finetuning, "weights", "config", "generation_config", "tokenizer")
            ),
            test=ancient(MADE.shards(MADE.corpus, "test", MADE.study.synthesis.test)),
        output:
            **MADE.files(MADE.pretrained),
        log:
            MADE.pretrained.log,
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(
                MADE.study,
                sizes.pretrained_mb(MADE.study),
                sizes.minutes(MADE.study, work.pretrained_synthesis(MADE.study), 0.02),
                tensors=1,
            ),
        params:
            command=command(
                "pretrained",
                MADE.pretrained.slice(),
                MADE.study.compute.threads,
                device=MADE.study.compute.device,
            ),
        message:
            "Proposing programs by the fine-tuned model"
        shell:
            COMMAND
