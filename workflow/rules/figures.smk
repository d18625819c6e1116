# Figures, tables and summary.json: the one folder without a digest, drawn anew for whatever study was asked for last.
# Snakemake deletes what a job is to make, and the folder may hold files of the user's. So the folder is the output of
# a rule without a command, and the job that draws into it makes a mark.
import os

from progsem.stages import FIGURES
from progsem.workflow import redrawing, reporting
from progsem.workflow.rules import figures_command

CAPTIONS = Path(workflow.basedir, "workflow", "report", "figures")
CAPTIONED = reporting.captions(CAPTIONS)
OUTDATED = workflow.is_main_process and redrawing.prepare(PLAN)
reporting.say_nothing_of_missing_records()


report: "../report/study.rst"


localrules:
    figures,


rule figures:
    input:
        **{
            name: ancient(path)
            for name, path in PLAN.statistics.files().items()
            if name != "manifest"
        },
        outdated=redrawing.OUTDATED if OUTDATED else [],
    output:
        # Marked for the report where it is not there: Snakemake then refuses a report of other figures.
        report(touch(redrawing.DRAWN)) if OUTDATED else touch(redrawing.DRAWN),
    log:
        "results/logs/figures.log",
    conda:
        CONDA
    threads: max(4, STUDY.compute.threads)  # fewer where there are fewer cores: nothing runs beside it
    params:
        command=lambda wildcards, input, threads: figures_command(PLAN, input, threads),
    message:
        "Drawing figures and tables of {STUDY.study}"
    shell:
        "{params.command} 2>&1 | log {log}"
