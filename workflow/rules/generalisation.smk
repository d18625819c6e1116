# What the last checkpoint writes for longer programs, larger worlds, and the like.
rule generalisation:
    input:
        weights=ancient(PLAN.lm.checkpoint_file("model.safetensors")),
        config=ancient(PLAN.lm.checkpoint_file("config.json")),
    output:
        programs=PLAN.generalisation.checkpoint_file("programs.arrow"),
        manifest=PLAN.generalisation.checkpoint_file("manifest.json"),
    log:
        f"results/logs/generalisation/{PLAN.generalisation.key}/{plan.CHECKPOINT}.log",
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        device=STUDY.compute.device,
        gpu=sizes.gpus(STUDY),
        turn=sizes.gpus(STUDY),
        mem_mb=lambda wildcards, attempt: attempt * sizes.generalisation_mb(STUDY),
        runtime=lambda wildcards, attempt: attempt * sizes.generalisation_minutes(STUDY),
        batch=STUDY.compute.trace_batch,
    params:
        threads=STUDY.compute.threads,
        slice=lambda wildcards: PLAN.generalisation.slice(
            seed=int(wildcards.seed), step=int(wildcards.step)
        ),
    message:
        "Writing programs for specifications of other kinds, seed {wildcards.seed}"
    shell:
        "python -m progsem generalisation --slice {params.slice:q} --threads {params.threads}"
        " --device {resources.device} --batch {resources.batch}"
        " --input weights {input.weights} --input config {input.config}"
        " --output programs {output.programs} --output manifest {output.manifest}"
        " 2>&1 | log {log}"
