"""How much there can be of a study's things: specifications, tokens, states, files, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from progsem.languages import language
from progsem.study.vocabulary import GENERATED, NO_WARMUP, SPLITS

if TYPE_CHECKING:
    from progsem.study.config import Study


def specifications(study: Study, shortest: int, longest: int, worlds=None) -> int:
    """Upper bound of how many different specifications there are with programs of so many statements.

    `worlds` is the section of other worlds than the corpus's.
    """
    worlds = worlds or study.worlds
    return language(study.language).config.specifications(
        worlds, study.programs, study.corpus.examples, shortest, longest
    )


def most_tokens(study: Study, worlds=None, longest: int | None = None) -> int:
    """Upper bound of a document's tokens, with the longest program that may be written.

    `worlds` and `longest` are those of other documents than the corpus's.
    """
    more = study.traces.extra_statements + (longest - study.programs.longest if longest else 0)
    codes = language(study.language).codes.most_codes(study.programs, more)
    encoding, asked = study.tokens.encoding, language(study.language).config
    prompt = asked.prompt_tokens(encoding, worlds or study.worlds, study.corpus.examples)
    return prompt + asked.program_tokens(encoding, codes) + 1  # the end


def longest_document(study: Study) -> int:
    """Most tokens of any document that a language model reads, those of `generalisation.sets` included."""
    varied = (study.varied(new) for new in study.generalisation.sets.values())
    return max([most_tokens(study), *(most_tokens(study, worlds, length[1]) for worlds, length in varied)])


def warmup(study: Study) -> tuple[int, int]:
    """Steps of the language model's warm-up, and tokens of a sequence: as long as the longest document.

    No steps where there is none.
    """
    asked, length = study.lm.warmup, most_tokens(study)
    return (asked.tokens // (study.lm.batch * length) if asked.task != NO_WARMUP else 0), length


def most_states(study: Study, split: str) -> int:
    """Most states that a program of a split gives to the probes of one offset."""
    lengths = study.programs.train_length if split == SPLITS[0] else study.programs.test_length
    written = study.programs.longest + study.traces.extra_statements if GENERATED in study.probes.sources else 0
    return max(written, lengths[1]) - study.probes.drop_final


def checkpoints(study: Study) -> int:
    """Checkpoints of all language models."""
    return len(study.lm.seeds) * len(study.lm.every_step())


def statistics_files(study: Study) -> int:
    """Files that the statistics read."""
    # Traces and metrics with a manifest each; predictions, accuracies and a manifest for each semantics, for other
    # offsets of the original; controls.
    of_checkpoint = 4 + 3 * (2 + len(study.interventions.alternatives)) + 4
    edited = 8 * len(study.edits.steps(study.lm)) + 8 * study.edits.permutations * bool(study.edits.features)
    edited += 3 * len(study.transcoders.steps_of(study.lm))
    proposed = 2 * len(study.synthesis.steps(study.lm))
    of_model = 2 + proposed + 3 * study.interventions.permutations + edited
    return checkpoints(study) * of_checkpoint + len(study.lm.seeds) * of_model


def memory(study: Study) -> dict[str, int]:
    """Bytes of the largest arrays, each with the key that makes it large."""
    codes = language(study.language).codes.most_codes(study.programs, study.traces.extra_statements)
    states = study.traces.programs * codes * study.traces.states(study.lm.layers)
    return {
        "corpus.train: the training documents": study.corpus.train * most_tokens(study),
        "traces: the hidden states of a checkpoint": 2 * states * study.lm.width,
        "statistics.resamples: the draws of all test programs": 12 * study.statistics.resamples * study.traces.test,
    }
