"""A backtest of a pair as a stored run, and as a trial of the ledger."""

import time

import numpy as np

from jesse_mcp.analytics.jesse_metrics import JesseResults, jesse_metrics
from jesse_mcp.analytics.pairs_daily import daily_balances
from jesse_mcp.analytics.pairs_simulation import Leg, PairTrade
from jesse_mcp.analytics.walk_forward import daily_returns
from jesse_mcp.domain.backtests import BacktestRequest, EngineOutcome, EquityPoint, Trade
from jesse_mcp.domain.identity import iso_utc, new_id
from jesse_mcp.domain.ledger import Trial
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.services.pairs_experiment import PairExperiment
from jesse_mcp.services.pairs_plan import PairsPlan, method_versions
from jesse_mcp.services.performance_trades import trade_table

DAYS_A_YEAR = 365
#: Of a run no engine made, which every reader of it has to know.
NOT_JESSE = (
    "metrics have the names and conventions of Jesse's, and were computed here from simulated trades and "
    "daily balances: Jesse did not run; every leg is a trade"
)
_INLINE = "prices of the call"


def leg_trades(plan: PairsPlan, trade: PairTrade) -> tuple[Trade, Trade]:
    """Both legs of a closed pair in the terms of a run."""
    begins, ends = plan.prices.begins, plan.prices.ends
    opened = int(begins[trade.opened])
    closed = int(ends[trade.closed] if trade.at_close else begins[trade.closed])
    first, second = (
        _leg_trade(plan, symbol, leg, opened, closed)
        for symbol, leg in zip((plan.arguments.symbol_y, plan.arguments.symbol_x), trade.legs, strict=True)
    )
    return first, second


def outcome_of(plan: PairsPlan, found: PairExperiment) -> EngineOutcome:
    """Trades, daily balances and metrics."""
    trades = tuple(leg for trade in found.simulation.trades for leg in leg_trades(plan, trade))
    start, terms = plan.start_ms, plan.terms
    points = daily_balances(
        plan.prices.ends, found.simulation.balances, start, plan.end_ms, terms.starting_balance
    )
    metrics = jesse_metrics(
        JesseResults(
            trades=trade_table(trades),
            balances=np.array([balance for _, balance in points], dtype=np.float64),
            timestamps=np.array([moment for moment, _ in points], dtype=np.int64),
            starting_balance=terms.starting_balance,
            start_ms=start,
            end_ms=plan.end_ms,
            annualization=DAYS_A_YEAR,
        )
    )
    return EngineOutcome(
        metrics=dict(metrics),
        undefined={
            name: "it has no finite number by Jesse's formula from these trades and balances"
            for name, value in metrics.items()
            if value is None
        },
        trades=trades,
        equity=tuple(EquityPoint(timestamp=moment, balance=balance) for moment, balance in points),
        hyperparameters=plan.arguments.parameters(),
        engine=method_versions(),
    )


def record_of(
    plan: PairsPlan,
    request: BacktestRequest,
    outcome: EngineOutcome,
    warnings: tuple[str, ...],
    title: str | None,
) -> RunRecord:
    """The run to be stored."""
    return RunRecord(
        run_id=new_id("run"),
        kind="pairs",
        created_at=iso_utc(time.time()),
        fingerprint=plan.fingerprint,
        strategies=(plan.family,),
        symbols=tuple(route.symbol for route in request.routes),
        title=title,
        request=request.model_dump(mode="json"),
        code_hash=plan.code_hash,
        candle_hashes=plan.candle_hashes,
        outcome=outcome,
        warnings=(NOT_JESSE, *plan.prices.remarks, *warnings),
    )


def trial_of(plan: PairsPlan, outcome: EngineOutcome, run_id: str | None) -> Trial:
    """One experiment with this pair.

    It has no shape of code: every pair is traded by the same, and trials with one pair do not count for
    another.
    """
    request = plan.request
    balances = np.array([point.balance for point in outcome.equity], dtype=np.float64)
    returns = daily_returns(balances)
    sharpe = outcome.metrics.get("sharpe_ratio")
    exchange = _INLINE if request is None else request.exchange
    timeframe = "" if request is None else request.routes[0].timeframe
    return Trial(
        trial_id=new_id("trial"),
        created_at=iso_utc(time.time()),
        family=plan.family,
        code_hash=plan.code_hash,
        parameters=dict(outcome.hyperparameters),
        market={
            "exchange": exchange,
            "type": "futures",
            "routes": [
                f"{s} {timeframe}".strip() for s in (plan.arguments.symbol_y, plan.arguments.symbol_x)
            ],
        },
        start_ms=plan.start_ms,
        end_ms=plan.end_ms,
        fingerprint=plan.fingerprint,
        run_id=run_id,
        sharpe=float(sharpe) if isinstance(sharpe, int | float) else None,
        daily_returns=tuple(returns.tolist()) if len(returns) and np.isfinite(returns).all() else None,
    )


def _leg_trade(plan: PairsPlan, symbol: str, leg: Leg, opened: int, closed: int) -> Trade:
    quantity = abs(leg.quantity)
    size = quantity * leg.entry_price
    return Trade(
        strategy=plan.family,
        exchange=_INLINE if plan.request is None else plan.request.exchange,
        symbol=symbol,
        type="long" if leg.quantity > 0 else "short",
        opened_at=opened,
        closed_at=closed,
        entry_price=leg.entry_price,
        exit_price=leg.exit_price,
        qty=quantity,
        size=size,
        fee=leg.fee,
        pnl=leg.pnl,
        pnl_percentage=leg.pnl / (size / plan.terms.leverage) * 100,
        holding_period=(closed - opened) / 1000,
    )
