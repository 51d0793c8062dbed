"""Look at stored runs: list, read, compare."""

import asyncio
from typing import Any

from pydantic import Field

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.runs import RunKind, RunRecord
from jesse_mcp.ports.records import RunStore
from jesse_mcp.services.run_view import RunView, Section, shown_request, view_of

HEADLINE = (
    "total",
    "net_profit_percentage",
    "max_drawdown",
    "sharpe_ratio",
    "calmar_ratio",
    "win_rate",
    "fee",
)
MAX_COMPARED = 20


class RunLine(Value):
    run_id: str
    created_at: str
    title: str | None
    strategies: tuple[str, ...]
    symbols: tuple[str, ...]
    period: str
    metrics: dict[str, float | int | str | None]


class RunList(Value):
    runs: tuple[RunLine, ...]
    total: int = Field(description="how many match in all")


class Comparison(Value):
    """Columns in the order of ``run_ids``."""

    run_ids: tuple[str, ...]
    metrics: dict[str, tuple[float | int | str | None, ...]]
    differences: dict[str, tuple[Any, ...]] = Field(description="what was asked for and is not the same")
    same_code: bool
    same_candles: bool
    warnings: tuple[str, ...]


class RunService:
    def __init__(self, runs: RunStore) -> None:
        self._runs = runs

    async def page(
        self, strategy: str | None, symbol: str | None, kind: RunKind | None, limit: int, offset: int
    ) -> RunList:
        """Stored runs, newest first; ``kind`` ``None`` is every kind."""
        summaries, total = await asyncio.to_thread(
            self._runs.page, strategy=strategy, symbol=symbol, kind=kind, limit=limit, offset=offset
        )
        lines = []
        for summary in summaries:
            request = shown_request(summary.request)
            lines.append(
                RunLine(
                    run_id=summary.run_id,
                    created_at=summary.created_at,
                    title=summary.title,
                    strategies=summary.strategies,
                    symbols=summary.symbols,
                    period=f"{request['start_date']} to {request['end_date']}",
                    metrics={name: summary.metrics.get(name) for name in HEADLINE},
                )
            )
        return RunList(runs=tuple(lines), total=total)

    async def get(self, run_id: str, include: frozenset[Section], offset: int, limit: int) -> RunView:
        """One run with the sections asked for.

        Raises:
            ResearchError: ``run_not_found``.
        """
        record = await asyncio.to_thread(self._runs.get, run_id)
        return view_of(record, include, offset, limit)

    async def compare(self, run_ids: tuple[str, ...], metrics: tuple[str, ...] | None) -> Comparison:
        """Runs side by side.

        Raises:
            ResearchError: ``run_not_found``; ``invalid_argument`` for fewer than two runs, more than
                twenty, repeated ids or a metric none of them has.
        """
        if not 2 <= len(run_ids) <= MAX_COMPARED or len(set(run_ids)) != len(run_ids):
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"run_ids holds {len(run_ids)} ids, {len(set(run_ids))} of them distinct",
                hint=f"give 2 to {MAX_COMPARED} distinct run ids; run_list shows them",
            )
        records = [await asyncio.to_thread(self._runs.get, run_id) for run_id in run_ids]
        return compare(records, metrics)


def compare(records: list[RunRecord], metrics: tuple[str, ...] | None) -> Comparison:
    known = list(dict.fromkeys(name for record in records for name in record.outcome.metrics))
    unknown = [name for name in metrics or () if name not in known]
    if unknown:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"no run has the metric {', '.join(unknown)}",
            hint=f"metrics are: {', '.join(known)}",
        )
    requests = [
        {**shown_request(record.request), "hyperparameters": record.outcome.hyperparameters}
        for record in records
    ]
    fields = dict.fromkeys(name for request in requests for name in request)
    columns = {name: tuple(request.get(name) for request in requests) for name in fields}
    differences = {name: column for name, column in columns.items() if any(v != column[0] for v in column)}
    warnings = [
        f"the runs differ in {name}: their metrics are not comparable as they stand"
        for name in ("start_date", "end_date", "starting_balance", "fee")
        if name in differences
    ]
    return Comparison(
        run_ids=tuple(record.run_id for record in records),
        metrics={
            name: tuple(record.outcome.metrics.get(name) for record in records) for name in metrics or known
        },
        differences=differences,
        same_code=len({record.code_hash for record in records}) == 1,
        same_candles=all(record.candle_hashes == records[0].candle_hashes for record in records),
        warnings=tuple(warnings),
    )
