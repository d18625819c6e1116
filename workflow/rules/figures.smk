# Figures, tables and summary.json: the one folder without a digest, made anew for
# whatever study was asked for last. `update` keeps the earlier figures until the new
# ones take their place.
localrules:
    figures,


rule figures:
    input:
        **{name: ancient(path) for name, path in PLAN.statistics_files().items()},
    output:
        figures=directory(update(plan.FIGURES)),
    log:
        "results/logs/figures.log",
    conda:
        "../../envs/progsem.yaml"
    params:
        slice=lambda wildcards: PLAN.figures_slice,  # a title may have braces: no wildcards in it
    message:
        "Drawing figures and tables of {STUDY.study}"
    shell:
        "python -m progsem figures --slice {params.slice:q}"
        " --input summary {input.summary} --input gallery {input.gallery}"
        " --input checkpoints {input.checkpoints} --input probes {input.probes}"
        " --input alternatives {input.alternatives} --input regression {input.regression}"
        " --input offsets {input.offsets} --input lengths {input.lengths} --input training {input.training}"
        " --output figures {output.figures}"
        " 2>&1 | log {log}"
