"""What closed trades earned: how often, how much, how evenly.

A trade wins when its profit after fees is above zero and loses below; one of exactly zero does neither and
counts in every denominator. Money is in the quote currency, holding times are in seconds. No function raises:
what cannot be computed is a ``Measure`` with the reason.
"""

import math

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.distributions import Proportion, proportion
from jesse_mcp.analytics.measures import NOT_FINITE, OVERFLOW, Floats, Measure, dispersion, found_or_reason
from jesse_mcp.analytics.trade_table import TradeTable

NO_TRADE = "no trade was closed"
NO_LOSS = "no trade lost"
NO_WIN = "no trade won"
NO_VARIATION = "the profits do not vary"


def trade_statistics(trades: TradeTable) -> dict[str, Measure]:
    """Everything that is one number, by its usual name.

    - ``win_rate``: wins over all trades; ``payoff_ratio``: average win over average loss;
    - ``expectancy``: mean profit a trade, in money;
    - ``profit_factor``: gross profit over gross loss;
    - ``kelly_fraction``: ``p - q / payoff_ratio`` with p the win rate and q the share of losses (Kelly, "A
      new interpretation of information rate", Bell System Technical Journal 35(4), 1956), of what a trade
      risks;
    - ``system_quality_number``: mean over standard deviation (ddof=1) of the profits, times the root of
      their number (Tharp, "Definitive Guide to Position Sizing", 2008);
    - ``largest_win_share``: the largest profit over the gross profit; ``profit_without_largest``: what is
      left of the net profit without it;
    - ``longest_winning_streak``, ``longest_losing_streak``: trades in a row.
    """
    if len(trades) and not (np.isfinite(trades.profits).all() and np.isfinite(trades.fees).all()):
        return dict.fromkeys(_NAMES, Measure(None, NOT_FINITE))
    if not len(trades):
        none = dict.fromkeys(_NAMES, Measure(None, NO_TRADE))
        counts = ("trades", "wins", "losses", "net_profit", "gross_profit", "gross_loss", "fees")
        return none | dict.fromkeys(counts, Measure(0.0))
    with np.errstate(all="ignore"):
        found = _counted(trades) | _sized(trades.profits) | _held(trades)
    return {name: found_or_reason(found[name]) for name in _NAMES}


def win_rate_interval(trades: TradeTable) -> Proportion | None:
    """The win rate with its 95 % score interval (Wilson 1927); ``None`` without trades."""
    if not len(trades):
        return None
    return proportion(int((trades.profits > 0).sum()), len(trades))


def runs_test(profits: Floats) -> dict[str, Measure]:
    """Whether wins and losses follow each other as if shuffled: runs, their expectation, z and p-value.

    Trades without profit or loss are left out. A negative z means longer streaks than chance makes. The
    normal approximation is taken from ten wins and ten losses on, without correction for continuity;
    two-sided.

    Source: Wald & Wolfowitz, "On a test whether two samples are from the same population", Annals of
    Mathematical Statistics 11(2), 1940.
    """
    names = ("runs", "expected_runs", "z", "p_value")
    signs = np.sign(profits[np.isfinite(profits) & (profits != 0)])
    wins, losses = int((signs > 0).sum()), int((signs < 0).sum())
    if min(wins, losses) < _FEWEST_FOR_RUNS:
        reason = f"{wins} wins and {losses} losses: the runs test needs {_FEWEST_FOR_RUNS} of each"
        return dict.fromkeys(names, Measure(None, reason))
    n = wins + losses
    runs = 1 + int((np.diff(signs) != 0).sum())
    product = 2 * wins * losses
    expected = product / n + 1
    variance = product * (product - n) / (n**2 * (n - 1))
    z = (runs - expected) / math.sqrt(variance)
    return {
        "runs": Measure(float(runs)),
        "expected_runs": Measure(expected),
        "z": Measure(z),
        "p_value": Measure(math.erfc(abs(z) / math.sqrt(2))),
    }


