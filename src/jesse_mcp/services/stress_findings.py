"""What a stress test says in plain sentences, each tied to its numbers."""

from typing import Any

from jesse_mcp.analytics.shocks import Effect
from jesse_mcp.services.analysis_source import Sample
from jesse_mcp.services.stress_crises import CrisisImpact
from jesse_mcp.services.stress_request import ADVERSE, RISE

_WEAK_FIT = 0.1
_FEW = 30
#: Standard errors within which the sign of a sensitivity is not known, at 95 % or so.
_ERRORS = 2


def findings_of(
    sample: Sample,
    impacts: list[CrisisImpact],
    sections: dict[str, Any],
    original: dict[str, Any] | None,
    rise: Effect | None,
) -> list[str]:
    """The worst of each kind first, doubts about the method after them.

    Args:
        sections: of the answer, by name; each may be ``None`` or empty.
        original: the run itself in the numbers of a rerun.
        rise: what a rise of all markets by ``RISE`` makes of equity, ``None`` where nothing is known of it.
    """
    findings = [] if sample.reason is None else [f"the returns could not be stressed: {sample.reason}"]
    findings += _on_crises(impacts)
    findings += _on_rises(impacts, rise)
    findings += _on_shocks(sections["shocks"])
    findings += _on_fit(sections["exposure"])
    findings += _on_fit_of_shocks(sections["shocks"], sections["exposure"])
    findings += _on_volatility(sections["volatility"])
    findings += _on_correlation(sections["correlation"])
    findings += _on_liquidation(sections["liquidation"])
    findings += _on_reruns(sections["reruns"], original)
    return findings


def _on_crises(impacts: list[CrisisImpact]) -> list[str]:
    findings = []
    for basis, verb in (("measured", "made"), ("hypothetical", "would have made, by its exposure,")):
        known = [(i.total_return, i) for i in impacts if i.basis == basis and i.total_return is not None]
        if known:
            value, worst = min(known, key=lambda pair: pair[0])
            within = f", and fell by up to {worst.largest_fall:.2%}" if worst.largest_fall is not None else ""
            rank = "worst" if value < 0 else "least favourable"
            none = f"none of the crises that are {basis} leaves a loss; " if value >= 0 else ""
            findings.append(
                f"{none}the {rank} of the crises that are {basis} ({len(known)}) is {worst.crisis.name}: it "
                f"{verb} {value:+.2%}{within}{_ruin(value)}"
            )
    unknown = [i.crisis.name for i in impacts if i.total_return is None]
    if unknown:
        findings.append(f"nothing can be said about {', '.join(unknown)}: see undefined")
    return findings


def _on_rises(impacts: list[CrisisImpact], rise: Effect | None) -> list[str]:
    """Falls alone would praise what is short."""
    hypothetical = [i.total_return for i in impacts if i.basis == "hypothetical"]
    made = [value for value in hypothetical or (i.total_return for i in impacts) if value is not None]
    if rise is None or rise.value >= 0 or not made or min(made) < 0:
        return []
    error = None if rise.regression is None else rise.standard_error
    sure = -rise.value > _ERRORS * (error or 0.0)
    gains = (
        "this book gains from them, or loses nothing"
        if sure
        else "whether this book gains from them is within the error of its betas, so it may lose as well"
    )
    return [
        f"these crises are falls; {gains}: a rise of {RISE:.0%} in every market would cost "
        f"{-rise.value:.2%} of equity{_error(error)}{_ruin(rise.value)}"
    ]


def _error(standard_error: float | None) -> str:
    return "" if standard_error is None else f" (error of the betas {standard_error:.2%})"


def _ruin(value: float) -> str:
    return "; that is everything and more" if value <= -1 else ""


def _on_shocks(rows: list[dict[str, Any]]) -> list[str]:
    known = [row for row in rows if row["profit"] is not None]
    if not known:
        return []
    worst = min(known, key=lambda row: float(row["profit"]))
    moved = ", ".join(f"{symbol} {shock:+.0%}" for symbol, shock in worst["shocks"].items())
    case = f"a shock in which {ADVERSE} ({moved})" if "name" in worst else f"a shock of {moved}"
    return [
        f"{case} would make {worst['profit']:+.2%} of equity"
        f"{_error(worst.get('standard_error'))}{_ruin(worst['profit'])}"
    ]


