# Sampled programs, executed on sampled worlds, as Arrow shards.
rule corpus:
    output:
        **PLAN.files(PLAN.corpus),
    log:
        PLAN.corpus.log,
    group:
        "data"
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        **asked(STUDY, sizes.data_mb(STUDY), sizes.data_minutes(STUDY)),
    params:
        command=command("corpus", PLAN.corpus.slice(), STUDY.compute.threads),
    message:
        f"Sampling and executing {STUDY.corpus.train} training programs and {STUDY.corpus.test} test programs"
    shell:
        COMMAND


# The corpus as token ids, and the tokenizer that reads and writes its text.
rule tokens:
    input:
        **ancients(PLAN.files(PLAN.corpus, *SPLITS)),
    output:
        **PLAN.files(PLAN.tokens),
    log:
        PLAN.tokens.log,
    group:
        "data"
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        **asked(STUDY, sizes.data_mb(STUDY), sizes.data_minutes(STUDY)),
    params:
        command=command("tokens", PLAN.tokens.slice(), STUDY.compute.threads),
    message:
        f"Encoding the corpus as {STUDY.tokens.encoding} tokens"
    shell:
        COMMAND
