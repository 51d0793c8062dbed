"""When a session with missing minutes begins to trade: ``_timestamp_replay_common_start`` of Jesse 3.5.

Trading begins when every series has had a candle and every route its warm-up. Minutes before are warm-up.
Jesse looks for that moment in all candles there are; it never depends on a later one, so it is found as they
come.
"""

from typing import Any

import jesse.helpers as jh
import numpy as np
from failures import RunRejectedError
from jesse.config import config
from jesse.constants import TIMEFRAME_TO_ONE_MINUTES
from jesse.routes import router
from jesse.services import candle_service
from jesse.store import store
from paper_minutes import Buckets, Rows
from paper_setup import Series, generated_timeframes

_MINUTE_MS = 60_000


class Beginning:
    """Minutes held back until trading begins."""

    def __init__(self, series: list[Series]) -> None:
        self._series = series
        self._held: list[list[Any]] = [[] for _ in series]
        self._needs: list[tuple[int, int, int]] | None = None
        self._common_start = 0
        self.buckets = [Buckets() for _ in series]

    def begins_with(self, timestamp: int, rows: Rows) -> int | None:
        """Epoch milliseconds of the beginning when trading begins with this minute; otherwise it is held."""
        if self._needs is None and all(held or place in rows for place, held in enumerate(self._held)):
            firsts = [held[0][0] if held else timestamp for held in self._held]
            self._common_start = int(max(firsts))
            _show_completed(self._series, self._common_start)
            self._needs = self._lacking()
        start = self._start_with(timestamp, rows)
        if start is not None and timestamp >= start:
            self._show_held(start)
            return start
        for place, candle in rows.items():
            self._held[place].append(candle)
            self.buckets[place].seen(timestamp)
        return None

    def _lacking(self) -> list[tuple[int, int, int]]:
        """For each route short of warm-up: place of its series, milliseconds of a candle, candles lacking."""
        places = {one.key: place for place, one in enumerate(self._series)}
        lacking = []
        for route in router.routes + router.data_routes:
            storage = store.candles.get_storage(route.exchange, route.symbol, route.timeframe)
            deficit = _required() - len(storage)
            if deficit > 0:
                length = TIMEFRAME_TO_ONE_MINUTES[route.timeframe] * _MINUTE_MS
                lacking.append((places[jh.key(route.exchange, route.symbol)], length, deficit))
        return lacking

    def _start_with(self, timestamp: int, rows: Rows) -> int | None:
        if self._needs is None:
            return None
        start = self._common_start
        for place, length, deficit in self._needs:
            times = [int(candle[0]) for candle in self._held[place]] + [timestamp] * (place in rows)
            begins = sorted({time - time % length for time in times})
            if len(begins) < deficit:
                return None
            start = max(start, begins[deficit - 1] + length)
        return start

    def _show_held(self, start: int) -> None:
        for one, held in zip(self._series, self._held, strict=True):
            if held:
                candle_service.batch_add_candle(
                    np.array(held), one.exchange, one.symbol, "1m", with_generation=False
                )
            held.clear()
        _show_completed(self._series, start)
        lacking = self._lacking()
        if lacking:
            place, length, deficit = lacking[0]
            minutes = length // _MINUTE_MS
            raise RunRejectedError(
                f"{self._series[place].symbol} lacks {deficit} warm-up candles of {minutes} minutes",
                hint="import earlier candles, start later, or lower warm_up_candles",
            )


def _required() -> int:
    if not store.candles.enforce_warmup:
        return 0
    return int(config["env"]["data"]["warmup_candles_num"])


def _show_completed(series: list[Series], moment: int) -> None:
    """Make the longer candles that are complete at ``moment`` and not made yet.

    The last one made is made again: it may have been the warm-up's part of a bucket.
    """
    for one in series:
        minutes = candle_service.get_candles(one.exchange, one.symbol, "1m")
        for timeframe, _ in generated_timeframes():
            storage = store.candles.get_storage(one.exchange, one.symbol, timeframe)
            since = storage[-1][0] if len(storage) else 0
            made = candle_service.generate_completed_candles_from_observed_minutes(
                timeframe, minutes[np.searchsorted(minutes[:, 0], since) :], moment
            )
            candle_service.batch_add_candle(made, one.exchange, one.symbol, timeframe, with_generation=False)
