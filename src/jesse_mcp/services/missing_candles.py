"""What a run over missing candles is told: how many, and where the candles begin late or end early."""

import numpy as np

from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice, EngineRun
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute
from jesse_mcp.services.candle_slices import warm_up_start

_COLUMNS = 6


def missing_candles(run: EngineRun) -> list[str]:
    """A sentence for every slice that lacks minutes, warm-up included. Reads two rows of each."""
    return [_sentence(part, run.request) for part in run.candles if part.missing]


def _sentence(part: CandleSlice, request: BacktestRequest) -> str:
    edges = _edges(part, request)
    where = f" ({', '.join(edges)})" if edges else ""
    return (
        f"{part.missing} minutes of {part.symbol} on {part.exchange} have no candle{where}: Jesse ran on "
        "those there are, and no order was filled in the missing ones"
    )


def _edges(part: CandleSlice, request: BacktestRequest) -> list[str]:
    rows = np.memmap(part.path, dtype="<f8", mode="r", shape=(part.total_rows, _COLUMNS))
    first, last = (int(rows[row, 0]) for row in (part.start_row, part.end_row - 1))
    late = [f"the candles begin on {iso_minute(first)}"] if first > warm_up_start(request) else []
    early = [f"the candles end on {iso_minute(last)}"] if last < request.end_ms - MINUTE_MS else []
    return late + early
