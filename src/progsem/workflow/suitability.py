"""Before jobs start: whether programs and models that the user gives are what the study needs.

`refuse_unsuitable` asks `python -m progsem.workflow.suitability WHAT`, a process of its own: numpy, torch and models
would stay in Snakemake's memory as long as it runs.
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
from progsem.study import bounds, given
from progsem.study.config import Study, load
from progsem.study.plan import Plan
from progsem.study.vocabulary import CODEGEN
from progsem.workflow.refusal import refuse


def refuse_unsuitable(plan: Plan, outputs: list[str]) -> None:
    """End the process in one line if these outputs are to be made of programs or models that cannot be used.

    Says which lines of a file of programs are left out, where they may be.
    """
    wanted = set(outputs)
    for one in plan.whole():
        corpus, lm = one.study.corpus, one.study.lm
        models = not wanted.isdisjoint(one.everywhere([one.lm], "weights"))
        asked = {
            "programs": bool(corpus.programs) and one.corpus.file("manifest.json") in wanted,
            "checkpoints": models and bool(lm.checkpoints),
            "architecture": models and not lm.checkpoints and lm.model_type != CODEGEN,
            "pretrained": one.files(one.finetuning)["weights"] in wanted,
        }
        if any(asked.values()):
            _ask(one.study, [name for name, needed in asked.items() if needed])


def _ask(study: Study, what: list[str]) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(progsem.__file__).parents[1])}
    command = [sys.executable, "-m", "progsem.workflow.suitability", *what]
    done = subprocess.run(
        command, input=study.model_dump_json(), env=environment, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        refuse(said[-1])
    if done.stdout:
        print(f"progsem: {done.stdout.strip()}", file=sys.stderr)


def check_architecture(study: Study) -> None:
    """Raise `UserError` where no model of `lm.model_type` can be made and read, judging by random documents."""
    from progsem.languages import LANGUAGE
    from progsem.lm import model

    LANGUAGE.use(study.language)
    vocabulary = len(LANGUAGE.text.ENCODINGS[study.tokens.encoding]().vocabulary)
    model.refuse_unsuitable(study.lm, vocabulary, _documents(study, vocabulary))


def check_checkpoints(study: Study) -> None:
    """Raise `UserError` where a folder of `lm.checkpoints` has no model that can be read, judging in the same way."""
    from progsem.languages import LANGUAGE
    from progsem.lm.checkpoints import load as load_checkpoint
    from progsem.study.checkpoints import folders

    LANGUAGE.use(study.language)
    encoding = LANGUAGE.text.ENCODINGS[study.tokens.encoding]()
    documents = _documents(study, len(encoding.vocabulary))
    for folder in folders(study.lm).values():
        load_checkpoint(Path(folder), study.lm.layers, study.lm.width, encoding, documents)


def _documents(study: Study, vocabulary: int):
    import torch

    return torch.randint(vocabulary, (2, bounds.longest_document(study)), generator=torch.Generator().manual_seed(0))


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


def check_pretrained(study: Study) -> None:
    """Raise `UserError` where `lm.pretrained` is unsuitable, judging by the first documents of the corpus to be."""
    from progsem.data import corpus, tokens
    from progsem.jobs.job import Job
    from progsem.languages import LANGUAGE
    from progsem.lm.pretrained import CHECKED, Documents, Pretrained
    from progsem.storage.files import read_tables

    LANGUAGE.use(study.language)
    model = Pretrained.load(Path(study.lm.pretrained))
    encoding = LANGUAGE.text.ENCODINGS[study.tokens.encoding]()
    sizes = {"train": CHECKED, "validation": 1, "test": 1}
    few = study.model_copy(update={"corpus": study.corpus.model_copy(update=sizes)})
    with tempfile.TemporaryDirectory() as folder:
        drawn, spelled = ({split: [Path(folder, what, split)] for split in sizes} for what in ("drawn", "spelled"))
        more = {name: [Path(folder, name)] for name in ("tokenizer", "tokenizer_config")}
        corpus.run(_corpus_job(few, drawn))
        tokens.run(Job("tokens", few.model_dump(mode="json"), drawn, spelled | more))
        columns, metadata = read_tables(spelled["train"])
        documents = Documents(model, encoding, columns["tokens"], columns["length"], metadata)
        model.refuse_unsuitable(encoding, documents)


CHECKS = {
    "programs": check_programs,
    "architecture": check_architecture,
    "checkpoints": check_checkpoints,
    "pretrained": check_pretrained,
}

if __name__ == "__main__":
    try:
        study = load(json.load(sys.stdin))
        for what in sys.argv[1:]:
            if said := CHECKS[what](study):
                print(said)
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
