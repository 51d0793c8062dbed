"""Which rows of which mapped series a run reads, proved complete before it starts."""

import bisect
import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np

from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice, EngineRun, GapPolicy
from jesse_mcp.domain.candles import CandleArray, Coverage, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.timeframes import (
    DAY_MS,
    MINUTE_MS,
    iso_date,
    iso_minute,
    parse_minute,
    timeframe_minutes,
)
from jesse_mcp.ports.candle_store import CandleStore

_REMEMBERED_HASHES = 256
_COLUMNS = 6

#: Without a choice of the user a series with gaps is accepted when its exchange was asked for every missing
#: minute, and has at least this share of the range.
ENOUGH_COVERAGE = 0.99
_TAKE_GAPS = "run on the candles there are with gaps='observed'"


class CandleSlicer:
    """Cuts the stored series to what a request needs.

    Args:
        store: of the candles.
        warm_up: the argument that an error names when fewer warm-up candles would help.
        takes_gaps: the caller has an argument ``gaps``, which an error may advise.
    """

    def __init__(
        self, store: CandleStore, *, warm_up: str = "warm_up_candles", takes_gaps: bool = True
    ) -> None:
        self._store = store
        self._warm_up = warm_up
        self._takes_gaps = takes_gaps
        self._hashes: OrderedDict[tuple[str, int, int], str] = OrderedDict()

    def last_full_day(self, keys: list[SeriesKey]) -> int:
        """The latest midnight (epoch ms, exclusive end) up to which every series has candles.

        Raises:
            ResearchError: ``candles_missing`` for a series that is not stored at all.
        """
        ends = []
        for key in keys:
            summary = self._store.summary(key)
            if summary is None:
                raise self._nothing(key)
            ends.append((parse_minute(summary.last) + MINUTE_MS) // DAY_MS * DAY_MS)
        return min(ends)

    def cut(self, request: BacktestRequest, policy: GapPolicy | None = None) -> tuple[CandleSlice, ...]:
        """A slice for every series of the request.

        Args:
            policy: ``"refuse"`` wants every minute, ``"observed"`` takes what there is, ``None`` takes gaps
                that the exchange itself has, up to a limit.

        Raises:
            ResearchError: ``candles_missing`` naming the first missing range and the call that fills it.
        """
        warm_start = warm_up_start(request, self._warm_up)
        return tuple(self._slice(key, warm_start, request, policy) for key in series_of(request))

    def _slice(
        self, key: SeriesKey, warm_start: int, request: BacktestRequest, policy: GapPolicy | None
    ) -> CandleSlice:
        if self._store.summary(key) is None:
            raise self._nothing(key, warm_start, request.end_ms)
        mapped = self._store.mapped(key)
        rows = np.memmap(mapped.path, dtype="<f8", mode="r", shape=(mapped.rows, _COLUMNS))
        first, trading, end = (
            bisect.bisect_left(range(mapped.rows), moment, key=lambda row: int(rows[row, 0]))
            for moment in (warm_start, request.start_ms, request.end_ms)
        )
        missing = (request.end_ms - warm_start) // MINUTE_MS - (end - first)
        if missing:
            coverage = self._store.coverage(key, warm_start, request.end_ms, max_gaps=10)
            traded = end > trading or request.start_ms == request.end_ms
            usable = traded and (first < trading or not request.warm_up_candles)
            if not (usable and _acceptable(coverage, policy)):
                raise self._incomplete(key, warm_start, request, coverage, policy)
        return CandleSlice(
            exchange=key.exchange,
            symbol=key.symbol,
            path=mapped.path,
            total_rows=mapped.rows,
            start_row=first,
            trading_row=trading,
            end_row=end,
            content_hash=self._hash(mapped.content_hash, Path(mapped.path), first, end),
            missing=missing,
        )

    def _hash(self, series: str, path: Path, first: int, end: int) -> str:
        """Of the rows read only, so that candles added later leave old results valid."""
        memory = (series, first, end)
        if memory not in self._hashes:
            rows = np.memmap(
                path, dtype="<f8", mode="r", offset=first * 8 * _COLUMNS, shape=(end - first, _COLUMNS)
            )
            self._hashes[memory] = hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()
            if len(self._hashes) > _REMEMBERED_HASHES:
                self._hashes.popitem(last=False)
        return self._hashes[memory]

    def _nothing(self, key: SeriesKey, start: int | None = None, end: int | None = None) -> ResearchError:
        wanted = (
            "" if start is None or end is None else f", needed are {iso_minute(start)} to {iso_minute(end)}"
        )
        return ResearchError(
            ErrorCode.CANDLES_MISSING,
            f"no candles of {key} are stored{wanted}",
            hint=import_call(key, start, end if self._store.fills_gaps else None),
            details={"exchange": key.exchange, "symbol": key.symbol},
        )

    def _incomplete(
        self,
        key: SeriesKey,
        warm_start: int,
        request: BacktestRequest,
        coverage: Coverage,
        policy: GapPolicy | None,
    ) -> ResearchError:
        gap = coverage.first_missing
        if gap is None:
            raise ResearchError(
                ErrorCode.STORAGE_FAILED,
                f"the stored candles of {key} do not match their index",
                hint="delete the series with candles_delete and import it again",
            )
        warming = gap.start < iso_minute(request.start_ms)
        part = (
            f" (of these, the {request.warm_up_candles} warm-up candles start at {iso_minute(warm_start)})"
            if warming
            else ""
        )
        return ResearchError(
            ErrorCode.CANDLES_MISSING,
            f"candles of {key} are missing from {gap.start} to {gap.end}: {coverage.present} of "
            f"{coverage.expected} minutes are stored{part}",
            hint="; or ".join(
                [
                    *_ways_in(self._filling(key, warm_start, request), coverage),
                    *([f"start later or lower {self._warm_up}"] if warming else []),
                    *([_TAKE_GAPS] if self._takes_gaps and policy != "observed" else []),
                ]
                or ["choose a range the exchange has candles for"]
            ),
            details={
                "exchange": key.exchange,
                "symbol": key.symbol,
                "needed_start": iso_minute(warm_start),
                "needed_end": iso_minute(request.end_ms),
                "coverage": coverage.model_dump(),
            },
        )

    def _filling(self, key: SeriesKey, warm_start: int, request: BacktestRequest) -> str | None:
        """The call that brings what lacks; ``None`` when there is none."""
        if self._store.fills_gaps:
            return import_call(key, warm_start, request.end_ms)
        stored = self._store.summary(key)
        if stored is None:
            return import_call(key, warm_start, None)
        last = parse_minute(stored.last) + MINUTE_MS
        if parse_minute(stored.first) <= warm_start and last >= request.end_ms:
            return None
        series = f"exchange={key.exchange!r}, symbol={key.symbol!r}"
        return f"fill it with candles_import({series}, start_date={iso_date(warm_start)!r})"


def _acceptable(coverage: Coverage, policy: GapPolicy | None) -> bool:
    if policy is not None:
        return policy == "observed"
    from_the_exchange = set(coverage.missing_by_kind) <= {"no_trades", "outage"}
    return from_the_exchange and coverage.present >= ENOUGH_COVERAGE * coverage.expected


def _ways_in(filling: str | None, coverage: Coverage) -> list[str]:
    """How the candles that lack can be had."""
    ways = []
    if filling is not None and "not_asked" in coverage.missing_by_kind:
        ways.append(filling)
    if "not_kept" in coverage.missing_by_kind:
        ways.append("import from a file, with candles_import(path=...), what the exchange no longer keeps")
    return ways


def series_of(request: BacktestRequest) -> list[SeriesKey]:
    """Every series the request reads, traded ones first, each once."""
    keys = [SeriesKey(exchange=request.exchange, symbol=route.symbol) for route in request.routes]
    keys += [
        SeriesKey(exchange=route.exchange or request.exchange, symbol=route.symbol)
        for route in request.data_routes
    ]
    return list(dict.fromkeys(keys))


def traded_rows(run: EngineRun, symbol: str) -> CandleArray:
    """The candles a run trades ``symbol`` on, as they are pinned; warm-up left out. Blocks.

    Raises:
        KeyError: when the run has none of that symbol on its own exchange.
    """
    for part in run.candles:
        if (part.exchange, part.symbol) == (run.request.exchange, symbol):
            rows = np.memmap(part.path, dtype="<f8", mode="r", shape=(part.total_rows, _COLUMNS))
            return rows[part.trading_row : part.end_row]
    raise KeyError(symbol)


def warm_up_rows(part: CandleSlice) -> CandleArray:
    """The candles before the first one traded, as they are pinned. Blocks."""
    rows = np.memmap(part.path, dtype="<f8", mode="r", shape=(part.total_rows, _COLUMNS))
    return np.array(rows[part.start_row : part.trading_row])


def warm_up_start(request: BacktestRequest, argument: str = "warm_up_candles") -> int:
    """First minute of warm-up: whole candles of the longest timeframe, on its clock, before the start.

    Args:
        argument: what the caller calls the number of these candles.

    Raises:
        ResearchError: ``invalid_argument`` when that is before 1970.
    """
    timeframes = [route.timeframe for route in request.routes]
    timeframes += [route.timeframe for route in request.data_routes]
    longest = MINUTE_MS * max(timeframe_minutes(timeframe) for timeframe in timeframes)
    if request.warm_up_candles == 0:
        return request.start_ms
    first = (request.start_ms - request.warm_up_candles * longest) // longest * longest
    if first < 0:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"{request.warm_up_candles} candles before {iso_date(request.start_ms)} reach back before 1970",
            hint=f"lower {argument}, or use a shorter timeframe",
        )
    return first


def import_call(key: SeriesKey, start_ms: int | None, end_ms: int | None) -> str:
    series = f"exchange={key.exchange!r}, symbol={key.symbol!r}"
    dates = "start_date=..." if start_ms is None else f"start_date={iso_date(start_ms)!r}"
    if start_ms is not None and end_ms is not None:
        dates += f", end_date={iso_date(end_ms + DAY_MS - 1)!r}"
    return f"fill it with candles_import({series}, {dates}), from a file with path=... instead of dates"


def period(request: BacktestRequest) -> str:
    return f"{iso_date(request.start_ms)} to {iso_date(request.end_ms)} (exclusive)"
