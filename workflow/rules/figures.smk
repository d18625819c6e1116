# Figures, tables and summary.json: the one folder without a digest, made anew for
# whatever study was asked for last. `update` keeps Snakemake from deleting it: the job
# replaces the earlier figures when all new ones are there, and what is not progsem's
# stays. `snakemake --report` shows them, with a caption each.
import os

from progsem.workflow import reporting

CAPTIONS = Path(workflow.basedir, "workflow", "report", "figures")
CAPTIONED = reporting.captions(CAPTIONS)
DRAWN = {f"{name}.{kind}" for name in CAPTIONED for kind in ("pdf", *reporting.KINDS)}
reporting.report_what_is_drawn(workflow, PLAN)


report: "../report/study.rst"


localrules:
    figures,


rule figures:
    input:
        **{name: ancient(path) for name, path in PLAN.statistics_files().items()},
    output:
        figures=report(
            directory(update(plan.FIGURES)),
            patterns=reporting.patterns(CAPTIONED),
            caption="../report/caption.rst",
            category=lambda wildcards: CAPTIONED[wildcards.figure].category,
            labels=lambda wildcards: reporting.labels(CAPTIONED, wildcards.figure, wildcards.kind),
        ),
    log:
        "results/logs/figures.log",
    conda:
        CONDA
    threads: max(4, STUDY.compute.threads)  # fewer where there are fewer cores: nothing runs beside it
    params:
        # What captions say. The title is not among them: it is the user's text, and captions are markup.
        facts=reporting.facts(STUDY),
        captions=lambda wildcards: os.path.relpath(CAPTIONS),
        # A title may have braces, which would be wildcards, and `</script>`, which would end the report's own.
        slice=lambda wildcards: PLAN.figures_slice.replace("<", r"\u003c"),
    message:
        "Drawing figures and tables of {STUDY.study}"
    shell:
        "python -m progsem figures --slice {params.slice:q} --threads {threads}"
        " --input summary {input.summary} --input gallery {input.gallery} --input viewer {input.viewer}"
        " --input checkpoints {input.checkpoints} --input probes {input.probes}"
        " --input alternatives {input.alternatives} --input regression {input.regression}"
        " --input offsets {input.offsets} --input lengths {input.lengths} --input length_tests {input.length_tests}"
        " --input training {input.training} --input baselines {input.baselines} --input layers {input.layers}"
        " --input positions {input.positions} --input permutations {input.permutations}"
        " --input generalisation {input.generalisation}"
        " --output figures {output.figures}"
        " 2>&1 | log {log}"
