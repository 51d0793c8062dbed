"""How near leverage brings liquidation, and what moves a run's trades have lived through."""

from typing import Any

from jesse_mcp.analytics.liquidation import (
    MAINTENANCE_MARGIN_RATE,
    cross_distance,
    isolated_distance,
    survivable_leverage,
)
from jesse_mcp.domain.backtests import BacktestRequest
from jesse_mcp.services.performance_trades import trade_excursions
from jesse_mcp.services.run_candles import RunCandles
from jesse_mcp.services.stress_crises import CrisisImpact
from jesse_mcp.services.stress_sections import Section
from jesse_mcp.services.stress_subject import Subject


def leverage_section(
    subject: Subject, leverage: float | None, impacts: list[CrisisImpact], candles: RunCandles
) -> Section:
    """Distances to liquidation, the run's worst adverse move, crises that would have closed a long. Blocks.

    Args:
        leverage: ``None`` takes that of the run.
    """
    request = subject.request
    used = leverage if leverage is not None else None if request is None else float(request.leverage)
    if used is None:
        return None, {"liquidation": "give leverage: the source has none of its own"}
    distance = isolated_distance(used)
    section: dict[str, Any] = {
        "leverage": used,
        "maintenance_margin_rate": MAINTENANCE_MARGIN_RATE,
        "isolated_distance": distance,
        "cross_distance_long": cross_distance(used, "long"),
        "cross_distance_short": cross_distance(used, "short"),
        "basis": "hypothetical",
        "crises_beyond_isolated_distance": [
            impact.crisis.name
            for impact in impacts
            if any(fall.value is not None and fall.value >= distance for fall in impact.falls.values())
        ],
    }
    undefined: dict[str, str] = {}
    if request is not None:
        section["leverage_of_the_run"] = request.leverage
        section["liquidations_in_jesse"] = (
            "isolated mode: simulated"
            if _simulated(request)
            else "not simulated: Jesse has them for isolated only"
        )
        section["worst_adverse_move"], undefined = _worst_move(subject, distance, candles)
    return section, undefined


def _worst_move(
    subject: Subject, distance: float, candles: RunCandles
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    name = "liquidation.worst_adverse_move"
    trades, record = subject.sample.trades, subject.sample.record
    if record is None or not trades:
        return None, {name: "the run closed no trade"}
    traded = candles.of(record)
    if traded.reason is not None:
        return None, {name: traded.reason}
    found = trade_excursions(trades, traded)
    if not found:
        return None, {name: "no trade has a candle for each of its minutes"}
    number, worst = max(found, key=lambda pair: pair[1].adverse)
    section = {
        "move": worst.adverse,
        "trade": number,
        "symbol": trades[number].symbol,
        "side": trades[number].type,
        "leverage_survived_up_to": survivable_leverage(worst.adverse),
        "trades_known": len(found),
        "trades_liquidated": sum(known.adverse >= distance for _, known in found),
        "basis": "measured",
    }
    missing = len(trades) - len(found)
    return section, {f"{name}.trades_known": f"{missing} trades lack a candle"} if missing else {}


def _simulated(request: BacktestRequest) -> bool:
    return request.exchange_type == "futures" and request.leverage_mode == "isolated"
