# One checkpoint of a language model. Each starts from the one before it, and the
# early ones are probed meanwhile. Within a long interval the job saves its state beside
# the outputs, every ten minutes and when it is asked to stop, and goes on from there.
rule checkpoint:
    input:
        **ancients(PLAN.files(PLAN.tokens, "train", "tokenizer", "tokenizer_config")),
        model=lambda wildcards: ancient(PLAN.before(wildcards.seed, wildcards.step, "weights")),
        config=lambda wildcards: ancient(PLAN.before(wildcards.seed, wildcards.step, "config")),
        state=lambda wildcards: ancient(PLAN.before(wildcards.seed, wildcards.step, "state")),
    output:
        **PLAN.files(PLAN.lm) | {"state": temp(PLAN.files(PLAN.lm)["state"])},
    log:
        PLAN.lm.log,
    priority: 100  # the chain is the longest path: whatever waits for it waits longest
    conda:
        CONDA
    threads: STUDY.compute.threads * STUDY.compute.processes
    resources:
        **asked(
            STUDY,
            sizes.training_mb(STUDY),
            lambda wildcards: sizes.minutes(
                STUDY,
                work.training(STUDY, int(wildcards.step) - STUDY.lm.before(int(wildcards.step))),
                share=1,
            ),
            tensors=STUDY.compute.processes,
        ),
    params:
        command=command(
            "train",
            lambda wildcards: PLAN.training_slice(wildcards.seed, wildcards.step),
            STUDY.compute.threads,
            device=STUDY.compute.device,
            processes=STUDY.compute.processes,
        ),
    message:
        f"Training the language model, seed {{wildcards.seed}}, up to step {{wildcards.step}} of {STUDY.lm.steps}"
    shell:
        COMMAND
