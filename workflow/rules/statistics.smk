# All checkpoints and semantics together: curves, intervals, tests.
rule statistics:
    input:
        programs=ancient(PLAN.everywhere([PLAN.traces], "programs.arrow")),
        predictions=ancient(PLAN.everywhere(PLAN.probed(), "predictions.arrow")),
        accuracy=ancient(PLAN.everywhere(PLAN.probed(), "accuracy.csv")),
        metrics=ancient(PLAN.everywhere([PLAN.lm], "metrics.csv")),
        manifests=ancient(PLAN.manifests()),
        corpus=ancient(PLAN.shards(PLAN.corpus, "train")),
    output:
        **PLAN.statistics_files(),
        manifest=PLAN.statistics.file("manifest.json"),
    log:
        f"results/logs/statistics/{PLAN.statistics.key}.log",
    conda:
        "../../envs/progsem.yaml"
    threads: STUDY.compute.threads
    resources:
        mem_mb=lambda wildcards, attempt: attempt * sizes.statistics_mb(STUDY),
        runtime=lambda wildcards, attempt: attempt * sizes.statistics_minutes(STUDY),
    params:
        threads=STUDY.compute.threads,
        slice=PLAN.statistics.slice(),
    message:
        "Computing intervals and tests over all checkpoints"
    shell:
        "python -m progsem statistics --slice {params.slice:q} --threads {params.threads}"
        " --input programs {input.programs} --input predictions {input.predictions}"
        " --input accuracy {input.accuracy} --input metrics {input.metrics}"
        " --input manifests {input.manifests} --input corpus {input.corpus}"
        " --output summary {output.summary} --output gallery {output.gallery}"
        " --output checkpoints {output.checkpoints} --output probes {output.probes}"
        " --output alternatives {output.alternatives} --output regression {output.regression}"
        " --output offsets {output.offsets} --output lengths {output.lengths}"
        " --output training {output.training} --output manifest {output.manifest}"
        " 2>&1 | log {log}"
