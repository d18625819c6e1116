"""What each figure has found, in a sentence with its number: the figures' titles.

Every function returns text for what the statistics say, or what is missing. Unless they say otherwise, sentences are
about the last checkpoint, the headline's source and states, the deepest probe, and the mean over features.
"""

from __future__ import annotations

from progsem.plots import style
from progsem.plots.style import Results
from progsem.study.vocabulary import DICTIONARIES, FORCED, LEARNED, ORIGINAL, WEIGHTS

NOTHING = "nothing to probe at the last checkpoint"


def share(row: dict, key: str) -> str:
    """A share with its interval, in per cent."""
    return style.spelt(row[key], row[f"{key}_low"], row[f"{key}_high"], ".0f", 100, "%")


def headline(results: Results, table: str, **where) -> list[dict]:
    """Rows of the headline at the last checkpoint, of the deepest probe, unless `where` says otherwise."""
    return results.headline_rows(table, **{"step": results.summary["step"], "depth": results.depths[-1]} | where)


def training(results: Results) -> str:
    """How many specifications are solved, and how many states are read."""
    (last,) = results.rows("checkpoints", lm_seed=results.headline, step=results.summary["step"])
    rows = [row for row in headline(results, "probes", semantics="original") if row["accuracy"] is not None]
    read = f"; probes read {share(rows[0], 'accuracy')} of the states" if rows else ""
    if last["generative_accuracy"] is None:
        return NOTHING
    return f"it solves {share(last, 'generative_accuracy')} of the specifications{read}"


def content_vs_accuracy(results: Results) -> str:
    """Whether states get readable as programs get right."""
    where = {"lm_seed": results.headline, "source": results.sources[0], "states": results.states, "measure": "raw"}
    (row,) = results.rows("regression", points="levels", depth=results.depths[-1], **where)
    if None in (row["r2"], row["slope_low"], row["slope_high"]):
        return "too few checkpoints to say whether states get readable as programs get right"
    r2 = style.spelt(row["r2"], row["r2_low"], row["r2_high"], ".2f")
    rises, falls = row["slope_low"] > 0, row["slope_high"] < 0
    found = "get readable as" if rises else "get less readable as" if falls else "do not get readable in step with how"
    return f"states {found} programs get right, R² = {r2}"


def offsets(results: Results) -> str:
    """Corrected content of states ahead and ago."""
    rows = {row["offset"]: row for row in headline(results, "offsets") if row["corrected"] is not None}
    where = {offset: f"{abs(offset)} {'ahead' if offset > 0 else 'ago'}" if offset else "now" for offset in rows}
    parts = [f"{where[offset]} {row['corrected']:.2f}" for offset, row in sorted(rows.items())]
    return f"states by statements away, corrected accuracy: {', '.join(parts)}" if parts else NOTHING


def alternatives(results: Results) -> str:
    """The original against the difficulty-matched alternative."""
    matched = results.alternatives[0]
    rows = headline(results, "alternatives", family="named", offset=0, alternative=matched)
    if not rows or rows[0]["difference"] is None:
        return NOTHING
    row = rows[0]
    by = style.points(row["difference"], row["ci_low"], row["ci_high"])
    decided = None not in (row["ci_low"], row["ci_high"]) and row["ci_low"] * row["ci_high"] > 0
    word = ("better" if row["difference"] > 0 else "worse") if decided else "neither better nor worse"
    return f"the true meaning is read {word} than {matched}, by {by} points"


def alternatives_robustness(results: Results) -> str:
    """In how many settings the original is ahead."""
    where = {"lm_seed": results.headline, "step": results.summary["step"], "feature": "mean", "offset": 0}
    rows = results.rows("alternatives", family="named", alternative=results.alternatives[0], **where)
    known = [row for row in rows if None not in (row["ci_low"], row["ci_high"])]
    ahead, behind = sum(row["ci_low"] > 0 for row in known), sum(row["ci_high"] < 0 for row in known)
    of = f"{ahead} of {len(known)} settings, behind in {behind}"
    return f"the true meaning is ahead of {results.alternatives[0]} in {of}"


def alternatives_by_offset(results: Results) -> str:
    """At which offsets the original is ahead."""
    matched = results.alternatives[0]
    rows = headline(results, "alternatives", family="named", alternative=matched)
    ahead = sorted(row["offset"] for row in rows if row["ci_low"] is not None and row["ci_low"] > 0)
    places = ", ".join(map(str, ahead)) or "none"
    return f"the true meaning is ahead of {matched} at offsets: {places} (of {len(rows)})"


def baselines(results: Results) -> str:
    """Corrected content of the model's states, beside what is read without it."""
    rows = {row["baseline"]: row for row in headline(results, "baselines")}
    names = {"model": "model", "untrained": "untrained", "input_only": "the input alone", "text": "the text alone"}
    parts = [f"{name} {rows[key]['corrected']:.2f}" for key, name in names.items() if _has(rows.get(key))]
    return f"corrected accuracy: {', '.join(parts)}" if _has(rows.get("model")) else NOTHING


