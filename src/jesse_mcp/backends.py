"""What does the work behind the services: an engine, with the candles and the strategies it runs on."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.adapters.embedded.market_data import EmbeddedMarketData
from jesse_mcp.adapters.strategies.folder_store import FolderStrategyStore
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.engine import BacktestEngine
from jesse_mcp.ports.market_data import MarketDataSource
from jesse_mcp.ports.strategy_store import StrategyStore
from jesse_mcp.settings import Settings


@dataclass(frozen=True)
class Backend:
    """One way to do the work. Making one starts nothing and asks nobody.

    Attributes:
        engine: runs backtests.
        candles: what they run on.
        strategies: what they run.
        market_data: what exchanges are asked through.
        embedded: the engine on this machine, for what the other cannot do.
        warm: makes the first run start sooner; raises ``ResearchError``.
    """

    engine: BacktestEngine
    candles: CandleStore
    strategies: StrategyStore
    market_data: MarketDataSource
    embedded: EmbeddedEngine
    warm: Callable[[], Awaitable[None]]


def backend(settings: Settings) -> Backend:
    """The one the settings ask for."""
    return embedded_backend(settings)


def embedded_backend(settings: Settings) -> Backend:
    """Everything on this machine, below the home folder."""
    engine = EmbeddedEngine(
        settings.cache, settings.jesse_python, settings.workers, settings.run_timeout, settings.run_memory_mb
    )
    return Backend(
        engine=engine,
        candles=local_candles(settings),
        strategies=FolderStrategyStore(settings.home),
        market_data=EmbeddedMarketData(engine.pool),
        embedded=engine,
        warm=engine.warm,
    )


def local_candles(settings: Settings) -> ParquetCandleStore:
    """The candles of this machine."""
    return ParquetCandleStore(settings.home / "candles")
