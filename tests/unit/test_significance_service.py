"""The significance test over real stores: what is counted, what is refused, what is said."""

import asyncio
import json
import math
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.ledger import SqlTrialLedger
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.analytics.return_series import compounded
from jesse_mcp.analytics.selection_bias import deflated_sharpe_ratio, expected_maximum_sharpe
from jesse_mcp.analytics.sharpe_inference import probabilistic_sharpe_ratio, sharpe_estimate
from jesse_mcp.analytics.significance_verdict import significance_verdict
from jesse_mcp.domain.backtests import BacktestRequest, EngineOutcome, EquityPoint, Route, Trade
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.identity import new_id
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.ledger import Trial
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.services import significance as module
from jesse_mcp.services.analysis_source import AnalysisSources, SourceArguments
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.market_bars import MarketReader
from jesse_mcp.services.significance import SignificanceAnswer, SignificanceService
from jesse_mcp.services.significance_report import SignificanceResult
from jesse_mcp.services.significance_request import SignificanceArguments

START = 1_704_067_200_000
DAY = 86_400_000
EXCHANGE = "Binance Perpetual Futures"
DAYS = 200

#: Under which name a reason is given, where it is not that of the value.
REASON = {
    "annual": "sharpe",
    "p_t": "mean_return",
    "p_bootstrap": "mean_return",
    "deflated_sharpe_ratio_of_effective_trials": "effective_trials",
    "spa_bounds": "spa",
    "reality_check": "spa",
    "block_length": "spa",
}

Floats = NDArray[np.float64]


def noise(seed: int, mean: float = 0.0, days: int = DAYS) -> Floats:
    """Returns of just this mean."""
    drawn = np.random.default_rng(seed).normal(0, 0.01, days)
    moved: Floats = drawn - drawn.mean() + mean
    return moved


def trade() -> Trade:
    return Trade(
        strategy="Mine",
        exchange=EXCHANGE,
        symbol="BTC-USDT",
        type="long",
        opened_at=START,
        closed_at=START + 60_000,
        entry_price=100,
        exit_price=100,
        qty=1,
        size=100,
        fee=0,
        pnl=1,
        pnl_percentage=None,
        holding_period=60,
    )


@dataclass
class Desk:
    service: SignificanceService
    jobs: JobService
    runs: SqlRunStore
    ledger: SqlTrialLedger
    number: int = field(default=0)

    def run(
        self,
        returns: Floats,
        *,
        strategy: str = "Mine",
        shape: str = "shape",
        start: int = START,
        trades: int = 50,
        balances: list[float] | None = None,
        missing: str | None = None,
    ) -> str:
        """A stored run, counted in the ledger."""
        self.number += 1
        values = compounded(returns, 10_000).tolist() if balances is None else balances
        request = BacktestRequest(
            exchange=EXCHANGE,
            exchange_type="futures",
            routes=(Route(strategy=strategy, symbol="BTC-USDT", timeframe="1h"),),
            start_ms=start,
            end_ms=start + DAYS * DAY,
            starting_balance=10_000,
            fee=0,
            warm_up_candles=0,
            fast_mode=True,
        )
        record = RunRecord(
            run_id=new_id("run"),
            kind="backtest",
            created_at="2026-01-01T00:00:00.000Z",
            fingerprint=f"print {self.number}",
            strategies=(strategy,),
            symbols=("BTC-USDT",),
            title=None,
            request=request.model_dump(mode="json"),
            code_hash="c0de",
            candle_hashes={},
            outcome=EngineOutcome(
                metrics={},
                undefined={},
                trades=(trade(),) * trades,
                equity=tuple(
                    EquityPoint(timestamp=start + day * DAY, balance=balance)
                    for day, balance in enumerate(values if missing is None else [])
                ),
                equity_missing_reason=missing,
                hyperparameters={},
                engine={},
            ),
            warnings=("a warning of the run",),
        )
        self.runs.add(record)
        self.count(returns, strategy, shape, start, record.fingerprint, record.run_id)
        return record.run_id

    def count(
        self,
        returns: Floats | None,
        strategy: str = "Mine",
        shape: str | None = "shape",
        start: int = START,
        fingerprint: str | None = None,
        run_id: str | None = None,
    ) -> None:
        self.number += 1
        self.ledger.record(
            Trial(
                trial_id=new_id("trial"),
                created_at="2026-01-01T00:00:00.000Z",
                family=strategy,
                code_hash="c0de",
                start_ms=start,
                end_ms=start + DAYS * DAY,
                fingerprint=fingerprint or f"print {self.number}",
                run_id=run_id,
                daily_returns=None if returns is None else tuple(returns.tolist()),
                code_shape=shape,
            )
        )

    async def ask(self, *run_ids: str, wait_seconds: float = 60, **more: Any) -> SignificanceAnswer:
        if len(run_ids) == 1:
            more["source"] = SourceArguments(run_id=run_ids[0])
        elif run_ids:
            more["run_ids"] = run_ids
        return await self.service.test(SignificanceArguments(**more), wait_seconds=wait_seconds)

    async def result(self, *run_ids: str, **more: Any) -> SignificanceResult:
        answer = await self.ask(*run_ids, **more)
        assert answer.state is JobState.DONE
        assert answer.result is not None
        json.dumps(answer.result, allow_nan=False)
        found = SignificanceResult.model_validate(answer.result)
        for section in (
            found.sharpe,
            found.selection,
            found.mean_return,
            found.overfitting,
            found.comparison,
        ):
            for name, value in section.items():
                assert value is not None or REASON.get(name, name) in found.undefined, name
        return found

    async def refused(self, *run_ids: str, **more: Any) -> ResearchError:
        with pytest.raises(ResearchError) as caught:
            await self.ask(*run_ids, **more)
        assert caught.value.hint
        assert (await self.jobs.page(kind="significance_test"))[1] == 0
        return caught.value


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "research.sqlite")
    runs, ledger = SqlRunStore(database), SqlTrialLedger(database)
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    reader = MarketReader(ParquetCandleStore(tmp_path / "candles"))
    sources = AnalysisSources(runs, reader, lambda name: name)
    yield Desk(SignificanceService(sources, ledger, jobs), jobs, runs, ledger)
    await jobs.close()
    database.close()


