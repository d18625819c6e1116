"""The tables that the stage `statistics` writes: name, columns and meaning of each, and what computes it.

A table is a function that returns its rows. Its docstring says what a row is and what stands in each column, and
docs/tables.md is made of these docstrings. Planning a study reads the names, so nothing is imported before a table
is computed. ± after a column stands for two more, the ends of its interval: `_low` and `_high`.

Columns of several tables:

| column | unit | n | meaning |
| lm_seed | seed | | the language model; `pooled` where a row is about the mean of several |
| step | optimizer steps | | the checkpoint |
| source | name | | whose states: those of programs that the model writes (`generated`) or is fed (`forced`) |
| semantics | name | | under which the states are labelled: `original` or an alternative |
| offset | statements | | from the hidden state to the world that is read out of it |
| states | name | | `all`, or without each program's last state (`non_final`) |
| depth | name | | of the probe: `linear`, `mlp1` or `mlp2` |
| feature | name | | what is read out; `mean` for the mean over features |
| accuracy | share | n_states | states for which the probe is right, mean over probe seeds |
| majority | share | n_states | states whose label is the most frequent one of the training states |
| corrected | score | n_states | (accuracy - majority) / (1 - majority): 0 for the most frequent label, 1 at best |
| n_states | states | | test states |
| n_programs | programs | | test programs that have these states; these are resampled |
| n_features | features | | that a mean is over: those whose corrected accuracy is defined on both sides |
| entropy_original | bits | n_states | entropy of the label under the original semantics |
| share_differing | share | n_states | states whose label is another one under the two semantics |
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from progsem.storage.files import read_csv


class Table(NamedTuple):
    """A table: its columns in order, and the function that computes its rows from an `analysis.Analysis`."""

    columns: tuple[str, ...]
    rows: Callable[..., list[dict]]


TABLES: dict[str, Table] = {}  # by name, in the order in which they are written


def table(columns: str) -> Callable:
    """A decorator: the function computes the table of its own name, which has these columns, separated by spaces."""

    def listed(rows: Callable[..., list[dict]]) -> Callable[..., list[dict]]:
        names = [
            name + end
            for column in columns.split()
            for name in [column.rstrip("±")]
            for end in (("", "_low", "_high") if column.endswith("±") else ("",))
        ]
        TABLES[rows.__name__] = Table(tuple(names), rows)
        return rows

    return listed


def described(name: str) -> dict[str, tuple[str, str, str]]:
    """Unit, n and meaning of every column of a table, from the docstrings; ends of intervals are told as their middles.

    Raises ValueError for a column that is not described, and for a description of none.
    """
    listed, own = TABLES[name].columns, _described(inspect.getdoc(TABLES[name].rows))
    about = _described(__doc__) | own
    middles = {f"{column}{end}": column for column in about for end in ("_low", "_high")}
    found = {column: column if column in about else middles.get(column) for column in listed}
    if wrong := {column for column, middle in found.items() if middle is None} | (set(own) - set(listed)):
        raise ValueError(f"table {name}: either no column or not described: {', '.join(sorted(wrong))}")
    return {column: about[middle] for column, middle in found.items()}


def _described(text: str) -> dict[str, tuple[str, str, str]]:
    """Unit, n and meaning by column, from the rows of a table in a docstring."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if "|" in line]
    return {column: (unit, n, meaning) for column, unit, n, meaning in rows if column != "column"}


def read_rows(path: Path) -> list[dict]:
    """The rows of a CSV table; numbers as numbers, None for empty fields."""
    return [{name: _value(text) for name, text in row.items()} for row in read_csv(path)]


def _value(text: str):
    if text == "":
        return None
    if text in ("True", "False"):
        return text == "True"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


