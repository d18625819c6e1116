# Every rule but those of the figures: progsem.workflow.rules says what they are.
from progsem.workflow import rules as registry

for RULE in registry.rules(PLAN):

    rule:
        name:
            RULE.name
        input:
            **{name: ancient(paths) for name, paths in RULE.inputs.items()},
        output:
            **{
                name: temp(paths) if name == "state" else paths
                for name, paths in RULE.outputs.items()
            },
        log:
            RULE.log,
        priority: RULE.priority
        group:
            RULE.group
        conda:
            CONDA
        threads: RULE.threads
        resources:
            **RULE.resources,
        params:
            command=RULE.command,
        message:
            RULE.message
        shell:
            "{params.command} 2>&1 | log {log}"
