"""The correlation matrix over real stores: what is said, what is refused, what is bounded."""

import asyncio
import json
import math
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.services import correlation as module
from jesse_mcp.services.analysis_source import AnalysisSources
from jesse_mcp.services.correlation import CorrelationAnswer, CorrelationService
from jesse_mcp.services.correlation_report import CorrelationResult
from jesse_mcp.services.correlation_request import CorrelationArguments
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.market_bars import MarketReader
from jesse_mcp.services.price_panel import PricePanels, panel_arguments
from stored_runs import run_with_balances

START = 1_704_067_200_000
DAY = 86_400_000
EXCHANGE = "Binance Perpetual Futures"
DAYS = 300

Floats = NDArray[np.float64]


def table(k: int, seed: int = 1, n: int = DAYS, common: float = 0.0) -> Floats:
    """Prices of ``k`` walks whose returns correlate by ``common``, shape (n, k)."""
    drawn = np.random.default_rng(seed)
    own, shared = drawn.normal(0, 0.02, (n, k)), drawn.normal(0, 0.02, (n, 1))
    found: Floats = 100 * np.exp((math.sqrt(common) * shared + math.sqrt(1 - common) * own).cumsum(axis=0))
    return found


def prices(columns: Floats, *names: str) -> dict[str, list[tuple[int, float]]]:
    return {
        (names[place] if names else f"S{place}"): [
            (START + day * DAY, float(price)) for day, price in enumerate(column)
        ]
        for place, column in enumerate(columns.T)
    }


@dataclass
class Desk:
    service: CorrelationService
    jobs: JobService
    runs: SqlRunStore
    candles: ParquetCandleStore

    def run(self, balances: list[float], late_ms: int = 0) -> str:
        points = [(START + day * DAY + late_ms, balance) for day, balance in enumerate(balances)]
        record = run_with_balances(points, start_ms=START, end_ms=START + len(balances) * DAY)
        self.runs.add(record)
        return record.run_id

    async def ask(
        self,
        series: dict[str, Any] | None = None,
        *,
        market: dict[str, Any] | None = None,
        run_ids: list[str] | None = None,
        wait_seconds: float = 120,
        **more: Any,
    ) -> CorrelationAnswer:
        arguments = CorrelationArguments(panel=panel_arguments(market, series, run_ids), **more)
        return await self.service.calculate(arguments, wait_seconds=wait_seconds)

    async def result(self, series: dict[str, Any] | None = None, **more: Any) -> CorrelationResult:
        answer = await self.ask(series, **more)
        assert answer.state is JobState.DONE
        assert answer.result is not None
        json.dumps(answer.result, allow_nan=False)
        found = CorrelationResult.model_validate(answer.result)
        for name, value in found.summary.items():
            assert value is not None or name in found.undefined, name
        return found

    async def refused(self, series: dict[str, Any] | None = None, **more: Any) -> ResearchError:
        with pytest.raises(ResearchError) as caught:
            await self.ask(series, **more)
        assert caught.value.hint
        assert (await self.jobs.page(kind="correlation_matrix"))[1] == 0
        return caught.value


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "research.sqlite")
    runs, candles = SqlRunStore(database), ParquetCandleStore(tmp_path / "candles")
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    panels = PricePanels(AnalysisSources(runs, MarketReader(candles), lambda name: name))
    yield Desk(CorrelationService(panels, jobs), jobs, runs, candles)
    await jobs.close()
    database.close()


async def test_the_numbers_are_those_of_scipy(desk: Desk) -> None:
    columns = table(4, common=0.4)
    found = await desk.result(prices(columns))
    returns = columns[1:] / columns[:-1] - 1
    np.testing.assert_allclose(found.matrix["values"], np.corrcoef(returns.T), atol=1e-12)
    assert (found.returns, found.periods_per_year, found.gaps) == (DAYS - 1, 365, 0)
    assert [row["correlation"] for row in found.pairs] == sorted(
        (row["correlation"] for row in found.pairs), reverse=True
    )
    for row in found.pairs:
        one, other = (int(name[1:]) for name in row["series"])
        expected = stats.pearsonr(returns[:, one], returns[:, other])
        interval = expected.confidence_interval(0.95)
        assert row["correlation"] == pytest.approx(expected.statistic, abs=1e-12)
        assert row["p"] == pytest.approx(expected.pvalue, rel=1e-6)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-10)
        assert row["p"] <= row["p_benjamini_hochberg"] <= row["p_holm"] <= 1
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(returns.T)) / 4
    assert found.summary["effective_bets"] == pytest.approx(math.exp(stats.entropy(eigenvalues)))
    assert found.summary["pairs"] == 6
    assert found.shrinkage == {"applied": False, "reason": "not fewer than 10 returns for each series"}


