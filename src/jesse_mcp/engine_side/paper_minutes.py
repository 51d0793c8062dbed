"""The loop bodies of Jesse's simulators, one minute at a time.

Jesse 3.5 has two for runs that are not fast: ``_step_simulator`` for series that have every minute, and
``_timestamp_simulator`` for others (``jesse.modes.backtest_mode``). What happens inside a minute is theirs;
the order in which it happens is written here, since theirs want the whole future at once.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jesse.constants import TIMEFRAME_TO_ONE_MINUTES
from jesse.modes import backtest_mode
from jesse.modes.utils import save_daily_portfolio_balance
from jesse.routes import router
from jesse.services import candle_service, order_service
from jesse.store import store
from paper_setup import Series, generated_timeframes

_MINUTE_MS = 60_000
_DAY_MS = 86_400_000

#: Candles of one minute by the place of their series.
Rows = dict[int, Any]
#: Called when prices of a minute have had their effect and before strategies decide.
BeforeDecisions = Callable[[], None]


class DailySamples:
    """When Jesse samples the balance: a minute after the first day is over, then every 24 hours."""

    def __init__(self, start_ms: int) -> None:
        save_daily_portfolio_balance(is_initial=True)
        self._next = start_ms + _DAY_MS + _MINUTE_MS

    def take_if_due(self) -> None:
        if int(store.app.time) >= self._next:
            save_daily_portfolio_balance()
            while self._next <= int(store.app.time):
                self._next += _DAY_MS


class DenseMinutes:
    """The order of ``_step_simulator``: every minute has a candle of every series.

    Series by series, in the order given: the candle is shown, prices have their effect, and candles of longer
    timeframes are made. These are counted from the first minute on, whatever the clock says. Then the routes
    decide in the order given.
    """

    def __init__(self, series: list[Series], before_decisions: BeforeDecisions) -> None:
        self._series = series
        self._before_decisions = before_decisions
        self._timeframes = generated_timeframes()
        self._done = 0
        self._closes: list[Any] = [None] * len(series)

    def work(self, rows: Rows) -> None:
        store.app.time = rows[0][0] + _MINUTE_MS
        self._done += 1
        for place, series in enumerate(self._series):
            self._show(place, series, rows[place])
        self._before_decisions()
        for route in router.routes:
            if self._done % TIMEFRAME_TO_ONE_MINUTES[route.timeframe] == 0:
                route.strategy._execute()
            order_service.update_active_orders(route.exchange, route.symbol)
        order_service.execute_simulated_market_orders()

    def _show(self, place: int, series: Series, candle: Any) -> None:
        exchange, symbol = series.exchange, series.symbol
        _add(candle, exchange, symbol, "1m")
        backtest_mode._simulate_price_change_effect(
            candle, exchange, symbol, previous_close=self._closes[place]
        )
        self._closes[place] = candle[2]
        for timeframe, minutes in self._timeframes:
            if self._done % minutes == 0:
                shown = candle_service.get_candles(exchange, symbol, "1m")
                made = candle_service.generate_candle_from_one_minutes(timeframe, shown[-minutes:])
                _add(made, exchange, symbol, timeframe)

    @staticmethod
    def routes() -> list[Any]:
        """In the order they end."""
        return list(router.routes)


class Buckets:
    """Which candles of longer timeframes a minute of a series completes, by the clock.

    A bucket is complete with its last minute, or with the first later one that there is.
    """

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def seen(self, timestamp: int) -> list[tuple[str, int]]:
        """Timeframe and beginning of each bucket complete at the close of the minute ``timestamp``."""
        complete = []
        for timeframe, minutes in generated_timeframes():
            length = minutes * _MINUTE_MS
            bucket = timestamp - timestamp % length
            before = self._open.pop(timeframe, None)
            if before is not None and before != bucket:
                complete.append((timeframe, before))
            if bucket + length == timestamp + _MINUTE_MS:
                complete.append((timeframe, bucket))
            else:
                self._open[timeframe] = bucket
        return complete


class ObservedMinutes:
    """The order of ``_timestamp_simulator``: what is missing stays missing, and the clock makes the candles.

    All candles of the minute are shown first; then prices have their effect, series by series in the order of
    their names; then those routes decide, in the order of their names, whose timeframe ends with this minute.
    A candle that became complete later than that is shown, but nothing is decided on it.
    """

    def __init__(
        self, series: list[Series], buckets: list[Buckets], before_decisions: BeforeDecisions
    ) -> None:
        self._series = series
        self._buckets = buckets
        self._before_decisions = before_decisions
        self._no_pipelines = dict.fromkeys(one.key for one in series)

    def work(self, rows: Rows) -> None:
        event, candles = self._event(rows)
        updated, sources = backtest_mode._apply_timestamp_replay_event(
            event, candles, self._no_pipelines, process_orders=True
        )
        self._before_decisions()
        for route in self.routes():
            if (route.exchange, route.symbol, route.timeframe) in updated:
                route.strategy._execute()
        for exchange, symbol in sorted(sources):
            order_service.update_active_orders(exchange, symbol)
        order_service.execute_simulated_market_orders()

    def _event(self, rows: Rows) -> tuple[dict[str, Any], dict[str, Any]]:
        """The minute as Jesse's plan has it; its arrays hold no more than the rows the event points to."""
        candles, sources, aggregates = {}, [], []
        timestamp = int(next(iter(rows.values()))[0])
        for place, candle in rows.items():
            series = self._series[place]
            complete = self._buckets[place].seen(timestamp)
            begins = sorted({begin for _, begin in complete})
            pointed_to = np.zeros((1 + len(begins), len(candle)))
            pointed_to[0] = candle
            pointed_to[1:, 0] = begins
            candles[series.key] = {
                "exchange": series.exchange,
                "symbol": series.symbol,
                "candles": pointed_to,
            }
            sources.append((series.key, 0))
            aggregates += [(series.key, timeframe, 1 + begins.index(begin)) for timeframe, begin in complete]
        event = {
            "time": timestamp + _MINUTE_MS,
            "sources": sorted(sources),
            "aggregates": sorted(aggregates),
        }
        return event, candles

    @staticmethod
    def routes() -> list[Any]:
        """In the order they decide and end."""
        return sorted(
            router.routes,
            key=lambda route: (route.exchange, route.symbol, route.timeframe, str(route.strategy_name)),
        )


def _add(candle: Any, exchange: str, symbol: str, timeframe: str) -> None:
    candle_service.add_candle(
        candle, exchange, symbol, timeframe, with_execution=False, with_generation=False
    )
