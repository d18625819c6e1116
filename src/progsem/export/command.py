"""`progsem export`: results as other tools open them."""

from __future__ import annotations

from pathlib import Path

from progsem.errors import UserError
from progsem.housekeeping import common


def main(argv: list[str]) -> None:
    """Write what is asked for to a folder; raises `UserError` where there is nothing to write or no room for it."""
    parser = common.parser("export", "Write results to a folder as other tools open them.")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="model|corpus")
    model = kinds.add_parser("model", help="a checkpoint as a model of another architecture", allow_abbrev=False)
    model.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a folder with a CodeGen and its tokenizer")
    model.add_argument("--as", dest="architecture", required=True, choices=["gptj"], help="the same function as GPT-J")
    corpus = kinds.add_parser("corpus", help="what a study's models learn, as a data set", allow_abbrev=False)
    for one in (model, corpus):
        one.add_argument("folder", type=Path, metavar="FOLDER", help="is made; may be there if it is empty")
    of_study = f"{common.A_STUDY} (default: config.yaml)"
    corpus.add_argument("study", nargs="?", type=common.study_file, help=of_study)
    given = parser.parse_args(argv)
    _refuse_taken(given.folder)
    if given.kind == "model":
        from progsem.export import gptj

        gptj.export(given.checkpoint, given.folder)
    else:
        study = common.study(given.study)
        from progsem.export import corpus as text

        text.export(study, given.folder)
    common.say(str(given.folder))


def _refuse_taken(folder: Path) -> None:
    """Raise `UserError` where a folder is not one to write to: something else, or not empty."""
    try:
        taken = next(folder.iterdir(), None)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise UserError(f"given {str(folder)!r}, which is no folder; name one that is not there yet") from None
    except OSError as error:
        raise UserError(f"given {str(folder)!r}, which cannot be read ({error.strerror}); name another one") from None
    if taken is not None:
        raise UserError(f"given {str(folder)!r}, which is not empty; name a folder that is not there yet")
