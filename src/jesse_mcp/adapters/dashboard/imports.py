"""Imports that a running Jesse does by itself: started, followed, stopped, and looked at afterwards."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from jesse_mcp.adapters.dashboard.candles import DashboardCandleStore
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.import_failures import import_failure
from jesse_mcp.domain.candles import SeriesSummary
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.retention import kept_since
from jesse_mcp.domain.timeframes import DAY_MS, MINUTE_MS, iso_date, iso_minute, parse_minute
from jesse_mcp.ports.market_data import FetchSummary, PageConsumer
from jesse_mcp.ports.series_import import ImportOrder, ImportProgress, ProgressConsumer

#: Seconds without progress after which Jesse is asked whether anybody still works on an import.
_QUIET_SECONDS = 10.0
#: Seconds a stop may keep its caller; after them it goes on by itself.
_STOP_SECONDS = 0.8


class DashboardImporter:
    """Implements :class:`jesse_mcp.ports.series_import.SeriesImporter`.

    Jesse fetches what lies before its first and after its last candle of a series, up to the present. It
    never looks for minutes in between.

    Args:
        client: where Jesse is.
        store: its candles; told of every change, and asked what an import has brought.
        poll_seconds: between two looks at an import.
        stall_seconds: an import that does not get further for so long is stopped.
        now: the clock, epoch seconds.
    """

    def __init__(
        self,
        client: DashboardClient,
        store: DashboardCandleStore,
        *,
        poll_seconds: float = 0.5,
        stall_seconds: float = 300.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._store = store
        self._poll_seconds = poll_seconds
        self._stall_seconds = stall_seconds
        self._now = now
        self._stopping: set[asyncio.Task[None]] = set()

    def lacking(self, order: ImportOrder) -> dict[str, int]:
        """Every symbol: what lacks is for Jesse to find out.

        Raises:
            ResearchError: ``capability_missing`` for an order that ends before the present,
                ``invalid_argument`` for one that begins today.
        """
        if not order.to_now:
            raise ResearchError(
                ErrorCode.CAPABILITY_MISSING,
                f"Jesse imports up to the present only, not up to {iso_minute(order.end_ms)}",
                hint="leave out end_date: more candles do no harm, a backtest takes an end_date of its own",
            )
        if order.start_ms >= int(self._now() * 1000) // DAY_MS * DAY_MS:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"start_date is {iso_date(order.start_ms)}, and Jesse imports from yesterday or earlier",
                hint="give an earlier start_date",
            )
        return dict.fromkeys(order.symbols, (order.end_ms - order.start_ms) // MINUTE_MS)

    async def fetch(self, order: ImportOrder, symbol: str, report: ProgressConsumer) -> int:
        """One symbol, to the end; success is what the database then holds, not what Jesse says.

        Raises:
            ResearchError: as the port says, ``candles_missing`` when the exchange has none in the range, and
                what :meth:`DashboardClient.call` raises.
        """
        key = order.key(symbol)
        before = await asyncio.to_thread(self._store.summary, key)
        try:
            result = await self._imported(order, symbol, report)
        finally:
            await asyncio.to_thread(self._store.forget, key)
        after = await asyncio.to_thread(self._store.summary, key)
        reached = _as_promised(f"{key}", result, after)
        await asyncio.to_thread(self._learn, order, symbol, before, reached)
        return reached.rows - (0 if before is None else before.rows)

    async def _imported(self, order: ImportOrder, symbol: str, report: ProgressConsumer) -> dict[str, Any]:
        identity = str(uuid4())
        request = {
            "id": identity,
            "exchange": order.exchange,
            "symbol": symbol,
            "start_date": iso_date(order.start_ms),
        }
        posting = asyncio.create_task(asyncio.to_thread(self._client.post, "/candles/import", request))
        try:
            await asyncio.shield(posting)
            return await self._followed(identity, f"{order.key(symbol)}", report)
        except asyncio.CancelledError:
            await self._stop(identity, posting)
            raise
        except ResearchError as error:
            if error.code is ErrorCode.JESSE_REJECTED:
                raise import_failure(f"{order.key(symbol)}", error.message) from error
            error.details.setdefault("import_id", identity)
            raise

    async def _followed(self, identity: str, what: str, report: ProgressConsumer) -> dict[str, Any]:
        """What Jesse says of an import that is over."""
        loop = asyncio.get_running_loop()
        moved = asked = loop.time()
        seen: dict[str, Any] | None = None
        while True:
            said = await self._status(identity)
            if said["status"] != "running":
                return _ended(what, said)
            if (progress := said.get("progress")) not in (None, seen):
                seen, moved = progress, loop.time()
                report(_progress(progress))
            if loop.time() - moved > self._stall_seconds:
                await self._stop(identity, None)
                raise _stalled(what, self._stall_seconds)
            if loop.time() - max(moved, asked) > _QUIET_SECONDS:
                asked = loop.time()
                await self._refuse_dead(identity, what)
            await asyncio.sleep(self._poll_seconds)

    async def _status(self, identity: str) -> dict[str, Any]:
        return await asyncio.to_thread(self._client.read, "/candles/import-status", {"id": identity})

    async def _refuse_dead(self, identity: str, what: str) -> None:
        """Jesse says "running" for ever of an import whose process was killed."""
        active = await asyncio.to_thread(self._client.read, "/system/active-workers")
        if identity in active["data"] or (await self._status(identity))["status"] != "running":
            return
        raise ResearchError(
            ErrorCode.JESSE_FAILED,
            f"{what}: the process that Jesse imported with has died",
            hint="call again: it goes on where it stopped; look for a lack of memory on Jesse's machine",
        )

    async def _stop(self, identity: str, posting: "asyncio.Task[dict[str, Any]] | None") -> None:
        task = asyncio.create_task(self._stopped(identity, posting))
        # The loop itself keeps no task alive.
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)
        await asyncio.wait({task}, timeout=_STOP_SECONDS)

    async def _stopped(self, identity: str, posting: "asyncio.Task[dict[str, Any]] | None") -> None:
        if posting is not None:
            # A stop that overtakes the start would stop nothing.
            await asyncio.wait({posting})
        with suppress(ResearchError):
            await asyncio.to_thread(self._client.post, "/candles/cancel-import", {"id": identity})

    def _learn(
        self, order: ImportOrder, symbol: str, before: SeriesSummary | None, after: SeriesSummary
    ) -> None:
        """Whatever is missing outside of what was there before, the exchange was asked for."""
        first, end = parse_minute(after.first), parse_minute(after.last) + MINUTE_MS
        kept_from = kept_since(order.exchange, int(self._now() * 1000))
        if before is None:
            asked = [(order.start_ms, end, first)]
        else:
            # Where the first new candle after the old ones is, nobody says: only what is sure to be kept.
            last = parse_minute(before.last) + MINUTE_MS
            asked = [(order.start_ms, parse_minute(before.first), first), (last, end, end)]
        for low, high, arrived in asked:
            # Nothing follows from the silence about minutes that the exchange no longer keeps.
            low = low if kept_from is None else max(low, min(kept_from, arrived))  # noqa: PLW2901
            if low < high:
                self._store.note_answer(order.key(symbol), low, high)


class DashboardMarketData:
    """Implements :class:`jesse_mcp.ports.market_data.MarketDataSource` for symbols, all Jesse gives."""

    def __init__(self, client: DashboardClient) -> None:
        self._client = client

    async def fetch(
        self,
        exchange: str,
        symbol: str,
        ranges: list[tuple[int, int]],  # noqa: ARG002
        consume: PageConsumer,  # noqa: ARG002
    ) -> FetchSummary:
        """Raises: ResearchError: ``capability_missing``: Jesse hands out no pages."""
        raise ResearchError(
            ErrorCode.CAPABILITY_MISSING,
            f"Jesse keeps the pages it fetches of {symbol} on {exchange} to itself",
            hint="have it import the series with candles_import",
        )

    async def symbols(self, exchange: str) -> list[str]:
        """Symbols the exchange lists, sorted.

        Raises:
            ResearchError: as the port says, and what :meth:`DashboardClient.call` raises.
        """
        try:
            answer = await asyncio.to_thread(
                self._client.read, "/exchange/supported-symbols", {"exchange": exchange}
            )
        except ResearchError as error:
            if error.code is not ErrorCode.JESSE_FAILED:
                raise
            raise import_failure(f"the symbols of {exchange}", error.message) from error
        return sorted(str(symbol) for symbol in answer["data"])


def _progress(said: dict[str, Any]) -> ImportProgress:
    return ImportProgress(
        fraction=min(1.0, float(said["current"]) / 100),
        reached=str(said["current_date"]),
        candles=None,
        seconds_left=float(said["estimated_remaining_seconds"]),
    )


def _ended(what: str, said: dict[str, Any]) -> dict[str, Any]:
    match said["status"]:
        case "finished" if isinstance(said.get("result"), dict):
            result: dict[str, Any] = said["result"]
            return result
        case "failed":
            raise import_failure(what, str(said.get("error")), said.get("traceback"))
        case "cancelled":
            raise ResearchError(
                ErrorCode.JOB_CANCELLED,
                f"the import of {what} was cancelled in Jesse",
                hint="call again: it goes on where it stopped",
            )
    # Of an import it does not know, Jesse says that it is finished.
    raise ResearchError(
        ErrorCode.JESSE_FAILED,
        f"Jesse does not know what became of the import of {what}: it was restarted, or its import broke off",
        hint="call again: it goes on where it stopped",
        details={"said": said},
    )


def _as_promised(what: str, result: dict[str, Any], found: SeriesSummary | None) -> SeriesSummary:
    """What is there, if it is what Jesse says it has imported."""
    first, last = int(result["actual_start_timestamp"]), int(result["actual_end_timestamp"])
    if found is None or parse_minute(found.first) > first or parse_minute(found.last) < last:
        there = "nothing" if found is None else f"{found.first} to {found.last}"
        raise ResearchError(
            ErrorCode.JESSE_FAILED,
            f"Jesse says it has {what} from {iso_minute(first)} to {iso_minute(last)}, but has {there}",
            hint="somebody may have deleted candles meanwhile: look with candles_available, then call again",
        )
    return found


def _stalled(what: str, seconds: float) -> ResearchError:
    return ResearchError(
        ErrorCode.EXCHANGE_UNREACHABLE,
        f"Jesse has not got further with {what} for {seconds:g} s, and was told to stop",
        hint="check the network of Jesse's machine, then call again: it goes on where it stopped",
    )