async def test_the_numbers_are_those_of_the_formulas(desk: Desk) -> None:
    returns = noise(1, 0.0012)
    for seed in range(2, 14):
        desk.count(noise(seed, 0.0004 * seed - 0.0028))
    desk.count(None)
    found = await desk.result(desk.run(returns))
    estimate = sharpe_estimate(returns)
    assert estimate is not None
    tried = [returns, *(noise(seed, 0.0004 * seed - 0.0028) for seed in range(2, 14))]
    variance = float(np.var([r.mean() / r.std(ddof=1) for r in tried], ddof=1))
    moments = (estimate.sharpe, DAYS, estimate.skewness, estimate.kurtosis)
    assert found.selection["trials"] == found.selection["ledger_trials"] == 14
    assert found.selection["variance_is"] == "of the trials in the ledger"
    assert found.selection["variance_of_trials"] == pytest.approx(variance * 365, rel=1e-6)
    assert found.selection["luck_sharpe"] == pytest.approx(
        expected_maximum_sharpe(14, variance) * 365**0.5, rel=1e-6
    )
    assert found.selection["deflated_sharpe_ratio"] == pytest.approx(
        deflated_sharpe_ratio(*moments, 14, variance), rel=1e-6
    )
    assert found.selection["plain_variance_of_trials"] == pytest.approx(variance * 365, rel=1e-6)
    assert found.selection["distinct_trials"] == 13
    assert found.sharpe["annual"] == pytest.approx(estimate.sharpe * 365**0.5, rel=1e-6)
    assert found.overfitting["strategies"] == 13
    assert found.overfitting["combinations"] == 12_870
    assert (found.periods, found.periods_per_year) == (DAYS, 365)
    assert found.selection["other_trials_on_these_days"] == 13
    assert any("a warning of the run" in finding for finding in found.findings)


