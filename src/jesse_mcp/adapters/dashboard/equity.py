"""Jesse's daily balances, which its API does not return: rebuilt from orders and candles, or from its log."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice, EquityPoint
from jesse_mcp.domain.candles import CLOSE, TIMESTAMP
from jesse_mcp.domain.timeframes import DAY_MS, MINUTE_MS

#: Jesse logs each balance as it saves it, rounded to two decimals.
_SAVED = re.compile(
    r"^\[INFO \| (?P<time>[0-9-]{10}[ T][0-9:]{8})\] Saved daily portfolio balance: (?P<balance>\S+)$", re.M
)
_COLUMNS = 6
#: Half a cent, and what sums of many trades may lose.
_ROUNDING = 0.0051

REBUILT = "rebuilt from orders and candles; agrees with every balance in Jesse's log to the cent"
LOGGED = "Jesse's log, which rounds to two decimals"


@dataclass(frozen=True)
class Curve:
    """Daily balances; ``how`` they were got, or ``missing`` with why there are none."""

    points: tuple[EquityPoint, ...] = ()
    how: str | None = None
    missing: str | None = None


@dataclass
class _Position:
    qty: float = 0.0
    entry: float = 0.0

    def add(self, qty: float) -> None:
        self.qty = _sum(self.qty, qty)

    def value(self, price: float) -> float:
        return abs(price * self.qty)

    def profit(self, price: float) -> float:
        diff = self.value(price) - abs(self.entry * self.qty)
        return -diff if self.qty < 0 else diff


class Wallet:
    """Cash and positions after a series of executed orders, by the rules of Jesse's simulated exchanges.

    As ``position_service.on_executed_order``, ``FuturesExchange`` and ``SpotExchange`` of Jesse 3.5.3.

    Args:
        request: its type of exchange, fee and balance.
    """

    def __init__(self, request: BacktestRequest) -> None:
        self._spot = request.exchange_type == "spot"
        self._fee = request.fee
        self._cash = request.starting_balance
        self._positions: dict[str, _Position] = {}
        self._held: dict[str, float] = {}

    def execute(self, order: dict[str, Any]) -> None:
        """Book one order as a trade of Jesse's lists it."""
        position = self._positions.setdefault(order["symbol"], _Position())
        qty, price = float(order["qty"]), float(order["price"])
        filled = float(order["filled_qty"] if order["filled_qty"] is not None else qty)
        if self._spot:
            self._move_coins(order["symbol"], qty, price)
        else:
            self._cash -= abs(filled * price) * self._fee
        self._update(position, qty, price, bool(order["reduce_only"]))

    def total(self, price_of: Callable[[str], float]) -> float:
        """What Jesse calls the portfolio's balance."""
        open_ones = [(s, p) for s, p in self._positions.items() if p.qty]
        if self._spot:
            return sum(p.value(price_of(s)) for s, p in open_ones) + self._cash
        total = self._cash
        for symbol, position in open_ones:
            total += position.profit(price_of(symbol))
        return total

    def _move_coins(self, symbol: str, qty: float, price: float) -> None:
        held = self._held.get(symbol, 0.0)
        if qty > 0:
            self._cash = _sum(self._cash, -(qty * price))
            self._held[symbol] = _sum(held, qty * (1 - self._fee))
        else:
            sold = min(abs(qty), held)
            self._cash = _sum(self._cash, (sold * price) * (1 - self._fee))
            self._held[symbol] = _sum(held, -sold)

    def _update(self, position: _Position, qty: float, price: float, reduce_only: bool) -> None:
        if position.qty == 0:
            self._open(position, qty, price)
        elif _sum(position.qty, qty) == 0:
            self._close(position, price)
        elif position.qty * qty > 0:
            if not reduce_only:
                total = abs(qty) + abs(position.qty)
                position.entry = (abs(qty) * price + abs(position.qty) * position.entry) / total
                position.add(self._received(qty))
        elif abs(qty) <= abs(position.qty):
            self._realise(position, abs(qty), price)
            position.add(qty)
        else:
            left = _sum(position.qty, qty)
            self._close(position, price)
            if not reduce_only:
                self._open(position, left, price)

    def _open(self, position: _Position, qty: float, price: float) -> None:
        position.entry, position.qty = price, self._received(qty)

    def _close(self, position: _Position, price: float) -> None:
        self._realise(position, abs(position.qty), price)
        position.qty = 0.0

    def _realise(self, position: _Position, qty: float, price: float) -> None:
        if not self._spot:
            profit = qty * (price - position.entry)
            self._cash += -profit if position.qty < 0 else profit

    def _received(self, qty: float) -> float:
        return qty * (1 - self._fee) if self._spot else qty


