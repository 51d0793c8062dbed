"""The parts of a risk score, and how a measured value becomes points.

There is no standard for scoring the risk of a strategy. The parts, their points and their thresholds are a
convention of this product, chosen for unhedged strategies on crypto markets; where a number has a source, its
criterion names it. Every criterion is monotone: a worse value never gets more. Those that idling would
flatter are of the periods that moved, see :func:`~jesse_mcp.analytics.risk_score.moving`.
"""

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

#: From here on a number is written with an exponent: nobody counts its digits.
LEGIBLE = 1e9


def percentage(value: float, decimals: int) -> str:
    """A fraction as it is read; a very large one by its exponent."""
    if abs(value) < LEGIBLE:
        return f"{value:.{decimals}%}"
    # A hundred times as much may leave the range of a float.
    return f"{Decimal(value) * 100:.3g}%"


@dataclass(frozen=True)
class Criterion:
    """One part of the score.

    Attributes:
        name: of the measure.
        points: of 100 in all.
        none, half, full: the values that get no points, half of them, and all; linear between, the same
            beyond. Falling or rising strictly.
        meaning: what is measured, with its unit.
        fraction: whether it reads as a percentage.
    """

    name: str
    points: float
    none: float
    half: float
    full: float
    meaning: str
    fraction: bool = True

    @property
    def better_is_less(self) -> bool:
        return self.full < self.none

    @property
    def scale(self) -> str:
        """The thresholds in words."""
        none, half, full = (self.shown(value) for value in (self.none, self.half, self.full))
        return f"0 at {none}, 50 at {half}, 100 at {full}"

    def shown(self, value: float) -> str:
        """A value of this criterion as it is written."""
        if self.fraction:
            return percentage(value, 1 if abs(value) < 0.1 else 0)
        return f"{value:,.0f}" if 1_000 <= abs(value) < LEGIBLE else f"{value:,.3g}"

    def score(self, value: float) -> float:
        """0 to 100 for a finite value.

        Raises:
            ValueError: for one that is not finite.
        """
        if not math.isfinite(value):
            raise ValueError(f"{self.name} is {value}")
        knots = ((self.none, 0.0), (self.half, 50.0), (self.full, 100.0))
        places, scores = zip(*sorted(knots), strict=True)
        return float(np.interp(value, places, scores))


#: Points add up to 100. What has to do with ruin weighs most.
CRITERIA = (
    Criterion(
        "max_drawdown",
        25,
        0.5,
        0.2,
        0.05,
        "deepest fall below the highest balance so far (Magdon-Ismail & Atiya 2004)",
    ),
    Criterion(
        "daily_expected_shortfall",
        15,
        0.1,
        0.04,
        0.01,
        "historical expected shortfall at 95 % of a period that moved (Acerbi & Tasche 2002), brought to a "
        "day by the square root of time (RiskMetrics 1996)",
    ),
    Criterion(
        "volatility_moved",
        10,
        1.0,
        0.4,
        0.1,
        "standard deviation of the returns that are not zero, ddof=1, annual as if every period were one",
    ),
    Criterion(
        "longest_drawdown_days",
        10,
        730,
        180,
        30,
        "days from the peak to the recovery, or to the end, of the longest drawdown",
        fraction=False,
    ),
    Criterion(
        "liquidation_distance",
        10,
        0.05,
        0.2,
        0.5,
        "adverse move of the price that liquidates: isolated positions at their leverage, else the account "
        "at the highest leverage it used",
    ),
    Criterion(
        "deflated_sharpe_moved",
        15,
        0.5,
        0.75,
        0.95,
        "probability that the Sharpe ratio of the periods that moved is above what the best of all trials, "
        "likewise, owes to luck (Bailey & Lopez de Prado 2014)",
    ),
    Criterion("years_moved", 10, 0.0, 1.0, 3.0, "time in which the balance moved", fraction=False),
    Criterion(
        "best_trades_share",
        5,
        0.9,
        0.5,
        0.25,
        "part of the gross profit by the best tenth of the winning trades",
    ),
)