@pytest.mark.parametrize("method", ["pearson", "spearman", "kendall"])
async def test_units_of_prices_change_nothing(desk: Desk, method: str) -> None:
    columns = table(4, common=0.4, n=120)
    asked: dict[str, Any] = {"method": method, "rolling_window": 30, "cointegration": True}
    once = await desk.result(prices(columns), **asked)
    again = await desk.result(prices(columns * [10, 1, 1, 10]), **asked)

    def numbers(found: CorrelationResult) -> dict[str, Any]:
        dumped = found.model_dump(exclude={"conventions"})
        for row in dumped["cointegration"]["candidates"]:
            row.pop("intercept")
        return dumped

    assert_same(numbers(once), numbers(again))


def assert_same(one: Any, other: Any) -> None:
    """Equal, numbers but for rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for part, counterpart in zip(one, other, strict=True):
            assert_same(part, counterpart)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9)
    else:
        assert one == other


async def test_luck_is_counted(desk: Desk) -> None:
    found = await desk.result(prices(table(20, n=400)), alpha=0.05)
    assert found.summary["pairs"] == 190
    assert found.summary["expected_by_chance"] == pytest.approx(9.5)
    assert found.summary["significant_by_holm"] == 0
    assert 0 < found.summary["below_alpha"] < 25
    below = found.summary["below_alpha"]
    assert (
        f"190 pairs tested: 9.5 expected below 0.05 by chance alone, {below} are, 0 after correction (Holm)"
    ) in found.findings


async def test_many_series_give_a_short_answer(desk: Desk) -> None:
    series = prices(table(60, n=700, common=0.5))
    found = await desk.result(series)
    assert len(found.pairs) == 10
    assert found.matrix == {}
    assert 'include=["matrix"]' in found.undefined["matrix"]
    assert len(json.dumps(found.model_dump(mode="json"))) < 12_000
    assert found.findings[0].startswith("diversification is less than it looks: 60 series are worth ")
    full = await desk.result(series, include=("matrix",), limit=500)
    assert len(full.matrix["values"]) == 60
    assert len(full.pairs) == 1_000
    assert full.pairs[:5] == found.pairs[:5]
    assert full.pairs[-5:] == found.pairs[-5:]


async def test_few_returns_for_many_series_are_shrunk_and_it_is_said(desk: Desk) -> None:
    series = prices(table(10, n=60))
    found = await desk.result(series)
    assert found.shrinkage["applied"] is True
    assert found.shrinkage["reason"] == "fewer than 10 returns for each series"
    assert 0.3 < found.shrinkage["intensity"] <= 1
    raw, shrunk = np.array(found.matrix["values"]), np.array(found.matrix["shrunk"])
    expected = (1 - found.shrinkage["intensity"]) * raw + found.shrinkage["intensity"] * np.eye(10)
    np.testing.assert_allclose(shrunk, expected, atol=1e-12)
    assert f"after shrinkage of {found.shrinkage['intensity']:.2f}" in found.findings[0]
    plain = await desk.result(series, shrinkage="none")
    assert "shrunk" not in plain.matrix
    assert "shrinkage" not in plain.findings[0]
    assert plain.shrinkage == {"applied": False, "reason": "shrinkage is none"}
    assert plain.pairs == found.pairs, "pairs are never shrunk"
    assert plain.summary["effective_bets"] < found.summary["effective_bets"]
    asked = await desk.result(prices(table(3)), shrinkage="ledoit_wolf")
    assert (asked.shrinkage["applied"], asked.shrinkage["reason"]) == (True, "asked for")
    ranks = await desk.result(prices(table(10, n=60)), method="kendall")
    assert ranks.shrinkage["reason"] == "Kendall's tau is not made of products of deviations"


async def test_a_constant_series_is_flagged_and_left_out_of_what_is_of_all(desk: Desk) -> None:
    columns = np.column_stack([table(3), np.full(DAYS, 5.0)])
    found = await desk.result(prices(columns, "A", "B", "C", "FLAT"), cointegration=True, rolling_window=20)
    assert found.matrix["values"][3] == [None] * 4
    assert found.summary["series_that_vary"] == 3
    assert found.summary["pairs"] == 3
    assert found.undefined["correlations of FLAT"].startswith("its returns are all the same")
    assert "constant" in found.undefined["cointegration of A and FLAT"]
    assert found.cointegration["pairs_tested"] == 3
    assert not any("FLAT" in name for group in found.clusters["members"] for name in group)


async def test_only_constant_series_have_no_correlation(desk: Desk) -> None:
    found = await desk.result(prices(np.ones((50, 2))), cointegration=True)
    assert found.matrix["values"] == [[None, None], [None, None]]
    assert found.pairs == ()
    assert found.summary["average_correlation"] is None
    assert found.summary["effective_bets"] is None
    assert found.clusters == {}
    assert "no pair could be tested for cointegration: see undefined" in found.findings


async def test_equal_series_are_called_redundant(desk: Desk) -> None:
    columns = table(2)
    found = await desk.result(
        prices(np.column_stack([columns, columns[:, 0] * 3]), "A", "B", "A3"), cointegration=True
    )
    first = found.pairs[0]
    assert (first["series"], first["correlation"], first["low"], first["high"]) == (
        ["A", "A3"],
        1,
        None,
        None,
    )
    assert "one is redundant" in found.undefined["interval of A and A3"]
    assert "perfectly correlated, so that one is redundant: A and A3" in found.findings
    assert "no spread" in found.undefined["cointegration of A and A3"]


async def test_series_of_different_times_are_aligned_and_counted(desk: Desk) -> None:
    series = prices(table(3), "A", "B", "C")
    series["B"] = series["B"][200:]
    series["C"] = series["C"][:250] + series["C"][253:]
    found = await desk.result(series)
    assert found.series == (
        {"name": "A", "points": 300, "left_out": 203},
        {"name": "B", "points": 100, "left_out": 3},
        {"name": "C", "points": 297, "left_out": 200},
    )
    assert (found.returns, found.gaps) == (96, 1)
    assert "1 returns are over more than one period, as times between are missing" in found.findings
    assert any(
        "only 97 times are common to all, of up to 300; the shortest is B: 100" in f for f in found.findings
    )


async def test_groups_are_found_by_name(desk: Desk) -> None:
    drawn = np.random.default_rng(2)
    shared = np.repeat(drawn.normal(0, 0.02, (DAYS, 2)), 3, axis=1)
    columns = 100 * np.exp((shared + drawn.normal(0, 0.008, (DAYS, 6))).cumsum(axis=0))
    found = await desk.result(prices(columns, "A1", "A2", "A3", "B1", "B2", "B3"))
    assert {frozenset(group) for group in found.clusters["members"]} == {
        frozenset({"A1", "A2", "A3"}),
        frozenset({"B1", "B2", "B3"}),
    }
    assert found.clusters["structure"] in {"weak", "reasonable"}


async def test_rolling_windows_name_their_extremes(desk: Desk) -> None:
    columns = table(2, common=0.5)
    found = await desk.result(prices(columns), rolling_window=40)
    returns = columns[1:] / columns[:-1] - 1
    windows = [
        float(np.corrcoef(returns[at : at + 40, 0], returns[at : at + 40, 1])[0, 1])
        for at in range(len(returns) - 39)
    ]
    (row,) = found.rolling
    assert row["windows"] == len(windows)
    assert row["last"] == pytest.approx(windows[-1], abs=1e-12)
    low = int(np.argmin(windows))
    assert (row["min"], row["min_at"]) == (pytest.approx(windows[low]), START + (low + 40) * DAY)
    assert len(row["points"]) <= 12
    assert [row["points"][0][0], row["points"][-1][0]] == [START + 40 * DAY, START + (DAYS - 1) * DAY]


async def test_a_planted_pair_is_a_candidate_after_correction(desk: Desk) -> None:
    drawn = np.random.default_rng(3)
    columns = table(6, seed=4, n=800)
    spread = np.zeros(800)
    for day in range(1, 800):
        spread[day] = 0.5 ** (1 / 4) * spread[day - 1] + drawn.normal(0, 0.02)
    columns[:, 5] = columns[:, 0] ** 1.5 * np.exp(spread)
    found = await desk.result(prices(columns, "X", "A", "B", "C", "D", "Y"), cointegration=True)
    first, *others = found.cointegration["candidates"]
    assert {first["dependent"], first["independent"]} == {"X", "Y"}
    assert first["significant"] is True
    assert first["stationary_alone"] == []
    assert first["p"] <= first["p_holm"] <= 15 * first["p"]
    ratio = first["hedge_ratio"] if first["dependent"] == "Y" else 1 / first["hedge_ratio"]
    assert ratio == pytest.approx(1.5, rel=0.1)
    assert first["half_life"] == pytest.approx(4, rel=0.5)
    assert not any(other["significant"] for other in others)
    assert found.cointegration["pairs_tested"] == 15
    assert found.cointegration["expected_by_chance"] == pytest.approx(0.75)
    assert found.cointegration["significant_by_holm"] == 1


async def test_a_series_that_is_stationary_alone_is_no_partner(desk: Desk) -> None:
    drawn = np.random.default_rng(5)
    columns = np.column_stack([table(1, n=600)[:, 0], 100 * np.exp(drawn.normal(0, 0.02, 600))])
    found = await desk.result(prices(columns, "WALK", "NOISE"), cointegration=True)
    (only,) = found.cointegration["candidates"]
    assert only["stationary_alone"] == ["NOISE"]
    assert only["significant"] is True
    assert any("stationary without any partner: NOISE" in finding for finding in found.findings)


async def test_volatility_in_clusters_is_said(desk: Desk) -> None:
    drawn = np.random.default_rng(6)
    size = np.where(np.arange(500) % 100 < 50, 0.005, 0.05)[:, None]
    columns = 100 * np.exp((size * drawn.normal(size=(500, 4))).cumsum(axis=0))
    found = await desk.result(prices(columns))
    assert any(finding.startswith("volatility comes in clusters in 4 of 4") for finding in found.findings)
    calm = await desk.result(prices(table(4, n=500)))
    assert not any("clusters in" in finding for finding in calm.findings)


async def test_stored_candles_and_runs_are_series_too(desk: Desk) -> None:
    for seed, symbol in enumerate(("A-USDT", "B-USDT")):
        rows = synthetic_candles(START, 3 * 1_440, seed)
        desk.candles.write(SeriesKey(exchange=EXCHANGE, symbol=symbol), rows, "test")
    market = {
        "exchange": EXCHANGE,
        "symbols": ["A-USDT", "B-USDT"],
        "timeframe": "1h",
        "start_date": "2024-01-01",
        "end_date": "2024-01-04",
    }
    found = await desk.result(market=market)
    assert (found.source, found.returns, found.periods_per_year) == ("market", 71, 8_760)
    balances = [table(1, seed=seed, n=50)[:, 0] for seed in (1, 2)]
    ids = [desk.run(one.tolist()) for one in balances]
    runs = await desk.result(run_ids=ids)
    daily = [one[1:] / one[:-1] - 1 for one in balances]
    expected = np.corrcoef(daily[0], daily[1])[0, 1]
    assert runs.pairs[0]["correlation"] == pytest.approx(expected, abs=1e-12)
    assert [row["name"] for row in runs.series] == ids
    assert f"run {ids[0]}: a warning of the run" in runs.findings


async def test_runs_whose_days_are_noted_at_different_times_are_of_the_same_days(desk: Desk) -> None:
    """Jesse notes them a minute or a bar after midnight, a pair's are of midnight."""
    balances = [table(1, seed=seed, n=30)[:, 0].tolist() for seed in (1, 2, 3)]
    late = [desk.run(one, at) for one, at in zip(balances, (0, 60_000, 3_600_000), strict=True)]
    prompt = [desk.run(one) for one in balances]
    found, expected = [await desk.result(run_ids=ids) for ids in (late, prompt)]
    assert found.returns == 29
    assert [row["correlation"] for row in found.pairs] == [row["correlation"] for row in expected.pairs]


