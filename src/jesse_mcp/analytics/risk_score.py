"""A score of risk from measured parts: which could be measured, what each earned, and what bounds the whole.

Rules, a convention of this product since there is no standard:

- a part earns its points times its score (0 to 100); one that could not be computed earns none, so that it
  is never better to be missing than to be measured, however bad;
- without the maximum drawdown, or with less than :data:`LEAST_COMPUTED` of the points computed, there is no
  score;
- the rating follows from the score alone, by :data:`RATINGS`; a cap lowers the score to the top of its class;
- ruin is a score of zero, whatever else is known;
- what idling would flatter is measured over the periods that moved, so that none without a return counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jesse_mcp.analytics.measures import ROUNDING, Floats, Measure, found_or_reason
from jesse_mcp.analytics.risk_criteria import CRITERIA, Criterion
from jesse_mcp.analytics.significance_verdict import ENOUGH_RETURNS, ENOUGH_TRADES

Rating = Literal["low", "moderate", "elevated", "high", "extreme", "not rated"]

#: Of the risk, with the lowest score of each class, safest first.
RATINGS: tuple[tuple[Rating, float], ...] = (
    ("low", 80.0),
    ("moderate", 60.0),
    ("elevated", 40.0),
    ("high", 20.0),
    ("extreme", 0.0),
)
#: Share of the points that must be computed for a total.
LEAST_COMPUTED = 0.6
#: A drawdown this deep counts as the loss of everything: nine tenths have to be earned ten times over.
TOTAL_LOSS = 0.9
SHORT_RECORD = 0.25
WHOLE_YEAR = 1.0
#: Total returns: a loss as large, or any.
LARGE_LOSS = -0.2
COIN_TOSS = 0.5
CONFIDENT = 0.95
_STEP = 0.1

RULES = (
    "score: points of 100, more is safer; a part earns points times score / 100, one that could not be "
    f"computed earns none; no score with less than {LEAST_COMPUTED:.0%} of the points computed, or without "
    f"max_drawdown. Idle periods, without a return, count for nothing: shortfall, volatility, deflated "
    "Sharpe ratio, years and returns of the score are of the periods that moved. "
    f"rating of the risk: {', '.join(f'{name} from {lowest:g}' for name, lowest in RATINGS)}. "
    f"Caps: ruin is 0; extreme: a drawdown of {TOTAL_LOSS:.0%} or more; high: fewer than {ENOUGH_RETURNS} "
    f"returns or {ENOUGH_TRADES} closed trades, unknown trades, a loss of {-LARGE_LOSS:.0%} or more at the "
    f"end; elevated: any loss at the end, fewer than {SHORT_RECORD:g} years, a deflated Sharpe ratio that is "
    f"unknown or below {COIN_TOSS:g}; moderate: less than {WHOLE_YEAR:g} year, a deflated Sharpe ratio below "
    f"{CONFIDENT:g}. Parts, points and thresholds are a convention of this product: there is no "
    "standard"
)


@dataclass(frozen=True)
class Circumstances:
    """What bounds a score beside its parts.

    Attributes:
        ruined: whether everything was lost.
        periods: that moved.
        trades: closed; ``None`` when the source does not know of trades.
        total_return: from the first balance to the last, ``None`` when it could not be computed.
    """

    ruined: bool
    periods: int
    trades: int | None
    total_return: float | None


@dataclass(frozen=True)
class Part:
    """``score`` is 0 to 100, ``earned`` up to the points; without a value ``None`` and 0, by ``reason``."""

    criterion: Criterion
    value: float | None
    score: float | None
    earned: float
    reason: str | None


@dataclass(frozen=True)
class Cap:
    """A class no score may be better than, and why."""

    rating: Rating
    reason: str


@dataclass(frozen=True)
class RiskScore:
    """The whole and its parts.

    Attributes:
        score: 0 to 100, more is safer; ``None`` with the ``reason``.
        rating: of the risk.
        uncapped: the sum of what the parts earned; ``None`` where there is no score for want of parts.
        most_possible: what it would be, were every part that is missing perfect; caps aside.
        computed: share of the points whose parts could be computed.
        parts: in the order of the criteria.
        caps: all that apply, the most severe first.
    """

    score: float | None
    rating: Rating
    reason: str | None
    uncapped: float | None
    most_possible: float
    computed: float
    parts: tuple[Part, ...]
    caps: tuple[Cap, ...]


def risk_score(measures: Mapping[str, Measure], circumstances: Circumstances) -> RiskScore:
    """Score what was measured.

    Args:
        measures: by the names of the criteria; one that is missing altogether counts as not computed.
        circumstances: that may cap the whole.
    """
    parts = tuple(_part(criterion, measures.get(criterion.name)) for criterion in CRITERIA)
    known = sum(part.criterion.points for part in parts if part.score is not None)
    earned = _bounded(sum(part.earned for part in parts))
    caps = _caps({part.criterion.name: part.value for part in parts}, circumstances)
    reason = _why_none(parts, known)
    uncapped = None if reason else earned
    score = uncapped if uncapped is None else min([uncapped, *(_ceiling(cap.rating) for cap in caps)])
    if circumstances.ruined:
        score, reason = 0.0, None
    return RiskScore(
        score=score,
        rating="not rated" if score is None else rating_of(score),
        reason=reason,
        uncapped=uncapped,
        most_possible=_bounded(earned + 100.0 - known),
        computed=known / 100.0,
        parts=parts,
        caps=caps,
    )


def moving(returns: Floats) -> Floats:
    """Returns of the periods in which the balance moved by more than rounding, shape (m,), m <= n.

    An idle account has no shortfall and no volatility, however dangerous what it does when it trades: with
    its idle periods counted, whoever adds some lowers the risk that is measured.

    Args:
        returns: fractions, shape (n,).
    """
    # What is not a number is left to those who refuse it.
    return returns[~(np.abs(returns) <= ROUNDING)]


def rating_of(score: float) -> Rating:
    """The class of a score, 0 to 100."""
    return next(name for name, lowest in RATINGS if score >= lowest or lowest == 0)


def _part(criterion: Criterion, measure: Measure | None) -> Part:
    if measure is None:
        measure = Measure(None, "it was not measured")
    elif measure.value is not None:
        measure = found_or_reason(measure.value)
    if measure.value is None:
        return Part(criterion, None, None, 0.0, measure.reason or "it was not measured")
    score = criterion.score(measure.value)
    return Part(criterion, measure.value, score, criterion.points * score / 100.0, None)


def _why_none(parts: tuple[Part, ...], known: float) -> str | None:
    for part in parts:
        if part.criterion.name == "max_drawdown" and part.reason is not None:
            return f"without a maximum drawdown nothing can be said of the risk: {part.reason}"
    if known >= LEAST_COMPUTED * 100:
        return None
    missing = ", ".join(part.criterion.name for part in parts if part.score is None)
    return (
        f"{known:g} of 100 points could be computed, {LEAST_COMPUTED:.0%} are needed: {missing} are missing"
    )


def _caps(values: Mapping[str, float | None], circumstances: Circumstances) -> tuple[Cap, ...]:
    """All caps; for a value that is missing, that of the worst one."""
    found = [*_of_loss(values, circumstances), *_of_sample(values, circumstances), *_of_evidence(values)]
    order = [name for name, _ in RATINGS]
    return tuple(sorted(found, key=lambda cap: -order.index(cap.rating)))


def _of_loss(values: Mapping[str, float | None], circumstances: Circumstances) -> list[Cap]:
    depth = values["max_drawdown"]
    if circumstances.ruined:
        return [Cap("extreme", "everything was lost")]
    if depth is not None and depth >= TOTAL_LOSS:
        return [Cap("extreme", f"a drawdown of {depth:.1%} counts as a total loss")]
    total = circumstances.total_return
    if total is None:
        return [Cap("high", "nobody knows whether it made a loss")]
    if total < 0:
        return [Cap("high" if total <= LARGE_LOSS else "elevated", f"it made a loss of {-total:.1%}")]
    return []


def _of_sample(values: Mapping[str, float | None], circumstances: Circumstances) -> list[Cap]:
    periods, trades, years = circumstances.periods, circumstances.trades, values["years_moved"]
    found = []
    if periods < ENOUGH_RETURNS:
        found.append(Cap("high", _fewer(periods, "return", ENOUGH_RETURNS, " other than zero")))
    if trades is None:
        found.append(Cap("high", "the source does not know of trades"))
    elif trades < ENOUGH_TRADES:
        found.append(Cap("high", _fewer(trades, "closed trade", ENOUGH_TRADES)))
    if years is None or years < SHORT_RECORD:
        length = "of unknown length" if years is None else f"of {years:.2f} years"
        found.append(Cap("elevated", f"a record {length} that moved is shorter than {SHORT_RECORD:g} years"))
    elif years < WHOLE_YEAR:
        found.append(Cap("moderate", f"a record of {years:.2f} years that moved is shorter than a year"))
    return found


def _fewer(count: int, noun: str, least: int, which: str = "") -> str:
    one = count == 1
    return f"{count} {noun}{'' if one else 's'}{which} {'is' if one else 'are'} fewer than {least}"


def _of_evidence(values: Mapping[str, float | None]) -> list[Cap]:
    probability = values["deflated_sharpe_moved"]
    if probability is None:
        return [Cap("elevated", "the deflated Sharpe ratio is unknown")]
    said = f"the deflated Sharpe ratio of {probability:.2f} is below"
    if probability < COIN_TOSS:
        return [Cap("elevated", f"{said} {COIN_TOSS:g}, a coin toss")]
    return [Cap("moderate", f"{said} {CONFIDENT:g}")] if probability < CONFIDENT else []


def _ceiling(rating: Rating) -> float:
    """The highest score of a class, just below the lowest of the next."""
    order = [name for name, _ in RATINGS]
    place = order.index(rating)
    return 100.0 if place == 0 else RATINGS[place - 1][1] - _STEP


def _bounded(points: float) -> float:
    """Without what rounding adds."""
    return min(max(points, 0.0), 100.0)
