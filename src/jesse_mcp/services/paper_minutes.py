"""Candles of several series as they arrive, made into minutes in order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jesse_mcp.domain.candles import CLOSE, HIGH, LOW, OPEN, TIMESTAMP, VOLUME, CandleArray, SeriesKey
from jesse_mcp.domain.paper import Minute
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute
from jesse_mcp.ports.market_data import CandlePage
from jesse_mcp.ports.paper import FeedNote

#: How long after its close a minute that was given up is still looked for, to be able to say that it came.
LATE_MS = 10 * MINUTE_MS
#: Of the clocks of this machine and an exchange, before a candle is called one of the future.
_CLOCK_TOLERANCE_MS = 1_500

Row = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Taken:
    """What of a page is used or worth keeping, shape (n, 6), and what has to be said of the rest."""

    candles: CandleArray
    notes: tuple[FeedNote, ...]


@dataclass(frozen=True)
class Released:
    """Minutes that can be worked through, and what has to be said of those that will not come."""

    minutes: tuple[Minute, ...]
    notes: tuple[FeedNote, ...]


class MinuteBook:
    """Holds what has arrived until a minute is complete or given up.

    A minute is complete when every series has a candle of it. It is given up, and goes on with the candles
    there are, when its close is longer ago than the patience and the exchange has gone past it: it has
    answered for the minute, or a candle of that minute or a later one of any series has arrived. Until then
    an exchange that has nothing new is waited for, since what comes later may fill the time.

    Args:
        keys: the series; their places are those of ``Minute.rows``.
        from_ms: the first minute.
        patience_ms: how long after its close a minute is waited for.
    """

    def __init__(self, keys: Sequence[SeriesKey], from_ms: int, patience_ms: int) -> None:
        self.next_ms = from_ms
        self._keys = tuple(keys)
        self._patience = patience_ms
        self._pending: list[dict[int, Row]] = [{} for _ in self._keys]
        self._answered = [from_ms] * len(self._keys)
        self._newest = from_ms - 1
        self._given_up: set[tuple[int, int]] = set()

    def wanted_from(self, place: int) -> int:
        """The first minute to ask for: of those this series lacks, or that came too late so far."""
        minute = self.next_ms
        while minute in self._pending[place]:
            minute += MINUTE_MS
        return min([minute, *(given for at, given in self._given_up if at == place)])

    def take(self, place: int, page: CandlePage, now_ms: int) -> Taken:
        """Sort in what arrived.

        Args:
            place: of the series.
            page: anything; what is no candle, or of no minute asked for, is not used.
            now_ms: the time at the exchange.
        """
        rows, notes = self._sound(place, page, now_ms)
        kept = [row for row in rows if self._place(place, row, notes)]
        if page.start_ms <= self._answered[place]:
            self._answered[place] = max(self._answered[place], page.end_ms)
        candles = np.array(kept, dtype=np.float64).reshape(-1, 6)
        return Taken(candles, tuple(notes))

    def release(self, until_ms: int, now_ms: int, *, answered: bool, limit: int) -> Released:
        """Up to ``limit`` minutes that close by ``until_ms``.

        Args:
            until_ms: up to where every series was asked for.
            now_ms: the time at the exchange.
            answered: whether all of them were answered for; without it no minute is given up.
            limit: of minutes.
        """
        minutes: list[Minute] = []
        absent: dict[int, list[int]] = {}
        while self.next_ms + MINUTE_MS <= until_ms and len(minutes) < limit:
            minute = self.next_ms
            lacking = [place for place, rows in enumerate(self._pending) if minute not in rows]
            if lacking and not (answered and self._is_gone(minute, lacking, now_ms)):
                break
            found = {place: rows.pop(minute) for place, rows in enumerate(self._pending) if minute in rows}
            if found:
                minutes.append(Minute(timestamp=minute, rows=found))
            for place in lacking:
                absent.setdefault(place, []).append(minute)
                self._given_up.add((place, minute))
            self.next_ms += MINUTE_MS
        self._given_up = {one for one in self._given_up if one[1] + MINUTE_MS + LATE_MS > now_ms}
        return Released(tuple(minutes), tuple(self._missing(absent)))

    def _is_gone(self, minute: int, lacking: list[int], now_ms: int) -> bool:
        if now_ms < minute + MINUTE_MS + self._patience:
            return False
        return self._newest >= minute or all(self._answered[place] > minute for place in lacking)

    def _sound(self, place: int, page: CandlePage, now_ms: int) -> tuple[list[list[float]], list[FeedNote]]:
        """Rows that can be, one for each minute."""
        notes: list[FeedNote] = []
        by_minute: dict[int, list[list[float]]] = {}
        for row in np.asarray(page.candles, dtype=np.float64).reshape(-1, 6).tolist():
            reason = _fault(row, page, now_ms)
            if reason is None:
                by_minute.setdefault(int(row[TIMESTAMP]), []).append(row)
            else:
                notes.append(self._note("invalid", place, page.start_ms, f"{reason}: {row}"))
        rows = []
        for minute, found in sorted(by_minute.items()):
            if len(found) > 1 and any(other != found[0] for other in found):
                notes.append(
                    self._note("invalid", place, minute, f"{len(found)} different candles of one minute")
                )
                continue
            if len(found) > 1:
                notes.append(self._note("duplicate", place, minute, f"it came {len(found)} times"))
            rows.append(found[0])
        return rows, notes

    def _place(self, place: int, row: list[float], notes: list[FeedNote]) -> bool:
        """Whether the candle is new."""
        minute = int(row[TIMESTAMP])
        candle = (row[OPEN], row[CLOSE], row[HIGH], row[LOW], row[VOLUME])
        self._newest = max(self._newest, minute)
        if minute < self.next_ms:
            if (place, minute) not in self._given_up:
                return False
            self._given_up.discard((place, minute))
            notes.append(self._note("late", place, minute, "it came after it was given up, and is not used"))
            return True
        known = self._pending[place].setdefault(minute, candle)
        if known is candle:
            return True
        if known != candle:
            notes.append(
                self._note("duplicate", place, minute, "it came again with other values; the first is used")
            )
        return False

    def _missing(self, absent: dict[int, list[int]]) -> list[FeedNote]:
        """One note for minutes in a row."""
        notes = []
        for place, minutes in absent.items():
            breaks = np.flatnonzero(np.diff(minutes) != MINUTE_MS) + 1
            for run in np.split(np.array(minutes, dtype=np.int64), breaks):
                what = f"{len(run)} minutes have no candle" if len(run) > 1 else "it has no candle"
                notes.append(self._note("missing", place, int(run[0]), what))
        return notes

    def _note(self, kind: str, place: int, minute: int, what: str) -> FeedNote:
        return FeedNote(kind, minute, f"{self._keys[place]} at {iso_minute(minute)}: {what}")


def _fault(row: list[float], page: CandlePage, now_ms: int) -> str | None:
    """Why this is no candle of the page."""
    timestamp, opened, closed, high, low, volume = row
    if not np.isfinite(row).all():
        return "not a finite number"
    if timestamp % MINUTE_MS:
        return "not at the beginning of a minute"
    if not page.start_ms <= timestamp < page.end_ms:
        return "not of a minute that was asked for"
    if timestamp + MINUTE_MS > now_ms + _CLOCK_TOLERANCE_MS:
        return "a minute that is not over"
    if low <= 0 or volume < 0 or not low <= min(opened, closed) <= max(opened, closed) <= high:
        return "prices that cannot be"
    return None