@table(
    "lm_seed step tokens programs n_test n_correct n_training generative_accuracy± strict_accuracy± "
    "unconstrained_accuracy± unconstrained_parses± finished± distinct± distinct_reference± entropy_bits± "
    "entropy_bits_reference± perplexity_reference± perplexity_generated± mean_length_generated± "
    "mean_length_generated_correct± mean_length_reference± mean_length_reference_of_correct± mean_length_training"
)
def checkpoints(analysis):
    """A row a checkpoint: what the language model writes for the test specifications.

    | tokens | tokens | | that the language model has been trained on |
    | programs | programs | | that the language model has been trained on |
    | n_test | specifications | | test specifications, each with one generated and one reference program |
    | n_correct | programs | | generated programs that satisfy every shown world |
    | n_training | programs | | training programs |
    | generative_accuracy | share | n_test | programs that satisfy every shown world |
    | strict_accuracy | share | n_test | programs that satisfy the held-out worlds as well |
    | unconstrained_accuracy | share | n_test | programs, decoded without the grammar, that satisfy every shown world |
    | unconstrained_parses | share | n_test | programs, decoded without the grammar, that parse |
    | finished | share | n_test | programs that end before the longest that may be written |
    | distinct | share | n_test | different programs among the generated ones |
    | distinct_reference | share | n_test | different programs among the references |
    | entropy_bits | bits | n_test | entropy of the distribution of generated programs |
    | entropy_bits_reference | bits | n_test | entropy of the distribution of references |
    | perplexity_reference | per token | n_test | of the references under the model |
    | perplexity_generated | per token | n_test | of the generated programs under the model |
    | mean_length_generated | statements | n_test | generated programs |
    | mean_length_generated_correct | statements | n_correct | generated programs that are correct |
    | mean_length_reference | statements | n_test | references |
    | mean_length_reference_of_correct | statements | n_correct | references of the specifications that are solved |
    | mean_length_training | statements | n_training | training programs; exact, being that of all of them |
    """
    from progsem.measures.generation_rows import checkpoint_rows

    return checkpoint_rows(analysis)


@table("lm_seed share tokens± warmup_tokens")
def milestones(analysis):
    """A row a language model and share of the test specifications: when it first solves so many.

    | share | share | | of the test specifications that it solves |
    | tokens | tokens | | that it has been trained on by then, a warm-up's included; empty where it does not get there |
    | warmup_tokens | tokens | | those of the warm-up |
    """
    from progsem.measures.milestones import milestone_rows

    return milestone_rows(analysis)


@table(
    "lm_seed step semantics source states depth feature accuracy± majority± corrected± n_states n_programs "
    "n_probe_seeds probe_seed_sd validation_accuracy± n_validation n_train"
)
def probes(analysis):
    """A row a checkpoint, semantics, set of states, probe and feature: semantic content, at offset 0.

    | n_probe_seeds | probes | | that the accuracy is the mean of |
    | probe_seed_sd | share | n_probe_seeds | standard deviation of the test accuracy over probe seeds |
    | validation_accuracy | share | n_validation | accuracy for the states that have chosen the probes |
    | n_validation | states | | validation states |
    | n_train | states | | training states |
    """
    from progsem.measures.content_rows import probe_rows

    return probe_rows(analysis)


@table("lm_seed step source states offset depth feature accuracy± majority± corrected± n_states n_programs")
def offsets(analysis):
    """A row a checkpoint, set of states, offset, probe and feature: semantic content under the original semantics."""
    from progsem.measures.content_rows import offset_rows

    return offset_rows(analysis)


@table(
    "lm_seed step source offset states depth feature family alternative difficulty_matched raw_original± "
    "raw_alternative± raw_difference raw_ci_low raw_ci_high majority_original± majority_alternative± original± "
    "alternative_content± difference ci_low ci_high p p_holm n_features n_states n_programs entropy_original "
    "entropy_alternative share_differing"
)
def alternatives(analysis):
    """A row a checkpoint, set of states, probe, feature and alternative: it and the original on the same states.

    | states | name | | `all`, `non_final`, or those whose label differs under the two (`differing`) |
    | family | name | | `named` in the config, or a drawn `permutation` |
    | alternative | name | | the other semantics |
    | difficulty_matched | true or false | | whether its labels are as hard as the original's |
    | raw_original | share | n_states | accuracy under the original |
    | raw_alternative | share | n_states | accuracy under the alternative |
    | raw_difference | share | n_states | the first less the second |
    | raw_ci_low | share | n_states | lower end of the interval of `raw_difference` |
    | raw_ci_high | share | n_states | upper end of the interval of `raw_difference` |
    | majority_original | share | n_states | `majority` under the original |
    | majority_alternative | share | n_states | `majority` under the alternative |
    | original | score | n_states | `corrected` under the original |
    | alternative_content | score | n_states | `corrected` under the alternative |
    | difference | score | n_states | the first less the second |
    | ci_low | score | n_states | lower end of the interval of `difference` |
    | ci_high | score | n_states | upper end of the interval of `difference` |
    | p | probability | n_programs | of "`difference` is 0", two-sided |
    | p_holm | probability | n_programs | the same, adjusted for the number of alternatives of the family (Holm) |
    | entropy_alternative | bits | n_states | entropy of the label under the alternative |
    """
    from progsem.measures.alternatives import alternative_rows

    return alternative_rows(analysis)


