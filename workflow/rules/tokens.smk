# The corpus as token ids, and the tokenizer that reads and writes its text.
rule tokens:
    input:
        train=ancient(PLAN.shards(PLAN.corpus, "train")),
        validation=ancient(PLAN.shards(PLAN.corpus, "validation")),
        test=ancient(PLAN.shards(PLAN.corpus, "test")),
    output:
        train=PLAN.shards(PLAN.tokens, "train"),
        validation=PLAN.shards(PLAN.tokens, "validation"),
        test=PLAN.shards(PLAN.tokens, "test"),
        tokenizer=PLAN.tokens.file("tokenizer/tokenizer.json"),
        tokenizer_config=PLAN.tokens.file("tokenizer/tokenizer_config.json"),
        manifest=PLAN.tokens.file("manifest.json"),
    log:
        f"results/logs/tokens/{PLAN.tokens.key}.log",
    group:
        "data"
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        mem_mb=lambda wildcards, attempt: attempt * sizes.data_mb(STUDY),
        runtime=lambda wildcards, attempt: attempt * sizes.data_minutes(STUDY),
    params:
        threads=STUDY.compute.threads,
        slice=PLAN.tokens.slice(),
    message:
        "Encoding the corpus as {STUDY.tokens.encoding} tokens"
    shell:
        "python -m progsem tokens --slice {params.slice:q} --threads {params.threads}"
        " --input train {input.train} --input validation {input.validation} --input test {input.test}"
        " --output train {output.train} --output validation {output.validation}"
        " --output test {output.test} --output tokenizer {output.tokenizer}"
        " --output tokenizer_config {output.tokenizer_config} --output manifest {output.manifest}"
        " 2>&1 | log {log}"
