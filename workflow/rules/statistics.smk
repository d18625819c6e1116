# All checkpoints and semantics together: curves, intervals, tests.
rule statistics:
    input:
        programs=ancient(PLAN.everywhere([PLAN.traces], "programs.arrow")),
        predictions=ancient(PLAN.everywhere(PLAN.probed(), "predictions.arrow")),
        accuracy=ancient(PLAN.everywhere(PLAN.probed(), "accuracy.csv")),
        metrics=ancient(PLAN.everywhere([PLAN.lm], "metrics.csv")),
        manifests=ancient(PLAN.manifests()),
        corpus=ancient(PLAN.shards(PLAN.corpus, "train")),
        controls_predictions=ancient(PLAN.everywhere([PLAN.controls], "predictions.arrow")),
        controls_accuracy=ancient(PLAN.everywhere([PLAN.controls], "accuracy.csv")),
        controls_description=ancient(PLAN.everywhere([PLAN.controls], "description.arrow")),
        generalisation=ancient(PLAN.everywhere([PLAN.generalisation], "programs.arrow")),
    output:
        **PLAN.statistics_files(),
        manifest=PLAN.statistics.file("manifest.json"),
    log:
        f"results/logs/statistics/{PLAN.statistics.key}.log",
    conda:
        CONDA
    threads: max(4, STUDY.compute.threads)  # fewer where there are fewer cores: nothing runs beside it
    resources:
        mem_mb=lambda wildcards, attempt: attempt * sizes.statistics_mb(STUDY),
        runtime=lambda wildcards, attempt: attempt * sizes.statistics_minutes(STUDY),
    params:
        slice=PLAN.statistics.slice(),
    message:
        "Computing intervals and tests over all checkpoints"
    shell:
        "python -m progsem statistics --slice {params.slice:q} --threads {threads}"
        " --input programs {input.programs} --input predictions {input.predictions}"
        " --input accuracy {input.accuracy} --input metrics {input.metrics}"
        " --input manifests {input.manifests} --input corpus {input.corpus}"
        " --input controls_predictions {input.controls_predictions}"
        " --input controls_accuracy {input.controls_accuracy}"
        " --input controls_description {input.controls_description}"
        " --input generalisation {input.generalisation}"
        " --output summary {output.summary} --output gallery {output.gallery}"
        " --output checkpoints {output.checkpoints} --output probes {output.probes}"
        " --output alternatives {output.alternatives} --output regression {output.regression}"
        " --output offsets {output.offsets} --output lengths {output.lengths}"
        " --output length_tests {output.length_tests} --output training {output.training}"
        " --output baselines {output.baselines} --output layers {output.layers}"
        " --output positions {output.positions} --output permutations {output.permutations}"
        " --output generalisation {output.generalisation} --output viewer {output.viewer}"
        " --output manifest {output.manifest}"
        " 2>&1 | log {log}"
