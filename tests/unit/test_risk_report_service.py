"""Risk reports over real stores: what is scored, what is not, which limits are broken and since when."""

import json
import math
import random
import re
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.reports.files import ReportFiles
from jesse_mcp.adapters.reports.renderer import TemplateRenderer
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.ledger import SqlTrialLedger
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.analytics.return_series import ReturnSeries, compounded
from jesse_mcp.analytics.risk_score import RATINGS, RiskScore
from jesse_mcp.domain.backtests import BacktestRequest, EngineOutcome, EquityPoint, Route, Trade
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.identity import new_id
from jesse_mcp.domain.ledger import Trial
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.services.analysis_source import AnalysisSources, Sample, SourceArguments
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.market_bars import MarketReader
from jesse_mcp.services.risk_limits import LIMITS
from jesse_mcp.services.risk_measures import measured
from jesse_mcp.services.risk_report import RiskReportResult, RiskReportService
from jesse_mcp.services.risk_request import RiskArguments
from jesse_mcp.services.significance import SignificanceService
from jesse_mcp.services.significance_request import SignificanceArguments

START = 1_704_067_200_000
DAY = 86_400_000
EXCHANGE = "Binance Perpetual Futures"
Floats = NDArray[np.float64]


def noise(seed: int, days: int = 800, mean: float = 0.002, deviation: float = 0.01) -> Floats:
    """Returns of just this mean."""
    drawn = np.random.default_rng(seed).normal(0, deviation, days)
    moved: Floats = drawn - drawn.mean() + mean
    return moved


def trade(number: int, pnl: float, *, size: float = 5_000, side: str = "long", days: float = 0.5) -> Trade:
    opened = START + number * DAY
    return Trade(
        strategy="Mine",
        exchange=EXCHANGE,
        symbol="BTC-USDT",
        type="long" if side == "long" else "short",
        opened_at=opened,
        closed_at=opened + int(days * DAY),
        entry_price=100,
        exit_price=100,
        qty=size / 100,
        size=size,
        fee=1,
        pnl=pnl,
        pnl_percentage=None,
        holding_period=days * 86_400,
    )


@dataclass
class Desk:
    service: RiskReportService
    significance: SignificanceService
    runs: SqlRunStore
    ledger: SqlTrialLedger
    folder: Path
    number: int = field(default=0)

    def run(
        self,
        returns: Floats | None = None,
        *,
        balances: list[float] | None = None,
        trades: list[Trade] | None = None,
        missing: str | None = None,
        title: str | None = None,
        metrics: dict[str, Any] | None = None,
        **request: Any,
    ) -> str:
        """A stored run, counted in the ledger."""
        self.number += 1
        if balances is None:
            balances = compounded(noise(1) if returns is None else returns, 10_000).tolist()
        if trades is None:
            trades = [trade(number, 30.0 if number % 3 else -20.0) for number in range(60)]
        asked = BacktestRequest(
            **{
                "exchange": EXCHANGE,
                "exchange_type": "futures",
                "routes": (Route(strategy="Mine", symbol="BTC-USDT", timeframe="1h"),),
                "start_ms": START,
                "end_ms": START + (len(balances) - 1) * DAY,
                "starting_balance": 10_000,
                "fee": 0,
                "warm_up_candles": 0,
                "fast_mode": True,
                **request,
            }
        )
        record = RunRecord(
            run_id=new_id("run"),
            kind="backtest",
            created_at="2026-01-01T00:00:00.000Z",
            fingerprint=f"print {self.number}",
            strategies=("Mine",),
            symbols=("BTC-USDT",),
            title=title,
            request=asked.model_dump(mode="json"),
            code_hash="c0de",
            candle_hashes={"BTC-USDT": "abc"},
            outcome=EngineOutcome(
                metrics=metrics or {},
                undefined={},
                trades=tuple(trades),
                equity=tuple(
                    EquityPoint(timestamp=START + day * DAY, balance=balance)
                    for day, balance in enumerate(balances if missing is None else [])
                ),
                equity_missing_reason=missing,
                hyperparameters={"every": 3},
                engine={"jesse": "3.5.3"},
            ),
            warnings=("a warning of the run",),
        )
        self.runs.add(record)
        self.count(record.fingerprint, asked, None if missing else np.diff(balances) / balances[:-1])
        return record.run_id

    def count(self, fingerprint: str, request: BacktestRequest, returns: Floats | None) -> None:
        kept = None
        if returns is not None and np.isfinite(returns).all():
            kept = tuple(returns.tolist())
        self.ledger.record(
            Trial(
                trial_id=new_id("trial"),
                created_at="2026-01-01T00:00:00.000Z",
                family="Mine",
                code_hash="c0de",
                start_ms=request.start_ms,
                end_ms=request.end_ms,
                fingerprint=fingerprint,
                run_id=None,
                daily_returns=kept,
                code_shape="shape",
            )
        )

    async def ask(self, run_id: str | None = None, **more: Any) -> RiskReportResult:
        if run_id is not None:
            more["source"] = SourceArguments(run_id=run_id)
        found = await self.service.report(RiskArguments(**more))
        json.loads(json.dumps(found.model_dump(mode="json"), allow_nan=False))
        if found.report is not None:
            for name, value in found.report["measures"].items():
                assert (value is None) == (name in found.report["undefined"]), name
            for part in found.report["parts"]:
                assert (part["score"] is None) == (part["value"] is None)
                assert part["why"]
        return found

    async def report(self, run_id: str | None = None, **more: Any) -> dict[str, Any]:
        found = (await self.ask(run_id, **more)).report
        assert found is not None
        return found

    async def refused(self, **more: Any) -> ResearchError:
        with pytest.raises(ResearchError) as caught:
            await self.ask(**{"source": SourceArguments(returns=(0.1, -0.1)), **more})
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT
        assert caught.value.hint
        return caught.value


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "research.sqlite")
    runs, ledger = SqlRunStore(database), SqlTrialLedger(database)
    market = MarketReader(ParquetCandleStore(tmp_path / "candles"))
    sources = AnalysisSources(runs, market, lambda name: name)
    jobs = JobService(SqlJobStore(database), "me", lambda _owner: False)
    await jobs.start()
    yield Desk(
        RiskReportService(sources, ledger, TemplateRenderer(), ReportFiles(tmp_path / "reports")),
        SignificanceService(sources, ledger, jobs),
        runs,
        ledger,
        tmp_path / "reports",
    )
    await jobs.close()
    database.close()