def exposure(trades: TradeTable, start_ms: int, end_ms: int) -> dict[str, Measure]:
    """Share of ``[start_ms, end_ms)`` with a position, and the most at a time; overlaps count once.

    Positions that were still open at the end are no closed trades and do not count.
    """
    if end_ms <= start_ms:
        reason = "the period has no length"
        return {"time_in_market": Measure(None, reason), "most_at_once": Measure(None, reason)}
    opened = np.clip(trades.opened_at, start_ms, end_ms)
    closed = np.clip(trades.closed_at, start_ms, end_ms)
    lasting = closed > opened
    opened, closed = np.sort(opened[lasting]), np.sort(closed[lasting])
    moments = np.concatenate((opened, closed))
    steps = np.concatenate((np.ones(len(opened)), -np.ones(len(closed))))
    # At one moment what closes makes room for what opens.
    order = np.lexsort((steps, moments))
    at_once = np.cumsum(steps[order])
    lengths = np.diff(moments[order], append=end_ms)
    return {
        "time_in_market": Measure(float(lengths[at_once > 0].sum()) / (end_ms - start_ms)),
        "most_at_once": Measure(float(at_once.max()) if len(at_once) else 0.0),
    }


def longest_streak(hits: NDArray[np.bool_]) -> int:
    """Most ``True`` in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], hits.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


_FEWEST_FOR_RUNS = 10
_NAMES = (
    "trades",
    "wins",
    "losses",
    "win_rate",
    "net_profit",
    "gross_profit",
    "gross_loss",
    "fees",
    "profit_factor",
    "expectancy",
    "average_win",
    "average_loss",
    "payoff_ratio",
    "kelly_fraction",
    "system_quality_number",
    "largest_win",
    "largest_loss",
    "largest_win_share",
    "profit_without_largest",
    "longest_winning_streak",
    "longest_losing_streak",
    "average_holding",
    "average_holding_of_wins",
    "average_holding_of_losses",
)


def _counted(trades: TradeTable) -> dict[str, float | str]:
    profits = trades.profits
    wins, losses = profits > 0, profits < 0
    return {
        "trades": float(len(profits)),
        "wins": float(wins.sum()),
        "losses": float(losses.sum()),
        "win_rate": float(wins.mean()),
        "fees": float(trades.fees.sum()),
        "longest_winning_streak": float(longest_streak(wins)),
        "longest_losing_streak": float(longest_streak(losses)),
    }


def _sized(profits: Floats) -> dict[str, float | str]:
    wins, losses = profits[profits > 0], -profits[profits < 0]
    gross_profit, gross_loss, net = float(wins.sum()), float(losses.sum()), float(profits.sum())
    average_win = float(wins.mean()) if len(wins) else NO_WIN
    average_loss = float(losses.mean()) if len(losses) else NO_LOSS
    payoff = _over(average_win, average_loss)
    deviation = dispersion(profits)
    largest = float(wins.max()) if len(wins) else NO_WIN
    share_of_losses = len(losses) / len(profits)
    risked = _over(share_of_losses, payoff)
    return {
        "net_profit": net,
        "gross_profit": gross_profit,
        "gross_loss": gross_loss,
        "profit_factor": _over(gross_profit, gross_loss if gross_loss > 0 else NO_LOSS),
        "expectancy": float(profits.mean()),
        "average_win": average_win,
        "average_loss": average_loss,
        "payoff_ratio": payoff,
        "kelly_fraction": risked if isinstance(risked, str) else len(wins) / len(profits) - risked,
        "system_quality_number": _over(
            float(profits.mean()) * math.sqrt(len(profits)), deviation if deviation > 0 else NO_VARIATION
        ),
        "largest_win": largest,
        "largest_loss": float(losses.max()) if len(losses) else NO_LOSS,
        "largest_win_share": _over(largest, gross_profit),
        "profit_without_largest": largest if isinstance(largest, str) else net - largest,
    }


def _over(one: float | str, other: float | str) -> float | str:
    """The quotient, or the first reason why there is none."""
    if isinstance(one, str):
        return one
    if isinstance(other, str):
        return other
    return one / other if other != 0 else OVERFLOW


def _held(trades: TradeTable) -> dict[str, float | str]:
    held = trades.holding_seconds
    wins, losses = trades.profits > 0, trades.profits < 0
    return {
        "average_holding": float(held.mean()),
        "average_holding_of_wins": float(held[wins].mean()) if wins.any() else NO_WIN,
        "average_holding_of_losses": float(held[losses].mean()) if losses.any() else NO_LOSS,
    }
