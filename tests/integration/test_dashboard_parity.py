"""The dashboard engine against the embedded one, on the candles that Jesse's database has kept."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from pydantic import SecretStr

from jesse_candles import in_jesse
from jesse_host import PASSWORD, JesseHost
from jesse_mcp.adapters.dashboard.candle_export import exported
from jesse_mcp.adapters.dashboard.candle_upload import existing_series, upload_candles
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.engine import DashboardEngine
from jesse_mcp.adapters.dashboard.equity import REBUILT
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.adapters.dashboard.strategies import DashboardStrategyStore
from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import EngineOutcome, EngineRun
from jesse_mcp.domain.candles import SeriesKey
from parity_cases import (
    FIRST_MS,
    HERE,
    SETUPS,
    WARM_UP_DAYS,
    Candles,
    Case,
    covering_cases,
    request_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAYS = 12
PRICES = {"BTC-USDT": 20_000.0, "ETH-USDT": 1_500.0, "SOL-USDT": 20.0}


@pytest.fixture(scope="module")
def client(jesse_host: JesseHost) -> Iterator[DashboardClient]:
    client = DashboardClient(jesse_host.url, Credentials(password=SecretStr(PASSWORD)))
    yield client
    client.close()


@pytest.fixture(scope="module")
def store(client: DashboardClient) -> DashboardStrategyStore:
    store = DashboardStrategyStore(client)
    for folder in (HERE / "strategies_under_test").iterdir():
        if (folder / "__init__.py").exists():
            store.write(folder.name, (folder / "__init__.py").read_text(), overwrite=True)
    return store


@pytest.fixture(scope="module")
def candles(client: DashboardClient, tmp_path_factory: pytest.TempPathFactory) -> Candles:
    """Read back from Jesse, as float4 has left them."""
    series = Candles(tmp_path_factory.mktemp("candles"))
    first, *others = dict.fromkeys(setup[0] for setup in SETUPS)
    for seed, (symbol, price) in enumerate(PRICES.items()):
        rows = synthetic_candles(FIRST_MS, (WARM_UP_DAYS + DAYS) * 1_440, seed, start_price=price)
        key = SeriesKey(exchange=first, symbol=symbol)
        kept = in_jesse(client, key, rows)
        for other in others:
            if SeriesKey(exchange=other, symbol=symbol) in existing_series(client):
                continue
            client.post(
                "/candles/copy",
                {
                    "exchange": first,
                    "symbol": symbol,
                    "target_exchange": other,
                    "target_symbol": symbol,
                    "delete_source": False,
                },
            )
        series.write(symbol, kept)
    return series


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dashboard(client: DashboardClient) -> AsyncIterator[DashboardEngine]:
    engine = DashboardEngine(client, capacity=2, run_timeout=120, stall_seconds=60)
    yield engine
    await engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedded(
    engine_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EmbeddedEngine]:
    cache = tmp_path_factory.mktemp("cache")
    engine = EmbeddedEngine(cache, engine_python, capacity=1, run_timeout=120, run_memory_mb=2048)
    yield engine
    await engine.close()


def silent(_fraction: float, _message: str) -> None:
    pass


def assert_same(ours: EngineOutcome, theirs: EngineOutcome) -> None:
    assert ours.metrics == theirs.metrics
    assert ours.trades == theirs.trades
    assert ours.hyperparameters == theirs.hyperparameters
    assert ours.undefined.keys() == theirs.undefined.keys()
    assert ours.log_tail == theirs.log_tail
    assert [p.timestamp for p in ours.equity] == [p.timestamp for p in theirs.equity]
    np.testing.assert_allclose(
        [p.balance for p in ours.equity], [p.balance for p in theirs.equity], rtol=1e-12
    )


@pytest.mark.parametrize("case", covering_cases(), ids=lambda case: case.name)
async def test_every_number_is_that_of_the_embedded_engine(
    case: Case,
    dashboard: DashboardEngine,
    embedded: EmbeddedEngine,
    store: DashboardStrategyStore,
    candles: Candles,
) -> None:
    request = request_of(case, DAYS)
    source = store.source(frozenset(route.strategy for route in request.routes))
    run = EngineRun(request=request, source=source.files, candles=candles.slices(request))
    ours, theirs = await asyncio.gather(dashboard.run(run, silent), embedded.run(run, silent))
    assert len(theirs.trades) > 2
    assert ours.engine["equity"] == REBUILT
    assert_same(ours, theirs)


async def test_candles_with_gaps(
    client: DashboardClient,
    dashboard: DashboardEngine,
    embedded: EmbeddedEngine,
    store: DashboardStrategyStore,
    tmp_path: Path,
) -> None:
    """Jesse replays those through a simulator of its own; its balances are saved at other moments then."""
    case = Case("LadderEntries", ("Gate USDT Perpetual", "futures", 3, "cross"), True, False, False)
    request = request_of(case, 8).model_copy(update={"gaps": "observed"})
    rows = synthetic_candles(FIRST_MS, (WARM_UP_DAYS + 8) * 1_440, 3, annual_volatility=1.5)
    gap = (WARM_UP_DAYS + 5) * 1_440
    key = SeriesKey(exchange=request.exchange, symbol="BTC-USDT")
    upload_candles(client, key, np.delete(rows, slice(gap, gap + 200), axis=0))
    sparse = Candles(tmp_path)
    sparse.write("BTC-USDT", exported(client, key))
    source = store.source(frozenset({"LadderEntries"}))
    run = EngineRun(request=request, source=source.files, candles=sparse.slices(request))
    ours, theirs = await asyncio.gather(dashboard.run(run, silent), embedded.run(run, silent))
    assert len(theirs.trades) > 2
    assert_same(ours, theirs)
