"""Rows of the tables `probes` and `offsets`: semantic content at every checkpoint."""

from __future__ import annotations

from collections.abc import Callable

from progsem.measures.analysis import Analysis
from progsem.measures.content import ContentKey
from progsem.measures.content_estimates import rows_of
from progsem.study.vocabulary import ORIGINAL


def probe_rows(analysis: Analysis) -> list[dict]:
    """Content under every semantics, of the world right after the statement."""
    return _rows(analysis, lambda key: key.offset == 0)


def offset_rows(analysis: Analysis) -> list[dict]:
    """Content under the original semantics, of earlier and later worlds as well."""
    return _rows(analysis, lambda key: key.semantics == ORIGINAL)


def _rows(analysis: Analysis, wanted: Callable[[ContentKey], bool]) -> list[dict]:
    rows = []
    for at, measured in analysis.measured():
        contents = analysis.contents[at["lm_seed"]][at["step"]]
        for key in filter(wanted, contents.counts):
            where = at | key._asdict() | {"n_probe_seeds": analysis.settings.probes.seeds}
            fit = measured.fits.get(key)
            if fit:
                where |= {"n_train": fit.n_train, "n_validation": fit.n_validation}
            for (f, d), row in rows_of(contents.estimates[key], analysis.settings):
                row |= where | contents.counts[key].at(f)
                if fit and len(fit.test) > 1:
                    row["probe_seed_sd"] = fit.test[:, f, d].std(ddof=1)
                rows.append(row)
    return rows
