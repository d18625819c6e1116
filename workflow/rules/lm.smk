# One checkpoint of a language model. Each starts from the one before it, and the
# early ones are probed meanwhile. Within a long interval the job saves its state beside
# the outputs, every ten minutes and when it is asked to stop, and goes on from there.
for SUFFIX, MADE, _ in PLAN.makers("lm"):

    rule:
        name:
            f"checkpoint{SUFFIX}"
        input:
            **ancients(MADE.files(MADE.tokens, "train", "tokenizer", "tokenizer_config")),
            model=lambda wildcards, MADE=MADE: ancient(
                MADE.before(wildcards.seed, wildcards.step, "weights")
            ),
            config=lambda wildcards, MADE=MADE: ancient(
                MADE.before(wildcards.seed, wildcards.step, "config")
            ),
            state=lambda wildcards, MADE=MADE: ancient(
                MADE.before(wildcards.seed, wildcards.step, "state")
            ),
        output:
            **MADE.files(MADE.lm) | {"state": temp(MADE.files(MADE.lm)["state"])},
        log:
            MADE.lm.log,
        priority: 100  # the chain is the longest path: whatever waits for it waits longest
        conda:
            CONDA
        threads: MADE.study.compute.threads * MADE.study.compute.processes
        resources:
            **asked(
                MADE.study,
                sizes.training_mb(MADE.study),
                lambda wildcards, MADE=MADE: sizes.minutes(
                    MADE.study,
                    work.training(
                        MADE.study, int(wildcards.step) - MADE.study.lm.before(int(wildcards.step))
                    ),
                    share=1,
                ),
                tensors=MADE.study.compute.processes,
            ),
        params:
            command=command(
                "train",
                lambda wildcards, MADE=MADE: MADE.training_slice(wildcards.seed, wildcards.step),
                MADE.study.compute.threads,
                device=MADE.study.compute.device,
                processes=MADE.study.compute.processes,
            ),
        message:
            "Training the language model, seed {wildcards.seed}, up to step {wildcards.step} "
            f"of {MADE.study.lm.every_step()[-1]}"
        shell:
            COMMAND