async def test_running_copies_does_not_make_a_result_better(desk: Desk) -> None:
    for seed in range(2, 16):
        desk.count(noise(seed, 0.0004 * seed - 0.0028))
    run_id = desk.run(noise(1, 0.004))
    before = (await desk.result(run_id)).selection
    for _ in range(40):
        desk.count(noise(5, -0.0008))
    after = (await desk.result(run_id)).selection
    assert (before["trials"], after["trials"]) == (15, 55)
    assert before["distinct_trials"] == after["distinct_trials"] == 15
    assert after["variance_of_trials"] == pytest.approx(before["variance_of_trials"], rel=1e-9)
    assert after["plain_variance_of_trials"] < before["plain_variance_of_trials"]
    assert after["luck_sharpe"] > before["luck_sharpe"]
    assert after["deflated_sharpe_ratio"] < before["deflated_sharpe_ratio"]


async def test_one_absurd_trial_does_not_ruin_a_result(desk: Desk) -> None:
    for seed in range(2, 60):
        desk.count(noise(seed, 0.00004 * seed - 0.0012))
    run_id = desk.run(noise(1, 0.004))
    before = (await desk.result(run_id)).selection
    desk.count(noise(99, -0.05))
    after = (await desk.result(run_id)).selection
    assert after["luck_sharpe"] == pytest.approx(before["luck_sharpe"], rel=0.1)
    assert after["deflated_sharpe_ratio"] > 0.95
    assert after["plain_variance_of_trials"] > 10 * before["plain_variance_of_trials"]


async def test_the_caller_may_raise_the_number_of_trials_and_not_lower_it(desk: Desk) -> None:
    run_id = desk.run(noise(1, 0.002))
    for seed in range(20):
        desk.count(noise(seed))
    error = await desk.refused(run_id, trials=20)
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "trials is 20, the ledger has 21" in error.message
    same = await desk.result(run_id, trials=21)
    more = await desk.result(run_id, trials=2_000)
    unsaid = await desk.result(run_id)
    assert same.selection == unsaid.selection
    assert more.selection["deflated_sharpe_ratio"] < same.selection["deflated_sharpe_ratio"]
    assert more.selection["ledger_trials"] == 21


async def test_the_same_returns_under_another_name_and_code_are_the_same_trials(desk: Desk) -> None:
    best = noise(40, 0.001)
    for seed in range(30):
        desk.count(noise(seed), strategy="Old", shape="old")
    desk.count(best, strategy="Old", shape="old")
    desk.count(best, strategy="Later", shape="later", start=START + DAY)
    found = await desk.result(desk.run(best * 2 + noise(41) * 0.01, strategy="New", shape="new"))
    assert found.selection["families"] == ["New", "Old"]
    assert found.selection["trials"] == 32
    other = await desk.result(desk.run(noise(50, 0.001), strategy="Apart", shape="apart"))
    assert other.selection["families"] == ["Apart"]


async def test_returns_of_a_trial_handed_in_as_numbers_are_recognised(desk: Desk) -> None:
    best = noise(40, 0.003)
    for seed in range(20):
        desk.count(noise(seed))
    desk.run(best)
    source = SourceArguments(returns=tuple(best.round(7).tolist()))
    error = await desk.refused(source=source, trials=20)
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "nearly these returns, of Mine: 21 experiments" in error.message
    for trials in (None, 21):
        found = await desk.result(source=source, trials=trials)
        assert any("nearly these returns, of Mine: 21 experiments" in finding for finding in found.findings)
    unknown = await desk.result(source=SourceArguments(returns=tuple(noise(50).tolist())), trials=1)
    assert not any("the ledger has" in finding for finding in unknown.findings)


async def test_a_new_name_does_not_start_anew(desk: Desk) -> None:
    for seed in range(30):
        desk.count(noise(seed), strategy="Old")
    desk.count(noise(99), strategy="Elsewhere", shape="another")
    found = await desk.result(desk.run(noise(40, 0.001), strategy="New"))
    assert found.selection["trials"] == 31
    assert found.selection["families"] == ["New", "Old"]
    assert any("New, Old" in finding for finding in found.findings)


async def test_luck_among_many_is_explained_by_selection(desk: Desk) -> None:
    lucky = noise(1, 0.0016)
    for seed in range(2, 200):
        desk.count(np.random.default_rng(seed).normal(0, 0.01, DAYS))
    run_id = desk.run(lucky)
    found = await desk.result(run_id)
    assert found.verdict == "explained_by_selection"
    assert found.sharpe["probabilistic_sharpe_ratio"] > 0.95
    luck, annual = found.selection["luck_sharpe"], found.sharpe["annual"]
    assert (
        f"with 199 trials, a Sharpe ratio of {luck:.2f} or better was to be expected from luck alone; this "
        f"one is {annual:.2f}"
    ) in found.findings


