# Probes that read the states of the executed programs out of the hidden states: under the original semantics, and
# the same on the same programs under every alternative.
PROBED = {f"{artifact.stage}/{artifact.key}": artifact for artifact in PLAN.probed()}


rule probes:
    input:
        **ancients(PLAN.files(PLAN.traces, "programs", "generated", "forced")),
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
    threads: STUDY.compute.threads
    resources:
        **asked(
            STUDY,
            sizes.probes_mb(STUDY),
            lambda wildcards: sizes.minutes(
                STUDY, work.probing(STUDY, PROBED[wildcards.probed].sections["probes"]["offsets"])
            ),
            tensors=1,
        ),
    params:
        command=command(
            "probes",
            lambda wildcards: PROBED[wildcards.probed].slice(),
            STUDY.compute.threads,
            device=STUDY.compute.device,
        ),
    message:
        "Probing, {wildcards.probed}, seed {wildcards.seed}, step {wildcards.step}"
    shell:
        COMMAND


# What else could answer as the probes do: probes that see no hidden state, probes that
# are asked for random labels, and how many bits the labels take.
rule controls:
    input:
        **ancients(
            PLAN.files(PLAN.traces, "programs", "generated", "forced")
            | PLAN.files(PLAN.lm, "weights")
        ),
    output:
        **PLAN.files(PLAN.controls),
    log:
        PLAN.controls.log,
    group:
        "probing"
    conda:
        CONDA
    threads: STUDY.compute.threads
    resources:
        **asked(
            STUDY,
            sizes.controls_mb(STUDY),
            sizes.minutes(STUDY, work.controls(STUDY)),
            tensors=1,
        ),
    params:
        command=command(
            "controls", PLAN.controls.slice(), STUDY.compute.threads, device=STUDY.compute.device
        ),
    message:
        "Probing controls, seed {wildcards.seed}, step {wildcards.step}"
    shell:
        COMMAND
