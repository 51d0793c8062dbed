"""One-minute candles through Jesse's own exchange drivers, a page at a time, at the driver's pace."""

import math
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from channel import Channel
from driver_manners import ExchangeClock, asked_from, served_from, teach
from exchange_failures import ExchangeFailure, classify
from jesse.modes.import_candles_mode.drivers import drivers
from jesse.services.historical_data import HistoricalCandleRange, HistoricalCandleRequest

MINUTE_MS = 60_000
# An exchange may publish a minute late; a younger one that is absent may still come.
_SETTLED_MS = 10 * MINUTE_MS
_LONGEST_WAIT = 120.0

Rows = list[list[float]]


def serve(channel: Channel, request: dict[str, Any]) -> dict[str, Any]:
    """Answer a ``candles`` or ``symbols`` request; pages go out as they come in."""
    # This process runs no strategy: it may know the way through the user's proxy.
    os.environ.update(request["network"])
    if request["exchange"] not in drivers:
        return {"event": "failed", **_no_driver(request["exchange"]).describe()}
    try:
        driver = drivers[request["exchange"]]()
        clock = teach(driver)
        if request["kind"] == "symbols":
            return {"event": "result", "symbols": sorted(set(driver.get_available_symbols()))}
        pager = Pager(driver, request, channel.send, clock)
        return {"event": "result", **pager.run()}
    except Exception as error:  # noqa: BLE001 - drivers raise whatever their libraries raise
        return {"event": "failed", **classify(error).describe()}


def _no_driver(exchange: str) -> ExchangeFailure:
    return ExchangeFailure("no_driver", f"Jesse has no driver that asks {exchange} without an account")


class Pager:
    """Walks the ranges of one request."""

    def __init__(
        self,
        driver: Any,
        request: dict[str, Any],
        send: Callable[[dict[str, Any]], None],
        clock: ExchangeClock,
    ) -> None:
        self._driver = driver
        self._clock = clock
        self._symbol: str = request["symbol"]
        self._ranges: list[list[int]] = request["ranges"]
        self._pace: float = driver.sleep_time * request["pace"]
        self._retry_seconds: float = request["retry_seconds"]
        self._attempts: int = request["attempts"]
        self._send = send
        self._known = False
        self._pages = 0
        self._waited = 0.0

    def run(self) -> dict[str, Any]:
        """Fetch every range; how many pages it took and when the symbol was listed, if that is known."""
        listed = self._patiently(self._listed)
        for start, end in self._ranges:
            earliest = max(listed or 0, served_from(self._driver, int(time.time() * 1000)))
            first = min(max(start, earliest), end)
            if first > start:
                self._page(start, first, [])
            for page_start, page_end, rows in self._walk(first, end):
                self._page(page_start, page_end, rows)
        return {
            "pages": self._pages,
            "listed_ms": listed,
            "seconds_waiting": self._waited,
            "exchange_ms": self._clock.now_ms(),
        }

    def _page(self, start: int, end: int, rows: Rows) -> None:
        self._send({"event": "page", "start_ms": start, "end_ms": end, "rows": rows})

    def _listed(self) -> int | None:
        """The first minute the exchange has; ``None`` when its driver cannot tell."""
        start, end = self._ranges[0][0], self._ranges[-1][1]
        wanted = HistoricalCandleRequest(self._symbol, "1m", HistoricalCandleRange(start, end))
        earliest = self._driver.find_earliest_available_timestamp(wanted)
        if earliest is None:
            return end
        self._known = earliest > start
        return None if earliest <= start else int(earliest) // MINUTE_MS * MINUTE_MS

    def _walk(self, start: int, end: int) -> Iterator[tuple[int, int, Rows]]:
        while start < end:
            rows = self._patiently(partial(self._believable, start))
            # By the exchange's clock: by one that is ahead of it, a candle would be taken before its end.
            now = int(time.time() * 1000) if self._clock.latest_ms is None else self._clock.latest_ms
            page_end = min(start + self._driver.count * MINUTE_MS, end)
            finished = [row for row in rows if start <= row[0] < end and row[0] + MINUTE_MS <= now]
            answered = self._answered_until(page_end, finished, now)
            if answered <= start:
                return
            yield start, answered, [row for row in finished if row[0] < answered]
            start = answered

    def _answered_until(self, page_end: int, rows: Rows, now: int) -> int:
        """Up to where the exchange has said all it has to say."""
        settled = (now - _SETTLED_MS) // MINUTE_MS * MINUTE_MS
        if not rows:
            return min(page_end, settled)
        if rows[0][0] >= page_end:
            # It skipped ahead to what it has: nothing lies between.
            return int(rows[0][0])
        # Some send more than was asked for; what lies beyond the page is left for the next one.
        last = max(int(row[0]) for row in rows if row[0] < page_end) + MINUTE_MS
        return max(last, min(page_end, settled))

    def _believable(self, start: int) -> Rows:
        """A page without contradictions. An empty one is asked for twice: it may be a hiccup."""
        rows = self._ask(start)
        if rows:
            self._known = True
            return rows
        return self._ask(start)

    def _ask(self, start: int) -> Rows:
        self._pages += 1
        if self._pages > 1:
            time.sleep(self._pace)
        try:
            answer = self._driver.fetch(self._symbol, asked_from(self._driver, start), "1m")
        except Exception as error:
            failure = classify(error)
            # Gate's driver takes an empty page for an unknown symbol.
            if failure.kind == "symbol_unknown" and self._is_listed():
                return []
            raise
        return normalized(answer)

    def _is_listed(self) -> bool:
        if not self._known:
            self._known = self._symbol in self._driver.get_available_symbols()
        return self._known

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        """Try again what may pass by itself, after as long as the exchange asks for."""
        for attempt in range(1, self._attempts + 1):
            try:
                return ask()
            except Exception as error:
                failure = classify(error)
                if not failure.may_pass or attempt == self._attempts:
                    raise
                pause = failure.retry_after or self._retry_seconds * 2 ** (attempt - 1)
                if pause > _LONGEST_WAIT:
                    raise
                self._send({"event": "waiting", "seconds": pause, "reason": failure.message})
                time.sleep(pause)
                self._waited += pause
        raise AssertionError("unreachable")


def normalized(answer: Any) -> Rows:
    """Rows ``[timestamp, open, close, high, low, volume]``, sorted, each minute once.

    Raises:
        ExchangeFailure: for two different candles of one minute, or one that cannot be.
    """
    by_minute: dict[int, list[float]] = {}
    for entry in answer or []:
        timestamp = int(entry["timestamp"])
        row = [timestamp, *(float(entry[name]) for name in ("open", "close", "high", "low", "volume"))]
        _check(row)
        if by_minute.setdefault(timestamp, row) != row:
            raise ExchangeFailure(
                "answer_invalid", f"two different candles for minute {timestamp}", may_pass=True
            )
    return [by_minute[timestamp] for timestamp in sorted(by_minute)]


def _check(row: list[float]) -> None:
    timestamp, opened, closed, high, low, volume = row
    sound = (
        all(math.isfinite(value) for value in row)
        and timestamp % MINUTE_MS == 0
        and low > 0
        and high >= max(opened, closed)
        and low <= min(opened, closed)
        and volume >= 0
    )
    if not sound:
        raise ExchangeFailure("answer_invalid", f"a candle that cannot be: {row}", may_pass=True)
