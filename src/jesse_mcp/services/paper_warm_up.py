"""The candles before a paper session: there before it begins, and up to its very first minute."""

import asyncio

from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import PaperRequest
from jesse_mcp.domain.timeframes import DAY_MS, MINUTE_MS, iso_date
from jesse_mcp.services.candle_import import CandleImportService
from jesse_mcp.services.clock import Clock
from jesse_mcp.services.jobs import ProgressListener
from jesse_mcp.services.paper_request import PaperPlanner

#: Importing takes time in which further minutes close.
_ROUNDS = 3


class PaperWarmUp:
    """Imports what is missing.

    Args:
        wait_seconds: how long an import is waited for; it goes on as a job after that.
    """

    def __init__(
        self,
        planner: PaperPlanner,
        imports: CandleImportService,
        clock: Clock,
        *,
        wait_seconds: float = 45.0,
    ) -> None:
        self._planner = planner
        self._imports = imports
        self._clock = clock
        self._wait_seconds = wait_seconds

    async def ready(self, request: PaperRequest, on_progress: ProgressListener | None) -> PaperRequest:
        """The request, of a live session with its first minute, once its warm-up is stored.

        Raises:
            ResearchError: ``candles_missing`` while an import goes on, and for a replay of what is neither
                stored nor could be imported; for a live session what the exchange says.
        """
        if request.warm_up_candles == 0:
            return request
        if request.feed == "replay":
            await self._try(request, on_progress)
            return request
        for _ in range(_ROUNDS):
            now = self._clock.now_ms() // MINUTE_MS * MINUTE_MS
            request = request.model_copy(update={"start_ms": now})
            lacking = await asyncio.to_thread(self._planner.lacking, request)
            await self._import(request, lacking, None, on_progress)
            if self._clock.now_ms() - now < MINUTE_MS:
                break
        return await asyncio.to_thread(self._planner.starting, request, request.start_ms)

    async def _try(self, request: PaperRequest, on_progress: ProgressListener | None) -> None:
        """Import what a replay lacks before its start.

        Raises:
            ResearchError: ``candles_missing``, of what is replayed before anybody is asked.
        """
        lacking = await asyncio.to_thread(self._planner.lacking, request)
        if not lacking:
            return
        await asyncio.to_thread(self._planner.check_replayed, request)
        end = iso_date(request.start_ms + DAY_MS - 1)
        try:
            await self._import(request, lacking, end, on_progress)
        except ResearchError as error:
            if error.code is ErrorCode.CANDLES_MISSING:
                raise
            await asyncio.to_thread(self._go_without, request, error)

    def _go_without(self, request: PaperRequest, error: ResearchError) -> None:
        """Whether the session can do without what was not imported. Blocks.

        Raises:
            ResearchError: ``candles_missing`` with the reason why it was not.
        """
        try:
            self._planner.pin(request)
        except ResearchError as missing:
            if missing.code is not ErrorCode.CANDLES_MISSING:
                raise
            raise ResearchError(
                missing.code,
                f"{missing.message}; importing them failed: {error.message}",
                hint=missing.hint,
                details={**missing.details, "import_error": error.to_dict()},
            ) from error

    async def _import(
        self,
        request: PaperRequest,
        keys: list[SeriesKey],
        end_date: str | None,
        on_progress: ProgressListener | None,
    ) -> None:
        start, _ = self._planner.warm_up_range(request)
        for exchange in dict.fromkeys(key.exchange for key in keys):
            symbols = tuple(key.symbol for key in keys if key.exchange == exchange)
            imported = await self._imports.import_from_exchange(
                exchange,
                symbols,
                iso_date(start),
                end_date,
                wait_seconds=self._wait_seconds,
                on_progress=on_progress,
            )
            if imported.state.active:
                raise _still_importing(exchange, symbols, str(imported.job_id))


def _still_importing(exchange: str, symbols: tuple[str, ...], job_id: str) -> ResearchError:
    return ResearchError(
        ErrorCode.CANDLES_MISSING,
        f"the warm-up candles of {', '.join(symbols)} on {exchange} are being imported",
        hint=f"follow it with job_get(job_id={job_id!r}), then call paper_start again",
        details={"job_id": job_id},
    )
