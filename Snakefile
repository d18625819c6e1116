# progsem: does a language model that writes programs understand what they do?
#
#     snakemake                                  the study in config.yaml, on every core
#     snakemake --configfile studies/tiny.yaml   another, given by its differences
#     snakemake --config 'lm={seeds: [0, 1]}'    the same, with a key changed
#
# corpus -> tokens -> lm (a chain of checkpoints; sequences -> warmup before them) -> traces -> probes, interventions,
#        controls; lm -> edits, transcoders, generalisation, synthesis; corpus -> writers; tokens -> finetuning -> pretrained;
#        all of these -> statistics -> figures; lm, probes -> playground -> figures
#
# A folder of results is named by the config and the code that it was made with, and
# a file takes its name when it is whole. So a job runs where an output is missing, and
# for no other reason: inputs are `ancient`, which tells Snakemake not to ask which
# file is newer.

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")
HERE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
if not HERE.is_dir():
    print(
        f"progsem: given the Snakefile in {HERE}, expected one in a clone on this machine",
        file=sys.stderr,
    )
    raise SystemExit(2)
sys.path.insert(0, str(HERE / "src"))

from progsem.jobs import streams
from progsem.stages import CHECKPOINT, FIGURES, LOGS, RESULTS, STAGES
from progsem.study import sizes, work
from progsem.study.plan import Plan
from progsem.study.vocabulary import SPLITS
from progsem.workflow import redrawing, reporting, snakefile, suitability
from progsem.workflow.consent import say_what_is_made_anew
from progsem.workflow.duration import say_how_long
from progsem.workflow.lock import hold_folder, remove_stale_locks
from progsem.workflow.rules import COMMAND, ancients, asked, command, literally

streams.prepare()

# A part of another workflow (`module`) leaves alone what is that one's: cores, locks, the shell, the report's text.
MODULE = not workflow.modifier.is_main_snakefile()

if MODULE:
    STUDY = snakefile.study_of_module_or_exit(HERE, config)
    COMMAND = snakefile.prepare_environment(HERE / "src", module=True) + COMMAND
    if workflow.is_main_process:
        hold_folder()
else:
    # `config` counts in jobs on other machines; here --configfile and --config are read by the study's own rules.
    STUDY = snakefile.study_or_exit(workflow, config)
    shell.prefix(snakefile.prepare_environment(HERE / "src"))
    # A bare `snakemake` uses every core that it may. On a cluster, --jobs is the limit.
    if workflow.resource_settings.cores is None and workflow.resource_settings.nodes is None:
        snakefile.use_every_core(workflow)
    snakefile.say_less()
    if workflow.is_main_process:
        remove_stale_locks()

    report: "workflow/report/study.rst"


PLAN = Plan(STUDY)
snakefile.take_turns(workflow)

CONDA = literally(str(HERE / "envs/progsem.yaml"))


# A cluster's jobs take turns within a group, not among groups.
resource_scopes:
    turn="local",


wildcard_constraints:
    seed=r"\d+",
    step=r"\d{6}",


onstart:
    outputs = [str(path) for job in workflow.dag.needrun_jobs() for path in job.output]
    snakefile.refuse_other_triggers(workflow)
    snakefile.refuse_what_cannot_be_written(
        outputs, reporting.files_of(CAPTIONED) | {"playground.html"}
    )
    suitability.refuse_unsuitable(PLAN, outputs)
    say_what_is_made_anew(PLAN, outputs)
    snakefile.say_remark(STUDY)
    if workflow.resource_settings.nodes is None:
        say_how_long(PLAN, outputs, workflow.resource_settings.cores)


include: "workflow/rules/figures.smk"


# What there is to see, and what `snakemake --report` shows of it, with a caption each. The first rule that does not
# stand in an included file, and so the one that is run where none is asked for.
rule all:
    input:
        ancient(rules.figures.output[0]),
    output:
        report(
            directory(FIGURES),
            patterns=reporting.patterns(CAPTIONED),
            caption="workflow/report/caption.rst",
            category=lambda wildcards: CAPTIONED[wildcards.figure].category,
            labels=lambda wildcards: reporting.labels(CAPTIONED, wildcards.figure, wildcards.kind),
        ),
    localrule: True
    params:
        # What captions say. The title is not among them: it is the user's text, and captions are markup.
        facts=reporting.facts(STUDY),
        captions=lambda wildcards: os.path.relpath(CAPTIONS),


include: "workflow/rules/data.smk"
include: "workflow/rules/warmup.smk"
include: "workflow/rules/lm.smk"
include: "workflow/rules/traces.smk"
include: "workflow/rules/probing.smk"
include: "workflow/rules/edits.smk"
include: "workflow/rules/transcoders.smk"
include: "workflow/rules/synthesis.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/playground.smk"
