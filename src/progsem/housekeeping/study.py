"""`progsem study`: the file of a study, for whoever passes it on with --configfile."""

from __future__ import annotations

from progsem.housekeeping import common


def main(argv: list[str]) -> None:
    """Print the path; raises `UserError` with the nearest name where there is no such study."""
    parser = common.parser("study", "Say which file a study is in, to pass it to snakemake with --configfile.")
    parser.add_argument("study", type=common.study_file, help=common.A_STUDY)
    common.say(str(parser.parse_args(argv).study))