async def test_one_trial_that_earns_is_significant_and_one_that_does_not_is_not(desk: Desk) -> None:
    alone = await desk.result(desk.run(noise(1, 0.003), strategy="Good", shape="good"))
    assert alone.verdict == "significant"
    assert alone.selection["deflated_sharpe_ratio"] == alone.sharpe["probabilistic_sharpe_ratio"]
    assert alone.selection["luck_sharpe"] == 0
    assert "without skill" in alone.selection["variance_is"]
    assert alone.undefined["pbo"] == "1 strategies that differ: two are needed"
    assert any("no other trial in the ledger saw any day" in finding for finding in alone.findings)
    poor = await desk.result(desk.run(noise(2, 0.0002), strategy="Poor", shape="poor"))
    assert poor.verdict == "not_significant"
    assert any("years of record" in finding for finding in poor.findings)
    loser = await desk.result(desk.run(noise(3, -0.001), strategy="Bad", shape="bad"))
    assert loser.verdict == "not_significant"
    assert loser.sharpe["minimum_track_record_years"] is None
    assert "minimum_track_record_years" in loser.undefined


async def test_a_benchmark_is_harder_to_beat(desk: Desk) -> None:
    run_id = desk.run(noise(1, 0.003))
    plain, hard = await desk.result(run_id), await desk.result(run_id, benchmark_sharpe=5.0)
    assert hard.sharpe["annual"] == plain.sharpe["annual"]
    assert hard.sharpe["probabilistic_sharpe_ratio"] < plain.sharpe["probabilistic_sharpe_ratio"]
    assert hard.selection["deflated_sharpe_ratio"] < plain.selection["deflated_sharpe_ratio"]
    one = sharpe_estimate(noise(1, 0.003))
    assert one is not None
    moments = (one.sharpe, DAYS, one.skewness, one.kurtosis)
    assert hard.sharpe["probabilistic_sharpe_ratio"] == pytest.approx(
        probabilistic_sharpe_ratio(*moments, 5 / math.sqrt(365)), rel=1e-6
    )
    assert hard.verdict == "not_significant"


async def test_the_highest_confidence_has_numbers(desk: Desk) -> None:
    found = await desk.result(desk.run(noise(1, 0.004)), confidence=0.9999)
    assert found.sharpe["low"] < found.sharpe["annual"] < found.sharpe["high"]
    assert found.sharpe["minimum_track_record_years"] is not None


async def test_the_benchmark_is_named_in_the_verdict(desk: Desk) -> None:
    run_id = desk.run(noise(1, 0.004))
    found = await desk.result(run_id, benchmark_sharpe=1.5)
    assert found.verdict == "significant"
    assert "true Sharpe ratio is above 1.5 " in found.findings[0]
    selected = await desk.result(run_id, trials=1_000_000, benchmark_sharpe=1.5)
    assert selected.verdict == "explained_by_selection"
    assert "true Sharpe ratio above 1.5 " in selected.findings[0]


async def test_trials_of_other_days_are_counted_and_are_no_table(desk: Desk) -> None:
    for seed in range(12):
        desk.count(noise(seed), start=START + 400 * DAY)
    desk.count(noise(20), start=START + 100 * DAY)
    found = await desk.result(desk.run(noise(30, 0.001)))
    assert found.selection["trials"] == 14
    assert found.selection["other_trials_on_these_days"] == 1
    assert found.undefined["pbo"] == "1 strategies that differ: two are needed"


async def test_a_trial_that_lost_everything_is_part_of_the_table(desk: Desk) -> None:
    desk.count(np.concatenate((noise(1)[:50], [-1.0])))
    desk.count(noise(2)[:60])
    found = await desk.result(desk.run(noise(3, 0.001)))
    assert found.overfitting["strategies"] == 2


