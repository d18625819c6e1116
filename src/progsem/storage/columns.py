"""The Arrow tables of the workflow: what a row is, and what stands in each column.

`progsem.storage.files.write_table` puts the descriptions into the schemas of the files, and docs/tables.md is made of
them. They are in no digest of code: to word one better renames no results.

A table is a text: what a row is, then `| column | unit | meaning |`. Columns that hold worlds say `INPUTS` and
`OUTPUTS` of the module `columns` of the language. In names, FEATURE stands for one that probes are asked for, and N for
a number.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from progsem.languages import LANGUAGE, Language


class Column(NamedTuple):
    """What stands in a column, and in which unit."""

    unit: str
    meaning: str


class Table(NamedTuple):
    """An Arrow table: where its files are below results/, what a row is, and its columns."""

    files: tuple[str, ...]
    row: str
    columns: dict[str, Column]


def table(files: str, text: str) -> Table:
    """The table that a text describes; `files` are separated by spaces."""
    row = " ".join(line.strip() for line in text.splitlines() if "|" not in line).strip()
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if "|" in line]
    return Table(tuple(files.split()), row, {name: Column(unit, meaning) for name, unit, meaning in cells})


_WRITTEN = """
    | generated | codes | the program that the language model writes, greedily and under the grammar |
    | generated_finished | true or false | whether that ends before the longest program that may be written |
    | correct_shown | true or false | whether it is right on every example that stands in the text |
    | correct_all | true or false | whether it is right on the held-out examples as well |
    | unconstrained_parses | true or false | whether what is written without the grammar is a program |
    | unconstrained_correct | true or false | whether that is right on every example that stands in the text |
"""
_PREDICTED = """
    | source | name | whose states: 0 of programs that the model writes (`generated`), 1 that it is fed (`forced`) |
    | offset | statements | from the hidden state to the world that is read out of it |
    | program | row | of programs.arrow in the traces: the program of the state |
    | statement | number | of the statement in its program that the hidden state belongs to, from 0 |
    | final | true or false | whether that is the program's last statement |
    | label_FEATURE | class | of each head of the feature: what is to be read |
    | majority_FEATURE | true or false | whether the most frequent label of the training states is right |
    | predicted_FEATURE | class | what is read, by depth, probe seed and head |
    | confidence_FEATURE | probability | that the probe gives to its answer, over all heads, by depth and probe seed |