async def test_a_run_that_lost_everything_ends_there(desk: Desk) -> None:
    whole, ruined = table(1, n=60)[:, 0].tolist(), table(1, seed=2, n=60)[:, 0].tolist()
    ruined[50:] = [0.0] * 10
    ids = [desk.run(whole), desk.run(ruined)]
    found = await desk.result(run_ids=ids, cointegration=True)
    assert found.returns == 50
    assert found.pairs[0]["correlation"] is not None
    assert "not a finite number" in found.undefined[f"cointegration of {ids[0]} and {ids[1]}"]
    assert any("everything was lost" in finding for finding in found.findings)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"rolling_window": 4}, "rolling_window is 4"),
        ({"rolling_window": 299}, "rolling_window is 299"),
        ({"alpha": 0}, "alpha is 0"),
        ({"alpha": 0.51}, "alpha is 0.51"),
        ({"confidence": 0.49}, "confidence is 0.49"),
        ({"confidence": 1}, "confidence is 1"),
        ({"limit": 0}, "limit is 0"),
        ({"limit": 501}, "limit is 501"),
        ({"method": "kendall", "shrinkage": "ledoit_wolf"}, "shrinkage is ledoit_wolf with method kendall"),
    ],
)
async def test_nonsense_is_refused_by_name(desk: Desk, arguments: dict[str, Any], named: str) -> None:
    error = await desk.refused(prices(table(3)), **arguments)
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert named in error.message


