# Sequences of a formal task, and language models that are trained on them before they see a program. Rules are there
# whatever the study asks for; of no warm-up nobody asks for their outputs.
for SUFFIX, MADE, _ in PLAN.makers("sequences"):

    rule:
        name:
            f"sequences{SUFFIX}"
        output:
            **MADE.files(MADE.sequences),
        log:
            MADE.sequences.log,
        group:
            "data"
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(MADE.study, sizes.data_mb(MADE.study), sizes.data_minutes(MADE.study)),
        params:
            command=command("sequences", MADE.sequences.slice(), MADE.study.compute.threads),
        message:
            f"Drawing sequences of the task {MADE.study.lm.warmup.task}"
        shell:
            COMMAND


for SUFFIX, MADE, _ in PLAN.makers("warmup"):

    rule:
        name:
            f"warmup{SUFFIX}"
        input:
            **ancients(MADE.files(MADE.sequences, "train")),
        output:
            **MADE.files(MADE.warmup),
        log:
            MADE.warmup.log,
        priority: 110  # all that is trained waits for it
        conda:
            CONDA
        threads: MADE.study.compute.threads * MADE.study.compute.processes
        resources:
            **asked(
                MADE.study,
                sizes.training_mb(MADE.study),
                sizes.minutes(MADE.study, work.warmup(MADE.study), share=1),
                tensors=MADE.study.compute.processes,
            ),
        params:
            command=command(
                "warmup",
                lambda wildcards, MADE=MADE: MADE.warmup_slice(wildcards.seed, wildcards.step),
                MADE.study.compute.threads,
                device=MADE.study.compute.device,
                processes=MADE.study.compute.processes,
            ),
        message:
            f"Warming up the language model on {MADE.study.lm.warmup.task}, "
            "seed {wildcards.seed}, {wildcards.step} steps"
        shell:
            COMMAND