"""

TABLES = {
    "corpus": table(
        "corpus/NAME/SPLIT/NNNNN.arrow",
        """
        A specification with its program.

        | program | codes | the program: small integers, 255 behind its end |
        """,
    ),
    "tokens": table(
        "tokens/NAME/SPLIT/NNNNN.arrow",
        """
        A document: a specification and its program as the language model reads them.

        | tokens | ids | of the document, `<bos>` in front and `<eos>` behind the program, then `<pad>` |
        | length | tokens | of the document, with `<bos>` and `<eos>` |
        """,
    ),
    "programs": table(
        "traces/NAME/CHECKPOINT/programs.arrow",
        """
        A specification that is traced, with the first of its input worlds.

        | split | name | 0 training, 1 validation, 2 test |
        | row | row | of the corpus, within its split |
        | reference | codes | the corpus' own program |
        | generated_log_likelihood | nats | of the tokens of `generated` under the model |
        | reference_log_likelihood | nats | of the tokens of `reference` under the model |
        | generated_tokens | tokens | of `generated`, its end included |
        | reference_tokens | tokens | of `reference`, its end included |
        """
        + _WRITTEN,
    ),
    "states": table(
        "traces/NAME/CHECKPOINT/generated.arrow traces/NAME/CHECKPOINT/forced.arrow",
        """
        A statement of a program that the model writes (`generated`) or is fed (`forced`), with the hidden states there.

        | program | row | of programs.arrow |
        | position | number | of the statement's code in the program's codes, from 0 |
        | statement | number | of the statement among those of the program, from 0 |
        | mean | activation | mean over all hidden states, the embedding included |
        | layer_N | activation | hidden state N: 0 is the embedding, the last one is behind the final norm |
        """,
    ),
    "predictions": table(
        "probes/NAME/CHECKPOINT/predictions.arrow interventions/NAME/CHECKPOINT/predictions.arrow",
        f"""
        A test state with the answers of all probes under a semantics.

        | semantics | name | an index into the list `semantics` of the metadata |
        {_PREDICTED}
        """,
    ),
    "controls": table(
        "controls/NAME/CHECKPOINT/predictions.arrow",
        f"""
        A test state with the answers of a control's probes.

        | control | name | an index into the list `controls` of the metadata |
        {_PREDICTED}
        """,
    ),
    "description": table(
        "controls/NAME/CHECKPOINT/description.arrow",
        """
        A training state whose labels are coded, in the order of the code.

        | source | name | whose states: 0 of programs that the model writes (`generated`), 1 that it is fed (`forced`) |
        | program | row | of programs.arrow in the traces |
        | block | number | of the code; block 0 is coded without a probe, all labels being equally likely |
        | bits_FEATURE | bits | that the state's labels cost, by depth and probe seed, summed over the heads |
        """,
    ),
    "activations": table(
        "transcoders/NAME/CHECKPOINT/activations.arrow",
        """
        A statement of a test program, with how active the features are there that are best for each property.

        | layer | number | of the block, from 1 |
        | kind | name | of the features: an index into the list `kinds` of the metadata |
        | program | number | of the specification among the test specifications |
        | statement | number | of the statement in its program, from 0 |
        | activation | activation | by property, as properties.csv has them under the original semantics |
        """,
    ),
    "edits": table(
        "edits/NAME/CHECKPOINT/edits.arrow",
        """
        A pair of beginnings and an edit of the residual stream at the end of the first.

        | feature | name | an index into the list `features` of the metadata |
        | edit | name | an index into the list `edits` of the metadata |
        | control | name | an index into the list `controls` of the metadata |
        | source | name | where the other stream is from: an index into the list `sources` of the metadata |
        | layer | number | of the block behind which is edited; 0 where nothing is |
        | pair | number | among the pairs of the feature |
        | program | number | of the specification among the test specifications |
        | length | statements | of the beginning |
        | distance_base | total variation | from next statements behind the base to those behind the target, unedited |
        | distance | total variation | from next statements under the edit to those behind the target |
        | top_base | code | the likeliest next one behind the base |
        | top_target | code | the likeliest next one behind the target |
        | top | code | the likeliest next one under the edit |
        | written | codes | of the program that is written on under the edit |
        | ends_target | true or false | whether that leads from the target's state to the outputs shown |
        | ends_base | true or false | whether it leads from the base's state to the outputs shown |
        | norm | share | of the stream's own norm by which it was moved |
        | target_here | true or false | whether the probe of each depth reads the target behind the edited block |
        | target_last | true or false | whether it does behind the last block |
        | kept_here | true or false | whether it reads all other features as before, behind the edited block |
        | kept_last | true or false | whether it does behind the last block |
        """,
    ),
    "counterfactuals": table(
        "edits/NAME/CHECKPOINT/counterfactuals.arrow",
        """
        A pair of beginnings of programs whose states differ in a feature.

        | feature | name | an index into the list `features` of the metadata |
        | pair | number | among the pairs of the feature |
        | program | number | of the specification among the test specifications |
        | donor_program | number | of the donor's specification among them |
        | length | statements | of the beginnings |
        | base | codes | of the beginning that is edited |
        | target | codes | of the beginning that leads to the other state |
        | donor | codes | of a beginning behind another specification that leads to the target's value |
        """,
    ),
    "readings": table(
        "edits/NAME/CHECKPOINT/readings.arrow",
        """
        A test state behind a block, and whether the probes that edits use read it.

        | layer | number | of the block |
        | program | number | of the specification among the test specifications |
        | statement | number | of the statement in its program, from 0 |
        | final | true or false | whether that is the program's last statement |
        | right_FEATURE | true or false | whether the probe of each depth reads the feature |
        | majority_FEATURE | true or false | whether the most frequent label of the training states is right |
        """,
    ),
    "generalisation": table(
        "generalisation/NAME/CHECKPOINT/programs.arrow",
        f"""
        A specification of a kind that the model was not trained on.

        | set | name | an index into the list `sets` of the metadata |
        | reference | codes | the program that the specification was made from |
        {_WRITTEN}
        """,
    ),
    "proposals": table(
        "writers/NAME/proposals.arrow synthesis/NAME/CHECKPOINT/proposals.arrow pretrained/NAME/proposals.arrow",
        """
        One of the different programs that a writer proposes for a specification; all that are no programs count as one.

        | writer | name | an index into the list `writers` of the metadata |
        | program | number | of the specification among the test specifications |
        | first | number | of the proposal, from 0, that was the first of this program |
        | count | proposals | that are this program |
        | whole | true or false | whether it is a program |
        | codes | codes | of the program |
        | shown | true or false | whether it is right on every example that stands in the text |
        | held_out | true or false | whether it is right on the held-out examples as well |
        | statements | statements | of the program |
        """,
    ),
}
_INPUTS, _OUTPUTS = {"corpus", "programs"}, {"corpus"}  # tables with the columns of such worlds


def columns(name: str, language: Language = LANGUAGE) -> dict[str, Column]:
    """What stands in the columns of a table in a study about that language, by default the job's."""
    found = dict(TABLES[name].columns)
    if name in _INPUTS:
        found |= {column: Column(unit, f"inputs: {what}") for column, (unit, what) in language.columns.INPUTS.items()}
    if name in _OUTPUTS:
        outputs = language.columns.OUTPUTS.items()
        found |= {f"out_{column}": Column(unit, f"outputs: {what}") for column, (unit, what) in outputs}
    return found


def described(name: str, column: str) -> Column:
    """What stands in one column of a job's table; raises `KeyError` for one that the table does not have."""
    for known, about in columns(name).items():
        if re.fullmatch(known.replace("FEATURE", r"\w+").replace("_N", r"_\d+"), column):
            return about
    raise KeyError(f"{column} is no column of the table {name} in progsem.storage.columns")
