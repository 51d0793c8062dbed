"""What a session of Jesse's is turned into, where a real one would be hard to bring about."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jesse_mcp.adapters.dashboard import outcomes
from jesse_mcp.adapters.dashboard.contradictions import contradiction
from jesse_mcp.adapters.dashboard.equity import LOGGED, REBUILT, Curve, daily_balances, saved_balances
from jesse_mcp.adapters.dashboard.run_request import (
    description_of,
    refuse_what_jesse_cannot,
    start_body,
    title_of,
)
from jesse_mcp.adapters.dashboard.temporary_names import age, is_temporary, temporary_name
from jesse_mcp.adapters.dashboard.tracebacks import parse
from jesse_mcp.adapters.dashboard.unpinned import unpinned_imports
from jesse_mcp.adapters.dashboard.warm_up import refuse_gaps_in_warm_up
from jesse_mcp.domain.backtests import (
    BacktestRequest,
    CandlePipeline,
    CandleSlice,
    DataRoute,
    EngineRun,
    Route,
)
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.strategies import parse_strategy_name

DAY_MS = 86_400_000
START_MS = 1_704_067_200_000
REQUEST = BacktestRequest(
    exchange="Binance Perpetual Futures",
    exchange_type="futures",
    routes=(Route(strategy="Trend", symbol="BTC-USDT", timeframe="1h"),),
    start_ms=START_MS,
    end_ms=START_MS + DAY_MS,
    starting_balance=1_000.0,
    fee=0.001,
    leverage=3,
    leverage_mode="isolated",
    warm_up_candles=10,
    fast_mode=True,
)
SESSION: dict[str, Any] = {
    "status": "finished",
    "metrics": {"total": 1, "calmar_ratio": None},
    "trades": [],
    "hyperparameters": [["DNA", ""], ["period", 5]],
    "execution_duration": 0.5,
    "exception": None,
    "traceback": None,
}
TRACEBACK = """\
Traceback (most recent call last):
  File "/opt/venv/lib/python3.11/site-packages/jesse/modes/backtest_mode.py", line 218, in _execute_backtest
    result = simulator(
             ^^^^^^^^^^
  File "/home/me/desk/strategies/Trend_mcp_1700000000_0123abcd/__init__.py", line 12, in should_long
    return self.fast > rules.LIMIT
           ^^^^^^^^^^^^^^^^^^^^^^^
  File "/opt/venv/lib/python3.11/site-packages/jesse/indicators/ema.py", line 9, in ema
    raise ValueError("x")
ValueError: x in Trend_mcp_1700000000_0123abcd
"""


def outcome_of(**changes: Any) -> Any:
    run = EngineRun(request=REQUEST, source={}, candles=())
    return outcomes.to_outcome(run, SESSION | changes, {"Trend": "Trend"}, Curve(), None, {}, {})


def failure_of(**changes: Any) -> ResearchError:
    heard = changes.pop("heard", None)
    session = SESSION | {"status": "stopped", "metrics": None} | changes
    return outcomes.failed(session, heard, {"Trend": "Trend_mcp_1700000000_0123abcd"}, None)


def test_metrics_are_verbatim_and_what_is_not_finite_has_a_reason() -> None:
    outcome = outcome_of()
    assert outcome.metrics == {"total": 1, "calmar_ratio": None}
    assert set(outcome.undefined) == {"calmar_ratio"}
    assert outcome.hyperparameters == {"period": 5}


@pytest.mark.parametrize("changes", [{"execution_duration": None}, {"trades": [{"id": 1}]}])
def test_finished_without_results_is_no_success(changes: dict[str, Any]) -> None:
    with pytest.raises(ResearchError) as caught:
        outcome_of(metrics=None, **changes)
    assert caught.value.code is ErrorCode.JESSE_FAILED


def test_finished_without_trades_is_one() -> None:
    assert outcome_of(metrics=None).metrics["total"] == 0


def test_the_traceback_shows_what_the_user_can_change() -> None:
    error = failure_of(exception="ValueError: x in Trend_mcp_1700000000_0123abcd", traceback=TRACEBACK)
    assert error.code is ErrorCode.STRATEGY_RAISED
    assert error.message == "the strategy raised ValueError: x in Trend"
    assert error.details["line"] == 12
    assert error.details["traceback"] == (
        "strategies/Trend/__init__.py:12 in should_long\n"
        "    return self.fast > rules.LIMIT\n"
        "jesse/indicators/ema.py:9 in ema\n"
        '    raise ValueError("x")\n'
        "ValueError: x in Trend"
    )


@pytest.mark.parametrize(
    ("exception", "code"),
    [
        ("InvalidDateRange: the future", ErrorCode.RUN_REJECTED),
        ("InvalidConfig: no", ErrorCode.RUN_REJECTED),
        ("Missing candles for BTC-USDT on Gate Spot. This run", ErrorCode.CANDLES_MISSING),
        ("CandlesNotFound: Only 3 of 10", ErrorCode.CANDLES_MISSING),
        ("OperationalError: server closed the connection", ErrorCode.JESSE_DATABASE),
        ("MemoryError: ", ErrorCode.MEMORY_LIMIT),
        ("ZeroDivisionError", ErrorCode.STRATEGY_RAISED),
        ("The backtest worker exited (exit code -9) without reporting", ErrorCode.WORKER_CRASHED),
        ("The backtest worker is no longer running, so", ErrorCode.WORKER_CRASHED),
    ],
)
def test_each_end_has_its_code(exception: str, code: ErrorCode) -> None:
    error = failure_of(exception=exception)
    assert error.code is code
    assert error.hint


def test_a_strategy_may_raise_what_jesse_raises() -> None:
    """It is the strategy's then, as its frames show."""
    error = failure_of(exception="OperationalError: no such table", traceback=TRACEBACK)
    assert error.code is ErrorCode.STRATEGY_RAISED


def test_what_the_worker_could_not_store_is_taken_from_its_event() -> None:
    gone = "The backtest worker exited (exit code 1) without reporting a result."
    heard = {"error": "InvalidRoutes: no such timeframe", "traceback": ""}
    error = failure_of(exception=gone, heard=heard)
    assert (error.code, error.message) == (ErrorCode.RUN_REJECTED, "no such timeframe")


def test_an_import_error_is_told_as_itself() -> None:
    """Jesse imports strategies through pydoc, which wraps what they raise."""
    inner = TRACEBACK.replace("ValueError: x in", "ModuleNotFoundError: No module named")
    raised = parse(
        "ErrorDuringImport: problem in strategies.Trend - ModuleNotFoundError: No module named 'x'",
        f"{inner}\nDuring handling of the above exception:\n\nTraceback (most recent call last):\n"
        '  File "/usr/lib/python3.11/pydoc.py", line 438, in safeimport\n    raise\n',
        {},
    )
    assert (raised.type, raised.message) == ("ModuleNotFoundError", "No module named 'x'")
    assert raised.line == 12


def test_a_message_of_any_length_is_kept_short() -> None:
    error = failure_of(exception=f"ValueError: {'x' * 5_000_000}", traceback=TRACEBACK)
    assert error.code is ErrorCode.STRATEGY_RAISED
    assert error.message.startswith("the strategy raised ValueError: xxx")
    assert len(str(error.to_dict())) < 12_000


def log_of(*balances: tuple[str, float]) -> str:
    return "\n".join(
        f"[INFO | {time}] Saved daily portfolio balance: {balance}\n[INFO | {time}] more\nlines"
        for time, balance in balances
    )


def test_saved_balances_are_read_from_the_log() -> None:
    log = log_of(("2024-01-01T00:00:00", 1000.0), ("2024-01-02T00:01:00", 1001.5))
    assert saved_balances(log) == [(START_MS, 1000.0), (START_MS + DAY_MS + 60_000, 1001.5)]


def order(at: int, side: str, qty: float, price: float) -> dict[str, Any]:
    signed = qty if side == "buy" else -qty
    return {
        "id": f"{at}{side}",
        "symbol": "BTC-USDT",
        "side": side,
        "qty": signed,
        "filled_qty": signed,
        "price": price,
        "executed_at": START_MS + at * 60_000,
        "reduce_only": False,
    }


@pytest.fixture
def rising(tmp_path: Path) -> tuple[CandleSlice, ...]:
    """A price that is 100 plus the minute."""
    minutes = np.arange(1_440)
    rows = np.ones((1_440, 6))
    rows[:, 0] = START_MS + minutes * 60_000
    rows[:, 1:5] = 100.0 + minutes[:, None]
    rows.astype("<f8").tofile(tmp_path / "rows")
    part = CandleSlice(
        exchange=REQUEST.exchange,
        symbol="BTC-USDT",
        path=str(tmp_path / "rows"),
        total_rows=1_440,
        start_row=0,
        trading_row=0,
        end_row=1_440,
        content_hash="x",
    )
    return (part,)


@pytest.mark.parametrize(
    ("end", "balance"),
    [
        ("2024-01-01T00:21:00", 1009.89),  # 1000 - 0.11 + (120 - 110)
        ("2024-01-01T00:41:00", 1009.63),  # 999.89 - 0.26 + 20 - (140 - 130)
    ],
)
def test_the_balance_of_a_long_and_a_flip_to_short(
    rising: tuple[CandleSlice, ...], end: str, balance: float
) -> None:
    """Worked by hand: 1 bought at 110, turned at 130 into 1 short, each filled for a fee of 0.1 %."""
    trades = [{"orders": [order(10, "buy", 1, 110.0), order(30, "sell", 2, 130.0)]}]
    curve = daily_balances(REQUEST, rising, trades, log_of(("2024-01-01T00:00:00", 1000.0), (end, balance)))
    assert curve.how == REBUILT
    assert [point.balance for point in curve.points] == pytest.approx([1000.0, balance], abs=1e-9)


def test_the_balance_on_a_spot_exchange(rising: tuple[CandleSlice, ...]) -> None:
    """Worked by hand: of 2 bought at 110 arrive 1.998; of these 1 is sold at 130 for 129.87."""
    spot = REQUEST.model_copy(update={"exchange_type": "spot"})
    trades = [{"orders": [order(10, "buy", 2, 110.0), order(30, "sell", 1, 130.0)]}]
    log = log_of(("2024-01-01T00:21:00", 1019.76), ("2024-01-01T00:41:00", 1049.59))  # a run from 00:21
    curve = daily_balances(spot, rising, trades, log)
    assert curve.how == REBUILT
    expected = [780 + 1.998 * 120, 780 + 129.87 + 0.998 * 140]
    assert [point.balance for point in curve.points] == pytest.approx(expected, abs=1e-9)


def test_a_curve_that_does_not_agree_is_not_handed_out(rising: tuple[CandleSlice, ...]) -> None:
    trades = [{"orders": [order(10, "buy", 1, 110.0)]}]
    log = log_of(("2024-01-01T00:00:00", 1000.0), ("2024-01-01T00:21:00", 1009.87))
    curve = daily_balances(REQUEST, rising, trades, log)
    assert curve.how == LOGGED
    assert [point.balance for point in curve.points] == [1000.0, 1009.87]


@pytest.mark.parametrize(
    ("kind", "price", "how", "words"),
    [
        ("futures", 110.0, REBUILT, None),
        ("futures", 110.0, LOGGED, "do not follow"),
        ("spot", 110.0, LOGGED, None),
        ("spot", 99.0, REBUILT, "between 99 and 99"),
        ("futures", 2_000.0, REBUILT, "between 100 and 1539"),
    ],
)
def test_other_candles_than_the_pinned_ones_are_told_of(
    rising: tuple[CandleSlice, ...], kind: str, price: float, how: str, words: str | None
) -> None:
    request = REQUEST.model_copy(update={"exchange_type": kind})
    trades = [{"orders": [order(10, "buy", 1, price)]}]
    found = contradiction(request, rising, trades, Curve(how=how))
    assert found is None if words is None else words in str(found)
    assert contradiction(request, rising, [], Curve()) is None


@pytest.mark.parametrize(
    ("between", "told"),
    [
        ([], True),
        (["2024-01-02T00:01:00", "2024-01-03T00:01:00"], True),
        (["2024-01-03T02:00:00"], True),  # no candles in between
        (["2024-01-01T12:34:56"], False),
        (["2024-01-02T00:01:00", "2024-01-02T12:00:00"], False),
        (["2024-01-02T00:01:00", "2024-01-02T00:01:00"], False),
        (["2024-01-02T12:00:00", "2024-01-02T00:01:00"], False),
    ],
)
def test_a_line_the_strategy_logs_itself_is_no_balance(
    rising: tuple[CandleSlice, ...], between: list[str], told: bool
) -> None:
    request = REQUEST.model_copy(update={"end_ms": START_MS + 3 * DAY_MS})
    moments = ["2024-01-01T00:00:00", *between, "2024-01-04T00:00:00"]
    curve = daily_balances(request, rising, [], log_of(*((moment, 1000.0) for moment in moments)))
    assert bool(curve.points) is told
    assert told or "strategy has logged" in str(curve.missing)


@pytest.mark.parametrize(
    "log",
    [
        None,
        "",
        log_of(("2024-01-01T00:00:00", 1.0)),
        log_of(("2024-01-01T00:00:00", 1.0), ("2024-01-01T00:00:00", 1.0)),
        log_of(("2024-01-01T00:00:00", 1.0), ("2024-01-05T00:00:00", 1.0)),
    ],
)
def test_no_curve_has_a_reason(rising: tuple[CandleSlice, ...], log: str | None) -> None:
    curve = daily_balances(REQUEST, rising, [], log)
    assert curve.points == ()
    assert curve.missing


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"warm_up_candles": 0}, "warm_up_candles is 0"),
        ({"start_ms": START_MS + 60_000}, "midnight"),
        (
            {"pipeline": CandlePipeline(name="moving_block_bootstrap", seed=1, batch_size=60)},
            "moving_block_bootstrap",
        ),
        (
            {"data_routes": (DataRoute(symbol="ETH-USDT", timeframe="1h", exchange="Gate Spot"),)},
            "Gate Spot",
        ),
    ],
)
def test_what_the_dashboard_would_ignore_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ResearchError, match=words) as caught:
        refuse_what_jesse_cannot(REQUEST.model_copy(update=changes))
    assert caught.value.code is ErrorCode.CAPABILITY_MISSING
    assert "engine='embedded'" in str(caught.value.hint)


