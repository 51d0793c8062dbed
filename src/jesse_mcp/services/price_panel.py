"""Prices of several instruments side by side, at the times all of them have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from jesse_mcp.analytics.return_series import YEAR_MS, spacing
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute, parse_date, timeframe_minutes
from jesse_mcp.services.analysis_source import (
    DAYS_A_YEAR,
    AnalysisSources,
    MarketSource,
    SourceArguments,
)

FEWEST_SERIES = 2
MAX_SERIES = 100
MAX_RUNS = 50
#: Of all series together: 40 of one-minute prices for a year are within it.
MAX_VALUES = 25_000_000
MAX_NAME = 60
_NAMES = ("market", "prices", "run_ids")
_YEAR_10000 = 253_402_300_800_000
DAY_MS = 1_440 * MINUTE_MS
#: 26 April 1970 as milliseconds: what ends before is in seconds, or counts rows.
_SECONDS_OF_2286 = 10_000_000_000

Points = tuple[tuple[int, float], ...]


class PanelArguments(Value):
    """Exactly one of the three."""

    market: MarketSource | None = None
    prices: dict[str, Points] | None = None
    run_ids: tuple[str, ...] | None = None

    def recorded(self) -> dict[str, object]:
        """What a job keeps of the request: prices of the call are counted, not copied."""
        given: dict[str, object] = self.model_dump(mode="json", exclude_none=True, exclude={"prices"})
        if self.prices is not None:
            given["prices"] = {name: f"{len(points)} values" for name, points in self.prices.items()}
        return given


@dataclass(frozen=True)
class SeriesCount:
    """What a series had before it was aligned.

    Attributes:
        first: time of its first point, epoch milliseconds; ``last`` of its last.
        left_out: points at times that another series does not have.
    """

    points: int
    left_out: int
    first: int
    last: int


@dataclass(frozen=True)
class PricePanel:
    """Prices of k instruments at n common times.

    Attributes:
        source: ``market``, ``prices`` or ``run_ids``.
        names: symbols, names of the call, or run ids, in the order asked for.
        timestamps: ends of the bars of a market, times of the prices, or midnights of the balances; epoch
            milliseconds, ascending, shape (n,), n of 1 or more.
        prices: closes, prices or balances; finite, shape (n, k). Positive, but for the last balance of a run
            that lost everything, which is 0.
        counts: one of each name.
        periods_per_year: by the timeframe, or the usual distance of the times.
        gaps: how many of the n - 1 steps are longer than the usual one.
        remarks: what has to be said beside every number made of it.
    """

    source: str
    names: tuple[str, ...]
    timestamps: NDArray[np.int64]
    prices: NDArray[np.float64]
    counts: tuple[SeriesCount, ...]
    periods_per_year: float
    gaps: int
    remarks: tuple[str, ...] = ()

    def returns(self) -> NDArray[np.float64]:
        """Simple returns from each common time to the next, fractions, shape (n - 1, k)."""
        return np.asarray(self.prices[1:] / self.prices[:-1] - 1, dtype=np.float64)


def panel_arguments(
    market: dict[str, Any] | MarketSource | None,
    prices: Mapping[str, Sequence[Any]] | None,
    run_ids: Sequence[str] | None,
) -> PanelArguments:
    """The arguments as a tool receives them, checked as far as they can be without reading anything.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    given = [name for name, v in zip(_NAMES, (market, prices, run_ids), strict=True) if v is not None]
    if len(given) != 1:
        raise _invalid(
            f"{' and '.join(given) or 'none'} of {', '.join(_NAMES)} is given",
            "give exactly one: market for stored candles, prices for numbers, run_ids for runs",
        )
    try:
        found = PanelArguments.model_validate({"market": market, "prices": prices, "run_ids": run_ids})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _invalid(
            f"{where} is {str(first['input'])[:200]}: {first['msg']}",
            "give market as {exchange, symbols, timeframe, start_date, end_date}, or prices as "
            "{name: [[epoch ms, price], ...]} of finite numbers",
        ) from error
    _check_market(found.market)
    _check_prices(found.prices)
    _check_runs(found.run_ids)
    return found


class PricePanels:
    """Blocking; called in a thread."""

    def __init__(self, sources: AnalysisSources) -> None:
        self._sources = sources

    def load(self, arguments: PanelArguments) -> PricePanel:
        """The aligned prices.

        Raises:
            ResearchError: ``candles_missing``, ``run_not_found``; ``invalid_argument`` when the series have
                no time in common, or a run has no balances.
        """
        if arguments.market is not None:
            return self._of_market(arguments.market)
        if arguments.prices is not None:
            series = {
                name: (
                    np.array([time for time, _ in points], dtype=np.int64),
                    np.array([price for _, price in points], dtype=np.float64),
                )
                for name, points in arguments.prices.items()
            }
            return aligned_panel("prices", series)
        if arguments.run_ids is not None:
            return self._of_runs(arguments.run_ids)
        raise _invalid("no source is given", f"give one of {', '.join(_NAMES)}")

    def _of_market(self, market: MarketSource) -> PricePanel:
        found = self._sources.market_bars(market)
        step = timeframe_minutes(market.timeframe) * MINUTE_MS
        series = {symbol: (bars.timestamps + step, bars.close) for symbol, bars in found.by_symbol.items()}
        return aligned_panel("market", series, step_ms=step, remarks=found.remarks)

    def _of_runs(self, run_ids: tuple[str, ...]) -> PricePanel:
        series, remarks = {}, []
        for run_id in run_ids:
            sample = self._sources.load(SourceArguments(run_id=run_id))
            times = sample.series.timestamps
            if sample.reason is not None or times is None:
                raise _invalid(f"{sample.label} has no balances: {sample.reason}", "leave it out of run_ids")
            series[run_id] = _last_of_each_day(times, sample.series.balances)
            remarks += [f"{sample.label}: {remark}" for remark in sample.remarks]
        return aligned_panel("run_ids", series, step_ms=round(YEAR_MS / DAYS_A_YEAR), remarks=tuple(remarks))


