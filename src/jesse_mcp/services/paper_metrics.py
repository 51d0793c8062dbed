"""The metrics of a paper session, by the same analytics as those of a backtest."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from jesse_mcp.analytics.measures import Measure, found_or_reason, separated
from jesse_mcp.analytics.performance import annual_volatility, sharpe_ratio, sortino_ratio
from jesse_mcp.analytics.trade_statistics import trade_statistics
from jesse_mcp.analytics.value_at_risk import historical
from jesse_mcp.domain.backtests import Trade
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import sample_of_balances
from jesse_mcp.services.performance_trades import trade_table

_CONFIDENCE = 0.95
NO_MINUTE = "no minute has been worked through"


@dataclass(frozen=True)
class PaperFigures:
    """What a session has done so far.

    Attributes:
        starting_balance: positive, in the quote currency.
        trades: closed, oldest first.
        daily: Jesse's daily balances, (epoch milliseconds, balance), the first one at the start.
        equity: at the close of the last minute; ``None`` before the first.
        unrealized_pnl: then.
        max_drawdown: of all minutes and the starting balance, a positive fraction; ``None`` before the first
            minute.
    """

    starting_balance: float
    trades: tuple[Trade, ...]
    daily: tuple[tuple[int, float], ...]
    equity: float | None
    unrealized_pnl: float
    max_drawdown: float | None


class PaperMetrics(Value):
    """Fractions, and money in the quote currency; what is null has its reason in ``undefined``.

    ``total_return`` and ``max_drawdown`` are of the equity of every minute, open positions included; Sharpe
    ratio, Sortino ratio, ``volatility`` (all annual, 365 days) and ``var_95`` (of a day, a loss is positive)
    of Jesse's daily balances; the others of closed trades after fees. ``avg_losing_trade`` is negative.
    """

    metrics: dict[str, float | int | None]
    undefined: dict[str, str] = Field(description="why one is null")

    def only(self, names: tuple[str, ...]) -> dict[str, float | int | None]:
        """Some of the metrics, in this order."""
        return {name: self.metrics[name] for name in names}


#: What a status has of them.
HEADLINE = ("total_return", "sharpe_ratio", "max_drawdown", "win_rate", "total_trades")


def paper_metrics(figures: PaperFigures) -> PaperMetrics:
    """Everything the session's numbers say, in the names of the tools."""
    equity = figures.starting_balance if figures.equity is None else figures.equity
    values, undefined = separated(
        {
            "total_return": found_or_reason(equity / figures.starting_balance - 1),
            **_of_days(figures.daily),
            "max_drawdown": (
                Measure(None, NO_MINUTE)
                if figures.max_drawdown is None
                else found_or_reason(figures.max_drawdown)
            ),
            **_of_trades(figures.trades),
        }
    )
    return PaperMetrics(
        metrics={
            **{name: values[name] for name in _BEFORE_COUNT},
            "total_trades": len(figures.trades),
            **{name: values[name] for name in _AFTER_COUNT},
            "current_equity": equity,
            "unrealized_pnl": figures.unrealized_pnl,
        },
        undefined=undefined,
    )


_BEFORE_COUNT = ("total_return", "sharpe_ratio", "sortino_ratio", "max_drawdown", "win_rate")
_AFTER_COUNT = (
    "profit_factor",
    "avg_trade",
    "avg_winning_trade",
    "avg_losing_trade",
    "var_95",
    "volatility",
)


def _of_days(daily: tuple[tuple[int, float], ...]) -> dict[str, Measure]:
    names = ("sharpe_ratio", "sortino_ratio", "volatility", "var_95")
    sample = sample_of_balances(
        "the session",
        np.array([balance for _, balance in daily], dtype=np.float64),
        np.array([moment for moment, _ in daily], dtype=np.int64),
    )
    if sample.reason is not None:
        reason = f"{sample.reason}, and balances are taken once a day"
        return dict.fromkeys(names, Measure(None, reason))
    returns, year = sample.series.returns, sample.series.periods_per_year
    tail = historical(returns, _CONFIDENCE)
    found = {
        "sharpe_ratio": sharpe_ratio(returns, year),
        "sortino_ratio": sortino_ratio(returns, year),
        "volatility": annual_volatility(returns, year),
        "var_95": Measure(tail.var, tail.undefined.get("var")),
    }
    return {name: _counted(measure, len(returns)) for name, measure in found.items()}


def _counted(measure: Measure, days: int) -> Measure:
    """With the number of days beside the reason: more of them may be all that is lacking."""
    if measure.reason is None:
        return measure
    return Measure(None, f"{measure.reason} ({days} daily return{'s' if days != 1 else ''} so far)")


def _of_trades(trades: tuple[Trade, ...]) -> dict[str, Measure]:
    found = trade_statistics(trade_table(trades))
    loss = found["average_loss"]
    return {
        "win_rate": found["win_rate"],
        "profit_factor": found["profit_factor"],
        "avg_trade": found["expectancy"],
        "avg_winning_trade": found["average_win"],
        "avg_losing_trade": loss if loss.value is None else Measure(-loss.value),
    }
