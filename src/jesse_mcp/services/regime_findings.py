"""What the regimes say, in plain sentences."""

from typing import Any

from jesse_mcp.analytics.regime_description import ENOUGH
from jesse_mcp.domain.timeframes import iso_minute
from jesse_mcp.services.regime_evidence import RegimeEvidence
from jesse_mcp.services.regime_request import RegimeArguments

#: A regime less probable than this is called uncertain.
CERTAIN = 0.7
#: Of a regime's probability after a period; below this it is mostly forgotten in one.
PERSISTENT = 0.5
#: Spells shorter than this on average are called unstable.
_SHORT_SPELL = 5.0


def findings_of(arguments: RegimeArguments, found: RegimeEvidence, sections: dict[str, Any]) -> list[str]:
    """The present first, then what it rests on."""
    if found.segments is not None:
        return _on_segments(found, sections["current"])
    if found.regimes == 1:
        return [
            f"no regimes found: by BIC one regime describes the first {arguments.training:,} periods best, "
            "and every label is 0. That number is not chosen again: give regimes, or a longer "
            "training_periods, to look further",
            *_on_performance(found, sections["performance"]),
        ]
    return [
        _on_current(found, sections["current"]),
        *_on_persistence(sections["last_fit"]),
        *_on_table(sections["table"]),
        *_on_fits(found, sections["schedule"]),
        *_on_performance(found, sections["performance"]),
    ]


def _since(found: RegimeEvidence, moment: int) -> str:
    if found.sample.series.timestamps is None:
        return f"period {moment:,}"
    return iso_minute(moment)


def _on_segments(found: RegimeEvidence, current: dict[str, Any]) -> list[str]:
    many = found.regimes
    changes = "no change of mean or variance was found" if many == 1 else f"{many - 1:,} changes were found"
    return [
        f"{changes}; the present segment began {_since(found, current['since'])}",
        "change points are found looking back from the end: dates move and appear when data arrives, so "
        "nothing may be traded or tested by them",
        *(
            [f"dates are known to {found.segments.resolution} periods: only every so many was tried"]
            if found.segments is not None and found.segments.resolution > 1
            else []
        ),
    ]


def _on_current(found: RegimeEvidence, current: dict[str, Any]) -> str:
    regime, chance = current["regime"], current["probability"]
    place = "the lowest" if regime == 0 else "the highest" if regime == found.regimes - 1 else "a middle"
    sentence = (
        f"regime {regime} of 0 to {found.regimes - 1}, {place} volatility, since "
        f"{_since(found, current['since'])} ({current['periods']:,} periods)"
    )
    if chance is None:
        return sentence
    if chance < CERTAIN:
        return f"the regime is uncertain: {chance:.0%} for {sentence}"
    return f"{sentence}, with probability {chance:.0%}"


def _on_persistence(last_fit: dict[str, Any]) -> list[str]:
    kept = last_fit["persistence"]
    if kept is None or kept >= PERSISTENT:
        return []
    return [
        f"the next regime hardly depends on the last one (persistence {kept:.2f}): these are rather the fat "
        "tails of independent returns than regimes"
    ]


def _on_table(table: tuple[dict[str, Any], ...]) -> list[str]:
    sentences = [
        f"fewer than {ENOUGH} periods in regime {row['regime']}: {row['periods']}"
        for row in table
        if row["periods"] < ENOUGH
    ]
    lengths = [row["periods"] for row in table if row["spells"]]
    spells = sum(row["spells"] for row in table)
    if spells and sum(lengths) / spells < _SHORT_SPELL:
        sentences.append(
            f"labels change every {sum(lengths) / spells:.1f} periods on average: costs would eat what "
            "following them earns"
        )
    return sentences


def _on_fits(found: RegimeEvidence, schedule: dict[str, Any]) -> list[str]:
    sentences = []
    if schedule["failed"]:
        sentences.append(
            f"{schedule['failed']} of {schedule['failed'] + schedule['fits']} fits failed: the parameters of "
            "the fit before went on"
        )
    ranges = schedule["volatility_range_annual"]
    sentences += [
        f"the fits do not agree: regime {regime} had a volatility of up to {ranges[regime][1]:.0%} in one, "
        f"regime {regime + 1} of only {ranges[regime + 1][0]:.0%} in another, so these labels do not mean "
        "the same throughout"
        for regime in range(found.regimes - 1)
        if ranges[regime][1] > ranges[regime + 1][0]
    ]
    return sentences


def _on_performance(found: RegimeEvidence, performance: dict[str, Any]) -> list[str]:
    if not performance:
        return []
    sentences = []
    if performance["days_without_label"]:
        sentences.append(
            f"{performance['days_without_label']:,} of {performance['days']:,} days of the run have no "
            "regime known when they began"
        )
    losing = [
        row for row in performance["regimes"] if row["days"] >= ENOUGH and (row["mean_annual"] or 0.0) < 0
    ]
    if losing and len(losing) < found.regimes:
        worst = min(losing, key=lambda row: float(row["mean_annual"]))
        sentences.append(
            f"the run lost in regime {worst['regime']}: {worst['mean_annual']:.1%} a year over "
            f"{worst['days']:,} days"
        )
    return sentences