def parts(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["part"]: part for part in report["parts"]}


async def test_a_steady_profit(desk: Desk) -> None:
    answer = await desk.ask(desk.run())
    assert answer.rating == "low"
    assert answer.score is not None
    assert answer.report is not None
    assert answer.report["caps"] == []
    assert answer.report["computed"] == 1
    assert answer.score == pytest.approx(sum(part["earned"] for part in answer.report["parts"]))
    assert answer.findings[0] == f"the risk is low: {answer.score:.1f} of 100 points (more is safer)"
    assert answer.findings[-1] == "a warning of the run"
    assert answer.report["trials"] == 1
    assert any("1 experiment was counted" in said for said in answer.findings)
    assert answer.report["span"] == "2024-01-01T00:00Z to 2026-03-11T00:00Z"


async def test_the_measures_are_those_of_the_formulas(desk: Desk) -> None:
    returns = noise(3)
    measures = (await desk.report(desk.run(returns)))["measures"]
    balances = compounded(returns, 1.0)
    assert measures["max_drawdown"] == pytest.approx(
        float((1 - balances / np.maximum.accumulate(balances)).max())
    )
    assert measures["annual_volatility"] == pytest.approx(float(returns.std(ddof=1)) * math.sqrt(365))
    worst = np.sort(returns)
    assert measures["var_95"] == pytest.approx(-worst[40])
    assert measures["es_95"] == pytest.approx(-worst[:40].mean())
    assert measures["es_99"] == pytest.approx(-worst[:8].mean())
    assert measures["daily_expected_shortfall"] == pytest.approx(measures["es_95"])
    assert measures["longest_drawdown_days"] == measures["longest_drawdown"]
    assert measures["years"] == pytest.approx(800 / 365)
    # Every trade has 5,000 at work, over at least 10,000 at the start.
    assert 0.45 < measures["leverage_used"] <= 0.55


async def test_a_shortfall_of_hours_is_brought_to_a_day(desk: Desk) -> None:
    source = SourceArguments(returns=tuple(noise(4).tolist()), periods_per_year=8_760)
    measures = (await desk.report(source=source))["measures"]
    assert measures["daily_expected_shortfall"] == pytest.approx(measures["es_95"] * math.sqrt(24))
    assert measures["longest_drawdown_days"] == pytest.approx(measures["longest_drawdown"] / 24)


