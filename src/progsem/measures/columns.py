"""Columns of every table that the stage `statistics` writes, in order."""

from progsem.measures.results import METRICS

TABLES = {
    "checkpoints": (
        "lm_seed step tokens programs n_test generative_accuracy generative_accuracy_low generative_accuracy_high "
        "strict_accuracy strict_accuracy_low strict_accuracy_high unconstrained_accuracy unconstrained_accuracy_low "
        "unconstrained_accuracy_high unconstrained_parses unconstrained_parses_low unconstrained_parses_high finished "
        "distinct distinct_reference entropy_bits entropy_bits_reference perplexity_reference "
        "perplexity_reference_low perplexity_reference_high perplexity_generated perplexity_generated_low "
        "perplexity_generated_high mean_length_generated mean_length_generated_correct "
        "mean_length_generated_correct_low mean_length_generated_correct_high mean_length_reference "
        "mean_length_reference_of_correct mean_length_training"
    ).split(),
    "probes": (
        "lm_seed step semantics source states depth feature accuracy accuracy_low accuracy_high majority corrected "
        "corrected_low corrected_high n_states n_programs probe_seed_sd validation_accuracy n_train"
    ).split(),
    "offsets": (
        "lm_seed step source states offset depth feature accuracy accuracy_low accuracy_high majority "
        "corrected corrected_low corrected_high n_states n_programs"
    ).split(),
    "alternatives": (
        "lm_seed step source states depth feature alternative difficulty_matched raw_original raw_alternative "
        "raw_difference raw_ci_low raw_ci_high majority_original majority_alternative original alternative_content "
        "difference ci_low ci_high p p_holm n_features n_states n_programs"
    ).split(),
    "regression": (
        "lm_seed source states depth measure points n_points block_length slope slope_low slope_high intercept r2 "
        "r2_low r2_high"
    ).split(),
    "lengths": "lm_seed step programs statements count".split(),
    "training": ["lm_seed", *METRICS],
}