def test_everything_else_is_passed_on() -> None:
    request = REQUEST.model_copy(
        update={"data_routes": (DataRoute(symbol="ETH-USDT", timeframe="4h", exchange=REQUEST.exchange),)}
    )
    refuse_what_jesse_cannot(request)
    body = start_body(request, {"Trend": "Trend_1"})
    assert (body["start_date"], body["finish_date"]) == ("2024-01-01", "2024-01-02")
    assert body["routes"] == [{"strategy": "Trend_1", "symbol": "BTC-USDT", "timeframe": "1h"}]
    assert body["data_routes"] == [{"symbol": "ETH-USDT", "timeframe": "4h"}]
    assert body["fast_mode"] is True
    assert body["config"]["warm_up_candles"] == 10
    assert body["config"]["exchanges"] == {
        request.exchange: {
            "name": request.exchange,
            "type": "futures",
            "simulation_model": "perpetual_futures",
            "annualization": 365,
            "balance": 1_000.0,
            "fee": 0.001,
            "futures_leverage": 3,
            "futures_leverage_mode": "isolated",
        }
    }


def test_a_person_recognises_the_session() -> None:
    request = REQUEST.model_copy(update={"hyperparameters": {"period": 5}})
    assert title_of(request) == "Trend | BTC-USDT 1h | 2024-01-01 to 2024-01-02 | period=5 (jesse-mcp)"
    description = description_of(request, {"Trend": "Trend_mcp_1"})
    assert "period = 5" in description
    assert "Trend_mcp_1, which existed for this run only and stands for Trend" in description
    many = REQUEST.model_copy(update={"hyperparameters": {f"parameter_{n}": n for n in range(99)}})
    assert len(title_of(many)) == 255