@table("lm_seed source states depth measure points n_points n_effective n_lm_seeds slope± intercept± r2±")
def regression(analysis):
    """A row a set of states, probe, measure and kind of points: semantic content on generative accuracy.

    | measure | name | | the content: `raw` accuracy, or `corrected` |
    | points | name | | trained checkpoints (`levels`), changes from one to the next (`differences`), or language \
models at the last checkpoint (`between`) |
    | n_points | points | | of the line, or of all lines |
    | n_effective | points | | independent ones that would determine the line as well |
    | n_lm_seeds | language models | | with a line |
    | slope | content per accuracy | n_effective | of the line |
    | intercept | content | n_effective | of the line |
    | r2 | share | n_effective | of the variance that the line explains |
    """
    from progsem.measures.regression import regression_rows

    return regression_rows(analysis)


@table("lm_seed step programs statements count")
def lengths(analysis):
    """A row a checkpoint, kind of programs and number of statements that occurs.

    | programs | name | | `training`; `generated`, those that are correct (`generated_correct`), `reference`, those \
of solved specifications (`reference_of_correct`) |
    | statements | statements | | of the program |
    | count | programs | | with so many statements |
    """
    from progsem.measures.generation_rows import length_rows

    return length_rows(analysis)


@table("lm_seed step comparison difference difference_low difference_high p n")
def length_tests(analysis):
    """A row a checkpoint and comparison: how much longer correct programs are.

    | comparison | name | | than training programs (`correct_vs_training`), or than the references of the same \
specifications (`correct_vs_their_references`) |
    | difference | statements | n | of mean lengths |
    | p | probability | n | of "`difference` is 0", two-sided |
    | n | programs | | correct ones |
    """
    from progsem.measures.generation_rows import length_test_rows

    return length_test_rows(analysis)


@table("lm_seed step tokens programs loss learning_rate gradient_norm")
def training(analysis):
    """A row a language model and logged step of its training.

    | tokens | tokens | | since the start of the training |
    | programs | programs | | since the start of the training |
    | loss | nats per token | | mean since the row before |
    | learning_rate | number | | at this step |
    | gradient_norm | norm | | before clipping, at this step |
    """
    from progsem.measures.results import training_rows

    return training_rows(analysis.metrics, analysis.settings)


@table(
    "lm_seed step source states depth feature baseline accuracy± majority± corrected± difference± bits± compression± "
    "n_states n_programs n_coded_states n_coded_programs"
)
def baselines(analysis):
    """A row a checkpoint with controls, set of states, probe, feature and baseline.

    | baseline | name | | what answers: `model`, `majority`, or a control (`counts`, `prefix`, `start`, `input_only`, \
`text`, `embedding`, `untrained`, `shuffled`) |
    | difference | score | n_states | `corrected` of the model less that of the baseline |
    | bits | bits per label | n_coded_states | description length of the training labels, given the hidden states |
    | compression | ratio | n_coded_states | of the uniform code's length to `bits` |
    | n_coded_states | states | | training states whose labels were coded |
    | n_coded_programs | programs | | training programs that these states are of; these are resampled for `bits` |
    """
    from progsem.measures.baselines import baseline_rows

    return baseline_rows(analysis)


@table("lm_seed step source states depth feature layer accuracy± majority± corrected± n_states n_programs")
def layers(analysis):
    """A row a checkpoint with controls, set of states, probe, feature and hidden state that is read.

    | layer | name | | `layer_0`, the embedding, to the last; `mean` over all of them |
    """
    from progsem.measures.baselines import layer_rows

    return layer_rows(analysis)


@table(
    "lm_seed step source semantics depth feature by value trained accuracy± majority± corrected± n_states n_programs"
)
def positions(analysis):
    """A row a semantics, probe, feature and place in the program, at the last checkpoint.

    | by | name | | what `value` counts: the statement's number `from_start` or `from_end`, or the program's `length` |
    | value | statements | | from 1 |
    | trained | true or false | | whether any of these states is of a statement whose states have trained the probes |
    """
    from progsem.measures.positions import position_rows

    return position_rows(analysis)


@table(
    "lm_seed step source states depth pair first second corrected_first± corrected_second± difference ci_low ci_high p "
    "entropy_first entropy_second share_differing n_features n_states n_programs"
)
def permutations(analysis):
    """A row a set of states, probe and pair of semantics that mirror each other, at the last checkpoint.

    | pair | number | | 0 for the original and its mirror image, then as drawn |
    | first | name | | a semantics |
    | second | name | | its mirror image |
    | corrected_first | score | n_states | `corrected` under the first, mean over features |
    | corrected_second | score | n_states | `corrected` under the second, mean over features |
    | difference | score | n_states | the first less the second |
    | ci_low | score | n_states | lower end of the interval of `difference` |
    | ci_high | score | n_states | upper end of the interval of `difference` |
    | p | probability | n_programs | of "`difference` is 0", two-sided |
    | entropy_first | bits | n_states | entropy of the label under the first, mean over features |
    | entropy_second | bits | n_states | entropy of the label under the second, mean over features |
    """
    from progsem.measures.permutations import permutation_rows

    return permutation_rows(analysis)


