"""Whether stored candles can be trusted: gaps with their reasons, and what is suspicious about the rest."""

import asyncio
import bisect
import threading
import time
from collections import OrderedDict

import numpy as np
from pydantic import Field

from jesse_mcp.analytics.candle_quality import (
    FROZEN_CANDLES,
    Count,
    Move,
    Moves,
    Quality,
    Run,
    candle_quality,
)
from jesse_mcp.domain.candles import TIMESTAMP, CandleArray, Coverage, SeriesKey, measure_coverage
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute
from jesse_mcp.ports.candle_store import CandleStore

_GAPS_SHOWN = 10
_EXAMPLES = 5
_COLUMNS = 6
_REMEMBERED = 256
#: Share of minutes without volume from which a backtest is warned: fills there are fiction.
_MUCH_WITHOUT_VOLUME = 0.05


class PriceMove(Value):
    at: str = Field(description="the minute in which the price has moved, UTC")
    minutes: int = Field(description="since the candle before")
    percent: float
    score: float = Field(description="modified z-score")


class PriceMoves(Value):
    count: int
    first: tuple[PriceMove, ...]


class FrozenStretch(Value):
    start: str = Field(description="UTC")
    minutes: int
    traded: bool = Field(description="there is volume in it, although the price never changes")


class FrozenPrices(Value):
    count: int = Field(description=f"stretches of {FROZEN_CANDLES} candles or more with the same prices")
    candles: int
    traded: int = Field(description="stretches with volume in them")
    longest: int = Field(description="minutes")
    first: tuple[FrozenStretch, ...]


class WithoutVolume(Value):
    count: int
    share: float = Field(description="of all candles, 0 to 1")
    longest: int = Field(description="minutes")
    longest_start: str | None


class SuspectRows(Value):
    count: int
    first: tuple[str, ...] = Field(description="UTC")


class CandleQuality(Value):
    """What is suspicious about candles; the rules are those of the analytics function of the same name."""

    rows: int
    invalid: SuspectRows = Field(description="rows that are no candle; the store takes none")
    duplicates: SuspectRows
    out_of_order: SuspectRows
    frozen: FrozenPrices
    zero_volume: WithoutVolume
    outliers: PriceMoves = Field(description="minutes that moved far beyond what the day does")
    spikes: PriceMoves = Field(description="outliers that the next minute takes back")
    wicks: PriceMoves = Field(description="highs and lows as far beyond the body")
    gaps: int
    jumps: PriceMoves = Field(description="moves across gaps that are too large for the length of the gap")


class SeriesCheck(Value):
    """A series read whole and compared with its hash."""

    exchange: str
    symbol: str
    start: str = Field(description="first minute looked at, UTC")
    end: str = Field(description="exclusive, UTC")
    coverage: Coverage
    quality: CandleQuality