def _last_of_each_day(
    times: NDArray[np.int64], balances: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times become the beginning of their day.

    Jesse notes a day's balance at 00:01 or, in fast mode, up to a bar later; a pair's is of midnight. All are
    balances of the same day.
    """
    days = times // DAY_MS * DAY_MS
    last = np.append(np.diff(days) > 0, True)
    return days[last], balances[last]


def aligned_panel(
    source: str,
    series: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
    *,
    step_ms: int | None = None,
    remarks: tuple[str, ...] = (),
) -> PricePanel:
    """The series at the times all of them have; nothing is filled in.

    Args:
        series: times (epoch milliseconds, ascending, each once) and prices by name.
        step_ms: the usual distance of two times; the median distance when ``None``.

    Raises:
        ResearchError: ``invalid_argument`` when no time is common to all.
    """
    times = [found for found, _ in series.values()]
    common = reduce(lambda one, other: np.intersect1d(one, other, assume_unique=True), times)
    if not len(common):
        ranges = [
            f"{name} {iso_minute(int(found[0]))} to {iso_minute(int(found[-1]))}"
            if len(found)
            else f"{name} none"
            for name, (found, _) in series.items()
        ]
        raise _invalid(
            f"the {len(series)} series have no time in common: {'; '.join(ranges[:6])}",
            "times are compared to the millisecond: give series of the same times, or fewer of them",
        )
    prices = np.column_stack([price[np.searchsorted(found, common)] for found, price in series.values()])
    distances = np.diff(common)
    usual = step_ms or (int(np.median(distances)) if len(distances) else None)
    found_spacing = spacing(common)
    per_year = DAYS_A_YEAR if found_spacing is None else found_spacing.periods_per_year
    return PricePanel(
        source=source,
        names=tuple(series),
        timestamps=common,
        prices=prices,
        counts=tuple(
            SeriesCount(len(found), len(found) - len(common), int(found[0]), int(found[-1]))
            for found in times
        ),
        periods_per_year=YEAR_MS / step_ms if step_ms else per_year,
        gaps=0 if usual is None else int((distances > usual).sum()),
        remarks=remarks,
    )


def _check_market(market: MarketSource | None) -> None:
    if market is None:
        return
    if market.weights is not None:
        raise _invalid(
            f"market.weights is {list(market.weights)[:10]}",
            "leave weights out: every symbol is a series of its own",
        )
    if len(market.symbols) < FEWEST_SERIES:
        raise _invalid(
            f"market.symbols is {list(market.symbols)}", f"give {FEWEST_SERIES} to {MAX_SERIES} symbols"
        )
    start = parse_date(market.start_date, "market.start_date")
    end = parse_date(market.end_date, "market.end_date")
    bars = (end - start) // (timeframe_minutes(market.timeframe) * MINUTE_MS)
    if bars * len(market.symbols) > MAX_VALUES:
        raise _invalid(
            f"market asks for {bars:,} bars of {len(market.symbols)} symbols",
            f"give a longer timeframe, a shorter range or fewer symbols: {MAX_VALUES:,} prices at most",
        )


def _check_prices(prices: dict[str, Points] | None) -> None:
    if prices is None:
        return
    if not FEWEST_SERIES <= len(prices) <= MAX_SERIES:
        raise _invalid(f"prices has {len(prices)} series", f"give {FEWEST_SERIES} to {MAX_SERIES}, by name")
    total = sum(len(points) for points in prices.values())
    if total > MAX_VALUES:
        raise _invalid(f"prices has {total:,} values", f"give {MAX_VALUES:,} at most")
    for name, points in prices.items():
        if not (0 < len(name) <= MAX_NAME and name.isprintable() and name.strip() == name):
            raise _invalid(
                f"prices has a series named {name[:MAX_NAME]!r}",
                f"names are 1 to {MAX_NAME} printable letters",
            )
        _check_points(name, points)
    for name, points in prices.items():
        if points[-1][0] < _SECONDS_OF_2286:
            raise _invalid(
                f"prices.{name} ends at {points[-1][0]}, which is {iso_minute(points[-1][0])} in epoch "
                "milliseconds",
                "give times in epoch milliseconds: seconds times 1000, and no row numbers",
            )


def _check_points(name: str, points: Points) -> None:
    if not points:
        raise _invalid(f"prices.{name} is empty", "give [epoch ms, price] pairs, or leave it out")
    before = -1
    for at, (time, price) in enumerate(points):
        if not 0 <= time < _YEAR_10000:
            raise _invalid(
                f"prices.{name}[{at}] is of {time}, not within the years 1970 to 9999",
                "give times in epoch milliseconds",
            )
        if time <= before:
            raise _invalid(
                f"prices.{name}[{at}] is of {time}, not later than the one before",
                "give them oldest first, each time once, in epoch milliseconds",
            )
        if price <= 0:
            raise _invalid(
                f"prices.{name}[{at}] is {price}", "prices are above zero: there is no return on nothing"
            )
        before = time


def _check_runs(run_ids: tuple[str, ...] | None) -> None:
    if run_ids is None:
        return
    if not (FEWEST_SERIES <= len(run_ids) <= MAX_RUNS and len(set(run_ids)) == len(run_ids)):
        raise _invalid(
            f"run_ids has {len(run_ids)} runs, {len(set(run_ids))} of them different",
            f"give {FEWEST_SERIES} to {MAX_RUNS} different runs",
        )


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
