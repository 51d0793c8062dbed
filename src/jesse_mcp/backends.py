"""What does the work behind the services: an engine, with the candles and the strategies it runs on."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.embedded.access import StrategyAccess
from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.adapters.embedded.market_data import EmbeddedMarketData
from jesse_mcp.adapters.strategies.folder_store import FolderStrategyStore
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.candle_store import CandleStore, SeriesOrigin
from jesse_mcp.ports.engine import BacktestEngine
from jesse_mcp.ports.market_data import MarketDataSource
from jesse_mcp.ports.series_import import SeriesImporter
from jesse_mcp.ports.strategy_store import StrategyStore
from jesse_mcp.settings import Settings

if TYPE_CHECKING:
    from jesse_mcp.adapters.dashboard.client import DashboardClient


@dataclass(frozen=True)
class Backend:
    """One way to do the work. Making one starts nothing and asks nobody.

    Attributes:
        engine: runs backtests.
        candles: what they run on.
        strategies: what they run.
        market_data: what exchanges are asked through.
        importer: brings candles of exchanges into the store; ``None``: page by page from ``market_data``.
        embedded: the engine on this machine, for what another one cannot do.
        instead: what a run says that is asked for on ``embedded``; ``None`` when that is ``engine``.
        origin: a running Jesse whose candles can be copied into the store, if one is known.
        no_paper: why ``engine`` trades nothing on paper; blocks; ``None`` when it is ``embedded``.
        warm: makes the first run start sooner; raises ``ResearchError``.
        close: stops every process and lets go of every connection; idempotent.
    """

    engine: BacktestEngine
    candles: CandleStore
    strategies: StrategyStore
    market_data: MarketDataSource
    importer: SeriesImporter | None
    embedded: EmbeddedEngine
    warm: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    instead: str | None = None
    origin: SeriesOrigin | None = None
    no_paper: Callable[[], ResearchError] | None = None


def backend(settings: Settings) -> Backend:
    """The one the settings ask for."""
    if settings.engine == "ray":
        return ray_backend(settings)
    return dashboard_backend(settings) if settings.uses_dashboard else embedded_backend(settings)


def embedded_backend(settings: Settings) -> Backend:
    """Everything on this machine, below the home folder."""
    engine = embedded_engine(settings)
    client = None if settings.jesse_url is None else dashboard_client(settings, settings.jesse_url)

    async def close() -> None:
        await engine.close()
        if client is not None:
            client.close()

    return Backend(
        engine=engine,
        candles=ParquetCandleStore(settings.home / "candles"),
        strategies=FolderStrategyStore(settings.home),
        market_data=EmbeddedMarketData(engine.pool),
        importer=None,
        embedded=engine,
        warm=engine.warm,
        close=close,
        origin=None if client is None else _origin(client),
    )


def dashboard_client(settings: Settings, url: str) -> "DashboardClient":
    """Speaks to the Jesse at ``url``."""
    # Nobody else waits for the library of HTTP.
    from jesse_mcp.adapters.dashboard.client import DashboardClient
    from jesse_mcp.adapters.dashboard.login import Credentials

    credentials = Credentials(settings.jesse_password, settings.jesse_api_token)
    return DashboardClient(url, credentials)


def _origin(client: "DashboardClient") -> SeriesOrigin:
    from jesse_mcp.adapters.dashboard.candle_export import DashboardOrigin

    return DashboardOrigin(client)


def ray_backend(settings: Settings) -> Backend:
    """Runs on the nodes of a Ray cluster; everything else on this machine."""
    from jesse_mcp.adapters.ray.driver_process import ClusterSettings
    from jesse_mcp.adapters.ray.engine import PATIENCE_SECONDS, RayEngine

    assert settings.ray_address is not None  # noqa: S101 - what the settings make sure of
    cluster = ClusterSettings(settings.ray_address, settings.ray_runs, PATIENCE_SECONDS)
    engine = RayEngine(
        settings.cache,
        settings.jesse_python,
        cluster,
        settings.run_timeout,
        settings.run_memory_mb,
        strategy_access(settings),
    )
    local = embedded_backend(settings)

    async def close() -> None:
        await engine.close()
        await local.close()

    instead = "engine='embedded': run on the machine of this server, not on the Ray cluster"
    return replace(
        local, engine=engine, warm=engine.warm, close=close, instead=instead, no_paper=_no_paper_on_ray
    )


def _no_paper_on_ray() -> ResearchError:
    return ResearchError(
        ErrorCode.CAPABILITY_MISSING,
        "a Ray cluster runs backtests; a paper session lives for days on one machine",
        hint="call paper_start with engine='embedded': it runs on the machine of this server",
    )


def dashboard_backend(settings: Settings) -> Backend:
    """Runs, candles and strategies in the Jesse at ``JESSE_URL``; records and copies on this machine."""
    # Nobody else waits for the library of websockets.
    from jesse_mcp.adapters.dashboard.candles import DashboardCandleStore, open_mirror
    from jesse_mcp.adapters.dashboard.engine import DashboardEngine
    from jesse_mcp.adapters.dashboard.imports import DashboardImporter, DashboardMarketData
    from jesse_mcp.adapters.dashboard.paper import no_paper
    from jesse_mcp.adapters.dashboard.strategies import DashboardStrategyStore

    assert settings.jesse_url is not None  # noqa: S101 - what makes the settings ask for this one
    client = dashboard_client(settings, settings.jesse_url)
    engine = DashboardEngine(client, settings.dashboard_runs, settings.run_timeout, settings.dashboard_stall)
    candles = DashboardCandleStore(client, open_mirror(settings.cache / "mirrors", settings.jesse_url))
    embedded = embedded_engine(settings)

    async def close() -> None:
        await engine.close()
        await embedded.close()
        client.close()

    return Backend(
        engine=engine,
        candles=candles,
        strategies=DashboardStrategyStore(client),
        market_data=DashboardMarketData(client),
        importer=DashboardImporter(client, candles),
        embedded=embedded,
        warm=engine.warm,
        close=close,
        instead=(
            f"engine='embedded': run on the machine of this server, not in Jesse at {client.url}, "
            "on copies of its candles and code"
        ),
        no_paper=lambda: no_paper(client),
    )


def embedded_engine(settings: Settings) -> EmbeddedEngine:
    """Jesse in processes of this machine."""
    return EmbeddedEngine(
        settings.cache,
        settings.jesse_python,
        settings.workers,
        settings.run_timeout,
        settings.run_memory_mb,
        strategy_access(settings),
    )


def strategy_access(settings: Settings) -> StrategyAccess:
    """What the code of strategies may reach."""
    return StrategyAccess(settings.confinement == "on", settings.readable_by_strategies)
