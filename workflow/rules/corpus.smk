# Sampled programs, executed on sampled worlds, as Arrow shards.
rule corpus:
    output:
        train=PLAN.shards(PLAN.corpus, "train"),
        validation=PLAN.shards(PLAN.corpus, "validation"),
        test=PLAN.shards(PLAN.corpus, "test"),
        manifest=PLAN.corpus.file("manifest.json"),
    log:
        f"results/logs/corpus/{PLAN.corpus.key}.log",
    group:
        "data"
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        mem_mb=lambda wildcards, attempt: attempt * sizes.data_mb(STUDY),
        runtime=lambda wildcards, attempt: attempt * sizes.data_minutes(STUDY),
    params:
        threads=STUDY.compute.threads,
        slice=PLAN.corpus.slice(),
    message:
        "Sampling and executing {STUDY.corpus.train} training programs and {STUDY.corpus.test} test programs"
    shell:
        "python -m progsem corpus --slice {params.slice:q} --threads {params.threads}"
        " --output train {output.train} --output validation {output.validation}"
        " --output test {output.test} --output manifest {output.manifest}"
        " 2>&1 | log {log}"
