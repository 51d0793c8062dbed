"""What comes of the minutes of a session, kept as it happens and handed out once."""

from collections.abc import Callable
from typing import Any

import jesse.helpers as jh
from engine import LOG_LINES, daily_balances, log_text, plain, plain_trade
from jesse.store import store


class OrderBook:
    """What happens to orders, numbered in the order they were submitted.

    Jesse's own numbers are random; these are the same whenever a session is worked through again.
    """

    def __init__(self) -> None:
        self._submitted = 0
        self._events: list[dict[str, Any]] = []
        # On this session's own objects: Jesse tells them of every order.
        store.orders.add_order = _followed_by(store.orders.add_order, self._number)
        for exchange in store.exchanges.storage.values():
            for method, event in (
                ("on_order_execution", "executed"),
                ("on_order_cancellation", "cancelled"),
            ):
                note = self._noting(event)
                setattr(exchange, method, _followed_by(getattr(exchange, method), note))

    def take(self) -> list[dict[str, Any]]:
        events, self._events = self._events, []
        return events

    def open_orders(self) -> list[dict[str, Any]]:
        return [
            _order(order, "submitted", order.created_at)
            for orders in store.orders.active_storage.values()
            for order in orders
            if order.is_active
        ]

    def _number(self, order: Any) -> None:
        self._submitted += 1
        order.number_in_session = self._submitted
        self._events.append(_order(order, "submitted", store.app.time))

    def _noting(self, event: str) -> Callable[[Any], None]:
        return lambda order: self._events.append(_order(order, event, store.app.time))


class Ledger:
    """Trades, daily balances and log lines; what is taken is not given again."""

    def __init__(self) -> None:
        self._trades = self._daily = self._logged = 0

    def take(self) -> dict[str, Any]:
        trades = store.closed_trades.trades[self._trades :]
        self._trades += len(trades)
        daily = daily_balances(self._daily)
        self._daily += len(daily)
        return {
            "trades": [plain_trade(trade.to_dict_with_orders) for trade in trades],
            "daily": daily,
            "log": self._new_log(),
        }

    def _new_log(self) -> str:
        text = log_text(store.logs.info[self._logged :])
        # A session has no end, and nobody reads more; one more than is shown tells that some were cut.
        del store.logs.info[: -LOG_LINES - 1]
        self._logged = len(store.logs.info)
        return text


def _followed_by(method: Callable[[Any], None], note: Callable[[Any], None]) -> Callable[[Any], None]:
    def both(order: Any) -> None:
        method(order)
        note(order)

    return both


def _order(order: Any, event: str, timestamp: float) -> dict[str, Any]:
    filled = order.filled_qty if event == "executed" else None
    return {
        "timestamp": int(timestamp),
        "number": order.number_in_session,
        "event": event,
        "symbol": order.symbol,
        "side": order.side,
        "type": order.type,
        "qty": abs(plain(filled or order.qty)),
        "price": plain(order.price),
        "reduce_only": bool(order.reduce_only),
    }


def equity() -> list[float]:
    """Portfolio value, as ``save_daily_portfolio_balance`` of Jesse has it, and unrealised profit."""
    positions = store.positions.storage.values()
    unrealized = sum(float(position.pnl) for position in positions if position.is_open)
    (exchange,) = store.exchanges.storage.values()
    if exchange.type == "futures":
        value = exchange.assets[jh.app_currency()]
        for position in positions:
            if position.is_open:
                value += position.pnl
    else:
        value = next(iter(positions)).strategy.portfolio_value
    return [float(value), unrealized]


def open_positions() -> list[dict[str, Any]]:
    return [
        {
            "symbol": position.symbol,
            "side": position.type,
            "size": abs(plain(position.qty)),
            "entry_price": plain(position.entry_price),
            "current_price": plain(position.current_price),
            "unrealized_pnl": plain(position.pnl),
            "leverage": plain(position.leverage),
            "liquidation_price": plain(position.liquidation_price),
            "opened_at": int(position.opened_at),
        }
        for position in store.positions.storage.values()
        if position.is_open
    ]
