"""The engine against Jesse's own ``research.backtest``: not one bit of any number may differ."""

import itertools
import json
import math
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from jesse_mcp.adapters.candles.file_reader import CandleFiles
from jesse_mcp.adapters.embedded.engine import EmbeddedEngine
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.backtests import (
    BacktestRequest,
    EngineOutcome,
    EngineRun,
    Trade,
)
from jesse_mcp.domain.errors import ResearchError
from parity_cases import (
    BUNDLED,
    DAY_MS,
    DAYS,
    FIRST_MS,
    HERE,
    REAL_CANDLES,
    SETUPS,
    WARM_UP_DAYS,
    Candles,
    Case,
    covering_cases,
    request_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Direct:
    """A process that calls ``research.backtest`` for one case after the other."""

    def __init__(self, python: Path, project: Path, folder: Path) -> None:
        # Jesse behaves differently when it believes to be tested, and looks for a database in a project.
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
        self._process = subprocess.Popen(
            [python, HERE / "direct_backtest.py", project],
            cwd=folder,
            # Jesse keeps series in sets of strings; the order of sums depends on theirs.
            env={**kept, "PYTHONHASHSEED": "0", "TZ": "UTC"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, run: EngineRun) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        case = {"request": run.request.model_dump(), "candles": [part.model_dump() for part in run.candles]}
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate()


Compare = Callable[[BacktestRequest, Candles], Any]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for source in (BUNDLED, HERE / "strategies_under_test"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / "strategies", ignore=ignore, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def direct(engine_python: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Direct]:
    process = Direct(engine_python, project, tmp_path_factory.mktemp("direct"))
    yield process
    process.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(
    engine_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EmbeddedEngine]:
    cache = tmp_path_factory.mktemp("cache")
    engine = EmbeddedEngine(cache, engine_python, capacity=1, run_timeout=120, run_memory_mb=2048)
    yield engine
    await engine.close()


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Candles:
    series = Candles(tmp_path_factory.mktemp("candles"))
    minutes = (WARM_UP_DAYS + DAYS) * 1_440
    for seed, (symbol, price) in enumerate(
        {"BTC-USDT": 20_000.0, "ETH-USDT": 1_500.0, "SOL-USDT": 20.0}.items()
    ):
        series.write(symbol, synthetic_candles(FIRST_MS, minutes, seed, start_price=price))
    return series


@pytest.fixture(scope="module")
def pinned(project: Path) -> Callable[[BacktestRequest, Candles], EngineRun]:
    def pin(request: BacktestRequest, candles: Candles) -> EngineRun:
        files = [f"strategies/{name}/__init__.py" for name in {route.strategy for route in request.routes}]
        return EngineRun(
            request=request,
            source={file: (project / file).read_text() for file in files},
            candles=candles.slices(request),
        )

    return pin


def expected_number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def assert_same_number(ours: Any, direct: Any, what: str) -> None:
    wanted = expected_number(direct)
    assert ours == wanted, f"{what}: {ours!r} instead of {wanted!r}"
    assert type(ours) is type(wanted), f"{what}: {type(ours)} instead of {type(wanted)}"


def assert_same_trade(ours: Trade, direct: dict[str, Any], at: int) -> None:
    for field, name in {
        "strategy": "strategy_name",
        "exchange": "exchange",
        "symbol": "symbol",
        "type": "type",
        "opened_at": "opened_at",
        "closed_at": "closed_at",
        "entry_price": "entry_price",
        "exit_price": "exit_price",
        "qty": "qty",
        "size": "size",
        "fee": "fee",
        "pnl": "PNL",
        "pnl_percentage": "PNL_percentage",
        "holding_period": "holding_period",
    }.items():
        assert getattr(ours, field) == expected_number(direct[name]), f"trade {at}: {field}"
    assert len(ours.orders) == len(direct["orders"]) > 1, f"trade {at}: orders"
    for order, wanted in zip(ours.orders, direct["orders"], strict=True):
        assert {"side", "type", "qty", "price", "status", "executed_at"} <= order.keys()
        for field, value in order.items():
            assert_same_number(value, wanted[field], f"trade {at}: order {field}")


def assert_same(ours: EngineOutcome, direct: dict[str, Any]) -> None:
    assert ours.metrics.keys() == direct["metrics"].keys()
    for name, value in direct["metrics"].items():
        assert_same_number(ours.metrics[name], value, name)
    assert set(ours.undefined) == {
        name for name, value in direct["metrics"].items() if expected_number(value) is None
    }
    assert len(ours.trades) == len(direct["trades"])
    for at, (trade, wanted) in enumerate(zip(ours.trades, direct["trades"], strict=True)):
        assert_same_trade(trade, wanted, at)
    if direct["trades"]:
        assert [[point.timestamp, point.balance] for point in ours.equity] == direct["equity"]
    assert ours.hyperparameters == direct["hyperparameters"]


async def silent(engine: EmbeddedEngine, run: EngineRun) -> EngineOutcome:
    return await engine.run(run, lambda _fraction, _message: None)


async def test_cases_cover_every_pair_of_values() -> None:
    dimensions = [
        [getattr(case, name) for case in covering_cases()]
        for name in ("strategy", "setup", "fast_mode", "extra_data", "overrides")
    ]
    for one, other in itertools.combinations(dimensions, 2):
        assert set(zip(one, other, strict=True)) == set(itertools.product(set(one), set(other)))


@pytest.mark.parametrize("case", covering_cases(), ids=lambda case: case.name)
async def test_every_number_is_that_of_the_direct_call(
    case: Case,
    engine: EmbeddedEngine,
    direct: Direct,
    candles: Candles,
    pinned: Callable[[BacktestRequest, Candles], EngineRun],
) -> None:
    run = pinned(request_of(case), candles)
    wanted = direct(run)
    assert len(wanted["trades"]) > 5, "equality of nothing means nothing"
    assert_same(await silent(engine, run), wanted)


@pytest.mark.parametrize("fast_mode", [True, False], ids=["fast", "step"])
@pytest.mark.parametrize("strategy", ["SharedRotation", "LadderEntries"])
async def test_candles_with_gaps(
    strategy: str,
    fast_mode: bool,
    engine: EmbeddedEngine,
    direct: Direct,
    pinned: Callable[[BacktestRequest, Candles], EngineRun],
    tmp_path: Path,
) -> None:
    """Jesse replays those through a simulator of its own."""
    days = 12
    sparse = Candles(tmp_path)
    for seed, symbol in enumerate(("BTC-USDT", "ETH-USDT", "SOL-USDT")):
        rows = synthetic_candles(FIRST_MS, (WARM_UP_DAYS + days) * 1_440, seed, annual_volatility=1.5)
        gap = (WARM_UP_DAYS + 5 + seed) * 1_440
        sparse.write(symbol, np.delete(rows, slice(gap, gap + 200), axis=0))
    case = Case(strategy, SETUPS[3], fast_mode, extra_data=False, overrides=False)
    run = pinned(request_of(case, days), sparse)
    wanted = direct(run)
    assert len(wanted["trades"]) > 5
    assert_same(await silent(engine, run), wanted)


async def test_liquidations_depend_on_the_margin_mode(
    engine: EmbeddedEngine,
    direct: Direct,
    pinned: Callable[[BacktestRequest, Candles], EngineRun],
    tmp_path: Path,
) -> None:
    wild = Candles(tmp_path)
    for seed, symbol in enumerate(("BTC-USDT", "ETH-USDT", "SOL-USDT")):
        minutes = (WARM_UP_DAYS + DAYS) * 1_440
        wild.write(symbol, synthetic_candles(FIRST_MS, minutes, seed, annual_volatility=2.0))
    finishing = []
    for setup in SETUPS[3:]:
        case = Case("SharedRotation", setup, fast_mode=True, extra_data=False, overrides=False)
        request = request_of(case).model_copy(update={"leverage": 40, "fee": 0.0})
        run = pinned(request, wild)
        wanted = direct(run)
        assert len(wanted["trades"]) > 5
        outcome = await silent(engine, run)
        assert_same(outcome, wanted)
        finishing.append(outcome.metrics["finishing_balance"])
    assert finishing[0] != finishing[1]


async def test_the_strategies_of_the_tests_do_what_they_are_for(
    engine: EmbeddedEngine,
    candles: Candles,
    pinned: Callable[[BacktestRequest, Candles], EngineRun],
) -> None:
    ladder = Case("LadderEntries", SETUPS[3], fast_mode=True, extra_data=False, overrides=False)
    outcome = await silent(engine, pinned(request_of(ladder), candles))
    orders = [order for trade in outcome.trades for order in trade.orders]
    assert {order["type"] for order in orders} == {"MARKET", "LIMIT", "STOP"}
    assert {order["submitted_via"] for order in orders} == {None, "stop-loss", "take-profit"}
    assert max(len(trade.orders) for trade in outcome.trades) >= 5
    rotation = Case("SharedRotation", SETUPS[3], fast_mode=True, extra_data=False, overrides=False)
    outcome = await silent(engine, pinned(request_of(rotation), candles))
    sides = {(trade.symbol, trade.type) for trade in outcome.trades}
    assert sides == set(itertools.product(("BTC-USDT", "ETH-USDT"), ("long", "short")))
    for one, other in itertools.pairwise(sorted(outcome.trades, key=lambda trade: trade.opened_at)):
        assert one.closed_at <= other.opened_at, "the routes agree through shared_vars"


async def test_no_trade_at_all(
    engine: EmbeddedEngine,
    candles: Candles,
    pinned: Callable[[BacktestRequest, Candles], EngineRun],
) -> None:
    case = Case("TrendFollowing", SETUPS[1], fast_mode=True, extra_data=False, overrides=False)
    run = pinned(request_of(case, days=5), candles)
    ((file, code),) = run.source.items()
    quiet = code.replace("return strong and", "return False and")
    run = run.model_copy(update={"source": {file: quiet}})
    outcome = await silent(engine, run)
    assert outcome.trades == ()
    assert outcome.metrics == {"total": 0, "win_rate": 0, "net_profit_percentage": 0, "annualization": 365}
    assert {point.balance for point in outcome.equity} == {10_000.0}
    assert len(outcome.equity) == 6


async def test_a_result_does_not_depend_on_the_runs_before_it(
    engine: EmbeddedEngine,
    candles: Candles,
    pinned: Callable[[BacktestRequest, Candles], EngineRun],
) -> None:
    spot = Case("LadderEntries", SETUPS[0], fast_mode=True, extra_data=True, overrides=True)
    futures = Case("LadderEntries", SETUPS[4], fast_mode=True, extra_data=False, overrides=False)
    first = await silent(engine, pinned(request_of(spot), candles))
    await silent(engine, pinned(request_of(futures), candles))
    again = await silent(engine, pinned(request_of(spot), candles))
    varying = {"timings"}
    assert again.model_dump(exclude=varying) == first.model_dump(exclude=varying)


def real_series() -> list[Path]:
    kinds = {".csv", ".parquet", ".feather", ".zip", ".gz"}
    if not REAL_CANDLES.is_dir():
        return []
    return sorted(path for path in REAL_CANDLES.iterdir() if path.is_dir() or path.suffix in kinds)[:2]


@pytest.mark.skipif(not real_series(), reason=f"no recorded candles in {REAL_CANDLES}")
@pytest.mark.parametrize("fast_mode", [True, False], ids=["fast", "step"])
async def test_recorded_candles(
    fast_mode: bool,
    engine: EmbeddedEngine,
    direct: Direct,
    pinned: Callable[[BacktestRequest, Candles], EngineRun],
    tmp_path: Path,
) -> None:
    compared = 0
    for path in real_series():
        try:
            rows = CandleFiles().read(path).candles
        except ResearchError:
            continue
        recorded = Candles(tmp_path)
        recorded.write("BTC-USDT", rows[: (WARM_UP_DAYS + DAYS) * 1_440])
        start = int(-(-rows[0, 0] // DAY_MS) * DAY_MS) + WARM_UP_DAYS * DAY_MS
        for strategy in ("MeanReversion", "LadderEntries"):
            request = request_of(Case(strategy, SETUPS[3], fast_mode, extra_data=False, overrides=True))
            moved = {"start_ms": start, "end_ms": start + (DAYS - 1) * DAY_MS}
            run = pinned(request.model_copy(update=moved), recorded)
            wanted = direct(run)
            assert len(wanted["trades"]) > 5
            assert_same(await silent(engine, run), wanted)
            compared += 1
    assert compared, "none of the files could be read"
