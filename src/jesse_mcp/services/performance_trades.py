"""Closed trades of a run in statistics, and the excursions of their prices."""

from dataclasses import asdict
from typing import Any

import numpy as np

from jesse_mcp.analytics.calendar_returns import hourly_trades
from jesse_mcp.analytics.excursions import Excursion, OpenTrade, excursion, excursion_summary, row_of
from jesse_mcp.analytics.measures import Measure, separated
from jesse_mcp.analytics.trade_statistics import exposure, runs_test, trade_statistics, win_rate_interval
from jesse_mcp.analytics.trade_table import TradeTable
from jesse_mcp.domain.backtests import BacktestRequest, Trade
from jesse_mcp.domain.candles import CLOSE, CandleArray
from jesse_mcp.domain.timeframes import MINUTE_MS
from jesse_mcp.services.run_candles import TradedCandles

_EXCURSIONS_SHOWN = 200
_SIDE = ("trades", "win_rate", "net_profit", "profit_factor", "average_holding")


def trade_table(trades: tuple[Trade, ...]) -> TradeTable:
    """The columns the statistics are made from."""
    return TradeTable(
        profits=np.array([trade.pnl for trade in trades], dtype=np.float64),
        fees=np.array([trade.fee for trade in trades], dtype=np.float64),
        opened_at=np.array([trade.opened_at for trade in trades], dtype=np.int64),
        closed_at=np.array([trade.closed_at for trade in trades], dtype=np.int64),
        long=np.array([trade.type == "long" for trade in trades], dtype=np.bool_),
    )


def trade_measures(table: TradeTable, request: BacktestRequest) -> dict[str, Measure]:
    """Statistics of all trades, the runs test and the exposure over the period of the run."""
    interval = win_rate_interval(table)
    none = Measure(None, "no trade was closed")
    return {
        **trade_statistics(table),
        "win_rate_low_95": none if interval is None else Measure(interval.low),
        "win_rate_high_95": none if interval is None else Measure(interval.high),
        **exposure(table, request.start_ms, request.end_ms),
        **{f"runs_test_{name}": value for name, value in runs_test(table.profits).items()},
    }


def trades_section(table: TradeTable, request: BacktestRequest) -> tuple[dict[str, Any], dict[str, str]]:
    """All trades, longs and shorts apart, and by the hour they were opened."""
    values, undefined = separated(trade_measures(table, request))
    section: dict[str, Any] = dict(values)
    for name, chosen in (("long", table.long), ("short", ~table.long)):
        found, lacking = separated(
            {key: measure for key, measure in trade_statistics(table.where(chosen)).items() if key in _SIDE}
        )
        section[name] = found
        undefined |= {f"{name}.{key}": reason for key, reason in lacking.items()}
    return section, undefined


def hours_of(table: TradeTable) -> list[dict[str, Any]]:
    """Hours (UTC) in which a trade was opened."""
    return [asdict(row) for row in hourly_trades(table.profits, table.opened_at) if row.trades]


def excursions_section(
    trades: tuple[Trade, ...], candles: TradedCandles
) -> tuple[dict[str, Any], dict[str, str]]:
    """Summary over the trades whose minutes are known, and the first of them one by one."""
    if candles.reason is not None:
        return {}, {"excursions": candles.reason}
    found = trade_excursions(trades, candles)
    values, undefined = separated(
        excursion_summary(
            np.array([known.adverse for _, known in found], dtype=np.float64),
            np.array([known.favourable for _, known in found], dtype=np.float64),
            np.array([trades[number].pnl for number, _ in found], dtype=np.float64),
        )
    )
    section: dict[str, Any] = {
        **values,
        "trades_known": len(found),
        "columns": ["trade", "adverse", "favourable"],
        "rows": [[number, known.adverse, known.favourable] for number, known in found[:_EXCURSIONS_SHOWN]],
    }
    if len(found) < len(trades):
        undefined["rows"] = f"{len(trades) - len(found)} trades have a minute without a candle, or no price"
    elif len(found) > _EXCURSIONS_SHOWN:
        undefined["rows"] = f"the first {_EXCURSIONS_SHOWN} of {len(found)} trades are shown"
    return section, {f"excursions.{name}": reason for name, reason in undefined.items()}


def trade_excursions(trades: tuple[Trade, ...], candles: TradedCandles) -> list[tuple[int, Excursion]]:
    """Number and excursion of each trade whose minutes are known, in the order of the trades."""
    found: list[tuple[int, Excursion]] = []
    for number, trade in enumerate(trades):
        rows = candles.rows.get(trade.symbol)
        known = None if rows is None else excursion(_open_trade(trade, rows), rows)
        if known is not None:
            found.append((number, known))
    return found


def _open_trade(trade: Trade, rows: CandleArray) -> OpenTrade:
    return OpenTrade(
        opened_at=trade.opened_at,
        closed_at=trade.closed_at,
        entry_price=trade.entry_price,
        exit_price=trade.exit_price,
        long=trade.type == "long",
        whole_last_minute=_closed_at_the_close(trade, rows),
    )


def _closed_at_the_close(trade: Trade, rows: CandleArray) -> bool:
    """Whether a market order ended the trade at the close of a minute, so that all of the minute was in it.

    A resting order, or a liquidation, fills somewhere within its minute.
    """
    # Jesse has these moments as floats.
    moments = [(_number(order.get("executed_at")), order) for order in trade.orders]
    executed = [(moment, order) for moment, order in moments if moment is not None]
    if not executed:
        return False
    _, last = max(executed, key=lambda pair: pair[0])
    at = row_of(rows, trade.closed_at - MINUTE_MS)
    price = _number(last.get("price"))
    if last.get("type") != "MARKET" or price is None or at >= len(rows):
        return False
    return bool(np.isclose(price, rows[at, CLOSE], rtol=1e-9, atol=0))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
