"""Stage `pretrained`: programs that a fine-tuned model of `transformers` proposes for test specifications.

By the ways of decoding of `synthesis.models`, but without the grammar, since its tokens are its own. What it writes is
read by the study's tokenizer; what that cannot read as a program is none. Writes `proposals` (see `synthesis.judging`).
"""

from __future__ import annotations

import numpy as np
import torch

from progsem.data.encodings import Encoding
from progsem.hardware import choose_device, choose_precision
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.lm.decoding import TokenGrammar
from progsem.lm.pretrained import Pretrained
from progsem.lm.traces import Specifications
from progsem.study.vocabulary import PRETRAINED, SPLITS, TEST
from progsem.synthesis import BLOCK
from progsem.synthesis.judging import judge
from progsem.synthesis.models import writers
from progsem.synthesis.sampling import Proposals, parsed


class TextProposer:
    """A pretrained model in place of `sampling.Proposer`: prompts are ids of the study's encoding, `grammar` is False.

    Sample i of a specification is the same whatever the number of samples: it is drawn in the same row of a batch of
    `BLOCK`, for which torch's random numbers begin anew. codes: most that a program may have; max_depth: of blocks.
    """

    def __init__(self, pretrained: Pretrained, encoding: Encoding, codes: int, max_depth: int, precision: torch.dtype):
        self.pretrained, self.codes, self.max_depth, self.precision = pretrained, codes, max_depth, precision
        self.grammar = TokenGrammar(encoding, max_depth > 0)
        self._tokenizer = encoding.tokenizer()

    def samples(
        self, prompt: np.ndarray, count: int, seed: tuple[int, ...], temperature: float, top_p: float, grammar: bool
    ) -> Proposals:
        """So many programs, independent of each other; `seed` names the specification's random numbers."""
        how = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        texts: list[str] = []
        for block in range(-(-count // BLOCK)):
            torch.manual_seed(int(np.random.default_rng((*seed, block)).integers(2**63)))
            texts += self._written(prompt, num_return_sequences=BLOCK, **how)
        return self._read(texts[:count])

    def greedy(self, prompt: np.ndarray, grammar: bool) -> Proposals:
        """The program of the likeliest next tokens."""
        return self._read(self._written(prompt, do_sample=False))

    def beams(self, prompt: np.ndarray, width: int, grammar: bool) -> Proposals:
        """What beam search of this width finds, likeliest first, longer texts not preferred."""
        how = {"num_beams": width, "num_return_sequences": width, "length_penalty": 0.0}
        return self._read(self._written(prompt, do_sample=False, **how))

    @torch.inference_mode()
    def _written(self, prompt: np.ndarray, **how) -> list[str]:
        """What the model writes for a prompt (P,), by ways of `generate`."""
        model = self.pretrained.model
        read = torch.tensor([self.pretrained.prompt(self._tokenizer.decode(prompt.tolist()))], device=model.device)
        room = self.pretrained.positions - read.shape[1] * self.pretrained.goes_on
        with torch.autocast(model.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            ids = model.generate(
                input_ids=read,
                attention_mask=torch.ones_like(read),
                max_new_tokens=int(min(model.generation_config.max_new_tokens, room)),
                **how,
            )
        written = ids[:, read.shape[1] :] if self.pretrained.goes_on else ids
        return [self.pretrained.text(row) for row in written.tolist()]

    def _read(self, texts: list[str]) -> Proposals:
        """Texts as the study's tokenizer reads them, without the sign that begins a document."""
        ids = [np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64) for text in texts]
        return parsed(ids, self.grammar, self.codes, self.max_depth)


def run(job: Job) -> None:
    """Let the fine-tuned model propose programs for the first test specifications."""
    torch.set_num_threads(job.threads)
    device = choose_device(job.device)
    config, programs = job.section("synthesis"), job.section("programs")
    pretrained = Pretrained.load(job.input("weights").parent)
    pretrained.model.to(device).eval()
    encoding = LANGUAGE.text.ENCODINGS[job.section("tokens").encoding]()
    specifications = Specifications.read(job.inputs, {SPLITS[TEST]: config.test})
    codes = LANGUAGE.codes.most_codes(programs, job.section("traces").extra_statements)
    precision = choose_precision(job.section("lm").precision, device)
    proposer = TextProposer(pretrained, encoding, codes, programs.depth, precision)
    free = config.model_copy(update={"grammar": (False,)})
    asked = dict(writers(free, proposer, lambda row: specifications.prompts(encoding, slice(row, row + 1))[0]))
    judge(job, asked, specifications, "programs of the pretrained model", seed=PRETRAINED, step=None)
