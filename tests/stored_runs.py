"""Runs as a store has them, made of nothing but balances."""

from collections.abc import Sequence

from jesse_mcp.domain.backtests import BacktestRequest, EngineOutcome, EquityPoint, Route
from jesse_mcp.domain.identity import new_id
from jesse_mcp.domain.runs import RunRecord

DAY = 86_400_000


def run_with_balances(
    points: Sequence[tuple[int, float]],
    *,
    start_ms: int,
    end_ms: int,
    missing: str | None = None,
    warnings: tuple[str, ...] = ("a warning of the run",),
) -> RunRecord:
    """A run of one symbol without a trade.

    Args:
        points: epoch milliseconds and balance.
        missing: why there are no balances.
    """
    request = BacktestRequest(
        exchange="Binance Perpetual Futures",
        exchange_type="futures",
        routes=(Route(strategy="Mine", symbol="BTC-USDT", timeframe="1h"),),
        start_ms=start_ms,
        end_ms=end_ms,
        starting_balance=10_000,
        fee=0,
        warm_up_candles=0,
        fast_mode=True,
    )
    return RunRecord(
        run_id=new_id("run"),
        kind="backtest",
        created_at="2026-01-01T00:00:00.000Z",
        fingerprint=new_id("print"),
        strategies=("Mine",),
        symbols=("BTC-USDT",),
        title=None,
        request=request.model_dump(mode="json"),
        code_hash="c0de",
        candle_hashes={},
        outcome=EngineOutcome(
            metrics={},
            undefined={},
            trades=(),
            equity=tuple(EquityPoint(timestamp=at, balance=balance) for at, balance in points),
            equity_missing_reason=missing,
            hyperparameters={},
            engine={},
        ),
        warnings=warnings,
    )
