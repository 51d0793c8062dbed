"""How far stored prices fell, and what returns had to do with them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.crises import Crisis
from jesse_mcp.analytics.return_series import ReturnSeries, compounded
from jesse_mcp.analytics.shocks import Passage, Regression, closes_at, largest_fall, passage, regress
from jesse_mcp.domain.candles import CLOSE, TIMESTAMP, SeriesKey
from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.domain.timeframes import MINUTE_MS
from jesse_mcp.services.analysis_source import Components
from jesse_mcp.services.candle_slices import ENOUGH_COVERAGE, import_call
from jesse_mcp.services.market_bars import MarketReader

Basis = Literal["measured", "table", "hypothetical"]
Floats = NDArray[np.float64]

_BAR = "1h"
_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Fall:
    """Of one price in a crisis: a positive fraction and what it rests on, or the reason why there is none."""

    value: float | None
    basis: Basis | None = None
    reason: str | None = None


class StressMarket:
    """Blocking; called in a thread."""

    def __init__(self, market: MarketReader) -> None:
        self._market = market

    def fall(self, key: SeriesKey, crisis: Crisis) -> Fall:
        """From stored candles when they hold the whole window, else from the table, else the reason."""
        closes, reason = self._closes(key, crisis)
        if closes is not None:
            found = largest_fall(closes)
            return (
                Fall(found, "measured") if found is not None else Fall(None, reason="a price is not positive")
            )
        entry = crisis.table_fall(key.symbol)
        if entry is not None:
            return Fall(entry.fall, "table")
        return Fall(None, reason=f"{reason}, and the table has no {key.symbol}")

    def _closes(self, key: SeriesKey, crisis: Crisis) -> tuple[Floats | None, str]:
        try:
            rows = self._market.candles(key, crisis.start_ms, crisis.end_ms)
        except ResearchError as error:
            return None, f"{error.message} ({error.hint})" if error.hint else error.message
        wanted = (crisis.end_ms - crisis.start_ms) // MINUTE_MS
        if len(rows) < ENOUGH_COVERAGE * wanted:
            call = import_call(key, crisis.start_ms, crisis.end_ms)
            return (
                None,
                f"{len(rows)} of {wanted} candles of {key} are stored from {crisis.start} on ({call})",
            )
        return np.array(rows[:, CLOSE]), ""

    def portfolio(self, exchange: str, components: Components, crisis: Crisis) -> Passage | str:
        """A portfolio that keeps its weights, hour by hour, by stored candles; or why that cannot be said."""
        keys = tuple(SeriesKey(exchange=exchange, symbol=symbol) for symbol in components.symbols)
        for key in keys:
            closes, reason = self._closes(key, crisis)
            if closes is None:
                return reason
        try:
            found = self._market.bars(keys, _BAR, crisis.start_ms, crisis.end_ms)
        except ResearchError as error:
            return error.message
        returns = found.closes[1:] / found.closes[:-1] - 1
        balances = compounded(returns @ components.weights, 1.0)
        if not np.isfinite(balances).all():
            return "a balance leaves the range of a floating point number"
        series = ReturnSeries(balances, 1.0, found.timestamps + _HOUR_MS)
        if series.timestamps is None or len(series.timestamps) < 2:
            return "the window holds fewer than two hours"
        ends = (int(series.timestamps[0]), int(series.timestamps[-1]))
        return passage(series.timestamps, series.balances, *ends) or "no equity passes the window"

    def betas(self, series: ReturnSeries, exchange: str, symbols: tuple[str, ...]) -> Regression | str:
        """Returns of the series on those of the markets between the same moments, or why there are none."""
        if series.timestamps is None:
            return "the source has no times, so that no market's returns can be put beside its own"
        found = self.returns_of(series.timestamps, exchange, symbols)
        if isinstance(found, str):
            return found
        known = np.isfinite(found).all(axis=1)
        return regress(series.returns[known], found[known])

    def returns_of(
        self, timestamps: NDArray[np.int64], exchange: str, symbols: tuple[str, ...]
    ) -> Floats | str:
        """Of each market between successive timestamps, shape (n - 1, k), NaN where no close is known."""
        if len(timestamps) < 2:
            return "the source has fewer than two balances"
        reach = max(int(np.median(np.diff(timestamps))) // 2, MINUTE_MS)
        columns = []
        for symbol in symbols:
            key = SeriesKey(exchange=exchange, symbol=symbol)
            try:
                rows = self._market.candles(key, int(timestamps[0]) - reach, int(timestamps[-1]))
            except ResearchError as error:
                return f"{error.message} ({error.hint})" if error.hint else error.message
            # A close is known when its minute is over.
            times = np.array(rows[:, TIMESTAMP]).astype(np.int64) + MINUTE_MS
            columns.append(closes_at(times, np.array(rows[:, CLOSE]), timestamps, reach))
        prices = np.column_stack(columns)
        with np.errstate(all="ignore"):
            return np.asarray(prices[1:] / prices[:-1] - 1, dtype=np.float64)