async def test_several_runs_are_compared_and_the_best_is_judged(desk: Desk) -> None:
    best = noise(3, 0.003)
    ids = [desk.run(noise(1)), desk.run(best, strategy="Other", shape="other"), desk.run(noise(2, -0.001))]
    found = await desk.result(*ids)
    assert found.source == f"run {ids[1]}, the best of 3"
    assert found.selection["families"] == ["Mine", "Other"]
    assert found.selection["trials"] == 3
    assert found.comparison["common_periods"] == DAYS
    assert found.comparison["spa"] < 0.05
    rows = found.comparison["runs"]
    assert [row["superior"] for row in rows] == [False, True, False]
    assert [row["source"] for row in rows] == [f"run {run_id}" for run_id in ids]
    for row in rows:
        assert row["p_bootstrap"] <= row["p_benjamini_hochberg"] <= row["p_holm"] <= 1
    assert found.overfitting["strategies"] == 3


async def test_comparing_few_does_not_hide_the_others_from_pbo(desk: Desk) -> None:
    ids = [desk.run(noise(1, 0.001)), desk.run(noise(2, 0.0005))]
    for seed in range(3, 33):
        desk.count(noise(seed))
    few, one = await desk.result(*ids), await desk.result(ids[0])
    assert few.overfitting == one.overfitting
    assert few.overfitting["strategies"] == 32
    assert len(few.comparison["runs"]) == 2
    assert not any("pbo is of" in finding for finding in few.findings)


async def test_pbo_says_which_trials_it_leaves_out(desk: Desk) -> None:
    ids = [desk.run(noise(1, 0.001)), desk.run(noise(2, 0.0005))]
    for seed in range(3, 33):
        desk.count(noise(seed), start=START + 400 * DAY)
    found = await desk.result(*ids)
    assert found.overfitting["strategies"] == 2
    assert (
        "pbo is of 2 strategies only: the ledger has 30 more trials, of other days, without returns that "
        "vary, or equal to one of these"
    ) in found.findings


async def test_runs_of_other_days_share_none(desk: Desk) -> None:
    ids = [desk.run(noise(1)), desk.run(noise(2, 0.001), start=START + 1_000 * DAY)]
    found = await desk.result(*ids)
    assert found.comparison["common_periods"] == 0
    assert found.comparison["spa"] is None
    assert "0 periods are too few" in found.undefined["spa"]
    assert "pbo" in found.undefined


async def test_a_run_that_lost_everything_is_compared_over_all_days(desk: Desk) -> None:
    balances = compounded(noise(1), 10_000)
    balances[60:] = 0
    ruined = desk.run(noise(1), balances=balances.tolist())
    found = await desk.result(ruined, desk.run(noise(2, 0.001)))
    assert found.comparison["common_periods"] == DAYS
    assert [row["periods"] for row in found.comparison["runs"]] == [60, DAYS]


async def test_of_numbers_in_the_call_nobody_knows_what_was_tried(desk: Desk) -> None:
    source = SourceArguments(returns=tuple(noise(1, 0.003).tolist()))
    silent = await desk.result(source=source)
    assert silent.verdict == "undecided"
    assert silent.selection == {"deflated_sharpe_ratio": None}
    assert "say so in trials" in silent.undefined["deflated_sharpe_ratio"]
    assert silent.findings[0].startswith("undecided: the source is no run")
    told = await desk.result(source=source, trials=5)
    assert told.selection["variance_is"] == "without skill"
    assert told.selection["luck_sharpe"] == pytest.approx(
        expected_maximum_sharpe(5, 1 / (DAYS - 1)) * 365**0.5
    )
    assert told.verdict == "significant"
    jobs, _ = await desk.jobs.page(kind="significance_test")
    assert jobs[0].request["source"] == {"returns": f"{DAYS} values"}


@pytest.mark.parametrize(
    ("returns", "trades", "missing"),
    [
        ([], 0, None),
        ([0.01], 1, None),
        ([0.0] * 60, 0, None),
        ([0.01, -0.02] * 10, 40, None),
        ([0.01, -0.02, 0.5] * 20, 5, None),
        ([0.01, -1.0, 0.3], 40, None),
        ([0.01, -0.01, 0.0], 40, "Jesse kept none"),
    ],
    ids=["nothing", "one day", "no trade", "few days", "few trades", "ruin", "no balances"],
)
async def test_too_little_is_undecided_and_says_why(
    desk: Desk, returns: list[float], trades: int, missing: str | None
) -> None:
    found = await desk.result(desk.run(np.array(returns), trades=trades, missing=missing))
    assert found.verdict == "undecided"
    assert found.findings[0].startswith("undecided: ")
    assert len(found.findings[0]) > 20
    if missing is not None:
        assert missing in found.findings[0]