@table(
    "lm_seed step layer kind semantics features coverage± always coverage_ahead± reconstruction± reconstruction_ahead± "
    "precise variance± loss_recovered± rise rise_by_mean active dead"
)
def transcoders(analysis):
    """A row a checkpoint, block, kind of features and semantics: how well they are the program's states.

    | layer | number | | the block, from 1, or `mean` over all |
    | kind | name | | features of a `transcoder` or an `autoencoder`, the MLP's `neurons`, a linear `probe`'s answers |
    | features | features | | how many there are |
    | coverage | F1 | | of the feature that is best for a property, mean over properties |
    | always | F1 | | the same of saying yes of every state |
    | coverage_ahead | F1 | | the same less that under the difficulty-matched alternative |
    | reconstruction | F1 | | of what high-precision features say of all states and properties |
    | reconstruction_ahead | F1 | | the same less that under the difficulty-matched alternative |
    | precise | features | | those of at least 0.95 precision for some property, which chance would hardly give |
    | variance | share | | of the MLP's output in test programs, that the dictionary gives |
    | loss_recovered | share | | of `rise_by_mean`, that the dictionary saves; empty where that is below 0.01 |
    | rise | nats a token | | by which the loss on test programs rises when the MLP gives what the dictionary does |
    | rise_by_mean | nats a token | | the same when it gives its mean output |
    | active | features | | mean number at a token |
    | dead | share | | features that no training token makes active |
    """
    from progsem.measures.transcoders import transcoder_rows

    return transcoder_rows(analysis)


@table("lm_seed step layer kind semantics feature head value unit threshold f1 train_f1 precision always")
def transcoder_properties(analysis):
    """A row a checkpoint, block, kind of features, semantics and property: the feature that is best for it.

    | layer | number | | the block, from 1 |
    | kind | name | | features of a `transcoder` or an `autoencoder`, or the MLP's `neurons` |
    | head | name | | which of the feature's labels the property is about |
    | value | class | | the label that it says |
    | unit | number | | of the feature in the dictionary, from 0 |
    | threshold | share | | of its largest activation, above which it says yes |
    | f1 | F1 | | of what it says of the test states |
    | train_f1 | F1 | | of the training states, by which it was chosen |
    | precision | share | | of the test states of which it says yes, those that have the property |
    | always | F1 | | of saying yes of every test state |
    """
    from progsem.measures.transcoders import property_rows

    return property_rows(analysis)


@table(
    "lm_seed step semantics feature edit control source layer effect± interchange± ends_target± ends_base± norm± "
    "n_pairs n_apart n_flipped n_programs"
)
def edits(analysis):
    """A row a checkpoint, semantics, feature, edit and block: what the model does after the edit.

    | feature | name | | in which base and target differ |
    | edit | name | | `none`, `target` (what the model does behind the target), or what is done (docs/edits.md) |
    | control | name | | `none`, or what makes the edit worthless: `random`, `layer`, `position`, `shuffled` |
    | source | name | | where what is put in comes from: the `target`, or a `donor` in another specification |
    | layer | block | | whose output is edited, from 1; 0 for none |
    | effect | share | n_apart | of the way to the target's distribution of the next statement; below 0: further away |
    | interchange | share | n_flipped | pairs whose likeliest next statement becomes the target's |
    | ends_target | share | n_pairs | programs whose rest, from the target's state, ends in the outputs |
    | ends_base | share | n_pairs | programs whose rest, from the base's state, ends in the outputs |
    | norm | share of the stream's norm | n_pairs | how far the edit moves it, in the mean |
    | n_pairs | pairs | | of base and target |
    | n_apart | pairs | | whose distributions are at least 0.1 apart (total variation) |
    | n_flipped | pairs | | whose likeliest next statements differ |
    """
    from progsem.measures.edits import edit_rows

    return edit_rows(analysis)


