"""Stage `traces`: what a checkpoint writes, and its hidden states while it writes and reads programs.

For every specification of each split: the program decoded greedily under the
grammar, whether it satisfies the shown and the held-out examples (grids compared
as they are drawn, so what a drawing hides does not count), whether unconstrained
decoding would have parsed, and log-likelihoods. Two kinds of states:

- generated: of the position whose output *is* a statement, before it is fed
  back (paper, section on traces);
- forced: of the position that has just read a statement of the corpus's own
  program, the same at every checkpoint.

What the examples' outputs say of the states in between can be taken out of the text
(`traces.outputs`; Latent Causal Probing, arXiv 2407.13765): every output grid is
replaced by an empty one ("blank"), or by its
own input ("copied"). The language model was trained on real outputs and has met all of
these tokens. Programs are judged by the real outputs all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from progsem.data.encodings import Encoding, shown_grids
from progsem.hardware import choose_device, choose_precision
from progsem.jobs.job import Job
from progsem.jobs.progress import Progress
from progsem.languages import LANGUAGE
from progsem.lm import model as lm
from progsem.lm.decoding import TokenGrammar, Written, kept_states, write_programs
from progsem.lm.language_model import Cache, LanguageModel
from progsem.storage.files import read_table, write_table
from progsem.study.vocabulary import LAYER, MEAN, SPLITS, TEST


@dataclass(frozen=True)
class Specifications:
    """Some specifications, one behind the other: programs (N, L), and their worlds and outputs (N, K).

    split, row: (N,), where each stands in the corpus; shown: indices of the worlds that stand in the text; metadata:
    those of tables that hold one world each; outputs_in_text: as `traces.outputs`.
    """

    programs: np.ndarray
    worlds: NamedTuple
    outputs: NamedTuple
    split: np.ndarray
    row: np.ndarray
    shown: tuple
    metadata: dict
    outputs_in_text: str = "shown"

    @classmethod
    def read(cls, shards: dict[str, list[Path]], counts: dict[str, int], outputs: str = "shown") -> Specifications:
        """The first rows of some splits: shards are the corpus' files by split, counts how many rows of each."""
        of_columns = LANGUAGE.execution.of_columns
        programs, worlds, wanted, split, row = [], [], [], [], []
        for name, left in counts.items():
            first = 0
            for path in shards[name]:
                columns, metadata = read_table(path)
                taken = {column: values[:left] for column, values in columns.items()}
                count = len(taken["program"])
                programs.append(taken["program"])
                worlds.append(of_columns(taken, metadata))
                wanted.append(of_columns(taken, metadata, "out_"))
                split.append(np.full(count, SPLITS.index(name), np.int8))
                row.append(np.arange(first, first + count, dtype=np.int32))
                left -= count
                first += count
                if left == 0:
                    break
        worlds, wanted = (type(parts[0])(*map(np.concatenate, zip(*parts, strict=True))) for parts in (worlds, wanted))
        return cls(
            np.concatenate(programs),
            worlds,
            wanted,
            np.concatenate(split),
            np.concatenate(row),
            np.s_[:, : metadata["examples"]],
            {key: value for key, value in metadata.items() if key != "examples"} | {"worlds": 1},
            outputs,
        )

    @classmethod
    def of(cls, job: Job) -> Specifications:
        """Those that a job's `traces` asks for, of every split."""
        wanted = job.section("traces")
        return cls.read(job.inputs, {split: getattr(wanted, split) for split in SPLITS}, wanted.outputs)

    def __len__(self) -> int:
        return len(self.programs)

    def prompts(self, encoding: Encoding, rows: slice) -> np.ndarray:
        """(B, P) ids of the shown worlds, their outputs as `traces.outputs` has them."""
        worlds, outputs = (part.at(rows).at(self.shown) for part in (self.worlds, self.outputs))
        return encoding.prompts(*shown_grids(worlds, outputs, self.outputs_in_text))


