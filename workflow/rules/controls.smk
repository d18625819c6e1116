# What else could answer as the probes do: probes that see no hidden state, probes that
# are asked for random labels, and how many bits the labels take.
rule controls:
    input:
        programs=ancient(PLAN.traces.checkpoint_file("programs.arrow")),
        generated=ancient(PLAN.traces.checkpoint_file("generated.arrow")),
        forced=ancient(PLAN.traces.checkpoint_file("forced.arrow")),
        weights=ancient(PLAN.lm.checkpoint_file("model.safetensors")),
    output:
        predictions=PLAN.controls.checkpoint_file("predictions.arrow"),
        accuracy=PLAN.controls.checkpoint_file("accuracy.csv"),
        description=PLAN.controls.checkpoint_file("description.arrow"),
        manifest=PLAN.controls.checkpoint_file("manifest.json"),
    log:
        f"results/logs/controls/{PLAN.controls.key}/{plan.CHECKPOINT}.log",
    group:
        "probing"
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        device=STUDY.compute.device,
        gpu=sizes.gpus(STUDY),
        turn=sizes.gpus(STUDY),
        mem_mb=lambda wildcards, attempt: attempt * sizes.controls_mb(STUDY),
        runtime=lambda wildcards, attempt: attempt * sizes.controls_minutes(STUDY),
    params:
        threads=STUDY.compute.threads,
        slice=PLAN.controls.slice(),
    message:
        "Probing controls, seed {wildcards.seed}, step {wildcards.step}"
    shell:
        "python -m progsem controls --slice {params.slice:q} --threads {params.threads} --device {resources.device}"
        " --input programs {input.programs} --input generated {input.generated} --input forced {input.forced}"
        " --input weights {input.weights}"
        " --output predictions {output.predictions} --output accuracy {output.accuracy}"
        " --output description {output.description} --output manifest {output.manifest}"
        " 2>&1 | log {log}"
