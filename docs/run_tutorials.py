"""`make tutorials`: run the tutorials from the folder of the workflow, and write them with what they show."""

import sys
from pathlib import Path

import jupytext
import nbclient


def main(names: list[str]) -> None:
    """Run those of these names, or all."""
    folder = Path(__file__).resolve().parent / "tutorials"
    for path in sorted(folder.glob("*.py")):
        if not names or path.stem in names:
            notebook = jupytext.read(path)
            place = {"metadata": {"path": str(folder.parents[1])}}
            nbclient.NotebookClient(notebook, kernel_name="python3", resources=place).execute()
            jupytext.write(notebook, path.with_suffix(".ipynb"))


if __name__ == "__main__":
    main(sys.argv[1:])
