"""Before jobs start: whether models of `transformers` can do what a study wants of them.

An architecture has to have the parts that stages read and edit, the model in `lm.pretrained` to spell the study's text.
`refuse_unsuitable` asks `python -m progsem.workflow.suitability WHAT`, a process of its own: torch and the models would
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
from progsem.study import bounds
from progsem.study.config import Study, load
from progsem.study.plan import Plan
from progsem.study.vocabulary import CODEGEN
from progsem.workflow.refusal import refuse


def refuse_unsuitable(plan: Plan, outputs: list[str]) -> None:
    """End the process in one line if these outputs are to be made with a model of `transformers` that cannot do it."""
    asked = set(outputs)
    for one in plan.whole():
        if asked & set(one.everywhere([one.lm], "weights")):
            if one.study.lm.checkpoints:
                _ask("checkpoints", one.study)
            elif one.study.lm.model_type != CODEGEN:
                _ask("architecture", one.study)
        if one.files(one.finetuning)["weights"] in asked:
            _ask("pretrained", one.study)


def _ask(what: str, study: Study) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(progsem.__file__).parents[1])}
    command = [sys.executable, "-m", "progsem.workflow.suitability", what]
    done = subprocess.run(
        command, input=study.model_dump_json(), env=environment, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        refuse(said[-1])


def architecture(study: Study) -> None:
    """Raise `UserError` where no model of `lm.model_type` can be made and read, judging by random documents."""
    from progsem.languages import LANGUAGE
    from progsem.lm import model

    LANGUAGE.use(study.language)
    vocabulary = len(LANGUAGE.text.ENCODINGS[study.tokens.encoding]().vocabulary)
    model.refuse_unsuitable(study.lm, vocabulary, _documents(study, vocabulary))


def checkpoints(study: Study) -> None:
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


def pretrained(study: Study) -> None:
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
    few = study.model_copy(update={"corpus": study.corpus.model_copy(update=sizes)}).model_dump(mode="json")
    with tempfile.TemporaryDirectory() as folder:
        drawn, spelled = ({split: [Path(folder, what, split)] for split in sizes} for what in ("drawn", "spelled"))
        more = {name: [Path(folder, name)] for name in ("tokenizer", "tokenizer_config")}
        corpus.run(Job("corpus", few, {}, drawn))
        tokens.run(Job("tokens", few, drawn, spelled | more))
        columns, metadata = read_tables(spelled["train"])
        documents = Documents(model, encoding, columns["tokens"], columns["length"], metadata)
        model.refuse_unsuitable(encoding, documents)


if __name__ == "__main__":
    try:
        asked = {"architecture": architecture, "checkpoints": checkpoints, "pretrained": pretrained}
        asked[sys.argv[1]](load(json.load(sys.stdin)))
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