def satisfied(programs: np.ndarray, worlds, outputs, step_limit: int) -> np.ndarray:
    """On which worlds (N, K) programs (N, L) halt in the output as it is drawn: (N, K) bool.

    step_limit: executed actions and tests.
    """
    after, halted = LANGUAGE.execution.execute(programs, worlds, step_limit)
    return halted & (LANGUAGE.text.glyphs(after) == LANGUAGE.text.glyphs(outputs)).all(axis=2)


def positions_of_actions(programs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, positions and statement numbers of every action in programs (N, L), sorted by row and position."""
    actions = LANGUAGE.codes.is_action(programs)
    rows, positions = np.nonzero(actions)
    return rows, positions, (actions.cumsum(axis=1) - 1)[rows, positions]


def state_columns(programs: np.ndarray, activations: np.ndarray, layers: int) -> dict[str, np.ndarray]:
    """The rows of generated.arrow or forced.arrow of a model of so many layers.

    programs: (N, L) uint8; activations: (N, L, S, C) float16, as `kept_states` gives them.
    """
    rows, positions, statements = positions_of_actions(programs)
    chosen = activations[rows, positions]
    names = [MEAN, *(f"{LAYER}{layer}" for layer in range(layers + 2 - chosen.shape[1], layers + 1))]
    return {
        "program": rows.astype(np.int32),
        "position": positions.astype(np.int16),
        "statement": statements.astype(np.int16),
        **{name: np.ascontiguousarray(chosen[:, index]) for index, name in enumerate(names)},
    }


class Tracer:
    """Reads one checkpoint's states, a batch of specifications at a time; several threads may ask at once."""

    def __init__(self, model: LanguageModel, encoding: Encoding, job: Job):
        programs, config = job.section("programs"), job.section("traces")
        device = next(model.parameters()).device
        self.inference = model.inference(choose_precision(job.section("lm").precision, device))
        self.encoding, self.device = encoding, device
        self.kept = config.states(model.layers)
        self.max_depth = programs.depth
        self.codes = LANGUAGE.codes.most_codes(programs, config.extra_statements)
        self.tokens = encoding.program_tokens(self.codes)
        self.grammar = TokenGrammar(encoding, programs.control_flow > 0)
        self._idle: list[Cache] = []  # kept from batch to batch: to get so much memory anew takes long

    @torch.inference_mode()
    def read(self, prompts: np.ndarray, references: np.ndarray) -> tuple[Written, np.ndarray, np.ndarray, np.ndarray]:
        """Feed specifications with their reference programs, then let the model write its own.

        prompts: (B, P) ids; references: (B, L) codes. Returns what was written, and
        of the references the log-likelihoods (B,), token counts (B,) and
        activations (B, L, S, C) float16.
        """
        ids, lengths, _, ends = self.encoding.spell(references)
        written, states = self._write_behind(prompts, ids)
        scores = torch.log_softmax(self.inference.logits(states[-1][:, :-1]), dim=2)
        read = torch.from_numpy(ids).to(self.device).long()
        token_scores = scores.gather(2, read[..., None])[..., 0].cpu().numpy()
        counted = np.arange(ids.shape[1]) < lengths[:, None]
        rows, places = torch.arange(len(prompts))[:, None], torch.from_numpy(ends) + 1
        kept = kept_states([state[rows, places] for state in states], self.kept)
        return written, (token_scores * counted).sum(axis=1), lengths.astype(np.int16), kept

    def read_all(self, specifications: Specifications, batch: int, threads: int) -> Iterator[tuple]:
        """What `read` returns for all specifications, a batch at a time; on a CPU by so many threads, a batch each."""

        def read(first: int):
            rows = slice(first, first + batch)
            return self.read(specifications.prompts(self.encoding, rows), specifications.programs[rows])

        with ThreadPoolExecutor(threads if self.device.type == "cpu" else 1) as pool:
            yield from pool.map(read, range(0, len(specifications), batch))

    def write(self, prompts: np.ndarray) -> Written:
        """Let the model write a program behind each prompt, (B, P) ids."""
        return self._write_behind(prompts, prompts[:, :0])[0]

    def _write_behind(self, prompts: np.ndarray, ids: np.ndarray) -> tuple[Written, list[Tensor]]:
        """What is written behind prompts; states (B, 1 + T, C) of their last position and of ids (B, T) behind it."""
        start = prompts.shape[1]
        documents = torch.from_numpy(np.concatenate([prompts, ids], axis=1)).to(self.device).long()
        cache = self._idle.pop() if self._idle else self.inference.cache()
        positions = start + max(self.tokens, ids.shape[1])
        states = self.inference.prefill(documents, cache, 1 + ids.shape[1], positions)
        written = write_programs(
            self.inference,
            cache,
            self.grammar,
            [state[:, 0] for state in states],
            start,
            self.codes,
            self.tokens,
            self.max_depth,
            self.kept,
        )
        self._idle.append(cache)
        return written, states


def whole_programs(written: Written) -> np.ndarray:
    """Codes of what was written; an unfinished program keeps its statements only if no block is left open."""
    codes = written.codes.copy()
    codes[~written.finished & LANGUAGE.codes.has_control_flow(codes)] = LANGUAGE.codes.PAD
    return codes


def run(job: Job) -> None:
    """Write programs.arrow, generated.arrow and forced.arrow of one checkpoint."""
    torch.set_num_threads(1)  # of one batch; several are read side by side
    device = choose_device(job.device)
    model = lm.load(job.input("weights"), job.input("config"), device).eval()
    encoding = LANGUAGE.text.ENCODINGS[job.section("tokens").encoding]()
    specifications = Specifications.of(job)
    step_limit = job.section("programs").step_limit
    tracer = Tracer(model, encoding, job)
    count = len(specifications)
    progress = Progress(f"traces of step {job.slice['step']}", count, "specifications")
    batches = []
    for batch in tracer.read_all(specifications, job.batch, job.threads):
        batches.append(batch)
        progress.update(len(batch[1]))
    progress.close()
    written, reference_scores, reference_tokens, forced = zip(*batches, strict=True)
    programs = np.concatenate([whole_programs(batch) for batch in written])
    finished = np.concatenate([batch.finished for batch in written])
    parses = np.concatenate([batch.parses_freely for batch in written])
    right = satisfied(programs, specifications.worlds, specifications.outputs, step_limit) & finished[:, None]
    shown = right[specifications.shown].all(axis=1)
    metadata = {
        **specifications.metadata,
        "step": job.slice["step"],
        "seed": job.slice["seed"],
        "layers": model.layers,
    }
    write_table(
        job.output("programs"),
        {
            "split": specifications.split,
            "row": specifications.row,
            "reference": specifications.programs,
            "generated": programs,
            "generated_finished": finished,
            "correct_shown": shown,
            "correct_all": right.all(axis=1),
            "generated_log_likelihood": np.concatenate([batch.log_likelihood for batch in written]),
            "reference_log_likelihood": np.concatenate(reference_scores),
            "generated_tokens": np.concatenate([batch.tokens for batch in written]),
            "reference_tokens": np.concatenate(reference_tokens),
            "unconstrained_parses": parses,
            "unconstrained_correct": parses & shown,
            **specifications.worlds.at(np.s_[:, 0]).columns(),
        },
        metadata,
        "programs",
    )
    generated = np.concatenate([batch.activations for batch in written])
    write_table(job.output("generated"), state_columns(programs, generated, model.layers), metadata, "states")
    columns = state_columns(specifications.programs, np.concatenate(forced), model.layers)
    write_table(job.output("forced"), columns, metadata, "states")
    job.notes["generative_accuracy"] = round(float(shown[specifications.split == TEST].mean()), 6)
