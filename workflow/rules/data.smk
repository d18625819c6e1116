# Rules are made in loops: variants of a study have rules of their own where they have artifacts of their own. What is
# computed when a job runs finds its plan in a default argument, as the loop is over then.
# Sampled programs, executed on sampled worlds, as Arrow shards.
for SUFFIX, MADE, _ in PLAN.makers("corpus"):

    rule:
        name:
            f"corpus{SUFFIX}"
        output:
            **MADE.files(MADE.corpus),
        log:
            MADE.corpus.log,
        group:
            "data"
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(MADE.study, sizes.data_mb(MADE.study), sizes.data_minutes(MADE.study)),
        params:
            command=command("corpus", MADE.corpus_slice(), MADE.study.compute.threads),
        message:
            f"Sampling and executing {MADE.study.corpus.train} training programs and "
            f"{MADE.study.corpus.test} test programs"
        shell:
            COMMAND


# The corpus as token ids, and the tokenizer that reads and writes its text.
for SUFFIX, MADE, _ in PLAN.makers("tokens"):

    rule:
        name:
            f"tokens{SUFFIX}"
        input:
            **ancients(MADE.files(MADE.corpus, *SPLITS)),
        output:
            **MADE.files(MADE.tokens),
        log:
            MADE.tokens.log,
        group:
            "data"
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(MADE.study, sizes.data_mb(MADE.study), sizes.data_minutes(MADE.study)),
        params:
            command=command("tokens", MADE.tokens.slice(), MADE.study.compute.threads),
        message:
            f"Encoding the corpus as {MADE.study.tokens.encoding} tokens"
        shell:
            COMMAND
