"""Jesse's metrics computed again from its own closed trades and daily balances, convention by convention.

This is what Jesse 3.5.3 reports after a backtest, not what the terms mean elsewhere; :data:`CONVENTIONS` says
where that differs. Percentages are in percent and negative drawdowns negative, as there.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.measures import Floats
from jesse_mcp.analytics.trade_statistics import longest_streak
from jesse_mcp.analytics.trade_table import TradeTable

DAY_MS = 86_400_000
MINUTE_MS = 60_000
_DAYS_A_MONTH = 30.44

#: How Jesse computes what other tools compute otherwise.
CONVENTIONS: dict[str, str] = {
    "max_drawdown": (
        "in percent and negative; the highest balance is looked for from the second daily balance on, so a "
        "loss against the starting balance on the first day is no drawdown"
    ),
    "annual_return": "in percent; years are the whole days from the first to the last daily balance over 365",
    "calmar_ratio": "with Jesse's annual return and drawdown; 0 without a drawdown or below one whole day",
    "sharpe_ratio": "standard deviation with ddof=1, risk-free rate zero",
    "sortino_ratio": (
        "the sum of squared losses is divided by the number of daily balances, one more than there are "
        "returns; infinite without a losing day"
    ),
    "smart_sharpe": (
        "the deviation is multiplied by a penalty of an assumed geometric decay of the absolute first "
        "autocorrelation (Sharpe ratio over penalty, never above it)"
    ),
    "smart_sortino": "as smart_sharpe, of the Sortino ratio",
    "omega_ratio": "gains over losses against a threshold of zero; undefined without a losing day",
    "serenity_index": (
        "never a number: the drawdowns it needs are all undefined in Jesse, because the first daily return "
        "is and the running maximum hands that on"
    ),
    "win_rate": "wins over wins and losses: a trade with a profit of exactly zero is neither",
    "expectancy": "with that win rate, so trades with a profit of exactly zero are left out",
    "max_underwater_period": "days from the last highest daily balance to the last one below it",
    "expected_net_profit_every_100_trades": "percent of the starting balance",
    "avg_trades_per_day": "over the period and one minute",
    "finishing_balance": (
        "cash at the very end, when every position is closed; on spot exchanges not what the trades add up "
        "to, because fees are taken from the coins that were bought"
    ),
    "gross_loss": "negative",
}

#: Known to Jesse's store alone.
NOT_FROM_RESULTS = ("total_open_trades", "open_pl")


@dataclass(frozen=True)
class JesseResults:
    """What the metrics are made of.

    Attributes:
        trades: closed, in Jesse's order.
        balances: daily, shape (n + 1,), the first one at the start.
        timestamps: of the balances, epoch milliseconds; ``None`` when they are not known.
        starting_balance: positive, in the quote currency.
        start_ms, end_ms: the period traded, the end exclusive.
        annualization: periods a year.
    """

    trades: TradeTable
    balances: Floats
    timestamps: NDArray[np.int64] | None
    starting_balance: float
    start_ms: int
    end_ms: int
    annualization: int = 365


def jesse_metrics(results: JesseResults) -> dict[str, float | None]:
    """Every metric of Jesse but :data:`NOT_FROM_RESULTS`; ``None`` where Jesse has no finite number."""
    if not len(results.trades):
        return {
            "total": 0,
            "win_rate": 0,
            "net_profit_percentage": 0,
            "annualization": results.annualization,
        }
    with np.errstate(all="ignore"):
        found = (
            _of_trades(results)
            | _of_sides(results.trades)
            | _of_streaks(results.trades.profits)
            | _of_balances(results)
        )
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _of_trades(results: JesseResults) -> dict[str, float]:
    trades, start = results.trades, results.starting_balance
    profits, held = trades.profits, trades.holding_seconds
    won, lost = profits > 0, profits < 0
    wins, losses = int(won.sum()), int(lost.sum())
    win_rate = _share(wins, losses)
    average_win, average_loss = _mean(profits[won]), -_mean(profits[lost])
    expectancy = (average_win if wins else 0.0) * win_rate - (average_loss if losses else 0.0) * (
        1 - win_rate
    )
    net = float(profits.sum())
    a_day = len(trades) / ((results.end_ms + MINUTE_MS - results.start_ms) / DAY_MS)
    return {
        "total": len(trades),
        "total_winning_trades": wins,
        "total_losing_trades": losses,
        "starting_balance": start,
        # Positions are closed at the end and before the last balance is taken.
        "finishing_balance": float(results.balances[-1]) if len(results.balances) else start + net,
        "win_rate": win_rate,
        "ratio_avg_win_loss": average_win / average_loss if average_loss else math.nan,
        "fee": float(trades.fees.sum()),
        "net_profit": net,
        "net_profit_percentage": net / start * 100,
        "average_win": average_win,
        "average_loss": average_loss,
        "expectancy": expectancy,
        "expectancy_percentage": expectancy / start * 100,
        "expected_net_profit_every_100_trades": expectancy / start * 100 * 100,
        "average_holding_period": _mean(held),
        "average_winning_holding_period": _mean(held[won]),
        "average_losing_holding_period": _mean(held[lost]),
        "gross_profit": float(profits[won].sum()),
        "gross_loss": float(profits[lost].sum()),
        "largest_winning_trade": float(profits[won].max()) if wins else 0,
        "largest_losing_trade": float(profits[lost].min()) if losses else 0,
        "avg_trades_per_day": a_day,
        "avg_trades_per_week": a_day * 7,
        "avg_trades_per_month": a_day * _DAYS_A_MONTH,
    }


def _of_sides(trades: TradeTable) -> dict[str, float]:
    longs, count = int(trades.long.sum()), len(trades)
    found: dict[str, float] = {
        "longs_count": longs,
        "shorts_count": count - longs,
        "longs_percentage": longs / count * 100,
        "shorts_percentage": 100 - longs / count * 100,
    }
    for name, side in (("win_rate_longs", trades.long), ("win_rate_shorts", ~trades.long)):
        profits = trades.profits[side]
        found[name] = _share(int((profits > 0).sum()), int((profits < 0).sum()))
    return found


def _of_streaks(profits: Floats) -> dict[str, float]:
    """A profit of exactly zero ends both streaks; the current one is negative when it is of losses."""
    sign = np.sign(profits)
    same = sign == sign[-1]
    current = len(same) - (int(np.flatnonzero(~same)[-1]) + 1 if not same.all() else 0)
    return {
        "winning_streak": longest_streak(profits > 0),
        "losing_streak": longest_streak(profits < 0),
        "current_streak": float(sign[-1]) * current,
    }


def _of_balances(results: JesseResults) -> dict[str, float]:
    names = (
        "max_drawdown",
        "max_underwater_period",
        "annual_return",
        "sharpe_ratio",
        "calmar_ratio",
        "sortino_ratio",
        "smart_sharpe",
        "smart_sortino",
        "omega_ratio",
        "serenity_index",
    )
    balances = results.balances
    if len(balances) < 2:
        return dict.fromkeys(names, math.nan)
    returns = balances[1:] / balances[:-1] - 1
    root = math.sqrt(results.annualization)
    deviation = float(returns.std(ddof=1)) if len(returns) > 1 else math.nan
    sharpe = float(returns.mean()) / deviation * root if deviation else math.nan
    downside = math.sqrt(float((returns[returns < 0] ** 2).sum()) / len(balances))
    sortino = float(returns.mean()) / downside * root if downside else math.inf
    penalty = _penalty(returns)
    losses = -float(returns[returns < 0].sum())
    drawdown, annual, calmar = _elapsed(returns, results.timestamps)
    return {
        "max_drawdown": drawdown * 100,
        "max_underwater_period": _underwater(balances, results.timestamps),
        "annual_return": annual * 100,
        "sharpe_ratio": sharpe,
        "calmar_ratio": calmar,
        "sortino_ratio": sortino,
        "smart_sharpe": sharpe / penalty,
        "smart_sortino": sortino / penalty if downside else sortino,
        "omega_ratio": float(returns[returns > 0].sum()) / losses if losses > 0 else math.nan,
        "serenity_index": math.nan,
    }


def _elapsed(returns: Floats, timestamps: NDArray[np.int64] | None) -> tuple[float, float, float]:
    """Drawdown (negative), annual return and Calmar ratio, as fractions."""
    path = np.multiply.accumulate(1 + returns)
    drawdown = float((path / np.maximum.accumulate(path)).min()) - 1
    if timestamps is None:
        return drawdown, math.nan, math.nan
    years = int(timestamps[-1] - timestamps[0]) // DAY_MS / 365
    if years == 0:
        return drawdown, 0.0, 0.0
    annual = float(np.power(np.clip(path[-1], 1e-10, 1e10), 1 / years)) - 1
    return drawdown, annual, annual / -drawdown if drawdown else 0.0


def _underwater(balances: Floats, timestamps: NDArray[np.int64] | None) -> float:
    places = np.arange(len(balances))
    peaks = np.maximum.accumulate(balances)
    last_peak = np.maximum.accumulate(np.where(balances >= peaks, places, 0))
    times = places if timestamps is None else timestamps
    lengths = times - times[last_peak]
    return float(int(lengths.max()) // (1 if timestamps is None else DAY_MS))


def _penalty(returns: Floats) -> float:
    """``sqrt(1 + 2 sum_k (n - k) / n |rho|^k)`` with rho the correlation of returns with those before."""
    n = len(returns)
    if n < 3:
        return math.nan
    rho = abs(float(np.corrcoef(returns[:-1], returns[1:])[0, 1]))
    lags = np.arange(1, n)
    return math.sqrt(1 + 2 * float(((n - lags) / n * rho**lags).sum()))


def _share(wins: int, losses: int) -> float:
    return wins / (wins + losses) if wins else 0


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan
