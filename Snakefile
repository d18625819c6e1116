# progsem: does a language model that writes programs understand what they do?
#
#     snakemake                                  the study in config.yaml, on every core
#     snakemake --configfile studies/tiny.yaml   another, given by its differences
#     snakemake --config 'lm={seeds: [0, 1]}'    the same, with a key changed
#
# corpus -> tokens -> lm (a chain of checkpoints) -> traces -> probes, interventions,
#        controls; lm -> generalisation; all of these -> statistics -> figures
#
# A folder of results is named by the config and the code that it was made with, and
# a file takes its name when it is whole. So a job runs where an output is missing, and
# for no other reason: inputs are `ancient`, which tells Snakemake not to ask which
# file is newer.

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")
sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from progsem.jobs import streams
from progsem.study import plan, sizes
from progsem.storage.inventory import figures_are_stale, say_what_is_made_anew
from progsem.workflow.snakefile import (
    clear_leavings,
    leave_figures_to_their_job,
    prepare_environment,
    refuse_read_only_results,
    refuse_to_replace_others,
    run_what_is_missing,
    study_or_exit,
    take_turns,
    use_every_core,
)

streams.prepare()

# `config` counts in jobs on other machines; here --configfile and --config are read by the study's own rules.
STUDY = study_or_exit(workflow, config)
PLAN = plan.Plan(STUDY)

# A bare `snakemake` uses every core that it may. On a cluster, --jobs is the limit.
if workflow.resource_settings.cores is None and workflow.resource_settings.nodes is None:
    use_every_core(workflow)

take_turns(workflow)

if workflow.is_main_process:
    clear_leavings()
    run_what_is_missing(workflow, redraw=figures_are_stale(PLAN))
    leave_figures_to_their_job()

shell.prefix(prepare_environment(Path(workflow.basedir) / "src"))

# Snakemake takes braces in a path for wildcards, also those of the folder that this file is in.
CONDA = str(Path(workflow.basedir) / "envs/progsem.yaml").replace("{", "{{").replace("}", "}}")


# A cluster's jobs take turns within a group, not among groups.
resource_scopes:
    turn="local",


wildcard_constraints:
    seed=r"\d+",
    step=r"\d{6}",
    alternative=r"[^/]+",


onstart:
    outputs = [str(path) for job in workflow.dag.needrun_jobs() for path in job.output]
    refuse_read_only_results()
    refuse_to_replace_others(outputs, DRAWN)
    say_what_is_made_anew(PLAN, outputs)


localrules:
    all,


rule all:
    input:
        plan.FIGURES,


include: "workflow/rules/corpus.smk"
include: "workflow/rules/tokens.smk"
include: "workflow/rules/lm.smk"
include: "workflow/rules/traces.smk"
include: "workflow/rules/probes.smk"
include: "workflow/rules/interventions.smk"
include: "workflow/rules/controls.smk"
include: "workflow/rules/generalisation.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/figures.smk"
