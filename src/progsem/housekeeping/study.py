"""`progsem study`: the file of a study, for whoever passes it on with --configfile."""

from __future__ import annotations

from progsem.housekeeping import common


def main(argv: list[str]) -> None:
    """Print the path; raises `UserError` where there is no such study, with the nearest name, or it is a bad one.

    So what Snakemake would answer with a traceback is said in one line before it starts.
    """
    parser = common.parser("study", "Say which file a study is in, to pass it to snakemake with --configfile.")
    parser.add_argument("study", type=common.study_file, help=common.A_STUDY)
    path = parser.parse_args(argv).study
    common.study(path)
    common.say(str(path))
