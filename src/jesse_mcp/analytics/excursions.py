"""How far the price went against and for each trade while it was open.

Source: Sweeney, "Campaign Trading: Tactics and Strategies to Exploit the Markets", Wiley 1996.
"""

import bisect
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.measures import Floats, Measure, found_or_reason

MINUTE_MS = 60_000
NO_EXCURSION = "no trade has an excursion that is known"


@dataclass(frozen=True)
class OpenTrade:
    """A trade as its candles see it.

    ``whole_last_minute`` says whether the position was open until the end of the minute in which it was
    closed: then that minute's high and low belong to the trade.
    """

    opened_at: int
    closed_at: int
    entry_price: float
    exit_price: float
    long: bool
    whole_last_minute: bool


@dataclass(frozen=True)
class Excursion:
    """Fractions of the entry price, not negative: the furthest against the trade, and in favour of it."""

    adverse: float
    favourable: float


def excursion(trade: OpenTrade, candles: NDArray[np.float64]) -> Excursion | None:
    """Of one trade, from the minutes that lie wholly between its entry and its exit, and the exit itself.

    A position opened within a minute may have missed that minute's high and low, and one closed by a resting
    order may have left before them: such minutes do not count.

    Args:
        trade: times in epoch milliseconds, prices positive and finite, else there is no answer.
        candles: of the traded symbol, rows of ``timestamp_ms, open, close, high, low, volume``, ascending,
            shape (n, 6), the whole time the trade was open.

    Returns:
        ``None`` when a minute between entry and exit has no candle.
    """
    if not (_is_price(trade.entry_price) and _is_price(trade.exit_price)):
        return None
    first_ms = -(-trade.opened_at // MINUTE_MS) * MINUTE_MS
    last_ms = trade.closed_at // MINUTE_MS * MINUTE_MS
    if not trade.whole_last_minute:
        last_ms -= MINUTE_MS
    first, end = row_of(candles, first_ms), row_of(candles, max(first_ms, last_ms))
    if end - first != max(0, last_ms - first_ms) // MINUTE_MS:
        return None
    inside = candles[first:end]
    highest = max(
        [trade.exit_price, trade.entry_price, *([float(inside[:, 3].max())] if len(inside) else [])]
    )
    lowest = min([trade.exit_price, trade.entry_price, *([float(inside[:, 4].min())] if len(inside) else [])])
    up, down = highest / trade.entry_price - 1, 1 - lowest / trade.entry_price
    return Excursion(adverse=down, favourable=up) if trade.long else Excursion(adverse=up, favourable=down)


def row_of(candles: NDArray[np.float64], moment: int) -> int:
    """First row at or after ``moment`` (epoch milliseconds)."""
    # Not np.searchsorted, which would read the whole file to make a column of it.
    return bisect.bisect_left(range(len(candles)), moment, key=lambda row: int(candles[row, 0]))


def excursion_summary(adverse: Floats, favourable: Floats, profits: Floats) -> dict[str, Measure]:
    """Means, and what they say of stops and targets.

    - ``average_adverse`` (MAE), ``average_favourable`` (MFE), and the largest of each;
    - ``edge_ratio``: mean MFE over mean MAE, after Faith, "Way of the Turtle", 2007, who divides by the
      average true range where these are fractions of the entry price;
    - ``adverse_of_wins``: the MAE that 95 % of the winning trades stayed within (quantile type 7): a stop
      closer than that would have cost winners.

    Args:
        adverse: shape (n,), finite.
        favourable: shape (n,), finite.
        profits: shape (n,), their sign tells winners.
    """
    names = (
        "average_adverse",
        "average_favourable",
        "largest_adverse",
        "largest_favourable",
        "edge_ratio",
        "adverse_of_wins",
    )
    if not len(adverse):
        return dict.fromkeys(names, Measure(None, NO_EXCURSION))
    against, in_favour = float(adverse.mean()), float(favourable.mean())
    wins = adverse[profits > 0]
    found: dict[str, float | str] = {
        "average_adverse": against,
        "average_favourable": in_favour,
        "largest_adverse": float(adverse.max()),
        "largest_favourable": float(favourable.max()),
        "edge_ratio": in_favour / against if against > 0 else "no trade had the price against it",
        "adverse_of_wins": float(np.quantile(wins, 0.95)) if len(wins) else "no trade won",
    }
    return {name: found_or_reason(value) for name, value in found.items()}


def _is_price(value: float) -> bool:
    return bool(np.isfinite(value)) and value > 0