@pytest.mark.parametrize("others", [0, 5, 30])
async def test_the_evidence_is_that_of_the_significance_test(desk: Desk, others: int) -> None:
    run_id = desk.run(noise(1, mean=0.0007))
    record = desk.runs.get(run_id)
    request = BacktestRequest.model_validate(record.request)
    for number in range(others):
        desk.count(f"other {number}", request, noise(100 + number, mean=0.0))
    answer = await desk.significance.test(
        SignificanceArguments(source=SourceArguments(run_id=run_id)), wait_seconds=60
    )
    assert answer.result is not None
    found = await desk.report(run_id)
    assert found["trials"] == others + 1
    for name, section in (("deflated_sharpe_ratio", "selection"), ("probabilistic_sharpe_ratio", "sharpe")):
        assert found["measures"][name] == answer.result[section][name]


async def test_the_more_was_tried_the_less_it_is_worth(desk: Desk) -> None:
    run_id = desk.run(noise(1, mean=0.001))
    answer = await desk.ask(run_id, trials=10_000, format="markdown")
    assert "10,000 distinct experiments were counted" in str(answer.markdown)
    few, many = await desk.report(run_id), await desk.report(run_id, trials=10_000)
    assert few["measures"]["deflated_sharpe_ratio"] > many["measures"]["deflated_sharpe_ratio"]
    assert parts(few)["deflated_sharpe_moved"]["earned"] > parts(many)["deflated_sharpe_moved"]["earned"]


async def test_no_trade_and_a_balance_that_never_moved_is_not_rated(desk: Desk) -> None:
    answer = await desk.ask(desk.run(np.zeros(800), trades=[]), limits={"max_drawdown": 0.1, "var_95": 0.1})
    assert (answer.score, answer.rating) == (None, "not rated")
    assert "nothing was at risk" in answer.findings[0]
    assert answer.report is not None
    assert parts(answer.report)["max_drawdown"]["why"] == "the balance never moved: nothing was at risk"
    assert parts(answer.report)["liquidation_distance"]["why"] == "no trade was closed"
    assert answer.report["measures"]["max_drawdown"] == 0
    assert {row["status"] for row in answer.report["limits"]} == {"kept"}
    assert "no trade was closed" in answer.findings


active_returns = st.lists(st.floats(-0.2, 0.3).map(lambda drawn: round(drawn, 3)), min_size=1, max_size=60)


@settings(deadline=None, max_examples=150)
@given(active_returns, st.lists(st.tuples(st.integers(0, 60), st.integers(1, 200)), min_size=1, max_size=4))
def test_idling_never_makes_a_record_safer(returns: list[float], pauses: list[tuple[int, int]]) -> None:
    padded = list(returns)
    for place, length in pauses:
        at = min(place, len(padded))
        padded[at:at] = [0.0] * length
    plain, idle = (scored_of(series) for series in (returns, padded))
    assert (idle.score is None) or plain.score is None or idle.score <= plain.score
    assert ratings_from_worst.index(idle.rating) <= ratings_from_worst.index(plain.rating)


ratings_from_worst = ["not rated", *(name for name, _ in reversed(RATINGS))]


def scored_of(returns: list[float]) -> RiskScore:
    sample = Sample("returns", ReturnSeries(compounded(np.array(returns), 1_000.0), 365.0))
    return measured(sample, None, 2).score


@pytest.mark.parametrize("place", ["before", "after", "inside"])
async def test_a_run_that_idles_is_rated_by_the_days_it_moved(desk: Desk, place: str) -> None:
    returns, idle = noise(1, days=300, mean=0.001, deviation=0.02), np.zeros(900)
    halves = {"before": (idle, returns), "after": (returns, idle), "inside": (returns[:9], idle, returns[9:])}
    plain, padded = desk.run(returns), desk.run(np.concatenate(halves[place]))
    first, second = await desk.ask(plain, trials=2), await desk.ask(padded, trials=2)
    assert first.report is not None
    assert second.report is not None
    assert second.score is not None
    assert first.score is not None
    assert second.score <= first.score
    of_the_days = ("daily_expected_shortfall", "volatility_moved", "deflated_sharpe_moved", "years_moved")
    for name in of_the_days:
        assert parts(second.report)[name]["value"] == pytest.approx(parts(first.report)[name]["value"]), name
    measures = second.report["measures"]
    assert measures["volatility_moved"] == pytest.approx(float(returns.std(ddof=1)) * math.sqrt(365))
    assert measures["daily_expected_shortfall"] == pytest.approx(-np.sort(returns)[:15].mean())
    assert measures["annual_volatility"] < 0.6 * measures["volatility_moved"]
    assert (measures["years"], measures["years_moved"]) == pytest.approx((1_200 / 365, 300 / 365))
    said = "75.0% of the periods have no return, 900 of 1,200"
    assert [finding for finding in second.findings if finding.startswith(said)]
    assert not [finding for finding in first.findings if "no return" in finding]


