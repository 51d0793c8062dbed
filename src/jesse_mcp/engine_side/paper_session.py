"""A session: one closed minute at a time through Jesse, and the end of a backtest at its end."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from engine import Capture, log_text, outcome_of
from failures import RunRejectedError
from hyperparameters import complete
from jesse.modes import backtest_mode
from jesse.modes.utils import save_daily_portfolio_balance
from jesse.services import order_service
from jesse.services.simulation_assumptions import resolve_annualization
from jesse.store import store
from paper_beginning import Beginning
from paper_minutes import Buckets, DailySamples, DenseMinutes, ObservedMinutes, Rows
from paper_outcomes import Ledger, OrderBook, equity, open_positions
from paper_setup import Series, generated_timeframes, prepare
from projects import load_strategies

_MINUTE_MS = 60_000


class Leverage:
    """A change of leverage that waits for the account to be flat.

    Jesse has one leverage for the whole account, and reads it anew for the margin, the profit and the
    liquidation price of positions that are open. It is exchanged only when none is, and when what resting
    orders need fits the balance; so no position ever changes its own.
    """

    def __init__(self) -> None:
        self._wanted: int | None = None
        self._came_into_force: list[list[int]] = []
        for position in store.positions.storage.values():
            if position.strategy is not None:
                # On this session's own objects: a strategy may open the next one right after a close.
                strategy = position.strategy
                strategy._on_updated_position = _preceded_by(strategy._on_updated_position, self.apply)

    def change(self, leverage: int) -> bool:
        """Whether it is in force at once.

        Raises:
            RunRejectedError: spot has none.
        """
        (exchange,) = store.exchanges.storage.values()
        if exchange.type != "futures":
            raise RunRejectedError("spot has no leverage", hint="trade on a futures exchange")
        self._wanted = leverage
        self._exchange()
        return self._wanted is None

    def apply(self) -> None:
        """Use what is wanted, if that can be now."""
        wanted = self._wanted
        self._exchange()
        if wanted is not None and self._wanted is None:
            self._came_into_force.append([int(store.app.time), wanted])

    def take(self) -> dict[str, Any]:
        """The leverage in force, and when others that had to wait came into force since it was taken last."""
        changes, self._came_into_force = self._came_into_force, []
        (exchange,) = store.exchanges.storage.values()
        in_force = int(exchange.futures_leverage) if exchange.type == "futures" else None
        return {"leverage": in_force, "leverage_changes": changes}

    def _exchange(self) -> None:
        if self._wanted is None or store.positions.count_open_positions():
            return
        (exchange,) = store.exchanges.storage.values()
        before, exchange.futures_leverage = exchange.futures_leverage, self._wanted
        if exchange.available_margin < 0:
            exchange.futures_leverage = before
        else:
            self._wanted = None


def _preceded_by(method: Callable[[Any], None], first: Callable[[], None]) -> Callable[[Any], None]:
    def both(order: Any) -> None:
        first()
        method(order)

    return both


class PaperSession:
    """Jesse set up for one request; there can be one in a process.

    ``request["minute_order"]`` decides how minutes are worked through (:mod:`paper_minutes`). A session in
    ``"dense"`` order whose minutes turn out not to follow one another without a break goes on in
    ``"observed"`` order from the first minute that comes late or lacks a candle, for good. Candles that were
    complete before stay as they are; the one that the break falls into is made by the clock. Both count alike
    where the session begins at a boundary of each of its timeframes; where it does not, it ends there.
    """

    def __init__(self, request: dict[str, Any], project: Path, series: list[Series]) -> None:
        # As a run is seeded: equal sessions are the same experiment.
        random.seed(0)
        np.random.seed(0)
        classes = load_strategies(project, [route["strategy"] for route in request["routes"]])
        prepare(request, classes, complete(classes, request["hyperparameters"]), series)
        self._config = request["config"]
        self._start = request["start_ms"]
        self._series = series
        self._orders, self._ledger, self._leverage = OrderBook(), Ledger(), Leverage()
        self._samples: DailySamples | None = None
        self._last: int | None = None
        self._beginning: Beginning | None = None
        self._work: DenseMinutes | ObservedMinutes
        if request["minute_order"] == "observed":
            self._observe_from_the_beginning()
        else:
            self._work = DenseMinutes(series, self._leverage.apply)

    def change_leverage(self, leverage: int) -> bool:
        """Whether it is in force at once; otherwise it will be when no position is open."""
        return self._leverage.change(leverage)

    def work(self, timestamp: int, rows: Rows) -> list[float]:
        """Work through the minute that begins at ``timestamp``: its close, equity and unrealised profit."""
        if isinstance(self._work, DenseMinutes) and not self._continues(timestamp, rows):
            self._observe_from(timestamp)
        samples = self._samples or self._begin_with(timestamp, rows)
        if samples is None:
            return [timestamp + _MINUTE_MS, float(self._config["starting_balance"]), 0.0]
        self._work.work(rows)
        samples.take_if_due()
        self._last = timestamp
        return [timestamp + _MINUTE_MS, *equity()]

    def broken_off(self, timestamp: int) -> list[float]:
        """Close, equity and unrealised profit of a minute in which the strategy raised, as it was left."""
        return [timestamp + _MINUTE_MS, *equity()]

    def take(self) -> dict[str, Any]:
        """What is new since it was taken last, and how things stand."""
        return {
            **self._ledger.take(),
            **self._leverage.take(),
            "orders": self._orders.take(),
            "positions": open_positions(),
            "open_orders": self._orders.open_orders(),
        }

    def finish(self) -> dict[str, Any]:
        """Do what Jesse does at the end of a backtest: everything it answers, but the timings."""
        if self._last is None:
            self._samples = DailySamples(self._start)
        else:
            for route in self._work.routes():
                route.strategy._terminate()
                order_service.execute_simulated_market_orders()
            save_daily_portfolio_balance()
        store.app.ending_time = store.app.time + _MINUTE_MS
        result = backtest_mode._generate_outputs({})
        capture = Capture()
        capture.log = log_text(store.logs.info)
        capture.keep()
        return outcome_of(result["metrics"] or self._no_metrics(), result["trades"], capture)

    def _begin_with(self, timestamp: int, rows: Rows) -> DailySamples | None:
        """``None`` while this minute is not traded yet; the first that is begins the session."""
        start: Any = np.float64(self._start)
        if self._beginning is not None:
            start = self._beginning.begins_with(timestamp, rows)
            if start is None:
                return None
        store.app.starting_time = store.app.time = start
        self._samples = DailySamples(int(start))
        return self._samples

    def _continues(self, timestamp: int, rows: Rows) -> bool:
        expected = self._start if self._last is None else self._last + _MINUTE_MS
        return timestamp == expected and len(rows) == len(self._series)

    def _observe_from(self, timestamp: int) -> None:
        unaligned = [name for name, minutes in generated_timeframes() if self._start % (minutes * _MINUTE_MS)]
        if unaligned:
            raise RunRejectedError(
                f"a minute before {timestamp + _MINUTE_MS} is missing, and candles of {unaligned[0]} were "
                "counted from the start of the session instead of by the clock",
                hint="start the session anew: minutes are missing in its candles",
            )
        store.candles.uses_timestamp_buckets = True
        if self._last is None:
            self._observe_from_the_beginning()
            return
        buckets = [Buckets() for _ in self._series]
        for one in buckets:
            one.seen(self._last)
        self._work = ObservedMinutes(self._series, buckets, self._leverage.apply)

    def _observe_from_the_beginning(self) -> None:
        self._beginning = Beginning(self._series)
        self._work = ObservedMinutes(self._series, self._beginning.buckets, self._leverage.apply)

    def _no_metrics(self) -> dict[str, Any]:
        """What ``research.backtest`` answers without a trade."""
        return {
            "total": 0,
            "win_rate": 0,
            "net_profit_percentage": 0,
            "annualization": int(resolve_annualization(self._config)),
        }