def layers(results: Results) -> str:
    """Which hidden state holds most."""
    rows = [row for row in headline(results, "layers") if _has(row) and row["layer"] != "mean"]
    if not rows:
        return NOTHING
    best = max(rows, key=lambda row: row["corrected"])
    name = "the embedding" if best["layer"] == "layer_0" else best["layer"].replace("_", " ")
    return f"{name} holds most: corrected accuracy {best['corrected']:.2f}"


def positions(results: Results) -> str:
    """Where states are read best and worst, by statement from the start."""
    where = {"lm_seed": results.headline, "source": results.sources[0], "depth": results.depths[-1], "feature": "mean"}
    rows = results.rows("positions", semantics="original", by="from_start", step=results.summary["step"], **where)
    rows = sorted((row for row in rows if _has(row)), key=lambda row: row["corrected"])
    if not rows:
        return NOTHING
    worst, best = (f"statement {row['value']} ({row['corrected']:.2f})" for row in (rows[0], rows[-1]))
    return f"states are read best at {best}, worst at {worst}, corrected"


def permutations(results: Results) -> str:
    """The original's rank among mirror pairs."""
    ranked = results.rank(results.sources[0], results.depths[-1])
    if ranked is None:
        return NOTHING
    of = f"{ranked['rank']} of {1 + ranked['other_pairs']}, {style.p_value(ranked['p'])}"
    return f"the true meaning's gap to its mirror image has rank {of}"


def lengths(results: Results) -> str:
    """Right programs beside those of the training."""
    where = {"lm_seed": results.headline, "step": results.summary["step"], "comparison": "correct_vs_training"}
    rows = [row for row in results.rows("length_tests", **where) if row["difference"] is not None]
    if not rows:
        return "no program is right"
    (row,) = rows
    by = style.spelt(row["difference"], row["difference_low"], row["difference_high"], "+.2f")
    return f"right programs have {by} statements beside those of the training"


def generalisation(results: Results) -> str:
    """Generative accuracy in each set."""
    rows = results.rows("generalisation", lm_seed=results.headline, step=results.summary["step"], length=-1)
    known = [row for row in rows if row["generative_accuracy"] is not None]
    return "it solves " + ", ".join(f"{row['generative_accuracy']:.0%} of {row['set']}" for row in known)


def synthesis(results: Results) -> str:
    """What is solved with one program and with the largest budget, by the best writer with a model and without."""
    from progsem.plots.synthesis import by_models, named

    every = {"language model": by_models(results, "synthesis"), "no model": results.rows("synthesis", lm_seed="none")}
    largest, parts = max((row["budget"] for rows in every.values() for row in rows), default=1), []
    for budget in dict.fromkeys((1, largest)):
        best = []
        for whose, rows in every.items():
            known = [row for row in rows if row["budget"] == budget and row["solved"] is not None]
            if known:
                one = max(known, key=lambda row: row["solved"])
                best.append(f"{one['solved']:.0%} ({whose}: {named(one)})")
        if best:
            parts.append(f"with {budget} program{'s' * (budget > 1)} {' and '.join(best)} are solved")
    return "; ".join(parts) or "how many specifications are solved"


def synthesis_lengths(results: Results) -> str:
    """By how many statements the first right programs of the model's own distribution are too long, and of all."""
    from progsem.plots.synthesis import named

    where = {"lm_seed": results.headline, "step": results.summary["step"]}
    rows = results.rows("writers", **where) or results.rows("writers", lm_seed="none")
    known = [row for row in rows if row["longer"] is not None]
    if not known:
        return "nothing is solved"
    best, worst = (choose(known, key=lambda row: row["longer"]) for choose in (min, max))
    ends = (f"{row['longer']:.1f} statements ({named(row)})" for row in (best, worst))
    return "first right programs are longer than the shortest by " + " to ".join(dict.fromkeys(ends))


def gallery(results: Results) -> str:
    """How many of the states that are shown of solved programs are read right, and how many of all."""
    solved = [one for entry in results.gallery["entries"] if entry["correct"] for one in entry["statements"]]
    known = [[value for key, value in one.items() if key.endswith("_right") and value is not None] for one in solved]
    known = [values for values in known if values]
    if not known:
        return "no state of a solved program is read"
    every = [
        f"{value:.0%}" + (f" under {name}" if place else "")
        for place, (name, value) in enumerate(results.gallery["read_right"].items())
        if value is not None
    ]
    shown = f"{sum(map(all, known))} of these {len(known)} states of solved programs are read right"
    return f"{shown}; of all {', '.join(every)}"


