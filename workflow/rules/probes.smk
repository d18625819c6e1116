# Probes that read the states of the executed programs out of the hidden states.
rule probes:
    input:
        programs=ancient(PLAN.traces.checkpoint_file("programs.arrow")),
        generated=ancient(PLAN.traces.checkpoint_file("generated.arrow")),
        forced=ancient(PLAN.traces.checkpoint_file("forced.arrow")),
    output:
        predictions=PLAN.probes.checkpoint_file("predictions.arrow"),
        accuracy=PLAN.probes.checkpoint_file("accuracy.csv"),
        manifest=PLAN.probes.checkpoint_file("manifest.json"),
    log:
        f"results/logs/probes/{PLAN.probes.key}/{plan.CHECKPOINT}.log",
    priority: 10
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
        slice=PLAN.probes.slice(),
    message:
        "Probing for the original semantics, seed {wildcards.seed}, step {wildcards.step}"
    shell:
        "python -m progsem probes --slice {params.slice:q} --threads {params.threads} --device {resources.device}"
        " --input programs {input.programs} --input generated {input.generated} --input forced {input.forced}"
        " --output predictions {output.predictions} --output accuracy {output.accuracy}"
        " --output manifest {output.manifest}"
        " 2>&1 | log {log}"
