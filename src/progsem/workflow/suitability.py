"""Before jobs start: whether programs and models that the user gives are what the study needs.

`refuse_unsuitable` asks `python -m progsem.workflow.suitability`, a process of its own: numpy, torch and a model would
stay in Snakemake's memory as long as it runs.
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
from progsem.study import given
from progsem.study.config import Study, load
from progsem.workflow.refusal import refuse


def refuse_unsuitable(study: Study, programs: bool, model: bool) -> None:
    """End the process in one line if lines of `corpus.programs`, or the model in `lm.pretrained`, cannot be used.

    programs, model: whether there is a job that needs them. Says which lines are left out, where they may be.
    """
    asked = [name for name, wanted in (("programs", programs), ("model", model)) if wanted]
    if not asked:
        return
    environment = os.environ | {"PYTHONPATH": str(Path(progsem.__file__).parents[1])}
    command = [sys.executable, "-m", "progsem.workflow.suitability", *asked]
    done = subprocess.run(
        command, input=study.model_dump_json(), env=environment, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        refuse(said[-1])
    if done.stdout:
        print(f"progsem: {done.stdout.strip()}", file=sys.stderr)


def check_programs(study: Study) -> str:
    """Raise `UserError` where programs of the file cannot be used; returns what is left out, in a line, or nothing."""
    from progsem.data import corpus
    from progsem.languages import LANGUAGE

    LANGUAGE.use(study.language)
    job = _corpus_job(study, {})
    corpus.samplers(job)
    left_out = job.notes["programs_from_file"]["why"]
    return f"corpus.programs: {study.corpus.programs}: {left_out}; they are left out" if left_out else ""


def _corpus_job(study: Study, outputs: dict):
    from progsem.jobs.job import Job

    file = study.corpus.programs
    programs = given.slice_of(file) | ({"file": file} if file else {})
    return Job("corpus", study.model_dump(mode="json") | programs, {}, outputs)


def check_model(study: Study) -> None:
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
    few = study.model_copy(update={"corpus": study.corpus.model_copy(update=sizes)})
    with tempfile.TemporaryDirectory() as folder:
        drawn, spelled = ({split: [Path(folder, what, split)] for split in sizes} for what in ("drawn", "spelled"))
        more = {name: [Path(folder, name)] for name in ("tokenizer", "tokenizer_config")}
        corpus.run(_corpus_job(few, drawn))
        tokens.run(Job("tokens", few.model_dump(mode="json"), drawn, spelled | more))
        columns, metadata = read_tables(spelled["train"])
        documents = Documents(pretrained, encoding, columns["tokens"], columns["length"], metadata)
        pretrained.refuse_unsuitable(encoding, documents)


if __name__ == "__main__":
    try:
        asked_of = load(json.load(sys.stdin))
        if "programs" in sys.argv[1:]:
            print(check_programs(asked_of), end="")
        if "model" in sys.argv[1:]:
            check_model(asked_of)
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