async def test_one_good_day_in_years_is_no_safe_record(desk: Desk) -> None:
    answer = await desk.ask(desk.run(np.array([0.0] * 364 + [0.5] + [0.0] * 735)))
    assert answer.rating in {"high", "not rated"}


async def test_ruin_is_the_worst_there_is(desk: Desk) -> None:
    gains = compounded(noise(1, days=700, mean=0.004), 10_000).tolist()
    answer = await desk.ask(desk.run(balances=[*gains, -50.0, 900.0]), limits={"max_drawdown": 0.5})
    assert (answer.score, answer.rating) == (0, "extreme")
    assert answer.findings[0] == "everything was lost within 701 periods"
    assert answer.breaches[0]["since"] == "2025-12-02T00:00Z"
    assert answer.breaches[0]["at_the_end"]


async def test_what_was_opened_with_nothing_left_passes_no_limit(desk: Desk) -> None:
    gains = compounded(noise(1, days=30, mean=0.004), 10_000).tolist()
    trades = [trade(3, 10.0), trade(31, -10_000.0), trade(32, -1.0)]
    run_id = desk.run(balances=[*gains, -50.0, -60.0], trades=trades)
    answer = await desk.ask(run_id, limits={"leverage": 100, "min_liquidation_distance": 0.001})
    assert [row["limit"] for row in answer.not_checked] == ["leverage", "min_liquidation_distance"]
    assert answer.not_checked[0]["value"] < 1
    assert answer.not_checked[0]["reason"].startswith("2 trades were opened when there was no balance")
    (breach,) = (await desk.ask(run_id, limits={"leverage": 0.1})).breaches
    assert breach["where"] == "trades from number 0 on, 1 in all"


async def test_ruin_is_known_without_balances(desk: Desk) -> None:
    run_id = desk.run(missing="the log was cut", metrics={"finishing_balance": -3.0})
    answer = await desk.ask(run_id)
    assert (answer.score, answer.rating) == (0, "extreme")
    assert "everything was lost" in answer.findings[0]


async def test_ninety_percent_lost_is_a_total_loss(desk: Desk) -> None:
    answer = await desk.ask(desk.run(np.concatenate((noise(1), [-0.97], noise(2, mean=0.004)))))
    assert answer.rating == "extreme"
    assert any("counts as a total loss" in finding for finding in answer.findings)


async def test_a_run_without_balances_says_why(desk: Desk) -> None:
    answer = await desk.ask(desk.run(missing="the log was cut"), limits={"max_drawdown": 0.1, "leverage": 2})
    assert answer.rating == "not rated"
    assert "the log was cut" in answer.findings[0]
    assert answer.breaches == ()
    assert [row["status"] for row in answer.not_checked] == ["not checked", "not checked"]
    assert all(row["reason"] == "the log was cut" for row in answer.not_checked)
    assert "the limit max_drawdown was not checked: the log was cut" in answer.findings
    assert answer.report is not None
    assert answer.report["measures"]["trades"] == 60


async def test_numbers_of_the_call_have_no_trades(desk: Desk) -> None:
    source = SourceArguments(returns=tuple(noise(1).tolist()))
    answer = await desk.ask(source=source, limits={"min_trades": 10, "loss_streak": 3, "es_95": 0.5})
    assert answer.report is not None
    assert answer.rating == "high"
    assert answer.report["computed"] == pytest.approx(0.7)
    assert [row["limit"] for row in answer.not_checked] == ["min_trades", "loss_streak"]
    assert parts(answer.report)["deflated_sharpe_moved"]["why"].endswith("say so in trials")
    known = await desk.ask(source=source, trials=1)
    assert known.report is not None
    assert known.report["computed"] == pytest.approx(0.85)
    assert known.rating == "high"
    (cap,) = known.report["caps"]
    assert cap["why"] == "the source does not know of trades"


async def test_balances_alone_are_not_better_than_with_few_trades(desk: Desk) -> None:
    run_id = desk.run(noise(1), trades=[trade(number, 30.0) for number in range(7)])
    equity = desk.runs.get(run_id).outcome.equity
    balances = tuple((point.timestamp, point.balance) for point in equity)
    few = await desk.ask(run_id)
    alone = await desk.ask(source=SourceArguments(balances=balances), trials=1)
    assert few.rating == alone.rating == "high"
    assert few.score is not None
    assert alone.score is not None
    assert alone.score <= few.score


