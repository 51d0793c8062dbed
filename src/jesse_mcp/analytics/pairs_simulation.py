"""Trading a pair bar by bar: decided at a close, filled at the next open, both legs with their costs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.pairs_signals import Rules, entry_direction, exit_reason

CloseReason = Literal["reverted", "stop", "time", "end", "ruin"]
_LEGS = (0, 1)


@dataclass(frozen=True)
class Terms:
    """What trading costs and how much may be held.

    Attributes:
        starting_balance: in the quote currency.
        fee: fraction of the traded value of each fill.
        slippage: fraction by which each fill is worse than the price.
        notional: gross value of a position when it is decided, in the quote currency.
        leverage: gross value over balance that may not be exceeded by an entry.
    """

    starting_balance: float
    fee: float
    slippage: float
    notional: float
    leverage: float


@dataclass(frozen=True)
class PairMarket:
    """Columns are y and x. What is decided at close ``t`` uses row ``t`` of everything and none after it.

    Attributes:
        opens, closes: prices, shape (n, 2); where prices are single points, both are the same.
        quantities: held of each leg for one spread bought at the close of the bar, shape (n, 2).
        z, ratios: shape (n,), NaN where there is none.
        first: the first bar that is traded; decisions begin at its close.
    """

    opens: NDArray[np.float64]
    closes: NDArray[np.float64]
    quantities: NDArray[np.float64]
    z: NDArray[np.float64]
    ratios: NDArray[np.float64]
    first: int


@dataclass(frozen=True)
class Leg:
    """One of the two positions of a pair; money in the quote currency.

    ``entry_price`` and ``exit_price`` include slippage; ``pnl`` is after fees and slippage.
    """

    quantity: float
    entry_price: float
    exit_price: float
    fee: float
    slippage: float
    pnl: float


@dataclass(frozen=True)
class PairTrade:
    """A closed pair. ``decided``, ``opened`` and ``closed`` are bars, ``at_close`` where it was not an open.

    ``direction`` is 1 when the spread was bought: y long, x short where the hedge ratio is positive.
    """

    direction: int
    decided: int
    opened: int
    closed: int
    at_close: bool
    reason: CloseReason
    entry_z: float
    exit_z: float
    ratio: float
    legs: tuple[Leg, Leg]

    @property
    def pnl(self) -> float:
        return self.legs[0].pnl + self.legs[1].pnl


@dataclass(frozen=True)
class Simulation:
    """What came out.

    Attributes:
        balances: marked to market at each close, shape (n,); NaN before the first bar traded and after ruin.
        trades: in the order they were closed.
        skipped: entries that were signalled and not made, by reason.
        ruined: the bar at whose close nothing was left.
    """

    balances: NDArray[np.float64]
    trades: tuple[PairTrade, ...]
    skipped: dict[str, int]
    ruined: int | None


def simulate(
    market: PairMarket, rules: Rules, terms: Terms, pause: Callable[[], None] = lambda: None
) -> Simulation:
    """Trade from ``market.first`` to the last bar, where what is open is closed at the close.

    One position at a time. Behind a stop, a time stop, or an entry that could not be made, the deviation
    must have been below ``entry_z`` before the next entry. A position that is left at an open is not
    followed by another before the next one. When the balance reaches zero at a close, everything is closed
    there, and nothing follows.

    Args:
        pause: called now and then; may raise to end the work.
    """
    book = _Book(market, rules, terms)
    count = len(market.closes)
    balances = np.full(count, np.nan)
    for bar in range(market.first, count):
        if bar % 10_000 == 0:
            pause()
        book.fill(bar)
        balance = book.balance(bar)
        ruined = balance <= 0
        if ruined or bar == count - 1:
            book.close(bar, "ruin" if ruined else "end", at_close=True)
            balances[bar] = book.balance(bar)
            return Simulation(balances, tuple(book.trades), book.skipped, bar if ruined else None)
        balances[bar] = balance
        book.decide(bar, balance)
    return Simulation(balances, (), book.skipped, None)


@dataclass(frozen=True)
class _Entry:
    """A position that is to be opened, or was."""

    direction: int
    decided: int
    quantities: tuple[float, float]
    prices: tuple[float, float] = (0.0, 0.0)
    opened: int = -1


@dataclass
class _Book:
    """Cash, the position, and what is to be done at the next open."""

    market: PairMarket
    rules: Rules
    terms: Terms
    trades: list[PairTrade] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=lambda: {"margin": 0, "hedge_ratio": 0})
    cash: float = 0.0
    held: _Entry | None = None
    wanted: _Entry | None = None
    leaving: CloseReason | None = None
    armed: bool = True

    def __post_init__(self) -> None:
        self.cash = self.terms.starting_balance

    def balance(self, bar: int) -> float:
        """Cash and the position at the close, as if it cost nothing to leave."""
        if self.held is None:
            return self.cash
        marks = self.market.closes[bar]
        held = self.held
        return self.cash + sum(held.quantities[n] * (float(marks[n]) - held.prices[n]) for n in _LEGS)

    def fill(self, bar: int) -> None:
        """What was decided at the close before, at this open."""
        if self.leaving is not None:
            self.close(bar, self.leaving, at_close=False)
        elif self.wanted is not None:
            entry, opens = self.wanted, self.market.opens[bar]
            prices = tuple(self._filled(entry.quantities[n], float(opens[n])) for n in _LEGS)
            self.cash -= sum(self._fee(entry.quantities[n], prices[n]) for n in _LEGS)
            self.held = _Entry(
                entry.direction, entry.decided, entry.quantities, (prices[0], prices[1]), opened=bar
            )
        self.leaving = self.wanted = None

    def close(self, bar: int, reason: CloseReason, *, at_close: bool) -> None:
        """Leave the position, if there is one."""
        held = self.held
        if held is None:
            return
        prices = self.market.closes[bar] if at_close else self.market.opens[bar]
        decided = bar if at_close else bar - 1
        legs = tuple(self._leg(held, n, float(prices[n])) for n in _LEGS)
        # The fees of the entry left the cash when it was filled.
        paid = sum(self._fee(held.quantities[n], held.prices[n]) for n in _LEGS)
        self.cash += legs[0].pnl + legs[1].pnl + paid
        self.trades.append(
            PairTrade(
                direction=held.direction,
                decided=held.decided,
                opened=held.opened,
                closed=bar,
                at_close=at_close,
                reason=reason,
                entry_z=float(self.market.z[held.decided]),
                exit_z=float(self.market.z[decided]),
                ratio=float(self.market.ratios[held.decided]),
                legs=(legs[0], legs[1]),
            )
        )
        self.held = None
        self.armed = reason == "reverted"

    def decide(self, bar: int, balance: float) -> None:
        """What is to be done at the next open, from this close."""
        z = float(self.market.z[bar])
        if self.held is not None:
            self.leaving = exit_reason(self.held.direction, z, bar - self.held.opened + 1, self.rules)
            return
        self.armed = self.armed or abs(z) < self.rules.entry_z
        direction = entry_direction(z, self.rules)
        if not direction or not self.armed:
            return
        reason = self._obstacle(bar, balance)
        if reason is not None:
            self.skipped[reason] += 1
            self.armed = False
            return
        first, second = (direction * self.market.quantities[bar]).tolist()
        self.wanted = _Entry(direction, bar, (first, second))

    def _obstacle(self, bar: int, balance: float) -> str | None:
        # With a ratio of zero or less the second leg would not offset the first.
        if not self.market.ratios[bar] > 0:
            return "hedge_ratio"
        return "margin" if self.terms.notional > self.terms.leverage * balance else None

    def _leg(self, held: _Entry, leg: int, price: float) -> Leg:
        quantity, entry = held.quantities[leg], held.prices[leg]
        left = self._filled(-quantity, price)
        fee = self._fee(quantity, entry) + self._fee(quantity, left)
        worse = 1 + self.terms.slippage if quantity > 0 else 1 - self.terms.slippage
        return Leg(
            quantity=quantity,
            entry_price=entry,
            exit_price=left,
            fee=fee,
            slippage=abs(quantity) * (abs(entry - entry / worse) + abs(left - price)),
            pnl=quantity * (left - entry) - fee,
        )

    def _filled(self, quantity: float, price: float) -> float:
        """Buying is dearer, selling cheaper."""
        return price * (1 + self.terms.slippage if quantity > 0 else 1 - self.terms.slippage)

    def _fee(self, quantity: float, price: float) -> float:
        return abs(quantity) * price * self.terms.fee
