"""Columns of every table that the stage `statistics` writes, in order."""

from progsem.measures.results import METRICS


def _with_interval(names: str) -> list[str]:
    """Each name, and after it the columns of its interval."""
    return [column for name in names.split() for column in (name, f"{name}_low", f"{name}_high")]


TABLES = {
    "checkpoints": [
        *"lm_seed step tokens programs n_test n_correct n_training".split(),
        *_with_interval(
            "generative_accuracy strict_accuracy unconstrained_accuracy unconstrained_parses finished distinct "
            "distinct_reference entropy_bits entropy_bits_reference perplexity_reference perplexity_generated "
            "mean_length_generated mean_length_generated_correct mean_length_reference "
            "mean_length_reference_of_correct"
        ),
        "mean_length_training",
    ],
    "probes": [
        *"lm_seed step semantics source states depth feature".split(),
        *_with_interval("accuracy majority corrected"),
        *"n_states n_programs n_probe_seeds probe_seed_sd".split(),
        *_with_interval("validation_accuracy"),
        *"n_validation n_train".split(),
    ],
    "offsets": [
        *"lm_seed step source states offset depth feature".split(),
        *_with_interval("accuracy majority corrected"),
        *"n_states n_programs".split(),
    ],
    "alternatives": [
        *"lm_seed step source offset states depth feature family alternative difficulty_matched".split(),
        *_with_interval("raw_original raw_alternative"),
        *"raw_difference raw_ci_low raw_ci_high".split(),
        *_with_interval("majority_original majority_alternative original alternative_content"),
        *"difference ci_low ci_high p p_holm n_features n_states n_programs".split(),
        *"entropy_original entropy_alternative share_differing".split(),
    ],
    "regression": [
        *"lm_seed source states depth measure points n_points n_effective n_lm_seeds".split(),
        *_with_interval("slope intercept r2"),
        *"block_length slope_blocks_low slope_blocks_high r2_blocks_low r2_blocks_high".split(),
    ],
    "lengths": "lm_seed step programs statements count".split(),
    "length_tests": "lm_seed step comparison difference difference_low difference_high p n".split(),
    "training": ["lm_seed", *METRICS],
    "baselines": [
        *"lm_seed step source states depth feature baseline".split(),
        *_with_interval("accuracy majority corrected difference bits compression"),
        *"n_states n_programs n_coded_states n_coded_programs".split(),
    ],
    "layers": [
        *"lm_seed step source states depth feature layer".split(),
        *_with_interval("accuracy majority corrected"),
        *"n_states n_programs".split(),
    ],
    "positions": [
        *"lm_seed step source semantics depth feature by value trained".split(),
        *_with_interval("accuracy majority corrected"),
        *"n_states n_programs".split(),
    ],
    "permutations": [
        *"lm_seed step source states depth pair first second".split(),
        *_with_interval("corrected_first corrected_second"),
        *"difference ci_low ci_high p entropy_first entropy_second share_differing".split(),
        *"n_features n_states n_programs".split(),
    ],
    "generalisation": [
        *"lm_seed step set length in_training_range".split(),
        *_with_interval("generative_accuracy strict_accuracy unconstrained_accuracy"),
        "n",
    ],
}
