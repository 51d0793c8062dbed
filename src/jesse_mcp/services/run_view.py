"""A stored run as it is shown: headline first, long lists only when asked for, by page."""

from typing import Any, Literal

from pydantic import Field

from jesse_mcp.domain.backtests import BacktestRequest
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.domain.timeframes import iso_date

Section = Literal["trades", "orders", "equity", "log", "provenance"]


class RunView(Value):
    """Money in the quote currency; percentages in percent; times in epoch milliseconds, UTC."""

    run_id: str
    created_at: str
    title: str | None
    request: dict[str, Any] = Field(description="what was run, every default filled in")
    metrics: dict[str, float | int | str | None] = Field(description="Jesse's own, verbatim")
    undefined: dict[str, str] = Field(description="why a metric is null")
    hyperparameters: dict[str, Any] = Field(description="values the run used")
    trade_count: int
    benchmark: dict[str, Any] | None = Field(description="buy and hold over the same candles")
    warnings: tuple[str, ...]
    engine: dict[str, str]
    trades: list[dict[str, Any]] | None = None
    equity: list[dict[str, Any]] | None = Field(default=None, description="Jesse's daily balances")
    log: str | None = None
    provenance: dict[str, Any] | None = None


def view_of(
    record: RunRecord, include: frozenset[Section] = frozenset(), offset: int = 0, limit: int = 50
) -> RunView:
    """The view of ``record``; ``offset`` and ``limit`` page through trades and equity."""
    outcome = record.outcome
    page = slice(offset, offset + limit)
    orders = "orders" in include
    exclude = None if orders else {"orders"}
    return RunView(
        run_id=record.run_id,
        created_at=record.created_at,
        title=record.title,
        request=shown_request(record.request),
        metrics=outcome.metrics,
        undefined=outcome.undefined,
        hyperparameters=outcome.hyperparameters,
        trade_count=len(outcome.trades),
        benchmark=record.benchmark,
        warnings=record.warnings,
        engine=outcome.engine,
        trades=(
            [trade.model_dump(exclude=exclude) for trade in outcome.trades[page]]
            if orders or "trades" in include
            else None
        ),
        equity=[point.model_dump() for point in outcome.equity[page]] if "equity" in include else None,
        log=outcome.log_tail if "log" in include else None,
        provenance=_provenance(record) if "provenance" in include else None,
    )


def shown_request(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored request with dates a person can read, in the words of the ``backtest`` tool."""
    request = BacktestRequest.model_validate(stored)
    shown = request.model_dump(exclude={"start_ms", "end_ms"}, exclude_none=True, mode="json")
    return {"start_date": iso_date(request.start_ms), "end_date": iso_date(request.end_ms), **shown}


def _provenance(record: RunRecord) -> dict[str, Any]:
    return {
        "fingerprint": record.fingerprint,
        "code_hash": record.code_hash,
        "candle_hashes": record.candle_hashes,
        "timings_seconds": record.outcome.timings,
    }
