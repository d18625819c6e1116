"""`progsem` and `python -m progsem`: the stages of the workflow, and `execute`."""

import sys

from progsem.errors import UserError


def main() -> None:
    """Dispatch to a command; bad input ends in one line on stderr and status 2."""
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["execute"]:
            from progsem.execute import main as command

            command(arguments[1:])
        else:
            from progsem.job import main as command

            command(arguments)
    except UserError as error:
        print(f"progsem: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