@pytest.mark.parametrize(
    "returns",
    [
        (),
        (0.1,),
        (-1.0,),
        (-0.5,),
        (0.0,) * 50,
        (0.01,) * 50,
        (-0.01,) * 50,
        (1e300, 1e300),
        (-1.0, 5.0),
        (0.5, -0.9, 0.5) * 30,
        (1e-300,) * 5,
        (1e-9, -1e-9) * 100,
    ],
)
@pytest.mark.parametrize("form", ["json", "html"])
async def test_degenerate_returns(desk: Desk, returns: tuple[float, ...], form: str) -> None:
    limits = {name: min(limit.most, 0.1) for name, limit in LIMITS.items()}
    answer = await desk.ask(source=SourceArguments(returns=returns), limits=limits, trials=2, format=form)
    assert answer.rating in {"extreme", "high", "not rated"} or len(returns) >= 30
    if -1.0 in returns:
        assert (answer.score, answer.rating) == (0, "extreme")
    shown = answer.model_dump_json()
    assert not re.search(r"\b(nan|inf|NaN|Infinity)\b", shown)


@pytest.mark.parametrize("form", ["json", "markdown"])
@pytest.mark.parametrize("returns", [(1e150, -0.5, 1e150), (1e300, -0.5, *(0.1, -0.1) * 100), (0.1,)])
async def test_absurd_numbers_are_still_read_and_one_is_singular(
    desk: Desk, returns: tuple[float, ...], form: str
) -> None:
    answer = await desk.ask(source=SourceArguments(returns=returns), trials=2, format=form)
    said = "\n".join((*answer.findings, answer.markdown or ""))
    assert not re.search(r"[0-9,]{25}", said)
    assert not re.search(r"\b1 (returns|closed trades) (other|are fewer than (two|30))", said)


async def test_limits_say_since_when(desk: Desk) -> None:
    balances = [100.0, 110, 99, 88, 99, 105, 111, 100, 120, 108]
    profits = [5.0, -1, -1, -1, 4, -2, -2]
    trades = [trade(n, p, size=50 * (n + 1)) for n, p in enumerate(profits)]
    run_id = desk.run(balances=balances, trades=trades)
    limits = {
        "max_drawdown": 0.15,
        "current_drawdown": 0.05,
        "drawdown_days": 3,
        "period_loss": 0.1,
        "leverage": 2.0,
        "loss_streak": 2,
        "min_trades": 8,
    }
    rows = {row["limit"]: row for row in (await desk.report(run_id, limits=limits))["limits"]}
    assert {row["status"] for row in rows.values()} == {"breached"}
    since = {name: row["since"] for name, row in rows.items()}
    assert since == {
        "max_drawdown": "2024-01-04T00:00Z",
        "current_drawdown": "2024-01-10T00:00Z",
        "drawdown_days": "2024-01-06T00:00Z",
        "period_loss": "2024-01-04T00:00Z",
        "leverage": "2024-01-05T00:00Z",
        "loss_streak": "2024-01-04T12:00Z",
        "min_trades": None,
    }
    assert rows["max_drawdown"]["value"] == pytest.approx(0.2)
    assert not rows["max_drawdown"]["at_the_end"]
    assert rows["current_drawdown"]["at_the_end"]
    assert rows["drawdown_days"]["value"] == 5
    assert rows["drawdown_days"]["where"] == "balances from number 5 on, 2 in all"
    assert rows["leverage"]["value"] == pytest.approx(350 / 104)
    assert rows["loss_streak"]["value"] == 3


async def test_a_value_equal_to_its_limit_keeps_it(desk: Desk) -> None:
    run_id = desk.run()
    measures = (await desk.report(run_id))["measures"]
    limits = {
        name: value
        for name, limit in LIMITS.items()
        if (value := measures[limit.measure]) is not None and 0 <= value <= limit.most
    }
    assert len(limits) > 10
    answer = await desk.ask(run_id, limits=limits)
    assert answer.breaches == answer.not_checked == ()
    below = {name: math.nextafter(value, -1) for name, value in limits.items() if value > 0}
    upper = {name: value for name, value in below.items() if not LIMITS[name].least}
    assert {row["limit"] for row in (await desk.ask(run_id, limits=upper)).breaches} == set(upper)


