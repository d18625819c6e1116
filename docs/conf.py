"""How `make docs` makes a site of these pages: Sphinx, with every warning an error."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "src"))

import progsem  # noqa: E402
from progsem.plots import viewer  # noqa: E402
from progsem.storage.files import read_json  # noqa: E402

project = "progsem"
copyright = "the progsem authors"
version = release = progsem.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "run_tutorials.py", "tutorials/*.py"]

html_theme = "furo"
html_title = "progsem"
html_copy_source = html_show_sourcelink = False
html_last_updated_fmt = None
templates_path: list[str] = []

# Links to headings of other pages, as forges have them.
myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]
# Tutorials are shown as they were run: `make tutorials`.
nb_execution_mode = "off"
nb_merge_streams = True

# A name in single backticks is code, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# Types of other packages stand in pages that would have to be fetched.
nitpick_ignore_regex = [("py:class", r"(?!progsem\.).*")]
python_use_unqualified_type_names = True


def setup(app) -> None:
    """Beside the pages, the trace viewer of `full-cpu`, made of what its statistics chose."""
    app.connect(
        "build-finished",
        lambda app, error: error or viewer.write(Path(app.outdir), read_json(DOCS / "trace_viewer.json"), "full-cpu"),
    )
