"""Before jobs start: whether the model in `lm.pretrained` can be fine-tuned on the study's text.

`refuse_unsuitable` asks `python -m progsem.workflow.suitability`, a process of its own: torch and the model would stay
in Snakemake's memory as long as it runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import progsem
from progsem.errors import UserError
from progsem.study.config import Study, load
from progsem.workflow.refusal import refuse


def refuse_unsuitable(study: Study) -> None:
    """End the process in one line if the model cannot be read, cannot be run, or cannot spell the text."""
    environment = os.environ | {"PYTHONPATH": str(Path(progsem.__file__).parents[1])}
    command = [sys.executable, "-m", "progsem.workflow.suitability"]
    done = subprocess.run(
        command, input=study.model_dump_json(), env=environment, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        refuse(said[-1])


def check(study: Study) -> None:
    """Raise `UserError` where the model is unsuitable, judging by documents like the corpus'."""
    from progsem.data.corpus import Shard
    from progsem.languages import LANGUAGE
    from progsem.lm.pretrained import CHECKED, Documents, Pretrained
    from progsem.study.vocabulary import TRAIN

    programs, encoding = study.programs, LANGUAGE.text.ENCODINGS[study.tokens.encoding]()
    pretrained = Pretrained.load(Path(study.lm.pretrained))
    source = LANGUAGE.sampling.Sampler(study.worlds, programs, study.corpus, TRAIN, programs.train_length)
    drawn = Shard(source, 0, CHECKED, programs.step_limit)
    shown = (
        LANGUAGE.text.glyphs(part.at((slice(None), slice(study.corpus.examples))))
        for part in (drawn.worlds, drawn.outputs)
    )
    prompts = encoding.prompts(*shown)
    documents = encoding.documents(prompts, drawn.programs)
    pretrained.refuse_unsuitable(
        encoding, Documents(pretrained, encoding, *documents, {"prompt_length": prompts.shape[1]})
    )


if __name__ == "__main__":
    try:
        check(load(json.load(sys.stdin)))
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
