"""The candles a stored run was traded on, as long as they are still the same."""

from dataclasses import dataclass

import numpy as np

from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice
from jesse_mcp.domain.candles import CandleArray
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.services.candle_slices import CandleSlicer

_COLUMNS = 6


@dataclass(frozen=True)
class TradedCandles:
    """Rows by symbol, memory-mapped; none, and the ``reason``, when they are not those of the run."""

    rows: dict[str, CandleArray]
    reason: str | None = None


class RunCandles:
    """Blocking; called in a thread."""

    def __init__(self, store: CandleStore) -> None:
        self._slicer = CandleSlicer(store)

    def of(self, record: RunRecord) -> TradedCandles:
        """Candles of every symbol the run traded, from its first day to its last, compared by hash.

        A store that fails is a reason too: the rest of an analysis does not need it.
        """
        request = BacktestRequest.model_validate(record.request)
        if request.pipeline is not None:
            return TradedCandles({}, f"the run was traded on candles altered by {request.pipeline.name}")
        try:
            slices = self._slicer.cut(request, "observed")
        except ResearchError as error:
            state = "are gone" if error.code is ErrorCode.CANDLES_MISSING else "cannot be read"
            return TradedCandles({}, f"the candles of the run {state}: {error.message}")
        changed = [
            name
            for part in slices
            if record.candle_hashes.get(name := f"{part.symbol} on {part.exchange}") != part.content_hash
        ]
        if changed:
            return TradedCandles({}, f"the candles of {', '.join(changed)} have changed since the run")
        traded = {route.symbol for route in request.routes}
        return TradedCandles(
            {
                part.symbol: _rows(part)
                for part in slices
                if part.exchange == request.exchange and part.symbol in traded
            }
        )


def _rows(part: CandleSlice) -> CandleArray:
    rows = np.memmap(part.path, dtype="<f8", mode="r", shape=(part.total_rows, _COLUMNS))
    return rows[part.trading_row : part.end_row]
