"""`progsem` and `python -m progsem`: commands for people, and the stages of the workflow."""

import argparse
import difflib
import importlib
import sys

from progsem.errors import UserError
from progsem.jobs import streams
from progsem.languages import LANGUAGE
from progsem.storage.files import disk_error

# Command -> the module whose `main` is given the rest of the command line, and its line of help.
COMMANDS = {
    "execute": (f"progsem.languages.{LANGUAGE.name}.execute", "run programs on worlds"),
    "plan": ("progsem.housekeeping.plan", "what snakemake would run, how long that takes here, and why"),
    "power": ("progsem.housekeeping.power", "how many language models a study's claims need"),
    "keep": ("progsem.housekeeping.keep", "use results of earlier code for the plan as it is now"),
    "verify": ("progsem.housekeeping.verify", "check every file in results/ against its checksum"),
    "study": ("progsem.housekeeping.study", "the file of a study, by its name"),
    "export": ("progsem.export.command", "write a model or the corpus as other tools open them"),
    "artifacts": ("progsem.housekeeping.artifacts", "list what is in results/, its size and which studies use it"),
    "prune": ("progsem.housekeeping.prune", "list the results that no study needs; --delete deletes them"),
}


def main() -> None:
    """Run a command; bad input ends in one line on stderr and status 2, an interrupt in status 130."""
    streams.prepare()
    problem = None
    try:
        try:
            status = _command(sys.argv[1:])
        finally:
            streams.flush()
    except UserError as error:
        status, problem = 2, error
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        streams.discard(sys.stdout)  # the reader has seen enough
        status = 141
    except Exception as error:
        # Where a library writes by itself, such as compiled kernels into a cache.
        first = disk_error(error)
        if first is None:
            raise
        reason = first.strerror or str(first).splitlines()[0]
        status, problem = 2, f"{first.filename or 'a file'}: {reason}; make room or give access, and run again"
    if problem:
        with streams.if_heard():
            print(f"progsem: {problem}", file=sys.stderr, flush=True)
    sys.exit(status)


def _command(arguments: list[str]) -> int | None:
    """Run what the first argument names, with the rest; returns the exit status, None for 0."""
    name, rest = (arguments or [""])[0], arguments[1:]
    if name in ("-h", "--help"):
        _parser().print_help()
        return None
    if name in COMMANDS:
        return importlib.import_module(COMMANDS[name][0]).main(rest)
    from progsem.jobs import job
    from progsem.stages import MODULES

    if name in MODULES:
        return job.main(arguments)
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see progsem --help"
    raise UserError(f"given {name or 'no command'}, expected one of {', '.join(COMMANDS)}; {hint}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="progsem",
        usage="progsem [-h] COMMAND ...",
        description="Look after the workflow and its results, in the folder that has results/.",
        epilog="Snakemake runs the stages by itself, as `progsem corpus --slice …`.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND ...")
    for name, (_, line) in COMMANDS.items():
        commands.add_parser(name, help=line)
    return parser


if __name__ == "__main__":
    main()
