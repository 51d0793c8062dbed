"""Paper sessions as they are shown. Times are UTC, ISO 8601; returns and drawdowns are fractions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from jesse_mcp.domain.backtests import Trade
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.paper import PaperOrder, PaperPosition
from jesse_mcp.domain.paper_records import (
    AlertDelivery,
    PaperChange,
    PaperCounts,
    PaperEquityPoint,
    PaperEvent,
    PaperSession,
)
from jesse_mcp.services.paper_metrics import HEADLINE, PaperMetrics
from jesse_mcp.services.paper_parts import LEVERAGE_WAITS

_HOUR_MS = 3_600_000
_LOG_CHARACTERS = 1_500
FINAL = (*HEADLINE, "final_equity")


class PaperStarted(Value):
    session_id: str
    status: str
    strategy: str
    symbol: str
    timeframe: str
    exchange: str
    starting_balance: float
    started_at: str
    exchange_type: str
    leverage: int
    fee: float
    feed: str
    trading_from: str = Field(description="the first minute traded")
    trading_until: str | None = Field(description="exclusive; null: until it is stopped")
    warnings: tuple[str, ...]


class PaperStopped(Value):
    """``status`` is ``finished`` or ``failed`` for a session that had ended by itself."""

    session_id: str
    status: str
    stopped_at: str
    duration_hours: float
    final_metrics: dict[str, float | int | None]
    undefined: dict[str, str] = Field(description="why one is null")
    run_id: str | None = Field(description="of the stored run: run_get, risk_report; null without a minute")
    error: dict[str, Any] | None = Field(default=None, description="why it ended, if not as asked")


class PaperStatusView(Value):
    session_id: str
    status: str
    strategy: str
    symbol: str
    current_equity: float
    unrealized_pnl: float
    positions: tuple[dict[str, Any], ...]
    open_orders: tuple[dict[str, Any], ...]
    left_open: dict[str, Any] | None = Field(
        description="at traded_through, of a session that failed or was cut short"
    )
    metrics: dict[str, float | int | None]
    undefined: dict[str, str] = Field(description="why a metric is null")
    exchange: str
    timeframe: str
    leverage: int = Field(description="in force")
    pending: dict[str, Any] = Field(description="a leverage not in force, and when it will be")
    fee: float
    notes: str | None
    started_at: str
    duration_hours: float
    traded_through: str | None = Field(description="close of the last minute worked through")
    feed: dict[str, Any] = Field(description="health; latency_ms from a minute's close to its outcome stored")
    alerts: tuple[dict[str, Any], ...] = Field(description="the latest")
    events: tuple[dict[str, Any], ...] = Field(description="the latest")
    warnings: tuple[str, ...]
    run_id: str | None
    error: dict[str, Any] | None
    log_tail: str


class PaperTrades(Value):
    session_id: str
    total_trades: int
    trades: tuple[dict[str, Any], ...] = Field(description="oldest first; pnl after fees, pnl_pct a fraction")


class PaperEquityCurve(Value):
    """The last minute of each stretch of ``resolution``; ``timestamp`` is its close."""

    session_id: str
    resolution: str
    equity_curve: tuple[dict[str, Any], ...] = Field(description="oldest first; drawdown positive")
    total_points: int


class PaperMetricsView(Value):
    session_id: str
    metrics: dict[str, float | int | None]
    undefined: dict[str, str] = Field(description="why one is null")


class PaperLine(Value):
    session_id: str
    strategy: str
    symbol: str
    status: str
    started_at: str
    duration_hours: float


class PaperList(Value):
    sessions: tuple[PaperLine, ...]
    total: int


class PaperLoad(Value):
    """For monitoring."""

    counts: PaperCounts
    seconds_behind: float | None = Field(
        description="since the last minute of the live session furthest behind; null without one"
    )


class PaperUpdated(Value):
    session_id: str
    status: Literal["updated"]
    updated_fields: tuple[str, ...]
    pending: dict[str, Any] = Field(description="a leverage not in force, and when it will be")


def iso(moment: int) -> str:
    """Epoch milliseconds as ``2026-02-19T00:00:00Z``."""
    return datetime.fromtimestamp(moment // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def started_view(session: PaperSession, warnings: tuple[str, ...]) -> PaperStarted:
    request = session.request
    return PaperStarted(
        **_line(session),
        status=session.status.value,
        timeframe=_timeframe(session),
        exchange=request.exchange,
        starting_balance=request.starting_balance,
        started_at=iso(session.started_at),
        exchange_type=request.exchange_type,
        leverage=session.request.leverage,
        fee=request.fee,
        feed=request.feed,
        trading_from=iso(request.start_ms),
        trading_until=None if request.end_ms is None else iso(request.end_ms),
        warnings=warnings,
    )


def stopped_view(session: PaperSession, metrics: PaperMetrics, now: int) -> PaperStopped:
    ended = now if session.ended_at is None else session.ended_at
    final = {**metrics.metrics, "final_equity": metrics.metrics["current_equity"]}
    return PaperStopped(
        session_id=session.session_id,
        status=session.status.value,
        stopped_at=iso(ended),
        duration_hours=_hours(session, now),
        final_metrics={name: final[name] for name in FINAL},
        undefined={name: why for name, why in metrics.undefined.items() if name in FINAL},
        run_id=session.run_id,
        error=session.error,
    )


def status_view(
    session: PaperSession,
    metrics: PaperMetrics,
    health: dict[str, Any],
    alerts: list[AlertDelivery],
    events: list[PaperEvent],
    changes: Sequence[PaperChange],
    now: int,
) -> PaperStatusView:
    shown = metrics.only(HEADLINE)
    positions = tuple(_position(one) for one in session.state.positions)
    orders = tuple(_order(one) for one in session.state.open_orders)
    alive, closed = session.status.active, session.run_id is not None
    equity, unrealized = metrics.metrics["current_equity"], metrics.metrics["unrealized_pnl"]
    through = session.place.through
    return PaperStatusView(
        **_line(session),
        status=session.status.value,
        current_equity=float(equity or 0.0),
        unrealized_pnl=float(unrealized or 0.0),
        positions=positions if alive else (),
        open_orders=orders if alive else (),
        left_open=None if alive or closed else {"positions": positions, "open_orders": orders},
        metrics=shown,
        undefined={name: why for name, why in metrics.undefined.items() if name in shown},
        exchange=session.request.exchange,
        timeframe=_timeframe(session),
        leverage=session.leverage_in_force,
        pending=pending_view(session, changes),
        fee=session.request.fee,
        notes=session.notes,
        started_at=iso(session.started_at),
        duration_hours=_hours(session, now),
        traded_through=None if through is None else iso(through),
        feed={"kind": session.request.feed, "speed": session.request.speed, **health},
        alerts=tuple(_alert(one) for one in alerts),
        events=tuple({**event.model_dump(), "timestamp": iso(event.timestamp)} for event in events),
        warnings=session.warnings,
        run_id=session.run_id,
        error=session.error,
        log_tail=session.log_tail[-_LOG_CHARACTERS:],
    )


def pending_view(session: PaperSession, changes: Sequence[PaperChange]) -> dict[str, Any]:
    """The leverage asked for last, while another one is in force.

    Args:
        changes: all that were asked for, oldest first.
    """
    asked = [change for change in changes if change.error is None]
    if not session.status.active or not asked or asked[-1].leverage == session.leverage_in_force:
        return {}
    first = "" if asked[-1].decided else "its server has answered and "
    return {"leverage": asked[-1].leverage, "when": f"{first}{LEVERAGE_WAITS}"}


def trades_view(session_id: str, trades: list[Trade], total: int, offset: int) -> PaperTrades:
    shown = [_trade(number, trade) for number, trade in enumerate(trades, start=offset + 1)]
    return PaperTrades(session_id=session_id, total_trades=total, trades=tuple(shown))


def equity_view(
    session_id: str, resolution: str, points: list[PaperEquityPoint], total: int
) -> PaperEquityCurve:
    curve = [
        {
            "timestamp": iso(point.timestamp),
            "equity": point.equity,
            "drawdown": point.drawdown,
            "unrealized_pnl": point.unrealized_pnl,
        }
        for point in points
    ]
    return PaperEquityCurve(
        session_id=session_id, resolution=resolution, equity_curve=tuple(curve), total_points=total
    )


def line_view(session: PaperSession, now: int) -> PaperLine:
    return PaperLine(
        **_line(session),
        status=session.status.value,
        started_at=iso(session.started_at),
        duration_hours=_hours(session, now),
    )


def _line(session: PaperSession) -> dict[str, str]:
    """Names, joined where there are several routes."""
    routes = session.request.routes
    return {
        "session_id": session.session_id,
        "strategy": ", ".join(dict.fromkeys(route.strategy for route in routes)),
        "symbol": ", ".join(route.symbol for route in routes),
    }


def _timeframe(session: PaperSession) -> str:
    return ", ".join(dict.fromkeys(route.timeframe for route in session.request.routes))


def _hours(session: PaperSession, now: int) -> float:
    ended = now if session.ended_at is None else session.ended_at
    return (ended - session.started_at) / _HOUR_MS


def _position(position: PaperPosition) -> dict[str, Any]:
    shown = {**position.model_dump(), "opened_at": iso(position.opened_at)}
    if position.liquidation_price is None:
        # Jesse liquidates nothing there: neither on cross margin nor on spot.
        del shown["liquidation_price"]
    return shown


def _order(order: PaperOrder) -> dict[str, Any]:
    return {**order.model_dump(exclude={"event"}), "timestamp": iso(order.timestamp)}


def _alert(delivery: AlertDelivery) -> dict[str, Any]:
    alert = delivery.alert
    shown = {**alert.model_dump(exclude={"key"}), "timestamp": iso(alert.timestamp)}
    if alert.band_edge is None:
        del shown["band_edge"]
    if delivery.webhook is not None:
        delivered = delivery.delivered_at
        shown["webhook"] = {
            "attempts": delivery.attempts,
            "delivered_at": None if delivered is None else iso(delivered),
            "failure": delivery.failure,
        }
    return shown


def _trade(number: int, trade: Trade) -> dict[str, Any]:
    percent = trade.pnl_percentage
    return {
        "trade_id": number,
        "entry_time": iso(trade.opened_at),
        "exit_time": iso(trade.closed_at),
        "symbol": trade.symbol,
        "side": trade.type,
        "entry_price": trade.entry_price,
        "exit_price": trade.exit_price,
        "size": trade.qty,
        "pnl": trade.pnl,
        "pnl_pct": None if percent is None else percent / 100,
        "fees": trade.fee,
    }
