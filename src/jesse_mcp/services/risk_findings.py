"""What a risk report says in plain sentences, the most important first."""

from jesse_mcp.analytics.measures import Measure
from jesse_mcp.analytics.risk_score import Part, moving
from jesse_mcp.services.performance_findings import findings_of as performance_findings
from jesse_mcp.services.risk_limits import LIMITS, LimitRow
from jesse_mcp.services.risk_measures import RiskFacts

_WEAK = 50.0
_MOST_WEAK = 4
WORDS = {
    "max_drawdown": "the deepest drawdown",
    "daily_expected_shortfall": "the expected shortfall of a day at 95 %",
    "volatility_moved": "the annual volatility of the periods that moved",
    "longest_drawdown_days": "the longest drawdown in days",
    "liquidation_distance": "the distance to liquidation",
    "deflated_sharpe_moved": "the deflated Sharpe ratio of the periods that moved",
    "years_moved": "the time that moved in years",
    "best_trades_share": "the share of the gross profit by the best tenth of the wins",
}


def findings_of(facts: RiskFacts, limits: list[LimitRow]) -> tuple[str, ...]:
    """Loss, rating, breaches, its bounds, idling, weak parts, performance, what is missing, remarks."""
    found = [
        *_total_loss(facts),
        _rating(facts),
        *(_breach(row) for row in limits if row["status"] == "breached"),
        *(f"the rating cannot be better than {cap.rating}: {cap.reason}" for cap in facts.score.caps),
        *_tried(facts),
        *_idle(facts),
        *_weakest(facts),
        *_unchecked(limits),
        *_performance(facts),
        *_missing(facts),
        *facts.sample.remarks,
    ]
    return tuple(dict.fromkeys(found))


def headline(facts: RiskFacts) -> str:
    """The rating in a few words."""
    score = facts.score
    if score.score is None:
        return "risk not rated"
    return f"risk {score.rating}: {score.score:.1f} of 100 points"


def _total_loss(facts: RiskFacts) -> list[str]:
    if not facts.ruined:
        return []
    count = len(facts.series.returns)
    if facts.series.ruined:
        return [f"everything was lost within {count:,} period{'' if count == 1 else 's'}"]
    return ["everything was lost: Jesse's last balance is zero or less"]


def _rating(facts: RiskFacts) -> str:
    score = facts.score
    if score.score is None:
        return f"the risk is not rated: {score.reason}"
    sentence = f"the risk is {score.rating}: {score.score:.1f} of 100 points (more is safer)"
    if score.uncapped is not None and score.uncapped > score.score:
        sentence += f"; its parts earned {score.uncapped:.1f}, caps took the rest"
    return sentence


def _tried(facts: RiskFacts) -> list[str]:
    """A reader of the report has not seen how often luck was asked."""
    if facts.trials is None:
        return ["nobody knows how many variants were tried before this one: the evidence is not deflated"]
    what = "experiment was" if facts.trials == 1 else "distinct experiments were"
    chance = facts.measures["deflated_sharpe_ratio"].value
    said = f"{facts.trials:,} {what} counted with this code or given as tried"
    if chance is None:
        return [said]
    return [
        f"{said}; the chance that the Sharpe ratio is more than the luck of the best of them is {chance:.1%}"
    ]


def _idle(facts: RiskFacts) -> list[str]:
    returns = facts.series.returns
    moved = len(moving(returns))
    idle = len(returns) - moved
    if not idle or not moved:
        return []
    return [
        f"{idle / len(returns):.1%} of the periods have no return, {idle:,} of {len(returns):,}: shortfall, "
        "volatility, deflated Sharpe ratio and years of the score are of the others"
    ]


def _breach(row: LimitRow) -> str:
    bound = "at least" if LIMITS[row["limit"]].least else "at most"
    sentence = (
        f"the limit {row['limit']} is broken: {row['value']:.4g}, {bound} {row['bound']:.4g} is allowed"
    )
    if row.get("since"):
        sentence += f"; first at {row['since']}"
    if row.get("at_the_end"):
        sentence += ", and still at the end"
    return sentence


def _weakest(facts: RiskFacts) -> list[str]:
    weak = [part for part in facts.score.parts if part.score is not None and part.score < _WEAK]
    weak.sort(key=lambda part: part.earned - part.criterion.points)
    return [_part(part) for part in weak[:_MOST_WEAK]]


def _part(part: Part) -> str:
    criterion = part.criterion
    if part.value is None:
        return ""
    return (
        f"{WORDS[criterion.name]} is {criterion.shown(part.value)}: {part.earned:.1f} of "
        f"{criterion.points:g} points ({criterion.scale})"
    )


def _unchecked(limits: list[LimitRow]) -> list[str]:
    return [
        f"the limit {row['limit']} was not checked: {row['reason']}"
        for row in limits
        if row["status"] == "not checked"
    ]


def _performance(facts: RiskFacts) -> list[str]:
    if facts.sample.reason is not None:
        return [f"the returns could not be analysed: {facts.sample.reason}"]
    trades: dict[str, Measure] | None = facts.trades if facts.table is not None else None
    return performance_findings(facts.series, facts.returns, trades)


def _missing(facts: RiskFacts) -> list[str]:
    missing = [part for part in facts.score.parts if part.score is None]
    if not missing or facts.score.score is None or facts.ruined:
        return []
    names = "; ".join(f"{part.criterion.name} ({part.reason})" for part in missing)
    return [
        f"{100 * (1 - facts.score.computed):g} of 100 points could not be earned, since a number is missing: "
        f"{names}; were all of them perfect, the parts would make {facts.score.most_possible:.1f}"
    ]