def variants(results: Results) -> str:
    """In how many variants the original is ahead in programs that are fed to the model, and by how much."""
    found = []
    for one in results.variants.values():
        where = {"family": "named", "difficulty_matched": True, "offset": 0, "source": FORCED}
        rows = headline(one, "alternatives", **where)
        found += [row for row in rows if None not in (row["difference"], row["ci_low"])]
    if not found:
        return f"{len(results.variants)} variants side by side"
    ahead, by = sum(row["ci_low"] > 0 for row in found), [row["difference"] for row in found]
    ends = " to ".join(dict.fromkeys(style.points(end, None, None) for end in (min(by), max(by))))
    return f"in {ahead} of {len(found)} variants the true meaning is read better than its mirror image ({ends} points)"


def matched(results: Results) -> str | None:
    """Name of the difficulty-matched alternative, if there are alternatives."""
    return next((name for name, one in results.summary["alternatives"].items() if one["difficulty_matched"]), None)


def edited(results: Results, **where) -> list[dict]:
    """Rows of the table `edits` at the last checkpoint that have an effect, no control."""
    at = {"lm_seed": results.headline, "step": results.summary["step"], "control": "none"} | where
    return [row for row in results.rows("edits", **at) if row["layer"] and row["effect"] is not None]


def learned(results: Results) -> tuple[str, int] | None:
    """The largest subspace that was learned and the block behind which it does most, from donors, over the features."""
    rows = [row for row in edited(results, semantics=ORIGINAL, source="donor") if row["edit"].startswith(LEARNED)]
    if not rows:
        return None
    largest = max({row["edit"] for row in rows}, key=lambda name: int(name.partition("_")[2]))
    effects: dict[int, list[float]] = {}
    for row in rows:
        if row["edit"] == largest:
            effects.setdefault(row["layer"], []).append(row["effect"])
    return largest, max(effects, key=lambda layer: (sum(effects[layer]), -layer))


def scale(exponent: tuple[float, float, float] | None) -> str:
    """How the tokens until half of the specifications are solved go with the number of parameters."""
    if exponent is None:
        return "variants of several sizes"
    ends = style.spelt(*exponent, "+.2f")
    return f"tokens until half is solved go with the parameters to the power of {ends}"


def transcoders(rows: list[dict]) -> str:
    """Coverage and reconstruction of transcoders, or of the first kind that there is, before training and after.

    rows: those of the table `transcoders` about one block, at the first and the last step.
    """
    found = [row for row in rows if row["semantics"] == ORIGINAL and row["kind"] in DICTIONARIES]
    own = sorted((row for row in found if row["kind"] == found[0]["kind"]), key=lambda row: row["step"])
    said = []
    for score in ("coverage", "reconstruction"):
        numbers = [style.spelt(row[score], None, None, ".2f") for row in own]
        said.append(f"{score} {' → '.join(numbers)}")
    return f"{own[0]['kind']}s' features as program states: {', '.join(said)}"


def features(results: Results) -> str:
    """What the best feature says, and how well."""
    best = results.gallery["features"]["features"][0]
    says = f"{best['feature']} {best['head']} = {best['value']}".replace("_", " ")
    return f"the best feature says {says} with an F1 of {best['f1']:.2f} (always yes: {best['always']:.2f})"


def edits(results: Results) -> str:
    """The effect of what linear probes read, and of what was learned, behind the same block."""
    best = learned(results)
    if best is None:
        return "what edits of the residual stream do"
    edit, layer = best
    parts = []
    for feature in dict.fromkeys(row["feature"] for row in edited(results)):
        found = []
        for name, words in ((WEIGHTS, "that linear probes read"), (edit, "that was learned")):
            where = {"semantics": ORIGINAL, "feature": feature, "edit": name, "layer": layer, "source": "donor"}
            found += [f"{share(row, 'effect')} {words}" for row in edited(results, **where)]
        parts.append(f"{feature.replace('_', ' ')} {', '.join(found)}")
    return f"effect of a subspace behind block {layer}: {'; '.join(parts)}"


def edits_over_training(results: Results) -> str:
    """What is used at the end, under the original and under the mirror image."""
    edit, layer = learned(results) or ("", 0)
    other, parts = matched(results), []
    for feature in dict.fromkeys(row["feature"] for row in edited(results)):
        where = {"feature": feature, "edit": edit, "layer": layer, "source": "donor"}
        (own,) = edited(results, semantics=ORIGINAL, **where) or [None]
        beside = edited(results, semantics=other, **where)
        if own:
            under = f", {share(beside[0], 'effect')} for {other}" if beside else ""
            parts.append(f"{feature.replace('_', ' ')} {share(own, 'effect')}{under}")
    return f"a learned subspace moves the next statement: {'; '.join(parts)}"


def _has(row: dict | None) -> bool:
    return row is not None and row["corrected"] is not None
