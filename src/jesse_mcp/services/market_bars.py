"""Stored candles as bars of a timeframe, of one symbol or of several side by side."""

import bisect
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.bars import Bars, bars
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_date, iso_minute, timeframe_minutes
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.services.candle_slices import import_call

_COLUMNS = 6
_CLOSE_TO_COMPLETE = 0.999


@dataclass(frozen=True)
class MarketBars:
    """Closes of several symbols at the times all of them have, shape (n, k).

    Attributes:
        timestamps: when each bar begins, epoch milliseconds, shape (n,).
        by_symbol: every bar of each symbol, before they were aligned.
        remarks: what had to be left out, in words.
    """

    keys: tuple[SeriesKey, ...]
    timestamps: NDArray[np.int64]
    closes: NDArray[np.float64]
    by_symbol: dict[str, Bars]
    remarks: tuple[str, ...]


class MarketReader:
    """Blocking; called in a thread."""

    def __init__(self, store: CandleStore) -> None:
        self._store = store

    def candles(self, key: SeriesKey, start_ms: int, end_ms: int) -> CandleArray:
        """Rows of the half-open range, memory-mapped, shape (n, 6).

        Raises:
            ResearchError: ``candles_missing`` when there is none.
        """
        rows: CandleArray = np.empty((0, _COLUMNS))
        if self._store.summary(key) is not None:
            mapped = self._store.mapped(key)
            whole = np.memmap(mapped.path, dtype="<f8", mode="r", shape=(mapped.rows, _COLUMNS))
            first, end = (
                bisect.bisect_left(range(mapped.rows), moment, key=lambda row: int(whole[row, 0]))
                for moment in (start_ms, end_ms)
            )
            rows = whole[first:end]
        if not len(rows):
            raise ResearchError(
                ErrorCode.CANDLES_MISSING,
                f"no candles of {key} are stored from {iso_date(start_ms)} to {iso_date(end_ms)}",
                hint=import_call(key, start_ms, end_ms if self._store.fills_gaps else None),
                details={"exchange": key.exchange, "symbol": key.symbol},
            )
        return rows

    def bars(self, keys: tuple[SeriesKey, ...], timeframe: str, start_ms: int, end_ms: int) -> MarketBars:
        """Bars of every series, counted from ``start_ms``, and their closes aligned.

        A bar is left out when any symbol has no candle in it, and at the end when its time is not over.

        Raises:
            ResearchError: ``candles_missing`` for a series without a candle in the range;
                ``invalid_argument`` for an unknown timeframe, or when no bar is common to all.
        """
        minutes = timeframe_minutes(timeframe)
        whole_end = start_ms + (end_ms - start_ms) // (minutes * MINUTE_MS) * minutes * MINUTE_MS
        if whole_end == start_ms:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"from {iso_minute(start_ms)} to {iso_minute(end_ms)} there is no whole {timeframe} bar",
                hint="give a longer range or a shorter timeframe",
            )
        wanted = (whole_end - start_ms) // (minutes * MINUTE_MS)
        by_symbol = {
            key.symbol: bars(self.candles(key, start_ms, whole_end), minutes, start_ms) for key in keys
        }
        remarks = [
            remark
            for symbol, found in by_symbol.items()
            for remark in _incomplete(symbol, found, wanted, minutes)
        ]
        common = _common([found.timestamps for found in by_symbol.values()])
        if not len(common):
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"{', '.join(by_symbol)} have no {timeframe} bar in common in that range",
                hint="see candles_available for what is stored of each",
            )
        if len(by_symbol) > 1:
            remarks += [
                f"{len(found.timestamps) - len(common)} bars of {symbol} were left out: another has none"
                for symbol, found in by_symbol.items()
                if len(found.timestamps) > len(common)
            ]
        closes = [found.close[np.searchsorted(found.timestamps, common)] for found in by_symbol.values()]
        return MarketBars(
            keys=keys,
            timestamps=common,
            closes=np.column_stack(closes),
            by_symbol=by_symbol,
            remarks=tuple(remarks),
        )


def _common(timestamps: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    common = timestamps[0]
    for other in timestamps[1:]:
        common = np.intersect1d(common, other, assume_unique=True)
    return common


def _incomplete(symbol: str, found: Bars, wanted: int, minutes: int) -> list[str]:
    remarks = []
    if len(found.timestamps) < wanted:
        first, last = (iso_minute(int(moment)) for moment in found.timestamps[[0, -1]])
        remarks.append(
            f"{symbol} has {len(found.timestamps)} of {wanted} bars, from {first} to {last}: a return over "
            "a missing bar is one over a longer time"
        )
    share = found.minutes.sum() / (len(found.minutes) * minutes)
    if share < _CLOSE_TO_COMPLETE:
        remarks.append(f"the bars of {symbol} are made of {share:.1%} of their minutes: the rest is missing")
    return remarks
