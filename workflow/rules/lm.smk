# One checkpoint of a language model. Each starts from the one before it, and the
# early ones are probed meanwhile. Within a long interval the job saves its state beside
# the outputs, every ten minutes and when it is asked to stop, and goes on from there.
rule checkpoint:
    input:
        train=ancient(PLAN.shards(PLAN.tokens, "train")),
        tokenizer=ancient(PLAN.tokens.file("tokenizer/tokenizer.json")),
        tokenizer_config=ancient(PLAN.tokens.file("tokenizer/tokenizer_config.json")),
        model=lambda wildcards: ancient(
            PLAN.before(wildcards.seed, wildcards.step, "model.safetensors")
        ),
        config=lambda wildcards: ancient(PLAN.before(wildcards.seed, wildcards.step, "config.json")),
        state=lambda wildcards: ancient(
            PLAN.before(wildcards.seed, wildcards.step, "state.safetensors")
        ),
    output:
        weights=PLAN.lm.checkpoint_file("model.safetensors"),
        config=PLAN.lm.checkpoint_file("config.json"),
        generation_config=PLAN.lm.checkpoint_file("generation_config.json"),
        tokenizer=PLAN.lm.checkpoint_file("tokenizer.json"),
        tokenizer_config=PLAN.lm.checkpoint_file("tokenizer_config.json"),
        metrics=PLAN.lm.checkpoint_file("metrics.csv"),
        manifest=PLAN.lm.checkpoint_file("manifest.json"),
        state=temp(PLAN.lm.checkpoint_file("state.safetensors")),
    log:
        f"results/logs/lm/{PLAN.lm.key}/{plan.CHECKPOINT}.log",
    priority: 100  # the chain is the longest path: whatever waits for it waits longest
    conda:
        CONDA
    threads: STUDY.compute.threads * STUDY.compute.processes
    resources:
        device=STUDY.compute.device,
        gpu=sizes.gpus(STUDY) * STUDY.compute.processes,
        turn=sizes.gpus(STUDY),
        mem_mb=lambda wildcards, attempt: attempt * sizes.training_mb(STUDY),
        runtime=lambda wildcards, attempt: attempt
        * sizes.training_minutes(STUDY, int(wildcards.step)),
    params:
        threads=STUDY.compute.threads,
        processes=STUDY.compute.processes,
        slice=lambda wildcards: PLAN.training_slice(wildcards.seed, wildcards.step),
    message:
        "Training the language model, seed {wildcards.seed}, up to step {wildcards.step} of {STUDY.lm.steps}"
    shell:
        "python -m progsem train --slice {params.slice:q} --threads {params.threads} --device {resources.device}"
        " --processes {params.processes}"
        " --input train {input.train} --input tokenizer {input.tokenizer}"
        " --input tokenizer_config {input.tokenizer_config} --input model {input.model} --input config {input.config}"
        " --input state {input.state}"
        " --output weights {output.weights} --output config {output.config}"
        " --output generation_config {output.generation_config} --output tokenizer {output.tokenizer}"
        " --output tokenizer_config {output.tokenizer_config} --output metrics {output.metrics}"
        " --output manifest {output.manifest} --output state {output.state}"
        " 2>&1 | log {log}"
