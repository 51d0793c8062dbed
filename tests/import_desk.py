"""An import service over a real store, jobs and drivers, for tests against the imitated exchanges."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from exchange_server import ExchangeServer
from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.embedded.market_data import EmbeddedMarketData
from jesse_mcp.adapters.embedded.pool import WorkerPool
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.services.candle_import import CandleImportService, ExchangeImport
from jesse_mcp.services.jobs import JobService

SPOT = "Binance Spot"
SYMBOL = "BTC-USDT"


@dataclass
class Desk:
    service: CandleImportService
    store: ParquetCandleStore
    jobs: JobService
    server: ExchangeServer

    async def fetch(
        self, exchange: str = SPOT, symbol: str = SYMBOL, end: str = "2024-01-03", wait: float = 60
    ) -> ExchangeImport:
        return await self.service.import_from_exchange(
            exchange, (symbol,), "2024-01-01", end, wait_seconds=wait
        )

    def stored(self, exchange: str = SPOT, symbol: str = SYMBOL) -> CandleArray:
        return self.store.read(SeriesKey(exchange=exchange, symbol=symbol))


@contextlib.asynccontextmanager
async def desk_over(pool: WorkerPool, folder: Path, server: ExchangeServer) -> AsyncIterator[Desk]:
    database = Database.at(folder / "research.sqlite")
    store = ParquetCandleStore(folder / "candles")
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    source = EmbeddedMarketData(pool, retry_seconds=0.01, attempts=4, pace=0.0)
    yield Desk(CandleImportService(store, source, jobs, lambda name: name), store, jobs, server)
    await jobs.close()
    database.close()
