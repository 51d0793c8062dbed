"""A paper session as what an analysis is made of: so far while it goes on, its run when it has ended."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jesse_mcp.domain.backtests import EngineOutcome, EquityPoint, Route, Trade
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import PaperRequest, PaperStatus
from jesse_mcp.domain.paper_records import PaperPlace, PaperSession
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.services.analysis_source import AnalysisSources, Sample, source_arguments
from jesse_mcp.services.performance_analysis import PerformanceResult, PerformanceService
from jesse_mcp.services.performance_request import PerformanceArguments
from jesse_mcp.services.risk_measures import measured
from jesse_mcp.services.stress_request import StressArguments
from jesse_mcp.services.stress_request import check as check_stress
from jesse_mcp.services.value_at_risk_report import money_at_risk
from jesse_mcp.services.value_at_risk_request import VarArguments

START = 1_704_067_200_000
DAY = 86_400_000

REQUEST = PaperRequest(
    exchange="Binance Perpetual Futures",
    exchange_type="futures",
    routes=(Route(strategy="S", symbol="BTC-USDT", timeframe="1h"),),
    start_ms=START,
    end_ms=None,
    starting_balance=1_000.0,
    fee=0.001,
    leverage=2,
    warm_up_candles=0,
    feed="exchange",
)
BALANCES = (1_000.0, 1_010.0, 990.0, 1_020.0, 1_005.0, 1_040.0)
DAILY = tuple((START + day * DAY, balance) for day, balance in enumerate(BALANCES))


def trade(number: int, pnl: float) -> Trade:
    opened = START + number * DAY
    return Trade(
        strategy="S",
        exchange=REQUEST.exchange,
        symbol="BTC-USDT",
        type="long",
        opened_at=opened,
        closed_at=opened + DAY // 4,
        entry_price=100.0,
        exit_price=100.0 + pnl,
        qty=1.0,
        size=100.0,
        fee=0.2,
        pnl=pnl,
        pnl_percentage=pnl,
        holding_period=DAY / 4000,
    )


TRADES = tuple(trade(number, pnl) for number, pnl in enumerate((10.0, -20.0, 30.0, -15.0)))


def outcome() -> EngineOutcome:
    return EngineOutcome(
        metrics={"total": len(TRADES)},
        undefined={},
        trades=TRADES,
        equity=tuple(EquityPoint(timestamp=moment, balance=balance) for moment, balance in DAILY),
        hyperparameters={},
        engine={"jesse": "3.5.3"},
    )


RUN = RunRecord(
    run_id="run_1",
    kind="backtest",
    created_at="2024-01-06T00:00:00Z",
    fingerprint="f",
    strategies=("S",),
    symbols=("BTC-USDT",),
    title=None,
    request=REQUEST.as_backtest(START + 5 * DAY).model_dump(mode="json"),
    code_hash="c",
    candle_hashes={},
    outcome=outcome(),
)


class Sessions:
    """What a store answers."""

    def __init__(self, run_id: str | None = None) -> None:
        self.session = PaperSession(
            session_id="paper_1",
            request=REQUEST,
            code_hash="c",
            engine="e",
            started_at=START,
            owner="o",
            leverage=2,
            status=PaperStatus.RUNNING if run_id is None else PaperStatus.STOPPED,
            place=PaperPlace(through=START + 5 * DAY, trades=len(TRADES), daily=len(DAILY)),
            run_id=run_id,
            warnings=("a warning of its start",),
        )

    def get(self, session_id: str) -> PaperSession:
        if session_id != "paper_1":
            raise ResearchError(ErrorCode.SESSION_NOT_FOUND, f"no session {session_id}", hint="paper_list")
        return self.session

    def trades(self, _session_id: str) -> tuple[Trade, ...]:
        return TRADES

    def daily(self, _session_id: str) -> tuple[tuple[int, float], ...]:
        return DAILY

    def request(self, _session_id: str) -> PaperRequest:
        return REQUEST


def sources(sessions: Sessions | None) -> AnalysisSources:
    runs: Any = SimpleNamespace(get=lambda _run_id: RUN)
    return AnalysisSources(runs, None, lambda name: name, sessions)  # type: ignore[arg-type]


def load(sessions: Sessions | None, session_id: str = "paper_1") -> Sample:
    return sources(sessions).load(source_arguments(None, None, None, None, None, session_id))


def test_a_session_has_its_days_its_trades_and_what_was_asked_for() -> None:
    sample = load(Sessions())
    np.testing.assert_array_equal(sample.series.balances, BALANCES)
    assert sample.series.timestamps is not None
    assert sample.series.timestamps.tolist() == [moment for moment, _ in DAILY]
    assert sample.series.periods_per_year == 365
    assert sample.trades == TRADES
    assert sample.record is None
    assert sample.request == REQUEST.as_backtest(START + 5 * DAY)
    assert sample.label == "paper session paper_1 up to 2024-01-06T00:00Z"
    assert sample.remarks[0].startswith("the session is running")
    assert "a warning of its start" in sample.remarks


def test_one_that_has_ended_is_its_run() -> None:
    sample = load(Sessions(run_id="run_1"))
    assert sample.record == RUN
    assert sample.label == "run run_1"
    assert sample.request == REQUEST.as_backtest(START + 5 * DAY)


def test_one_without_a_day_says_so() -> None:
    sessions = Sessions()
    sessions.daily = lambda _id: DAILY[:1]  # type: ignore[method-assign, assignment]
    assert load(sessions).reason == "there are 1 balances: a return needs two"


def test_an_unknown_session_and_a_place_without_sessions() -> None:
    with pytest.raises(ResearchError) as caught:
        load(Sessions(), "paper_2")
    assert caught.value.code is ErrorCode.SESSION_NOT_FOUND
    with pytest.raises(ResearchError) as caught:
        load(None)
    assert caught.value.code is ErrorCode.CAPABILITY_MISSING


@pytest.mark.parametrize("other", range(4))
def test_exactly_one_of_five(other: int) -> None:
    values: list[Any] = [None] * 4
    values[other] = ["run_1", [0.1], [(0, 1.0)], {"symbols": ["A"]}][other]
    with pytest.raises(ResearchError, match="and session_id of run_id, returns"):
        source_arguments(values[0], values[1], values[2], values[3], None, "paper_1")
    with pytest.raises(ResearchError, match="periods_per_year is 365 with session_id"):
        source_arguments(None, None, None, None, 365, "paper_1")


async def analysed(sessions: Sessions, **source: Any) -> PerformanceResult:
    values = [source.get(name) for name in ("run_id", "session_id")]
    arguments = PerformanceArguments(
        source=source_arguments(values[0], None, None, None, None, values[1]),
        include=("trades", "drawdowns", "calendar", "distribution"),
    )
    return await PerformanceService(sources(sessions), None).analyse(arguments)  # type: ignore[arg-type]


async def test_a_session_performs_as_the_run_it_will_be() -> None:
    session = await analysed(Sessions(), session_id="paper_1")
    run = await analysed(Sessions(), run_id="run_1")
    assert session.performance == run.performance
    assert session.sections == run.sections
    assert session.sections["trades"]["time_in_market"] == pytest.approx(0.2)
    assert session.jesse is None


def test_what_needs_a_request_has_it() -> None:
    sample = load(Sessions())
    risks = measured(sample, None, 1)
    as_run = measured(replace(sample, asked=None, record=RUN), None, 1)
    assert risks.trades == as_run.trades
    assert risks.trades["leverage_used"].value is not None
    source = source_arguments(None, None, None, None, None, "paper_1")
    assert money_at_risk(VarArguments(source=source), sample) == (1_040.0, None)
    check_stress(StressArguments(source=source))
    with pytest.raises(ResearchError, match="without a run"):
        check_stress(StressArguments(source=source, rerun=("fees",)))
