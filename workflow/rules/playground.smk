# The page on which the study's first language model runs.
rule playground:
    input:
        **ancients(PLAN.of_playground()),
    output:
        **PLAN.files(PLAN.playground),
    log:
        PLAN.playground.log,
    conda:
        CONDA
    resources:
        **asked(STUDY, sizes.playground_mb(STUDY), sizes.minutes(STUDY, 0, gpu=False)),
    params:
        command=command("playground", PLAN.playground.slice()),
    message:
        "Making the page on which a language model runs"
    shell:
        COMMAND
