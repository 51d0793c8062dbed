"""Built-in factors: stored candles at the moments of a return series, and what is made of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.crypto_factors import (
    long_short,
    market_factor,
    momentum_scores,
    period_returns,
    rebalancings,
    size_scores,
    volatility_scores,
)
from jesse_mcp.analytics.measures import Floats
from jesse_mcp.analytics.shocks import closes_at
from jesse_mcp.domain.candles import CLOSE, TIMESTAMP, VOLUME, SeriesKey
from jesse_mcp.domain.timeframes import DAY_MS, MINUTE_MS
from jesse_mcp.services.factor_request import SORTED, BuiltInFactor, FactorUniverse, coins, invalid
from jesse_mcp.services.market_bars import MarketReader
from jesse_mcp.services.stoppable import Checkpoint

#: A close older than this, or than half a period, is not the price of a moment.
OLDEST_CLOSE_MS = 3_600_000
_MAX_CELLS = 20_000_000
_LEAST_FORMATION = 2
_MOST_REMARKS = 5

Times = NDArray[np.int64]


@dataclass(frozen=True)
class BuiltFactors:
    """Factors over the periods of a source.

    ``columns``: by name, shape (n,), NaN where there is no return. ``remarks``: of the symbols, in words.
    """

    columns: dict[str, Floats]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Grid:
    """The moments of a source, with as many before them as sorting needs.

    ``lead`` of ``moments`` come before the first of the source; ``formation`` is in periods.
    """

    moments: Times
    lead: int
    formation: int
    spacing_ms: int


class FactorMarket:
    """Blocking; called in a thread."""

    def __init__(self, market: MarketReader, exchange_name: Callable[[str], str]) -> None:
        self._market = market
        self._exchange_name = exchange_name

    def factors(
        self,
        universe: FactorUniverse,
        names: tuple[BuiltInFactor, ...],
        timestamps: Times,
        checkpoint: Checkpoint,
    ) -> BuiltFactors:
        """The factors between successive timestamps.

        Args:
            names: as ``check`` of the request has passed them.
            timestamps: of the balances of the source, epoch milliseconds, ascending, shape (n + 1,), n >= 1.

        Raises:
            ResearchError: ``candles_missing`` for a symbol without a candle in that time;
                ``invalid_argument`` when the periods are too long to sort by, or there are too many.
        """
        symbols = universe.normalised()
        needed = (
            symbols
            if set(names) - {"btc", "eth"}
            else tuple(symbol for name in names for symbol in coins(symbols, name))
        )
        grid = _grid(universe, names, timestamps, len(needed))
        exchange = self._exchange_name(universe.exchange)
        prices = np.full((len(grid.moments), len(needed)), np.nan)
        traded = np.full(prices.shape if "size" in names else (0, 0), np.nan)
        for place, symbol in enumerate(needed):
            checkpoint()
            key = SeriesKey(exchange=exchange, symbol=symbol)
            prices[:, place], values = self._symbol(key, grid, "size" in names)
            if values is not None:
                traded[:, place] = values
        checkpoint()
        columns: dict[str, Floats] = {
            name: _factor(name, universe, grid, needed, prices, traded)[grid.lead :] for name in names
        }
        return BuiltFactors(columns, _remarks(needed, prices[grid.lead :]))

    def _symbol(self, key: SeriesKey, grid: _Grid, with_value: bool) -> tuple[Floats, Floats | None]:
        reach = max(min(grid.spacing_ms // 2, OLDEST_CLOSE_MS), MINUTE_MS)
        # The first moment takes its close from before it.
        rows = self._market.candles(key, int(grid.moments[0]) - reach, int(grid.moments[-1]))
        # A close, and what was traded, is known when its minute is over.
        times = np.array(rows[:, TIMESTAMP]).astype(np.int64) + MINUTE_MS
        closes = np.array(rows[:, CLOSE])
        prices = closes_at(times, closes, grid.moments, reach)
        prices[~(prices > 0)] = np.nan
        if not with_value:
            return prices, None
        totals = np.concatenate(([0.0], np.add.accumulate(closes * rows[:, VOLUME])))
        until = totals[np.searchsorted(times, grid.moments, side="right")]
        traded = np.concatenate(([np.nan], np.diff(until)))
        # Without a price there was no trading to speak of, or none is stored: not the same as little.
        return prices, np.where(np.isfinite(prices), traded, np.nan)


def _grid(
    universe: FactorUniverse, names: tuple[BuiltInFactor, ...], timestamps: Times, symbols: int
) -> _Grid:
    spacing = max(int(np.median(np.diff(timestamps))), 1)
    formation = round(universe.formation_days * DAY_MS / spacing)
    by_sorting = [name for name in names if name in SORTED]
    if by_sorting and formation < _LEAST_FORMATION:
        raise invalid(
            f"universe.formation_days is {universe.formation_days}, and a period of the source is "
            f"{spacing / DAY_MS:g} days",
            f"{', '.join(by_sorting)} need {_LEAST_FORMATION} periods: give more days, or leave them out",
        )
    # What is held in the first period was chosen at most one rebalancing before.
    lead = formation + -(-universe.rebalance_days * DAY_MS // spacing) + 1 if by_sorting else 0
    cells = (lead + len(timestamps)) * symbols
    if cells > _MAX_CELLS:
        raise invalid(
            f"{symbols} symbols at {lead + len(timestamps):,} moments are {cells:,} prices",
            f"{_MAX_CELLS:,} at most: give fewer symbols, or a source of longer periods",
        )
    before = timestamps[0] - spacing * np.arange(lead, 0, -1, dtype=np.int64)
    return _Grid(np.concatenate((before, timestamps)), lead, formation, spacing)


def _factor(
    name: BuiltInFactor,
    universe: FactorUniverse,
    grid: _Grid,
    symbols: tuple[str, ...],
    prices: Floats,
    traded: Floats,
) -> Floats:
    if name == "market":
        return market_factor(prices)
    if name not in SORTED:
        (symbol,) = coins(symbols, name)
        return period_returns(prices[:, [symbols.index(symbol)]])[:, 0]
    positions = rebalancings(grid.moments, universe.rebalance_days * DAY_MS)
    if name == "momentum":
        scores = momentum_scores(prices, positions, grid.formation)
    elif name == "volatility":
        scores = volatility_scores(prices, positions, grid.formation)
    else:
        # Small less large, so the sign is turned: the highest score is the least traded.
        scores = -size_scores(traded, positions, grid.formation)
    return long_short(prices, scores, positions)


def _remarks(symbols: tuple[str, ...], prices: Floats) -> tuple[str, ...]:
    known = np.isfinite(prices).sum(axis=0)
    lacking = [place for place in np.argsort(known, kind="stable").tolist() if known[place] < len(prices)]
    remarks = [
        f"{symbols[place]} has a price at {known[place]:,} of {len(prices):,} moments"
        for place in lacking[:_MOST_REMARKS]
    ]
    if len(lacking) > _MOST_REMARKS:
        remarks.append(f"{len(lacking) - _MOST_REMARKS} more symbols lack some prices")
    return tuple(remarks)