def test_temporary_names_are_names() -> None:
    for name in ("A", "Trend", "x" * 64):
        made = temporary_name(name)
        assert parse_strategy_name(made) == made
        assert is_temporary(made)
        assert age(made) < 60
    assert not is_temporary("Trend_mcp_1")


def test_imports_that_nothing_pins() -> None:
    source = {
        "strategies/A/__init__.py": "import numpy as np, desk.rules\nfrom . import x\nfrom jesse import y\n",
        "strategies/A/x.py": "from strategies.B import b\nimport os, my_package.deep\n",
        "strategies/A/broken.py": "def",
        "strategies/A/table.csv": "import nothing",
    }
    assert unpinned_imports(source) == ["desk", "my_package"]


@pytest.mark.parametrize(("hours_missing", "fits"), [(0, True), (0.9, True), (1, False)])
def test_the_warm_up_that_jesse_would_take(
    rising: tuple[CandleSlice, ...], tmp_path: Path, hours_missing: float, fits: bool
) -> None:
    """Ten candles of an hour, of which one is not there, or there by its last minutes only."""
    rows = np.fromfile(tmp_path / "rows").reshape(-1, 6)
    kept = np.delete(rows, slice(14 * 60, 14 * 60 + int(hours_missing * 60)), axis=0)
    kept.tofile(tmp_path / "rows")
    part = rising[0].model_copy(
        update={
            "total_rows": len(kept),
            "start_row": 14 * 60,
            "trading_row": len(kept),
            "end_row": len(kept),
        }
    )
    request = REQUEST.model_copy(update={"start_ms": START_MS + DAY_MS, "end_ms": START_MS + 2 * DAY_MS})
    run = EngineRun(request=request, source={}, candles=(part,))
    if fits:
        refuse_gaps_in_warm_up(run)
        return
    with pytest.raises(ResearchError, match="only 9 are there") as caught:
        refuse_gaps_in_warm_up(run)
    assert caught.value.code is ErrorCode.CAPABILITY_MISSING
