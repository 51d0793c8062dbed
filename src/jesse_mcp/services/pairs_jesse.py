"""The same decisions executed by Jesse on two routes, and where its fills differ."""

import hashlib
import json
from typing import Any

from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice, EngineRun, Trade
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.domain.strategies import StrategySource
from jesse_mcp.services.backtest_plan import Plan
from jesse_mcp.services.pairs_experiment import PairExperiment
from jesse_mcp.services.pairs_plan import PairsPlan
from jesse_mcp.services.pairs_record import leg_trades

_SOURCE = '''"""Targets decided beforehand, executed at the close of the candle they were decided at."""

from jesse.strategies import Strategy

#: Quantity by symbol and beginning of the candle (epoch milliseconds); 0 leaves the position.
TARGETS = {targets}


class {name}(Strategy):
    def target(self):
        return TARGETS[self.symbol].get(int(self.current_candle[0]))

    def should_long(self):
        return (self.target() or 0) > 0

    def should_short(self):
        return (self.target() or 0) < 0

    def should_cancel_entry(self):
        return False

    def go_long(self):
        self.buy = self.target(), self.price

    def go_short(self):
        self.sell = -self.target(), self.price

    def update_position(self):
        if self.target() == 0:
            self.liquidate()
'''
_CONVENTIONS = (
    "Jesse trades at the close of the candle the decision was made at, the simulation at the open of the "
    "next: fills differ by the step between the two, and by slippage, which Jesse has none of"
)


def targets(plan: PairsPlan, found: PairExperiment) -> dict[str, dict[int, float]]:
    """What each symbol is to be held at, by the beginning of the bar it was decided at."""
    begins = plan.prices.begins
    symbols = (plan.arguments.symbol_y, plan.arguments.symbol_x)
    wanted: dict[str, dict[int, float]] = {symbol: {} for symbol in symbols}
    for trade in found.simulation.trades:
        for symbol, leg in zip(symbols, trade.legs, strict=True):
            wanted[symbol][int(begins[trade.decided])] = leg.quantity
            # What is open at the very end Jesse closes itself.
            if trade.reason != "end":
                left = trade.closed if trade.at_close else trade.closed - 1
                wanted[symbol][int(begins[left])] = 0.0
    return wanted


def jesse_request(request: BacktestRequest) -> BacktestRequest:
    """The two routes; the decisions are made already, so there is nothing to warm up or to set."""
    return request.model_copy(update={"hyperparameters": {}, "warm_up_candles": 0})


def jesse_plan(
    plan: PairsPlan,
    found: PairExperiment,
    request: BacktestRequest,
    slices: tuple[CandleSlice, ...],
    engine: str,
) -> Plan:
    """The run on the embedded engine.

    Args:
        engine: identity of that engine.
    """
    code = _SOURCE.format(targets=repr(targets(plan, found)), name=plan.family)
    source = StrategySource(
        files={"strategies/__init__.py": "", f"strategies/{plan.family}/__init__.py": code}
    )
    hashes = {f"{part.symbol} on {part.exchange}": part.content_hash for part in slices}
    identity = {
        "request": request.model_dump(mode="json"),
        "code": source.code_hash,
        "candles": hashes,
        "engine": engine,
    }
    return Plan(
        run=EngineRun(request=request, source=source.files, candles=slices),
        code_hash=source.code_hash,
        candle_hashes=hashes,
        fingerprint=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        warnings=(
            "decisions come from pairs_backtest, Jesse executed them: it is no strategy of its own, and "
            "every leg is a trade",
        ),
        engine="embedded",
        # It is the simulated experiment once more.
        counted=False,
    )


def compared(
    plan: PairsPlan, found: PairExperiment, ours: RunRecord, jesse: RunRecord, shown: int
) -> dict[str, Any]:
    """Both runs, and leg by leg what Jesse's fill has more than the simulated one; money in quote currency.

    The difference of profit is made of ``prices`` (the market between decision and fill), ``slippage`` and
    ``fees``, which add up to it where every leg has its counterpart of the same quantity.
    """
    rows, matched = [], _by_leg(jesse.outcome.trades)
    totals = {"pnl": 0.0, "prices": 0.0, "slippage": 0.0, "fees": 0.0}
    missing = 0
    for number, trade in enumerate(found.simulation.trades):
        for leg, mine in zip(trade.legs, leg_trades(plan, trade), strict=True):
            theirs = matched.pop((mine.symbol, mine.opened_at), None)
            if theirs is None:
                missing += 1
                continue
            parts = {
                "pnl": theirs.pnl - mine.pnl,
                "slippage": leg.slippage,
                "fees": mine.fee - theirs.fee,
            }
            parts["prices"] = parts["pnl"] - parts["slippage"] - parts["fees"]
            totals = {name: totals[name] + parts[name] for name in totals}
            rows.append(
                {
                    "trade": number,
                    "symbol": mine.symbol,
                    "entry_price": [mine.entry_price, theirs.entry_price],
                    "exit_price": [mine.exit_price, theirs.exit_price],
                    "closed_at": [mine.closed_at, theirs.closed_at],
                    "quantity_difference": theirs.qty - mine.qty,
                    **{f"{name}_difference": value for name, value in parts.items()},
                }
            )
    return {
        "run_id": jesse.run_id,
        "simulated": _headline(ours),
        "jesse": _headline(jesse),
        "difference": totals,
        "legs_matched": len(rows),
        "legs_only_simulated": missing,
        "legs_only_jesse": len(matched),
        "legs": rows[: 2 * shown],
        "convention": _CONVENTIONS,
    }


def _by_leg(trades: tuple[Trade, ...]) -> dict[tuple[str, int], Trade]:
    return {(trade.symbol, trade.opened_at): trade for trade in trades}


def _headline(record: RunRecord) -> dict[str, float | int | None]:
    equity = record.outcome.equity
    start, end = equity[0].balance, equity[-1].balance
    return {
        "total_return": end / start - 1,
        "final_balance": end,
        "legs": len(record.outcome.trades),
        "fees": sum(trade.fee for trade in record.outcome.trades),
    }
