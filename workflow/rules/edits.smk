# Whether what is read is used: edits of the residual stream, and what the model then does.
rule edits:
    input:
        **ancients(PLAN.files(PLAN.lm, "weights", "config")),
        **ancients(
            {
                split: PLAN.shards(PLAN.corpus, split, getattr(STUDY.traces, split))
                for split in SPLITS
            }
        ),
    output:
        **{
            name: f"{RESULTS}/edits/{{edited,{'|'.join(PLAN.edits) or 'none'}}}/{CHECKPOINT}/{file}"
            for name, file in STAGES["edits"].files.items()
        },
    log:
        f"{RESULTS}/{LOGS}/edits/{{edited}}/{CHECKPOINT}.log",
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        **asked(STUDY, sizes.edits_mb(STUDY), sizes.minutes(STUDY, work.edits(STUDY)), tensors=1),
    params:
        command=command(
            "edits",
            lambda wildcards: PLAN.edits[wildcards.edited].slice_of_checkpoint(wildcards),
            STUDY.compute.threads,
            device=STUDY.compute.device,
            batch=STUDY.compute.trace_batch,
        ),
    message:
        "Editing hidden states, {wildcards.edited}, seed {wildcards.seed}, step {wildcards.step}"
    shell:
        COMMAND