async def test_too_much_work_is_refused_with_what_would_do(desk: Desk) -> None:
    long = prices(table(3, n=60_000))
    error = await desk.refused(long, method="kendall", rolling_window=1_000)
    assert "too much for kendall" in error.message
    many = {f"S{place}": long["S0"] for place in range(100)}
    assert "cointegration" in (await desk.refused(many, cointegration=True)).message


async def test_many_remarks_are_counted(desk: Desk) -> None:
    minutes = np.arange(2 * 1_440)
    for place in range(24):
        rows = synthetic_candles(START, 2 * 1_440, place)
        kept = rows[(minutes < 60 * place) | (minutes >= 60 * place + 60)]
        desk.candles.write(SeriesKey(exchange=EXCHANGE, symbol=f"S{place}-USDT"), kept, "test")
    market = {
        "exchange": EXCHANGE,
        "symbols": [f"S{place}-USDT" for place in range(24)],
        "timeframe": "1h",
        "start_date": "2024-01-01",
        "end_date": "2024-01-03",
    }
    found = await desk.result(market=market)
    assert found.returns == 23
    assert found.findings[-1].startswith("and ")
    assert found.findings[-1].endswith(" more remarks of this kind")


@pytest.mark.parametrize("n", [1, 2, 5])
async def test_too_few_common_times_are_refused(desk: Desk, n: int) -> None:
    error = await desk.refused(prices(table(2, n=n)))
    assert f"{n} times in common, which is {n - 1} returns" in error.message


