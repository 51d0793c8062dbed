"""Whether Jesse's dashboard warms a run up with the candles that are pinned for it."""

import numpy as np

from jesse_mcp.domain.backtests import CandleSlice, EngineRun
from jesse_mcp.domain.candles import TIMESTAMP
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_date, timeframe_minutes

_COLUMNS = 6


def refuse_gaps_in_warm_up(run: EngineRun) -> None:
    """Jesse's dashboard counts whole candles of the longest timeframe that have any minute in them.

    Where one has none it goes further back, to candles the run does not name; the embedded engine starts
    trading later instead. Blocking.

    Raises:
        ResearchError: ``capability_missing``.
    """
    request = run.request
    timeframes = {route.timeframe for route in request.routes}
    timeframes |= {route.timeframe for route in request.data_routes}
    longest = MINUTE_MS * max(map(timeframe_minutes, timeframes))
    for part in run.candles:
        found = _buckets(part, longest, request.start_ms)
        if found < request.warm_up_candles:
            raise ResearchError(
                ErrorCode.CAPABILITY_MISSING,
                f"of the {request.warm_up_candles} warm-up candles of {part.symbol} before "
                f"{iso_date(request.start_ms)} only {found} are there, and Jesse's dashboard would take "
                "older ones instead",
                hint="start later or lower warm_up_candles, or call with engine='embedded'",
            )


def _buckets(part: CandleSlice, longest: int, start_ms: int) -> int:
    rows = np.memmap(part.path, dtype="<f8", mode="r", shape=(part.total_rows, _COLUMNS))
    minutes = np.asarray(rows[part.start_row : part.trading_row, TIMESTAMP], dtype=np.int64)
    starts = np.unique(minutes // longest * longest)
    return int((starts + longest <= start_ms).sum())
