"""How far a price may go against a leveraged position before the exchange closes it."""

import math
from typing import Literal

Side = Literal["long", "short"]

#: Jesse's, and Binance's for small positions in Bitcoin. Smaller coins and larger positions have higher ones,
#: which leave less room.
MAINTENANCE_MARGIN_RATE = 0.004


def isolated_price(
    entry: float, leverage: float, side: Side, maintenance_margin_rate: float = MAINTENANCE_MARGIN_RATE
) -> float:
    """Where a position with a margin of its own is liquidated.

    Args:
        entry: average entry price, positive.
        leverage: value of the position over its margin, positive.

    Returns:
        ``entry * (1 - 1/leverage + rate)`` for a long, ``entry * (1 + 1/leverage - rate)`` for a short. A
        long's is zero or less where no price liquidates it.

    Raises:
        ValueError: for a leverage that is not positive.

    Source: Bybit, "Liquidation Price (USDT Contract)", isolated margin, without fees to close; the same as
    ``Position.liquidation_price`` of Jesse 3.5.3 with a rate of 0.004.
    """
    room = isolated_distance(leverage, maintenance_margin_rate)
    return entry * (1 - room) if side == "long" else entry * (1 + room)


def isolated_distance(leverage: float, maintenance_margin_rate: float = MAINTENANCE_MARGIN_RATE) -> float:
    """The adverse move of the price, as a fraction of the entry, that liquidates: ``1/leverage - rate``.

    Zero or less when the margin does not even reach to open the position.
    """
    _check(leverage)
    return 1 / leverage - maintenance_margin_rate


def cross_distance(
    leverage: float, side: Side, maintenance_margin_rate: float = MAINTENANCE_MARGIN_RATE
) -> float:
    """The adverse move at which a whole account that holds one position falls to its maintenance margin.

    Args:
        leverage: value of the position over the account's equity, positive.

    Returns:
        A positive fraction of the price now; above 1 for a long that no price liquidates.

        Equity ``E (1 - L d)`` meets the maintenance margin of the value then, ``rate * L * E (1 - d)``, so
        that ``d = (1/L - rate) / (1 - rate)`` for a long and ``(1/L - rate) / (1 + rate)`` for a short.

    Raises:
        ValueError: for a leverage that is not positive.

    Source: Binance, "How to Calculate Liquidation Price of USD-M Futures Contracts", one position, one
    tier (no maintenance amount).
    """
    _check(leverage)
    room = 1 / leverage - maintenance_margin_rate
    return room / (1 - maintenance_margin_rate if side == "long" else 1 + maintenance_margin_rate)


def survivable_leverage(
    adverse_move: float, maintenance_margin_rate: float = MAINTENANCE_MARGIN_RATE
) -> float | None:
    """The leverage up to which a position with a margin of its own survives an adverse move.

    Args:
        adverse_move: fraction of the entry price, 0 or more.

    Returns:
        ``1 / (move + rate)``: at it the price is reached. ``None`` for a move that is negative or not finite.
    """
    if not math.isfinite(adverse_move) or adverse_move < 0:
        return None
    return 1 / (adverse_move + maintenance_margin_rate)


def _check(leverage: float) -> None:
    if not (leverage > 0 and math.isfinite(leverage)):
        raise ValueError(f"leverage is {leverage}")