class CandleQualityService:
    """Looks at stored candles. Safe to use from several threads.

    Args:
        store: where candles live.
    """

    def __init__(self, store: CandleStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._warnings: OrderedDict[tuple[str, int, int], tuple[str, ...]] = OrderedDict()

    async def check(
        self, key: SeriesKey, start_ms: int | None = None, end_ms: int | None = None
    ) -> SeriesCheck:
        """Read a series whole, compare it with its hash, measure its gaps and the quality of its candles.

        Args:
            key: the series.
            start_ms: first minute to look at (epoch ms); default: the first candle.
            end_ms: exclusive; default: after the last candle.

        Raises:
            ResearchError: ``series_not_found``, ``storage_failed`` when the stored file is damaged,
                ``invalid_argument`` for a range that is not whole minutes.
        """
        return await asyncio.to_thread(self._check, key, start_ms, end_ms)

    def _check(self, key: SeriesKey, start_ms: int | None, end_ms: int | None) -> SeriesCheck:
        candles = self._store.read(key)
        if not len(candles):
            raise ResearchError(
                ErrorCode.SERIES_NOT_FOUND,
                f"no candles of {key} are stored",
                hint="list what is stored with candles_available, or import candles with candles_import",
            )
        timestamps = candles[:, TIMESTAMP].astype(np.int64)
        low = int(timestamps[0]) if start_ms is None else start_ms
        high = int(timestamps[-1]) + MINUTE_MS if end_ms is None else end_ms
        known, now_ms = self._store.answered(key), int(time.time() * 1000)
        coverage = measure_coverage(key.exchange, timestamps, known, low, high, _GAPS_SHOWN, now_ms=now_ms)
        first, last = np.searchsorted(timestamps, [low, high])
        return SeriesCheck(
            exchange=key.exchange,
            symbol=key.symbol,
            start=iso_minute(low),
            end=iso_minute(high),
            coverage=coverage,
            quality=_readable(candle_quality(candles[first:last], max_examples=_EXAMPLES)),
        )

    def warnings_for(self, key: SeriesKey, start_ms: int, end_ms: int) -> list[str]:
        """What a backtest over ``[start_ms, end_ms)`` (epoch ms) should know about its candles. Blocks.

        As :func:`findings`, with the name of the series. The same rows are looked at once.

        Raises:
            ResearchError: ``series_not_found``, ``storage_failed``.
        """
        mapped = self._store.mapped(key)
        memory = (mapped.content_hash, start_ms, end_ms)
        with self._lock:
            known = self._warnings.get(memory)
            if known is not None:
                self._warnings.move_to_end(memory)
        if known is None:
            rows = np.memmap(mapped.path, dtype="<f8", mode="r", shape=(mapped.rows, _COLUMNS))
            known = tuple(findings(_between(rows, start_ms, end_ms)))
            with self._lock:
                self._warnings[memory] = known
                while len(self._warnings) > _REMEMBERED:
                    self._warnings.popitem(last=False)
        return [f"{key}: {warning}" for warning in known]


def said_of_candles(record: RunRecord) -> tuple[str, ...]:
    """What :meth:`CandleQualityService.warnings_for` said of the candles of a stored run."""
    series = tuple(f"{name}: " for name in record.candle_hashes)
    return tuple(warning for warning in record.warnings if warning.startswith(series))


def _between(rows: CandleArray, start_ms: int, end_ms: int) -> CandleArray:
    # Not np.searchsorted, which would read the whole file to make a column of it.
    first, last = (
        bisect.bisect_left(range(len(rows)), moment, key=lambda row: int(rows[row, TIMESTAMP]))
        for moment in (start_ms, end_ms)
    )
    return np.array(rows[first:last])


def findings(candles: CandleArray) -> list[str]:
    """What is suspicious about candles (n, 6) in Jesse order: a sentence with numbers for every kind of it.

    None when nothing is noteworthy. Missing minutes are not among them, only prices that jump across them.
    """
    found = candle_quality(candles, max_examples=1)
    return [
        *_suspect_rows(found),
        *_frozen(found),
        *_without_volume(found),
        *_moves(found["outliers"], "price outlier", _taken_back(found["spikes"]["count"])),
        *_moves(found["wicks"], "long wick"),
        *_moves(found["jumps"], "price jump", " across a gap"),
    ]


def _suspect_rows(found: Quality) -> list[str]:
    counts = {
        "rows are no valid candles": found["invalid"]["count"],
        "timestamps are there twice": found["duplicates"]["count"],
        "rows are out of order": found["out_of_order"]["count"],
    }
    return [f"{count:,} {what}" for what, count in counts.items() if count]


def _frozen(found: Quality) -> list[str]:
    frozen = found["frozen"]
    if not frozen["count"]:
        return []
    first = iso_minute(frozen["examples"][0]["start_ms"])
    traded = f", {frozen['traded']:,} of them with volume" if frozen["traded"] else ""
    return [
        f"{_plural(frozen['count'], 'stretch', 'es')} of {FROZEN_CANDLES} minutes or more without a price "
        f"change{traded} ({frozen['candles']:,} candles, at most {frozen['longest']:,} in a row, first at "
        f"{first})"
    ]


def _without_volume(found: Quality) -> list[str]:
    empty = found["zero_volume"]
    if empty["share"] < _MUCH_WITHOUT_VOLUME:
        return []
    return [
        f"{empty['share']:.1%} of the minutes have no volume, at most {empty['longest']:,} in a row: "
        "orders filled there would not have been"
    ]


def _moves(moves: Moves, what: str, which: str = "") -> list[str]:
    largest, count = moves["largest"], moves["count"]
    if largest is None:
        return []
    size = f"{'largest ' if count > 1 else ''}{largest['percent']:+,.2f}%"
    return [f"{_plural(count, what, 's')}{which} ({size} at {iso_minute(largest['timestamp_ms'])})"]


def _taken_back(spikes: int) -> str:
    """The way back of a spike is an outlier too, so the two are one sentence."""
    if not spikes:
        return ""
    return f", {spikes:,} of them {'a spike' if spikes == 1 else 'spikes'} that the next minute takes back"


def _plural(count: int, what: str, ending: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else ending}"


def _readable(found: Quality) -> CandleQuality:
    frozen, empty = found["frozen"], found["zero_volume"]
    start = empty["longest_start_ms"]
    return CandleQuality(
        rows=found["rows"],
        invalid=_rows(found["invalid"]),
        duplicates=_rows(found["duplicates"]),
        out_of_order=_rows(found["out_of_order"]),
        frozen=FrozenPrices(
            count=frozen["count"],
            candles=frozen["candles"],
            traded=frozen["traded"],
            longest=frozen["longest"],
            first=tuple(_stretch(run) for run in frozen["examples"]),
        ),
        zero_volume=WithoutVolume(
            count=empty["count"],
            share=empty["share"],
            longest=empty["longest"],
            longest_start=None if start is None else iso_minute(start),
        ),
        outliers=_price_moves(found["outliers"]),
        spikes=_price_moves(found["spikes"]),
        wicks=_price_moves(found["wicks"]),
        gaps=found["gaps"],
        jumps=_price_moves(found["jumps"]),
    )


def _rows(found: Count) -> SuspectRows:
    return SuspectRows(count=found["count"], first=tuple(iso_minute(moment) for moment in found["examples"]))


def _stretch(run: Run) -> FrozenStretch:
    return FrozenStretch(start=iso_minute(run["start_ms"]), minutes=run["minutes"], traded=run["traded"])


def _price_moves(moves: Moves) -> PriceMoves:
    return PriceMoves(count=moves["count"], first=tuple(_price_move(move) for move in moves["examples"]))


def _price_move(move: Move) -> PriceMove:
    return PriceMove(
        at=iso_minute(move["timestamp_ms"]),
        minutes=move["minutes"],
        percent=round(move["percent"], 4),
        score=round(move["score"], 1),
    )
