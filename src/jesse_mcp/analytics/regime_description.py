"""What labels of regimes say: spells, returns within each, and which regime was known when."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.drawdown_ratios import max_drawdown
from jesse_mcp.analytics.measures import Floats, Measure, measured
from jesse_mcp.analytics.performance import annual_volatility, sharpe_ratio, total_return
from jesse_mcp.analytics.regime_fit import UNKNOWN, Labels

#: Fewer returns have no Sharpe ratio and no volatility worth a number.
ENOUGH = 30


@dataclass(frozen=True)
class Spell:
    """Neighbouring periods of one regime: positions of the first and the last."""

    regime: int
    first: int
    last: int

    @property
    def periods(self) -> int:
        return self.last - self.first + 1


def spells(labels: Labels) -> list[Spell]:
    """Oldest first; periods without a label belong to none."""
    if not len(labels):
        return []
    starts = np.concatenate(([0], np.flatnonzero(np.diff(labels)) + 1))
    ends = np.append(starts[1:], len(labels)) - 1
    return [
        Spell(int(labels[first]), int(first), int(last))
        for first, last in zip(starts, ends, strict=True)
        if labels[first] != UNKNOWN
    ]


@measured
def annual_mean(returns: Floats, periods_per_year: float) -> float | str:
    """Arithmetic mean times the periods of a year."""
    return float(returns.mean()) * periods_per_year


def within(returns: Floats, periods_per_year: float) -> dict[str, Measure]:
    """Mean, volatility and Sharpe ratio of a year; the latter two ``None`` for fewer than :data:`ENOUGH`."""
    found = {
        "mean_annual": annual_mean(returns, periods_per_year),
        "volatility_annual": annual_volatility(returns, periods_per_year),
        "sharpe": sharpe_ratio(returns, periods_per_year),
    }
    if 0 < len(returns) < ENOUGH:
        few = Measure(None, f"{len(returns)} returns are fewer than {ENOUGH}")
        found |= {"volatility_annual": few, "sharpe": few}
    return found


def after(returns: Floats, labels: Labels, regime: int) -> Floats:
    """Returns of the periods that follow one labelled ``regime``: what knowing the label was worth."""
    return np.asarray(returns[1:][labels[:-1] == regime])


def joined(returns: Floats, periods_per_year: float) -> dict[str, Measure]:
    """As :func:`within`, with the return and the deepest fall of the periods compounded one after another."""
    found = within(returns, periods_per_year)
    return found | {"total_return": total_return(returns), "max_drawdown": max_drawdown(returns)}


def known_at(
    moments: NDArray[np.int64], label_times: NDArray[np.int64], labels: Labels, oldest: int
) -> Labels:
    """The latest label known at each moment, :data:`UNKNOWN` where it is older than ``oldest``.

    Args:
        moments: epoch milliseconds, shape (m,).
        label_times: end of the period of each label, ascending, shape (n,).
        oldest: milliseconds.
    """
    at = np.searchsorted(label_times, moments, side="right") - 1
    found = np.where(at >= 0, labels[np.maximum(at, 0)], UNKNOWN)
    age = moments - label_times[np.maximum(at, 0)]
    return np.asarray(np.where(age <= oldest, found, UNKNOWN), dtype=np.int64)
