# Probes that read the states of the executed programs out of the hidden states: under the original semantics, and
# the same on the same programs under every alternative.
for SUFFIX, MADE, NEW in PLAN.makers("probes"):
    PROBED = {f"{artifact.stage}/{artifact.key}": artifact for artifact in NEW.values()}

    rule:
        name:
            f"probes{SUFFIX}"
        input:
            **ancients(MADE.files(MADE.traces, "programs", "generated", "forced")),
        output:
            **{
                name: f"{RESULTS}/{{probed,{'|'.join(PROBED)}}}/{CHECKPOINT}/{file}"
                for name, file in STAGES["probes"].files.items()
            },
        log:
            f"{RESULTS}/{LOGS}/{{probed}}/{CHECKPOINT}.log",
        priority: 10
        group:
            "probing"
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(
                MADE.study,
                sizes.probes_mb(MADE.study),
                lambda wildcards, MADE=MADE, PROBED=PROBED: sizes.minutes(
                    MADE.study, work.probing(MADE.study, PROBED[wildcards.probed])
                ),
                tensors=1,
            ),
        params:
            command=command(
                "probes",
                lambda wildcards, PROBED=PROBED: PROBED[wildcards.probed].slice(),
                MADE.study.compute.threads,
                device=MADE.study.compute.device,
            ),
        message:
            "Probing, {wildcards.probed}, seed {wildcards.seed}, step {wildcards.step}"
        shell:
            COMMAND


# What else could answer as the probes do: probes that see no hidden state, probes that
# are asked for random labels, and how many bits the labels take.
for SUFFIX, MADE, _ in PLAN.makers("controls"):

    rule:
        name:
            f"controls{SUFFIX}"
        input:
            **ancients(
                MADE.files(MADE.traces, "programs", "generated", "forced")
                | MADE.files(MADE.lm, "weights", "config")
            ),
        output:
            **MADE.files(MADE.controls),
        log:
            MADE.controls.log,
        group:
            "probing"
        conda:
            CONDA
        threads: MADE.study.compute.threads
        resources:
            **asked(
                MADE.study,
                sizes.controls_mb(MADE.study),
                sizes.minutes(MADE.study, work.controls(MADE.study)),
                tensors=1,
            ),
        params:
            command=command(
                "controls",
                MADE.controls.slice(),
                MADE.study.compute.threads,
                device=MADE.study.compute.device,
            ),
        message:
            "Probing controls, seed {wildcards.seed}, step {wildcards.step}"
        shell:
            COMMAND