def daily_balances(
    request: BacktestRequest,
    candles: Sequence[CandleSlice],
    trades: Sequence[dict[str, Any]],
    log: str | None,
) -> Curve:
    """The curve that the embedded engine returns as Jesse's, for a run of the dashboard.

    Jesse saves a balance at the start, after the first minute of every later day, and at the end; its log
    has the moments and the balances to the cent. The balances are computed from the executed orders and
    the closing prices at these moments, and taken when all of them agree with the log; otherwise the log's
    own are. Orders do not tell everything: of a spot order that filled at a gap, what was reserved for it;
    of resting spot orders on other routes, that Jesse leaves them out.

    Args:
        request: what ran.
        candles: the candles it read.
        trades: Jesse's trades with their orders.
        log: the session's log with the debug mode on.
    """
    samples = saved_balances(log or "")
    if not samples:
        return Curve(missing="Jesse's API returns no daily balances, and the session's log has none")
    moments = [moment for moment, _ in samples]
    if not _saved_by_jesse(moments, request):
        return Curve(
            missing="the session's log tells balances of other moments than those at which Jesse saves one: "
            "the strategy has logged such lines itself, or they are not of one simulation"
        )
    exact = _rebuilt(request, candles, trades, moments)
    agree = all(abs(ours - logged) <= _ROUNDING for ours, (_, logged) in zip(exact, samples, strict=True))
    balances = exact if agree else [balance for _, balance in samples]
    points = tuple(EquityPoint(timestamp=m, balance=b) for m, b in zip(moments, balances, strict=True))
    return Curve(points, REBUILT if agree else LOGGED)


def saved_balances(log: str) -> list[tuple[int, float]]:
    """Epoch milliseconds and rounded balance of every balance a log tells of."""
    found = []
    for match in _SAVED.finditer(log):
        moment = datetime.fromisoformat(match["time"]).replace(tzinfo=UTC)
        found.append((int(moment.timestamp() * 1000), float(match["balance"])))
    return found


def _saved_by_jesse(moments: list[int], request: BacktestRequest) -> bool:
    """Whether there is one balance of the start, at most one after each day's first minute, one of the end.

    As the simulators of ``backtest_mode`` of Jesse 3.5.3: the next one is due a day after the one before was
    due, and late where candles are missing or a fast run steps over the moment.
    """
    if len(moments) < 2 or moments[0] < request.start_ms:
        return False
    due = moments[0] + DAY_MS + MINUTE_MS
    for moment in moments[1:-1]:
        if moment < due:
            return False
        due += ((moment - due) // DAY_MS + 1) * DAY_MS
    return moments[-2] < moments[-1] <= request.end_ms


def _rebuilt(
    request: BacktestRequest,
    candles: Sequence[CandleSlice],
    trades: Sequence[dict[str, Any]],
    moments: list[int],
) -> list[float]:
    orders = {order["id"]: order for trade in trades for order in trade["orders"]}
    waiting = sorted(orders.values(), key=lambda order: int(order["executed_at"]))
    closes = {part.symbol: _Closes(part) for part in candles if part.exchange == request.exchange}
    wallet = Wallet(request)
    balances = []
    at = 0
    for moment in moments:
        while at < len(waiting) and int(waiting[at]["executed_at"]) <= moment:
            wallet.execute(waiting[at])
            at += 1
        balances.append(wallet.total(lambda symbol, now=moment: closes[symbol].before(now)))  # type: ignore[misc]
    return balances


class _Closes:
    """Closing prices of one series."""

    def __init__(self, part: CandleSlice) -> None:
        rows = np.memmap(part.path, dtype="<f8", mode="r", shape=(part.total_rows, _COLUMNS))
        self._rows = rows[part.start_row : part.end_row]

    def before(self, moment: int) -> float:
        """Of the last minute that is over at ``moment``."""
        row = int(np.searchsorted(self._rows[:, TIMESTAMP], moment - MINUTE_MS, side="right")) - 1
        return float(self._rows[row, CLOSE])


def _sum(one: float, other: float) -> float:
    """As Jesse adds quantities: in decimal, so that a position which was opened and closed is zero."""
    return float(Decimal(str(one)) + Decimal(str(other)))
