# The same probes on the same programs, executed under an alternative semantics.
rule interventions:
    input:
        programs=ancient(PLAN.traces.checkpoint_file("programs.arrow")),
        generated=ancient(PLAN.traces.checkpoint_file("generated.arrow")),
        forced=ancient(PLAN.traces.checkpoint_file("forced.arrow")),
    output:
        predictions=f"results/interventions/{{alternative}}/{plan.CHECKPOINT}/predictions.arrow",
        accuracy=f"results/interventions/{{alternative}}/{plan.CHECKPOINT}/accuracy.csv",
        manifest=f"results/interventions/{{alternative}}/{plan.CHECKPOINT}/manifest.json",
    log:
        f"results/logs/interventions/{{alternative}}/{plan.CHECKPOINT}.log",
    group:
        "probing"
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        device=STUDY.compute.device,
        gpu=sizes.gpus(STUDY),
        turn=sizes.gpus(STUDY),
        mem_mb=lambda wildcards, attempt: attempt * sizes.probes_mb(STUDY),
        runtime=lambda wildcards, attempt: attempt * sizes.probes_minutes(STUDY),
    params:
        threads=STUDY.compute.threads,
        slice=lambda wildcards: PLAN.interventions[wildcards.alternative].slice(),
    message:
        "Probing for the semantics {wildcards.alternative}, seed {wildcards.seed}, step {wildcards.step}"
    shell:
        "python -m progsem probes --slice {params.slice:q} --threads {params.threads} --device {resources.device}"
        " --input programs {input.programs} --input generated {input.generated} --input forced {input.forced}"
        " --output predictions {output.predictions} --output accuracy {output.accuracy}"
        " --output manifest {output.manifest}"
        " 2>&1 | log {log}"