def _on_fit(exposure: dict[str, Any] | None) -> list[str]:
    if exposure is None or exposure["method"] != "regression" or exposure["r_squared"] is None:
        return []
    findings = []
    fit, observations = exposure["r_squared"], exposure["observations"]
    if fit < _WEAK_FIT:
        findings.append(
            f"the market explains {fit:.1%} of the variance of the returns: what rests on betas says little, "
            "a backtest can be run again over crises with rerun=['crises']"
        )
    if observations < _FEW:
        findings.append(f"the betas are of {observations} returns only: their error is rough itself")
    return findings


def _on_fit_of_shocks(rows: list[dict[str, Any]], exposure: dict[str, Any] | None) -> list[str]:
    """Markets that are shocked need not be those traded: then another regression stands behind the profit."""
    traded = set((exposure or {}).get("betas", {}))
    findings = []
    for row in rows:
        fit, shocked = row.get("r_squared"), row["shocks"]
        if fit is None or set(shocked) == traded:
            continue
        names, observations = " and ".join(shocked), row["observations"]
        if fit < _WEAK_FIT:
            findings.append(
                f"the shock of {names} rests on a regression that explains {fit:.1%} of the variance of what "
                "it moves: its profit says little"
            )
        if observations < _FEW:
            findings.append(
                f"the regression behind the shock of {names} is of {observations} returns only: its error is "
                "rough itself"
            )
    return findings


def _on_volatility(section: dict[str, Any] | None) -> list[str]:
    if section is None:
        return []
    now, stressed = section["now"], section["stressed"]
    if now["ruined"] and stressed["ruined"]:
        return [
            f"everything is lost as it is, and so it is with {section['multiplier']:g} times the volatility"
        ]
    end = "it loses everything" if stressed["ruined"] else f"it returns {stressed['total_return']:+.2%}"
    before = "losing everything" if now["ruined"] else f"{now['total_return']:+.2%}"
    return [
        f"with {section['multiplier']:g} times the volatility the deepest drawdown is "
        f"{stressed['max_drawdown']:.2%} instead of {now['max_drawdown']:.2%}, and {end} instead of "
        f"{before}"
    ]


def _on_correlation(section: dict[str, Any] | None) -> list[str]:
    if section is None:
        return []
    findings = []
    if section.get("distance_to_nearest_valid", 0.0) > 1e-9:
        findings.append(
            "the given matrix is no correlation matrix (smallest eigenvalue "
            f"{section['given_matrix_smallest_eigenvalue']:.3g}): the nearest one was used"
        )
    average = section["average_correlation"]
    now, stressed = section["now"]["volatility"], section["stressed"]["volatility"]
    hedged = (
        "; less, since what is short hedges: its danger is that correlations fall, so give a matrix too"
        if stressed < now
        else ""
    )
    return [
        *findings,
        f"with an average correlation of {average['stressed']:.2f} instead of {average['now']:.2f} the "
        f"portfolio's volatility is {stressed:.1%} a year instead of {now:.1%}{hedged}",
    ]


def _on_liquidation(section: dict[str, Any] | None) -> list[str]:
    if section is None:
        return []
    distance, leverage = section["isolated_distance"], section["leverage"]
    if distance <= 0:
        return [f"at a leverage of {leverage:g} a position is liquidated as soon as it is opened"]
    findings = [
        f"at a leverage of {leverage:g} an isolated position is liquidated {distance:.2%} from its entry"
    ]
    crises = section["crises_beyond_isolated_distance"]
    if crises:
        findings.append(
            f"a long of what fell most, held through {', '.join(crises)}, would have been liquidated at "
            "that leverage"
        )
    worst = section.get("worst_adverse_move")
    if worst is not None:
        findings.append(
            f"the worst move against a trade was {worst['move']:.2%}: it survives up to a leverage of "
            f"{worst['leverage_survived_up_to']:.1f}; {worst['trades_liquidated']} of "
            f"{worst['trades_known']} trades are liquidated at {leverage:g}"
        )
    if section.get("liquidations_in_jesse", "").startswith("not") and section["leverage_of_the_run"] > 1:
        findings.append(
            "the run had leverage in a mode in which Jesse liquidates nothing: its result may hold "
            "positions an exchange would have closed"
        )
    return findings


def _on_reruns(rows: list[dict[str, Any]], original: dict[str, Any] | None) -> list[str]:
    findings = []
    before = None if original is None else original["total_return"]
    for row in rows:
        found = row["total_return"]
        if found is None:
            continue
        if "fee" not in row or before is None:
            findings.append(f"run again through {row['name']} it made {found:+.2%} (measured)")
            continue
        turned = ": its profit is gone" if before > 0 >= found else ""
        findings.append(f"with {row['name']} it makes {found:+.2%} instead of {before:+.2%}{turned}")
    return findings
