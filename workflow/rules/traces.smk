# What a checkpoint writes for each specification, and its hidden states meanwhile.
rule traces:
    input:
        weights=ancient(PLAN.lm.checkpoint_file("model.safetensors")),
        config=ancient(PLAN.lm.checkpoint_file("config.json")),
        train=ancient(PLAN.shards(PLAN.corpus, "train", STUDY.traces.train)),
        validation=ancient(PLAN.shards(PLAN.corpus, "validation", STUDY.traces.validation)),
        test=ancient(PLAN.shards(PLAN.corpus, "test", STUDY.traces.test)),
    output:
        programs=PLAN.traces.checkpoint_file("programs.arrow"),
        generated=PLAN.traces.checkpoint_file("generated.arrow"),
        forced=PLAN.traces.checkpoint_file("forced.arrow"),
        manifest=PLAN.traces.checkpoint_file("manifest.json"),
    log:
        f"results/logs/traces/{PLAN.traces.key}/{plan.CHECKPOINT}.log",
    priority: 20
    group:
        "probing"
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        device=STUDY.compute.device,
        gpu=sizes.gpus(STUDY),
        turn=sizes.gpus(STUDY),
        mem_mb=lambda wildcards, attempt: attempt * sizes.traces_mb(STUDY),
        runtime=lambda wildcards, attempt: attempt * sizes.traces_minutes(STUDY),
        batch=STUDY.compute.trace_batch,
    params:
        threads=STUDY.compute.threads,
        slice=lambda wildcards: PLAN.traces.slice(
            seed=int(wildcards.seed), step=int(wildcards.step)
        ),
    message:
        "Decoding and reading hidden states, seed {wildcards.seed}, step {wildcards.step}"
    shell:
        "python -m progsem traces --slice {params.slice:q} --threads {params.threads} --device {resources.device}"
        " --batch {resources.batch}"
        " --input weights {input.weights} --input config {input.config}"
        " --input train {input.train} --input validation {input.validation} --input test {input.test}"
        " --output programs {output.programs} --output generated {output.generated}"
        " --output forced {output.forced} --output manifest {output.manifest}"
        " 2>&1 | log {log}"
