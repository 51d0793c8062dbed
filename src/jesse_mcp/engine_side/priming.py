"""Made-up backtests that leave Jesse as warm as it gets: code specialised, caches filled, pages in place."""

import importlib
from typing import Any

import jesse.helpers as jh
import jesse.indicators as ta
import numpy as np
from jesse.strategies import Strategy

# By name from the module table: the package attribute of this name is the function.
research: Any = importlib.import_module("jesse.research.backtest")

_EXCHANGE = "Sandbox"
_SYMBOLS = ("BTC-USDT", "ETH-USDT")
_START_MS = 1_600_041_600_000
_WARM_UP = 4
_MINUTES_A_DAY = 1_440


class _Rehearsal(Strategy):  # type: ignore[misc]  # the type checker runs where Jesse is not installed
    """Takes the ways through Jesse that strategies commonly take."""

    def hyperparameters(self) -> list[dict[str, Any]]:
        return [{"name": "period", "type": int, "min": 2, "max": 9, "default": 3}]

    def should_long(self) -> bool:
        return bool(self.index % 6 == 0 and ta.sma(self.candles, self.hp["period"]) > 0)

    def should_short(self) -> bool:
        return bool(self.index % 6 == 3 and self.exchange_type == "futures")

    def go_long(self) -> None:
        self.buy = [(1, self.price), (1, self.price * 0.999)]

    def go_short(self) -> None:
        self.sell = [(1, self.price), (1, self.price * 1.001)]

    def on_open_position(self, _order: Any) -> None:
        side = 1 if self.is_long else -1
        self.stop_loss = abs(self.position.qty), self.price * (1 - 0.01 * side)
        self.take_profit = abs(self.position.qty), self.price * (1 + 0.01 * side)

    def update_position(self) -> None:
        if self.index % 6 in (2, 5):
            self.take_profit = abs(self.position.qty), self.price


def rehearse() -> None:
    """Before the first fork: every kind of simulation once, so that no run is the first of its kind."""
    for exchange_type in ("futures", "spot"):
        for fast_mode in (True, False):
            _backtest(exchange_type, days=1, symbols=_SYMBOLS, fast_mode=fast_mode)


def touch() -> None:
    """In a process just forked: a short run, so that the pages a run writes to are its own already."""
    _backtest("futures", days=1, symbols=_SYMBOLS[:1], fast_mode=True)


def _backtest(exchange_type: str, days: int, symbols: tuple[str, ...], *, fast_mode: bool) -> None:
    warm_up_minutes = _WARM_UP * 60
    candles = _candles(days * _MINUTES_A_DAY + warm_up_minutes)
    research.backtest(
        {
            "starting_balance": 10_000,
            "fee": 0.001,
            "type": exchange_type,
            "futures_leverage": 1,
            "futures_leverage_mode": "cross",
            "exchange": _EXCHANGE,
            "warm_up_candles": _WARM_UP,
        },
        [_route(symbol, "15m") | {"strategy": _Rehearsal} for symbol in symbols],
        [_route(symbols[0], "1h")],
        {key: part | {"candles": candles[warm_up_minutes:]} for key, part in _series(symbols)},
        {key: part | {"candles": candles[:warm_up_minutes]} for key, part in _series(symbols)},
        fast_mode=fast_mode,
    )


def _route(symbol: str, timeframe: str) -> dict[str, Any]:
    return {"exchange": _EXCHANGE, "symbol": symbol, "timeframe": timeframe}


def _series(symbols: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
    return [(jh.key(_EXCHANGE, symbol), {"exchange": _EXCHANGE, "symbol": symbol}) for symbol in symbols]


def _candles(minutes: int) -> Any:
    clock = np.arange(minutes)
    close = 100 + 2 * np.sin(clock / 90)
    opened = np.concatenate((close[:1], close[:-1]))
    high, low = np.maximum(opened, close) + 0.02, np.minimum(opened, close) - 0.02
    return np.column_stack((_START_MS + clock * 60_000, opened, close, high, low, np.ones(minutes)))
