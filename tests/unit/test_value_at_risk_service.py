"""The value-at-risk use case over real stores: stored runs, numbers of the call, stored candles."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.services import value_at_risk as module
from jesse_mcp.services.analysis_source import AnalysisSources, Sample, SourceArguments, source_arguments
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.market_bars import MarketReader
from jesse_mcp.services.value_at_risk import VarService
from jesse_mcp.services.value_at_risk_request import DEFAULT_METHODS, VarArguments, VarMethod, check_work
from stored_runs import run_with_balances

START = 1_704_067_200_000
DAY = 86_400_000
EXCHANGE = "Binance Perpetual Futures"
ALL: tuple[VarMethod, ...] = (
    *DEFAULT_METHODS,
    "monte_carlo_normal",
    "monte_carlo_t",
    "garch_normal",
    "volatility_weighted",
)


def moving(n: int, seed: int = 2) -> list[float]:
    """Returns whose volatility clusters."""
    rng = np.random.default_rng(seed)
    returns, variance = np.empty(n), 4e-4
    for at in range(n):
        returns[at] = np.sqrt(variance) * rng.standard_normal()
        variance = 2e-5 + 0.15 * returns[at] ** 2 + 0.8 * variance
    found: list[float] = np.clip(returns, -0.5, 0.5).tolist()
    return found


@dataclass
class Desk:
    service: VarService
    sources: AnalysisSources
    jobs: JobService
    runs: SqlRunStore
    candles: ParquetCandleStore

    def run(self, balances: list[float], missing: str | None = None) -> str:
        points = [(START + day * DAY, balance) for day, balance in enumerate(balances)]
        end_ms = START + max(len(balances), 2) * DAY
        record = run_with_balances(points, start_ms=START, end_ms=end_ms, missing=missing)
        self.runs.add(record)
        return record.run_id

    async def ask(self, source: SourceArguments, **more: Any) -> dict[str, Any]:
        answer = await self.service.calculate(VarArguments(source=source, **more), wait_seconds=120)
        assert answer.state is JobState.DONE
        assert answer.result is not None
        json.dumps(answer.result, allow_nan=False)
        for row in answer.result["risks"]:
            for name in ("var", "es"):
                assert (row[name] is None) == (name in row.get("undefined", {})), row
        return answer.result


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "research.sqlite")
    runs, candles = SqlRunStore(database), ParquetCandleStore(tmp_path / "candles")
    jobs = JobService(SqlJobStore(database), "me", lambda _: False)
    await jobs.start()
    sources = AnalysisSources(runs, MarketReader(candles), lambda name: name)
    yield Desk(VarService(sources, jobs), sources, jobs, runs, candles)
    await jobs.close()
    database.close()


def of_run(run_id: str) -> SourceArguments:
    return SourceArguments(run_id=run_id)


def of_returns(returns: list[float], periods_per_year: float | None = 365) -> SourceArguments:
    return source_arguments(None, returns, None, None, periods_per_year)


def row(found: dict[str, Any], method: str, confidence: float = 0.99, horizon: int = 1) -> dict[str, Any]:
    rows = [
        risk
        for risk in found["risks"]
        if (risk["method"], risk["confidence"], risk["horizon"]) == (method, confidence, horizon)
    ]
    assert len(rows) == 1
    only: dict[str, Any] = rows[0]
    return only


async def test_a_run_is_answered_with_its_own_money(desk: Desk) -> None:
    balances = (10_000 * np.cumprod([1.0, *(1 + np.array(moving(600)))])).tolist()
    found = await desk.ask(of_run(desk.run(balances)), methods=ALL, horizons=(10, 1))
    assert found["value"] == balances[-1]
    assert found["periods"] == 600
    assert len(found["risks"]) == len(ALL) * 4
    assert [risk["horizon"] for risk in found["risks"][:4]] == [1, 1, 10, 10]
    for risk in found["risks"]:
        if risk["var"] is not None:
            assert risk["es"] >= risk["var"]
            assert risk["var_money"] == pytest.approx(risk["var"] * balances[-1])
            assert risk["es_money"] == pytest.approx(risk["es"] * balances[-1])
    losses = np.sort(-np.diff(balances) / np.array(balances[:-1]))[::-1]
    historical = row(found, "historical")
    assert historical["var"] == pytest.approx(losses[6])
    assert historical["es"] == pytest.approx(losses[:6].mean())
    assert set(found["models"]) >= {"garch_t", "garch_normal", "monte_carlo_t"}
    assert "a warning of the run" in found["findings"]
    assert f"{historical['var']:.2%}" not in found["findings"][0], "the first sentence is of 95 %"
    assert f"{row(found, 'historical', 0.95)['var']:.2%}" in found["findings"][0]


async def test_every_horizon_is_in_the_findings(desk: Desk) -> None:
    rising = [0.01 + value for value in moving(600)]
    level = [value - float(np.mean(moving(600))) for value in moving(600)]
    for returns, drifts in ((rising, True), (level, False)):
        found = await desk.ask(
            of_returns(returns), methods=("gaussian", "ewma"), confidences=(0.95,), horizons=(1, 10)
        )
        (said,) = [finding for finding in found["findings"] if finding.startswith("over 10 periods at 0.95")]
        low, high = sorted(row(found, method, 0.95, 10)["var"] for method in ("gaussian", "ewma"))
        assert f"a loss of {low:.2%}" in said
        assert f"{high:.2%}" in said
        assert ("mean return of the sample" in said) == drifts


async def test_every_horizon_says_how_it_was_reached(desk: Desk) -> None:
    found = await desk.ask(of_returns(moving(600)), methods=ALL, confidences=(0.95, 0.99), horizons=(1, 10))
    one = {risk["horizon_by"] for risk in found["risks"] if risk["horizon"] == 1}
    assert one == {"one_period", "simulated_independent"}
    ten = {(r["method"], r["confidence"]): r["horizon_by"] for r in found["risks"] if r["horizon"] == 10}
    # 60 windows that do not overlap have 3 beyond 95 %, and less than one beyond 99 %.
    assert ten["historical", 0.95] == "overlapping"
    assert ten["historical", 0.99] == "square_root_of_time"
    assert ten["ewma", 0.99] == ten["volatility_weighted", 0.99] == "square_root_of_time"
    assert ten["gaussian", 0.99] == ten["cornish_fisher", 0.99] == "independent_sum"
    assert ten["garch_t", 0.99] == ten["filtered_historical", 0.99] == "simulated"
    scaled = row(found, "historical", 0.99, 10)["var"]
    assert scaled == pytest.approx(10**0.5 * row(found, "historical")["var"])
    said = [finding for finding in found["findings"] if "square root of time" in finding]
    assert any("historical" in finding for finding in said)
    assert any(finding.startswith("ewma over 10") for finding in said)


async def test_a_simulation_has_its_error_and_follows_its_seed(desk: Desk) -> None:
    asked: dict[str, Any] = {"methods": ("monte_carlo_t", "filtered_historical"), "horizons": (5,)}
    source = of_returns(moving(600))
    one, same, other = [await desk.ask(source, **asked, seed=seed) for seed in (3, 3, 4)]
    assert one == same
    for first, second in zip(one["risks"], other["risks"], strict=True):
        assert first["var"] != second["var"]
        assert first["var"] == pytest.approx(second["var"], abs=8 * first["var_error"])


@pytest.mark.parametrize(
    ("balances", "missing", "named"),
    [
        pytest.param([], None, "a return needs two", id="empty"),
        pytest.param([10_000.0], None, "a return needs two", id="one balance"),
        pytest.param([], "its log has none", "its log has none", id="no balances"),
        pytest.param([0.0, 1.0], None, "no return on nothing", id="nothing to begin with"),
    ],
)
async def test_a_run_without_returns_says_why(
    desk: Desk, balances: list[float], missing: str | None, named: str
) -> None:
    found = await desk.ask(of_run(desk.run(balances, missing)), methods=ALL, backtest=True)
    assert all(risk["var"] is None and named in risk["undefined"]["var"] for risk in found["risks"])
    assert all(named in test["undefined"]["all"] for test in found["backtest"])
    assert named in found["findings"][0]
    assert found["models"] == {}


@pytest.mark.parametrize(
    "balances",
    [
        pytest.param([10_000.0] * 400, id="flat"),
        pytest.param([10_000.0 * 1.01**day for day in range(400)], id="only winners"),
        pytest.param([10_000.0 * 0.99**day for day in range(400)], id="only losers"),
        pytest.param([10_000.0, 9_000.0, 11_000.0], id="two returns"),
        pytest.param([*np.linspace(10_000, 1, 300).tolist(), 0.0, -5.0, 3.0], id="ruin"),
        pytest.param([10_000.0, 1e308, 1.0, 1e308], id="huge"),
    ],
)
async def test_degenerate_runs_are_answered(desk: Desk, balances: list[float]) -> None:
    found = await desk.ask(of_run(desk.run(balances)), methods=ALL, horizons=(1, 7), backtest=True, window=60)
    assert len(found["risks"]) == 4 * len(ALL)
    assert len(found["backtest"]) == 2 * len(ALL)
    assert found["findings"]
    if balances[-1] == 3.0:
        assert found["value"] is None
        assert "nothing is left" in found["undefined"]["value"]


async def test_money_is_asked_for_where_there_is_none(desk: Desk) -> None:
    source = of_returns(moving(300))
    without = await desk.ask(source, methods=("gaussian",))
    assert without["value"] is None
    assert "give value" in without["undefined"]["value"]
    assert without["risks"][0]["var_money"] is None
    given = await desk.ask(source, methods=("gaussian",), value=500.0)
    assert given["risks"][0]["var_money"] == pytest.approx(500 * without["risks"][0]["var"])
    points = [(START + day * DAY, 100.0 + day % 7) for day in range(300)]
    own = await desk.ask(source_arguments(None, None, points, None, None), methods=("gaussian",))
    assert own["value"] == points[-1][1]


async def test_a_rolling_test_rejects_what_is_wrong_and_says_so(desk: Desk) -> None:
    """Volatility doubles after the first 300 periods: what looks back 250 is too low for long."""
    rng = np.random.default_rng(5)
    returns = np.concatenate((rng.normal(0, 0.01, 300), rng.normal(0, 0.03, 200))).tolist()
    found = await desk.ask(
        of_returns(returns), methods=("historical", "ewma", "volatility_weighted"), backtest=True, window=120
    )
    tests = {(test["method"], test["confidence"]): test for test in found["backtest"]}
    wrong = tests["historical", 0.99]
    assert wrong["forecasts"] == 380
    assert wrong["exceedances"] > 3 * wrong["expected"]
    assert "kupiec" in wrong["rejected_by"]
    assert wrong["traffic_light"] in {"yellow", "red"}
    assert wrong["acerbi_szekely_z2"] < -1
    assert any("historical at 0.99 is rejected" in f and "too low" in f for f in found["findings"])
    assert tests["ewma", 0.95]["exceedances"] < tests["historical", 0.95]["exceedances"]
    assert tests["historical", 0.95]["traffic_light"] is None
    assert "0.95" in tests["historical", 0.95]["undefined"]["traffic_light"]


async def test_the_traffic_light_is_for_days(desk: Desk) -> None:
    found = await desk.ask(of_returns(moving(400), 8_760), methods=("gaussian",), backtest=True, window=100)
    assert {test["traffic_light"] for test in found["backtest"]} == {None}
    assert "daily" in found["backtest"][1]["undefined"]["traffic_light"]


async def test_a_rolling_test_without_room_says_so(desk: Desk) -> None:
    found = await desk.ask(of_returns(moving(200)), methods=("historical", "garch_t"), backtest=True)
    assert all("nothing to forecast" in test["undefined"]["all"] for test in found["backtest"])
    assert any(finding.startswith("could not be tested: historical") for finding in found["findings"])


async def test_parts_of_a_portfolio_sum_to_it(desk: Desk) -> None:
    for number, symbol in enumerate(("BTC-USDT", "ETH-USDT")):
        rows = synthetic_candles(START, 130 * 1_440, number + 1)
        desk.candles.write(SeriesKey(exchange=EXCHANGE, symbol=symbol), rows, "test")
    market = {
        "exchange": EXCHANGE,
        "symbols": ["BTC-USDT", "ETH-USDT"],
        "weights": [1.5, -0.5],
        "start_date": "2024-01-01",
        "end_date": "2024-05-05",
    }
    source = source_arguments(None, None, None, market, None)
    found = await desk.ask(source, methods=("historical", "gaussian"), confidences=(0.95,), horizons=(1,))
    assert [part["basis"] for part in found["contributions"]] == ["historical", "gaussian"]
    for part in found["contributions"]:
        whole = row(found, part["basis"], 0.95)
        for measure in ("var", "es"):
            total = sum(symbol[measure] for symbol in part["symbols"].values())
            assert total == pytest.approx(part[measure], rel=1e-9)
            assert total == pytest.approx(whole[measure], rel=1e-7)
        assert sum(symbol["es_share"] for symbol in part["symbols"].values()) == pytest.approx(1)
    assert found["undefined"]["value"]
    assert any("BTC-USDT with weight 1.50" in finding for finding in found["findings"])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"methods": ()}, "methods is []"),
        ({"methods": ("ewma", "ewma")}, "methods is"),
        ({"confidences": ()}, "confidence is []"),
        ({"confidences": (0.5,)}, "0.5"),
        ({"confidences": (95.0,)}, "95"),
        ({"confidences": (0.99, 0.99)}, "0.99"),
        ({"horizons": (0,)}, "horizon is [0]"),
        ({"horizons": (366,)}, "366"),
        ({"window": 100}, "without backtest"),
        ({"window": 5, "backtest": True}, "window is 5"),
        ({"window": 10_001, "backtest": True}, "window is 10001"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 7, "methods": ("historical", "ewma")}, "simulated"),
        ({"seed": 7, "methods": ("garch_t",), "horizons": (1,)}, "simulated"),
        ({"value": 0.0}, "value is 0"),
        ({"value": -5.0}, "value is -5"),
    ],
)
async def test_nonsense_is_refused_by_name(desk: Desk, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ResearchError) as caught:
        await desk.ask(of_returns([0.01, -0.01]), **changes)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert named in caught.value.message
    assert caught.value.hint


def test_more_work_than_one_call_may_be_is_refused() -> None:
    asked = VarArguments(source=of_returns([0.1]), backtest=True, window=10_000)
    check_work(asked, 250_000)
    with pytest.raises(ResearchError, match="window is 10000 for 1,000,000 returns") as caught:
        check_work(asked, 1_000_000)
    assert caught.value.hint is not None
    assert "window=2500" in caught.value.hint


async def test_a_run_that_is_not_there_is_named(desk: Desk) -> None:
    with pytest.raises(ResearchError) as caught:
        await desk.ask(of_run("run_none"))
    assert caught.value.code is ErrorCode.RUN_NOT_FOUND


async def test_a_job_keeps_no_copy_of_the_series(desk: Desk) -> None:
    asked = VarArguments(source=of_returns(moving(300)), methods=("ewma",))
    answer = await desk.service.calculate(asked, wait_seconds=60)
    job = await desk.jobs.get(answer.job_id)
    assert job.kind == "var_calculation"
    assert job.request["source"]["returns"] == "300 values"


async def test_a_cancelled_job_stops_before_its_next_method(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, interrupted, never = threading.Event(), threading.Event(), threading.Event()

    def endless(arguments: VarArguments, sample: Sample, told: Callable[[float, str], None]) -> None:
        begun.set()
        try:
            while not never.wait(0.01):
                told(0.0, "historical")
        except InterruptedError:
            interrupted.set()
            raise

    monkeypatch.setattr(module, "_calculated", endless)
    answer = await desk.service.calculate(VarArguments(source=of_returns([0.01, -0.01])), wait_seconds=0)
    assert await asyncio.to_thread(begun.wait, 60)
    assert (await desk.jobs.cancel(answer.job_id)).state is JobState.CANCELLED
    assert interrupted.is_set(), "no thread is left behind"


@settings(deadline=None, max_examples=25)
@given(returns=st.lists(st.floats(-1, 10), max_size=60))
def test_every_series_of_a_call_is_answered(returns: list[float]) -> None:
    source = of_returns(returns)
    sample = AnalysisSources(None, None, lambda name: name).load(source)  # type: ignore[arg-type]
    asked = VarArguments(
        source=source,
        methods=("historical", "gaussian", "cornish_fisher", "ewma", "garch_t", "volatility_weighted"),
        horizons=(1, 3),
        backtest=True,
        window=20,
    )
    found = module._calculated(asked, sample, lambda *_: None)
    json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert found.findings