@table("lm_seed step semantics feature edit source layer original± alternative± difference± p n_original n_alternative")
def edits_compared(analysis):
    """A row a checkpoint, alternative semantics, feature, edit and block: its effect, and that under the original.

    | semantics | name | | the alternative |
    | feature | name | | in which base and target differ |
    | edit | name | | what is done |
    | source | name | | where what is put in comes from: the `target`, or a `donor` in another specification |
    | layer | block | | whose output is edited, from 1 |
    | original | share | n_original | `effect` under the original |
    | alternative | share | n_alternative | `effect` under the alternative |
    | difference | share | n_original | the first less the second |
    | p | probability | n_original | of "`difference` is 0", two-sided |
    | n_original | pairs | | whose distributions are at least 0.1 apart, under the original |
    | n_alternative | pairs | | likewise under the alternative |
    """
    from progsem.measures.edits import compared_rows

    return compared_rows(analysis)


@table("lm_seed step semantics feature edit source layer depth target_here± target_last± kept_here± kept_last± n_pairs")
def edits_read(analysis):
    """A row a checkpoint, semantics, feature, edit, block and probe: what is read in the stream after the edit.

    | feature | name | | in which base and target differ |
    | edit | name | | what is done |
    | source | name | | where what is put in comes from: the `target`, or a `donor` in another specification |
    | layer | block | | whose output is edited, from 1; 0 for none |
    | target_here | share | n_pairs | pairs in which the edited block's stream is read as the target's state |
    | target_last | share | n_pairs | likewise behind the last block |
    | kept_here | share | n_pairs | pairs in which all other features are read there as before |
    | kept_last | share | n_pairs | likewise behind the last block |
    | n_pairs | pairs | | of base and target |
    """
    from progsem.measures.edits import read_rows

    return read_rows(analysis)


@table("lm_seed step semantics layer depth feature accuracy± majority± corrected± n_states n_programs")
def streams(analysis):
    """A row a checkpoint with edits, semantics, block, probe and feature: what is read in the residual stream.

    Of programs that the model is fed, all states; the stream is that behind a block, before the final norm.

    | layer | block | | from 1 |
    """
    from progsem.measures.edits import stream_rows

    return stream_rows(analysis)


@table("lm_seed step writer value grammar budget solved± solved_held_out± reported_low reported_high n")
def synthesis(analysis):
    """A row a checkpoint, writer and budget: how many specifications are solved with so many proposals.

    | lm_seed | seed | | `pooled`: the mean of several; `pretrained`: the fine-tuned one; `none`: no language model |
    | writer | name | | as in `synthesis.writers` |
    | value | number | | the temperature, or the share that top_p picks from |
    | grammar | true or false | | whether it is kept to the grammar |
    | budget | programs | | proposed; of `beam`, the width |
    | solved | share | n | specifications for which one of them is right on every example in the text (pass@k) |
    | solved_held_out | share | n | likewise on the held-out examples as well |
    | reported_low | share | | `solved` as others have reported it for a writer like this, the lowest |
    | reported_high | share | | the highest that they have reported |
    | n | specifications | | test specifications, the first ones |
    """
    from progsem.measures.synthesis import synthesis_rows

    return synthesis_rows(analysis)


@table("lm_seed step writer value grammar programs± distinct± per_solution± first_length± longer± n n_solved")
def writers(analysis):
    """A row a checkpoint and writer: what it proposes with the largest budget.

    | lm_seed | seed | | `pooled`: the mean of several; `pretrained`: the fine-tuned one; `none`: no language model |
    | writer | name | | as in `synthesis.writers` |
    | value | number | | the temperature, or the share that top_p picks from |
    | grammar | true or false | | whether it is kept to the grammar |
    | programs | share | n | proposals that are programs |
    | distinct | share | n | different programs, of all proposals |
    | per_solution | programs | n | proposed, up to the first right one of each specification, for each that is solved |
    | first_length | statements | n_solved | of the first right program |
    | longer | statements | n_solved | by which it is longer than the shortest right one that anybody found |
    | n | specifications | | test specifications, the first ones |
    | n_solved | specifications | | with a right program; of all language models |
    """
    from progsem.measures.synthesis import writer_rows

    return writer_rows(analysis)


@table("lm_seed step set length in_training_range generative_accuracy± strict_accuracy± unconstrained_accuracy± n")
def generalisation(analysis):
    """A row a set of specifications and length of their programs, at the last checkpoint.

    | set | name | | `test set`, or one of `generalisation.sets` |
    | length | statements | | of the program behind a specification; -1 for the whole set |
    | in_training_range | true or false | | whether training has programs of that length, or of all the set's lengths |
    | generative_accuracy | share | n | programs that satisfy every shown world |
    | strict_accuracy | share | n | programs that satisfy the held-out worlds as well |
    | unconstrained_accuracy | share | n | programs, decoded without the grammar, that satisfy every shown world |
    | n | specifications | | of all language models |
    """
    from progsem.measures.transfer import generalisation_rows

    return generalisation_rows(analysis)
