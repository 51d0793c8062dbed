"""Which of Jesse's metrics a search may pursue, and in which direction."""

import difflib
from dataclasses import dataclass
from typing import Literal

from jesse_mcp.domain.errors import ErrorCode, ResearchError

Direction = Literal["max", "min"]

#: More is better. Drawdown and losing trades are among them: Jesse gives them as negative numbers.
_MORE = (
    "sharpe_ratio",
    "sortino_ratio",
    "calmar_ratio",
    "omega_ratio",
    "smart_sharpe",
    "smart_sortino",
    "serenity_index",
    "net_profit",
    "net_profit_percentage",
    "finishing_balance",
    "annual_return",
    "max_drawdown",
    "win_rate",
    "win_rate_longs",
    "win_rate_shorts",
    "ratio_avg_win_loss",
    "expectancy",
    "expectancy_percentage",
    "expected_net_profit_every_100_trades",
    "average_win",
    "gross_profit",
    "gross_loss",
    "largest_winning_trade",
    "largest_losing_trade",
    "total_winning_trades",
    "winning_streak",
    "open_pl",
)
_LESS = ("average_loss", "fee", "max_underwater_period", "losing_streak", "total_losing_trades")
#: Good or bad as one wants them: the direction has to be said.
_EITHER = (
    "total",
    "longs_count",
    "longs_percentage",
    "shorts_count",
    "shorts_percentage",
    "average_holding_period",
    "average_winning_holding_period",
    "average_losing_holding_period",
    "total_open_trades",
    "current_streak",
    "avg_trades_per_day",
    "avg_trades_per_week",
    "avg_trades_per_month",
)
_NATURAL: dict[str, Direction] = {**dict.fromkeys(_MORE, "max"), **dict.fromkeys(_LESS, "min")}
METRICS = (*_MORE, *_LESS, *_EITHER)


@dataclass(frozen=True)
class Objective:
    """One metric to pursue."""

    metric: str
    maximize: bool

    @property
    def text(self) -> str:
        return f"{self.metric}:{'max' if self.maximize else 'min'}"

    def better(self, one: float, other: float) -> bool:
        return one > other if self.maximize else one < other


def parse_objectives(metrics: tuple[str, ...]) -> tuple[Objective, ...]:
    """Objectives from ``name``, ``name:max`` or ``name:min``.

    Raises:
        ResearchError: ``invalid_argument`` for none or more than two, one that Jesse does not have, one
            twice, or a direction that has to be said and is not.
    """
    if not 1 <= len(metrics) <= 2:
        raise _invalid(f"{len(metrics)} metrics were given", "give one, or two for a Pareto front")
    objectives = tuple(_objective(text) for text in metrics)
    if len({objective.metric for objective in objectives}) < len(objectives):
        raise _invalid(f"{objectives[0].metric} was given twice", "give two different metrics, or one")
    return objectives


def _objective(text: str) -> Objective:
    name, colon, direction = text.partition(":")
    if name not in METRICS:
        # A name cut short is meant as it begins: "sharpe" is nearer to smart_sharpe in letters.
        begun = [metric for metric in METRICS if name and metric.startswith(name.lower())]
        close = begun or difflib.get_close_matches(name, METRICS, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise _invalid(f"there is no metric {name!r}", f"{meant}metrics are: {', '.join(METRICS)}")
    if not colon:
        if name not in _NATURAL:
            raise _invalid(f"{name} is neither good nor bad in itself", f"write '{name}:max' or '{name}:min'")
        direction = _NATURAL[name]
    if direction not in ("max", "min"):
        raise _invalid(f"the direction of {name} is {direction!r}", f"write '{name}:max' or '{name}:min'")
    return Objective(name, direction == "max")


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, f"metrics: {message}", hint=hint)
