# Figures, tables and summary.json: the one folder without a digest, drawn anew for whatever study was asked for last.
# Snakemake deletes what a job is to make, and the folder may hold files of the user's. So the folder is the output of
# a rule without a command, and the job that draws into it makes a mark.
import os

CAPTIONS = HERE / "workflow" / "report" / "figures"
CAPTIONED = reporting.captions(CAPTIONS)
IN_PLACE = workflow.modifier.modify_path  # below the `prefix` that another workflow gives
OUTDATED = workflow.is_main_process and redrawing.prepare(PLAN, IN_PLACE)


rule figures:
    input:
        redrawing.OUTDATED if OUTDATED else [],  # newer than the figures: so they are drawn; not for the command
        **ancients(
            {
                name: path
                for name, path in PLAN.files(PLAN.statistics).items()
                if name != "manifest"
            }
            | {f"variants_{name}": paths for name, paths in PLAN.compared().items()}
            | {"playground": PLAN.playground.file("playground.html")}
        ),
    output:
        # Marked for the report where it is not there: Snakemake then refuses a report of other figures.
        report(touch(redrawing.DRAWN)) if OUTDATED else touch(redrawing.DRAWN),
    log:
        "results/logs/figures.log",
    localrule: True
    conda:
        CONDA
    params:
        # A title may have `</script>`, which would end that of the report, where commands stand.
        command=command(
            "figures",
            PLAN.figures_slice.replace("<", r"\u003c"),
            files={"figures": IN_PLACE(FIGURES)},
        ),
    message:
        f"Drawing figures and tables of {STUDY.study}"
    shell:
        COMMAND
