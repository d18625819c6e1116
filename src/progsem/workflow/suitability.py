"""Before jobs start: whether the model in `lm.pretrained` can be fine-tuned on the study's text.

`refuse_unsuitable` asks `python -m progsem.workflow.suitability`, a process of its own: torch and the model would stay
in Snakemake's memory as long as it runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
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
    """Raise `UserError` where the model is unsuitable, judging by the first documents that the corpus will have."""
    from progsem.data import corpus, tokens
    from progsem.jobs.job import Job
    from progsem.languages import LANGUAGE
    from progsem.lm.pretrained import CHECKED, Documents, Pretrained
    from progsem.storage.files import read_tables

    LANGUAGE.use(study.language)
    pretrained = Pretrained.load(Path(study.lm.pretrained))
    encoding = LANGUAGE.text.ENCODINGS[study.tokens.encoding]()
    sizes = {"train": CHECKED, "validation": 1, "test": 1}
    few = study.model_copy(update={"corpus": study.corpus.model_copy(update=sizes)}).model_dump(mode="json")
    with tempfile.TemporaryDirectory() as folder:
        drawn, spelled = ({split: [Path(folder, what, split)] for split in sizes} for what in ("drawn", "spelled"))
        more = {name: [Path(folder, name)] for name in ("tokenizer", "tokenizer_config")}
        corpus.run(Job("corpus", few, {}, drawn))
        tokens.run(Job("tokens", few, drawn, spelled | more))
        columns, metadata = read_tables(spelled["train"])
        documents = Documents(pretrained, encoding, columns["tokens"], columns["length"], metadata)
        pretrained.refuse_unsuitable(encoding, documents)


if __name__ == "__main__":
    try:
        check(load(json.load(sys.stdin)))
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