@pytest.mark.parametrize(
    ("request_", "side", "expected"),
    [
        ({"exchange_type": "spot"}, "long", 1.0),
        ({"leverage": 10, "leverage_mode": "isolated"}, "long", 0.1 - 0.004),
        ({"leverage": 10, "leverage_mode": "cross"}, "long", (1 / 5 - 0.004) / 0.996),
        ({"leverage": 10, "leverage_mode": "cross"}, "short", (1 / 5 - 0.004) / 1.004),
    ],
)
async def test_distance_to_liquidation(
    desk: Desk, request_: dict[str, Any], side: str, expected: float
) -> None:
    run_id = desk.run(np.zeros(40), trades=[trade(3, 1.0, size=50_000, side=side)], **request_)
    assert (await desk.report(run_id))["measures"]["liquidation_distance"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"limits": {"drawdown": 0.1}}, "limits has drawdown"),
        ({"limits": {"max_drawdown": 20}}, "limits['max_drawdown'] is 20"),
        ({"limits": {"var_95": -0.1}}, "limits['var_95'] is -0.1"),
        ({"trials": 0}, "trials is 0"),
    ],
)
async def test_refused(desk: Desk, arguments: dict[str, Any], words: str) -> None:
    error = await desk.refused(**arguments)
    assert words in error.message
    if "drawdown" in arguments.get("limits", {}):
        assert error.hint == f"the limits are {', '.join(LIMITS)}"


async def test_fewer_trials_than_the_ledger_has_are_refused(desk: Desk) -> None:
    first, _ = desk.run(), desk.run()
    error = await desk.refused(source=SourceArguments(run_id=first), trials=1)
    assert "the ledger has 2 distinct experiments" in error.message


async def test_markdown_and_html_hold_the_same_findings(desk: Desk) -> None:
    run_id = desk.run()
    answer = await desk.ask(run_id, limits={"max_drawdown": 0.01}, format="markdown")
    assert answer.markdown is not None
    assert (answer.report, answer.html) == (None, None)
    for finding in answer.findings:
        assert f"- {finding}" in answer.markdown
    page = await desk.ask(run_id, limits={"max_drawdown": 0.01}, format="html")
    assert (page.findings, page.score) == (answer.findings, answer.score)
    assert page.html is not None
    path = Path(page.html["path"])
    assert path.parent == desk.folder
    assert re.fullmatch(rf"{run_id}-[0-9a-f]{{16}}\.html", path.name)
    assert page.html["bytes"] == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.folder.stat().st_mode) == 0o700
    written = path.read_bytes()
    again = await desk.ask(run_id, limits={"max_drawdown": 0.01}, format="html")
    assert again == page
    assert path.read_bytes() == written
    assert [entry.name for entry in desk.folder.iterdir()] == [path.name]


async def test_a_folder_that_cannot_be_made_is_said(desk: Desk) -> None:
    desk.folder.write_text("a file is in the way")
    with pytest.raises(ResearchError) as caught:
        await desk.ask(desk.run(), format="html")
    assert caught.value.code is ErrorCode.STORAGE_FAILED
    assert "JESSE_MCP_HOME" in str(caught.value.hint)


def test_a_million_points_fit_into_a_gigabyte() -> None:
    code = """
import re, resource, sys
from pathlib import Path
import numpy as np
from jesse_mcp.adapters.reports.renderer import TemplateRenderer
from jesse_mcp.services.analysis_source import AnalysisSources, SourceArguments
from jesse_mcp.services.risk_limits import LIMITS
from jesse_mcp.services.risk_report import RiskReportService
from jesse_mcp.services.risk_request import RiskArguments

class Kept:
    def write(self, label, html):
        from jesse_mcp.ports.reports import StoredReport
        return StoredReport(path=label, bytes=len(html), sha256="")

returns = tuple(np.random.default_rng(1).normal(1e-5, 0.001, 1_000_000).tolist())
service = RiskReportService(AnalysisSources(None, None, None), None, TemplateRenderer(), Kept())
source = SourceArguments(returns=returns, periods_per_year=525_600)
limits = {name: min(limit.most, 0.05) for name, limit in LIMITS.items()}
found = service._reported(RiskArguments(source=source, limits=limits, trials=3, format="html"))
assert found.score is not None
assert found.html["bytes"] < 1_000_000
if sys.platform == "linux":
    # What getrusage says begins with the memory of the process that started this one.
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1_024


async def test_random_state_is_not_touched(desk: Desk) -> None:
    run_id = desk.run()
    before = (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    await desk.ask(run_id, format="html")
    after = (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    assert before == after