@pytest.mark.parametrize(
    "arguments",
    [
        {"trials": 0},
        {"trials": -5},
        {"trials": 10**10},
        {"benchmark_sharpe": 1e6},
        {"benchmark_sharpe": -1e-9},
        {"benchmark_sharpe": -100},
        {"confidence": 0.5},
        {"confidence": 1.0},
        {"confidence": 0.9999999999999999},
        {"confidence": 0.99991},
        {"confidence": 95},
        {"splits": 15},
        {"splits": 0},
        {"splits": 22},
        {"seed": -1},
        {"seed": 2**31},
        {"run_ids": ("run_a",)},
        {"run_ids": ("run_a", "run_a")},
        {"run_ids": ()},
        {"run_ids": tuple(f"run_{n}" for n in range(101))},
        {"source": None},
    ],
    ids=str,
)
async def test_nonsense_is_refused_by_name(desk: Desk, arguments: dict[str, Any]) -> None:
    source = None if {"run_ids", "source"} & arguments.keys() else SourceArguments(returns=(0.1, 0.2))
    error = await desk.refused(**{"source": source, **arguments})
    assert error.code is ErrorCode.INVALID_ARGUMENT
    (name,) = arguments
    assert name in error.message


async def test_an_unknown_run_is_not_found(desk: Desk) -> None:
    assert (await desk.refused("run_none")).code is ErrorCode.RUN_NOT_FOUND
    assert (await desk.refused("run_none", "run_more")).code is ErrorCode.RUN_NOT_FOUND


async def test_a_cancelled_test_stops_its_work(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def endless(*arguments: Any) -> None:
        begun.set()
        try:
            while True:
                arguments[-1]()
        except InterruptedError:
            stopped.set()
            raise

    monkeypatch.setattr(module, "gathered", endless)
    answer = await desk.ask(desk.run(noise(1)), wait_seconds=0)
    assert answer.result is None
    assert await asyncio.to_thread(begun.wait, 60)
    await desk.jobs.cancel(answer.job_id)
    assert (await desk.jobs.wait(answer.job_id, 60)).state is JobState.CANCELLED
    assert stopped.is_set()


async def test_a_seed_gives_one_answer(desk: Desk) -> None:
    run_id = desk.run(noise(1, 0.0006))
    one, same, other = [await desk.result(run_id, seed=seed) for seed in (1, 1, 2)]
    assert one == same
    assert one.mean_return != other.mean_return
    assert one.sharpe == other.sharpe


@pytest.mark.parametrize(
    ("psr", "p", "dsr", "pbo", "verdict"),
    [
        (0.99, 0.01, 0.96, 0.2, "significant"),
        (0.99, 0.01, 0.96, None, "significant"),
        (0.99, 0.01, 0.95, 0.5, "significant"),
        (0.99, 0.01, 0.96, 0.51, "overfit"),
        (0.99, 0.01, 0.94, 0.2, "explained_by_selection"),
        (0.99, 0.01, None, 0.2, "undecided"),
        (0.94, 0.01, 0.96, 0.2, "not_significant"),
        (0.99, 0.06, 0.96, 0.2, "not_significant"),
        (None, 0.01, 0.96, 0.2, "undecided"),
        (0.99, None, 0.96, 0.2, "undecided"),
    ],
)
def test_the_verdict_follows_the_thresholds(
    psr: float | None, p: float | None, dsr: float | None, pbo: float | None, verdict: str
) -> None:
    values: dict[str, Any] = {"psr": psr, "p_bootstrap": p, "dsr": dsr, "pbo": pbo, "confidence": 0.95}
    few = significance_verdict(30, 30, strategies=9, **values)
    assert few == ("significant" if verdict == "overfit" else verdict)
    values["strategies"] = 10
    assert significance_verdict(30, 30, **values) == verdict
    assert significance_verdict(30, None, **values) == verdict
    assert significance_verdict(29, 30, **values) == "undecided"
    assert significance_verdict(30, 29, **values) == "undecided"
