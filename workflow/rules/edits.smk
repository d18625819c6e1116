# Whether what is read is used: edits of the residual stream, and what the model then does.
for SUFFIX, MADE, NEW in PLAN.makers("edits"):

    rule:
        name:
            f"edits{SUFFIX}"
        input:
            **ancients(MADE.files(MADE.lm, "weights", "config")),
            **ancients(
                {
                    split: MADE.shards(MADE.corpus, split, getattr(MADE.study.traces, split))
                    for split in SPLITS
                }
            ),
        output:
            **{
                name: f"{RESULTS}/edits/{{edited,{'|'.join(NEW) or 'none'}}}/{CHECKPOINT}/{file}"
                for name, file in STAGES["edits"].files.items()
            },
        log:
            f"{RESULTS}/{LOGS}/edits/{{edited}}/{CHECKPOINT}.log",
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(
                MADE.study,
                sizes.edits_mb(MADE.study),
                sizes.minutes(MADE.study, work.edits(MADE.study)),
                tensors=1,
            ),
        params:
            command=command(
                "edits",
                lambda wildcards, MADE=MADE: MADE.edits[wildcards.edited].slice_of_checkpoint(
                    wildcards
                ),
                MADE.study.compute.threads,
                device=MADE.study.compute.device,
                batch=MADE.study.compute.trace_batch,
            ),
        message:
            "Editing hidden states, {wildcards.edited}, seed {wildcards.seed}, step {wildcards.step}"
        shell:
            COMMAND