async def test_series_without_a_common_time_are_refused(desk: Desk) -> None:
    series = prices(table(2))
    series["S1"] = [(time + 1, price) for time, price in series["S1"]]
    assert "no time in common" in (await desk.refused(series)).message


async def test_an_unknown_run_is_not_found(desk: Desk) -> None:
    assert (await desk.refused(run_ids=["run_none", "run_more"])).code is ErrorCode.RUN_NOT_FOUND


async def test_a_run_without_balances_is_named(desk: Desk) -> None:
    ids = [desk.run([100.0]), desk.run([100.0, 101.0])]
    error = await desk.refused(run_ids=ids)
    assert ids[0] in error.message


async def test_few_returns_are_called_few(desk: Desk) -> None:
    found = await desk.result(prices(table(2, n=6)))
    assert found.returns == 5
    assert any(finding.startswith("5 returns are few") for finding in found.findings)


async def test_a_job_records_counts_of_prices_and_shows_progress(desk: Desk) -> None:
    answer = await desk.ask(prices(table(2)), cointegration=True)
    job = await desk.jobs.get(answer.job_id)
    assert job.request["prices"] == {"S0": "300 values", "S1": "300 values"}
    assert answer.progress == 1


async def test_a_cancelled_job_stops_its_work(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def endless(arguments: Any, panel: Any, told: Any) -> None:
        begun.set()
        try:
            while True:
                told(0.5, "endless")
        except InterruptedError:
            stopped.set()
            raise

    monkeypatch.setattr(module, "gathered", endless)
    answer = await desk.ask(prices(table(2)), wait_seconds=0)
    assert answer.result is None
    assert await asyncio.to_thread(begun.wait, 60)
    await desk.jobs.cancel(answer.job_id)
    assert (await desk.jobs.wait(answer.job_id, 60)).state is JobState.CANCELLED
    assert stopped.is_set()
