"""What an analysis is made of: a stored run, a paper session, numbers in the call, or stored candles."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from jesse_mcp.analytics.return_series import (
    ReturnSeries,
    compounded,
    empty_series,
    spacing,
)
from jesse_mcp.domain.backtests import BacktestRequest, Trade
from jesse_mcp.domain.candles import SeriesKey, parse_symbol
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.domain.timeframes import iso_minute, parse_date, timeframe_minutes
from jesse_mcp.ports.paper_store import PaperResults
from jesse_mcp.ports.records import RunStore
from jesse_mcp.services.market_bars import MarketBars, MarketReader
from jesse_mcp.services.pair_legs import decisions

DAYS_A_YEAR = 365.0
MAX_POINTS = 2_000_000
MAX_SYMBOLS = 100
_MINUTES_A_YEAR = 365 * 1_440
_YEAR_10000 = 253_402_300_800_000
_NAMES = ("run_id", "returns", "balances", "market", "session_id")


class MarketSource(Value):
    """Closes of stored candles; several symbols are a portfolio that keeps its weights."""

    exchange: str
    symbols: tuple[str, ...] = Field(min_length=1, max_length=MAX_SYMBOLS)
    weights: tuple[float, ...] | None = Field(default=None, description="default: equal; short is negative")
    timeframe: str = "1D"
    start_date: str
    end_date: str = Field(description="exclusive")


class SourceArguments(Value):
    """Exactly one of the first five; ``periods_per_year`` goes with ``returns`` and ``balances``."""

    run_id: str | None = None
    returns: tuple[float, ...] | None = None
    balances: tuple[tuple[int, float], ...] | None = None
    market: MarketSource | None = None
    session_id: str | None = None
    periods_per_year: float | None = None


@dataclass(frozen=True)
class Components:
    """The parts of a portfolio: returns of each symbol, shape (n, k), and its weight, shape (k,)."""

    symbols: tuple[str, ...]
    weights: NDArray[np.float64]
    returns: NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """What a source holds.

    Attributes:
        label: the source in words.
        series: empty when there is a ``reason`` why there are no returns.
        trades: ``None`` when the source does not know of trades.
        record: the run, if it is one.
        asked: what a paper session without a run was started with, as the backtest of its minutes so far.
        components: of a market source.
        remarks: what has to be said beside every number made of it.
    """

    label: str
    series: ReturnSeries
    reason: str | None = None
    trades: tuple[Trade, ...] | None = None
    record: RunRecord | None = None
    asked: BacktestRequest | None = None
    components: Components | None = None
    remarks: tuple[str, ...] = ()

    @property
    def request(self) -> BacktestRequest | None:
        """What was traded how and when, of a run or a session; ``None`` of anything else."""
        return self.asked if self.record is None else BacktestRequest.model_validate(self.record.request)

    @property
    def decisions(self) -> int | None:
        """Closed trades, both legs of a pair as one; ``None`` when the source does not know of trades."""
        return None if self.trades is None else decisions(self.trades, self.record)


def source_arguments(
    run_id: str | None,
    returns: list[float] | None,
    balances: list[tuple[int, float]] | None,
    market: dict[str, Any] | MarketSource | None,
    periods_per_year: float | None,
    session_id: str | None = None,
) -> SourceArguments:
    """The arguments as a tool receives them, checked as far as they can be without reading anything.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    values = (run_id, returns, balances, market, session_id)
    given = [name for name, value in zip(_NAMES, values, strict=True) if value is not None]
    if len(given) != 1:
        raise _invalid(
            f"{' and '.join(given) or 'none'} of {', '.join(_NAMES)} is given",
            "give exactly one of them, for example run_id from run_list",
        )
    if periods_per_year is not None:
        if given[0] not in {"returns", "balances"}:
            raise _invalid(
                f"periods_per_year is {periods_per_year} with {given[0]}",
                "leave it out: it follows from the days of the run, or from the timeframe",
            )
        if not 0 < periods_per_year <= _MINUTES_A_YEAR:
            raise _invalid(
                f"periods_per_year is {periods_per_year}", "give 365 for days, 8760 for hours, 252 for shares"
            )
    try:
        return SourceArguments.model_validate(
            {
                "run_id": run_id,
                "returns": returns,
                "balances": balances,
                "market": market,
                "session_id": session_id,
                "periods_per_year": periods_per_year,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _invalid(
            f"{where} is {str(first['input'])[:200]}: {first['msg']}",
            "give finite numbers, and market as "
            "{exchange, symbols, weights, timeframe, start_date, end_date}",
        ) from error


class AnalysisSources:
    """Blocking; called in a thread."""

    def __init__(
        self,
        runs: RunStore,
        market: MarketReader,
        exchange_name: Callable[[str], str],
        sessions: PaperResults | None = None,
    ) -> None:
        self._runs = runs
        self._sessions = sessions
        self._market = market
        self._exchange_name = exchange_name

    def load(self, arguments: SourceArguments) -> Sample:
        """What the source holds.

        Raises:
            ResearchError: ``run_not_found``, ``session_not_found``, ``candles_missing``,
                ``invalid_argument``.
        """
        if arguments.run_id is not None:
            return sample_of_run(self._runs.get(arguments.run_id))
        if arguments.session_id is not None:
            return self._of_session(arguments.session_id)
        if arguments.returns is not None:
            return _of_returns(arguments.returns, arguments.periods_per_year)
        if arguments.balances is not None:
            return _of_balances(arguments.balances, arguments.periods_per_year)
        if arguments.market is not None:
            return self._of_market(arguments.market)
        raise _invalid("no source is given", f"give one of {', '.join(_NAMES)}")

    def _of_session(self, session_id: str) -> Sample:
        """The run of one that has ended; of one that goes on, what it has done so far."""
        if self._sessions is None:
            raise ResearchError(
                ErrorCode.CAPABILITY_MISSING, "no paper sessions are kept here", hint="give run_id instead"
            )
        session = self._sessions.get(session_id)
        if session.run_id is not None:
            return sample_of_run(self._runs.get(session.run_id))
        through = session.place.through or session.request.start_ms
        daily = self._sessions.daily(session_id)
        label = f"paper session {session_id} up to {iso_minute(through)}"
        sample = sample_of_balances(
            label,
            np.array([balance for _, balance in daily], dtype=np.float64),
            np.array([moment for moment, _ in daily], dtype=np.int64),
        )
        return replace(
            sample,
            trades=self._sessions.trades(session_id),
            asked=session.request.as_backtest(through),
            remarks=(
                *sample.remarks,
                f"the session is {session.status.value}: balances are those of its days so far, and what is "
                "open is no trade",
                *session.warnings,
            ),
        )

    def market_bars(self, market: MarketSource) -> MarketBars:
        """Bars of every symbol of a market, and their closes at the times all of them have.

        Raises:
            ResearchError: ``candles_missing``, ``invalid_argument`` naming the part of ``market``.
        """
        symbols = tuple(parse_symbol(symbol) for symbol in market.symbols)
        if len(set(symbols)) != len(symbols):
            raise _invalid(f"market.symbols is {list(symbols)}", "name each symbol once")
        exchange = self._exchange_name(market.exchange)
        keys = tuple(SeriesKey(exchange=exchange, symbol=symbol) for symbol in symbols)
        start, end = (
            parse_date(market.start_date, "market.start_date"),
            parse_date(market.end_date, "market.end_date"),
        )
        minutes = timeframe_minutes(market.timeframe)
        if end <= start:
            raise _invalid(
                f"market.end_date is {market.end_date}, not after {market.start_date}",
                "end_date is exclusive",
            )
        if (end - start) // (minutes * 60_000) > MAX_POINTS:
            raise _invalid(
                f"market asks for more than {MAX_POINTS:,} bars", "give a longer timeframe or a shorter range"
            )
        return self._market.bars(keys, market.timeframe, start, end)

    def _of_market(self, market: MarketSource) -> Sample:
        weights = _weights(market.weights, market.symbols)
        found = self.market_bars(market)
        minutes = timeframe_minutes(market.timeframe)
        symbols, exchange = tuple(key.symbol for key in found.keys), found.keys[0].exchange
        returns = found.closes[1:] / found.closes[:-1] - 1
        label = f"{', '.join(symbols)} {market.timeframe} on {exchange}"
        ends = found.timestamps + minutes * 60_000
        balances = compounded(returns @ weights, 1.0)
        sample = _sample(label, balances, ends, _MINUTES_A_YEAR / minutes, found.remarks)
        return Sample(
            label=label,
            series=sample.series,
            reason=sample.reason,
            components=Components(symbols, weights, returns),
            remarks=sample.remarks,
        )


def sample_of_run(record: RunRecord) -> Sample:
    """Jesse's daily balances of a run, its trades, and its own warnings."""
    outcome = record.outcome
    balances = np.array([point.balance for point in outcome.equity], dtype=np.float64)
    times = np.array([point.timestamp for point in outcome.equity], dtype=np.int64)
    label = f"run {record.run_id}"
    if outcome.equity_missing_reason is not None:
        sample = Sample(label, empty_series(), reason=outcome.equity_missing_reason)
    else:
        sample = sample_of_balances(label, balances, times)
    return Sample(
        label=label,
        series=sample.series,
        reason=sample.reason,
        trades=outcome.trades,
        record=record,
        remarks=(*sample.remarks, *record.warnings),
    )


def sample_of_balances(label: str, balances: NDArray[np.float64], times: NDArray[np.int64] | None) -> Sample:
    """Daily balances, oldest first, shape (n,) both."""
    return _sample(label, balances, times, DAYS_A_YEAR, ())


def starting_balance(record: RunRecord) -> float:
    """What a run began with, in the quote currency."""
    return BacktestRequest.model_validate(record.request).starting_balance


def _of_returns(returns: tuple[float, ...], periods_per_year: float | None) -> Sample:
    _check_length("returns", len(returns))
    if any(value < -1 for value in returns):
        raise _invalid(
            f"returns holds {min(returns)}", "give fractions of 1 a period: -0.02 is a loss of 2 %"
        )
    balances = compounded(np.array(returns, dtype=np.float64), 1.0)
    remarks = () if periods_per_year is not None else ("returns are taken as daily, 365 a year",)
    return _sample("returns of the call", balances, None, periods_per_year or DAYS_A_YEAR, remarks)


def _of_balances(points: tuple[tuple[int, float], ...], periods_per_year: float | None) -> Sample:
    _check_length("balances", len(points))
    for at, (time, _) in enumerate(points):
        if not 0 <= time < _YEAR_10000:
            raise _invalid(
                f"balances[{at}] is of {time}, not within the years 1970 to 9999",
                "give times in epoch milliseconds",
            )
    times = np.array([time for time, _ in points], dtype=np.int64)
    late = np.flatnonzero(np.diff(times) <= 0)
    if len(late):
        raise _invalid(
            f"balances[{late[0] + 1}] is of {times[late[0] + 1]}, not later than the one before",
            "give them oldest first, each time once, in epoch milliseconds",
        )
    per_year, remarks = _rate(times, periods_per_year)
    balances = np.array([balance for _, balance in points], dtype=np.float64)
    return _sample("balances of the call", balances, times, per_year, remarks)


def _rate(times: NDArray[np.int64], given: float | None) -> tuple[float, tuple[str, ...]]:
    """Periods a year, and what has to be said of them."""
    found = spacing(times)
    if found is None:
        return given or DAYS_A_YEAR, ()
    if given is not None and found.contradicts(given):
        raise _invalid(
            f"periods_per_year is {given:g}, and the balances are {found.periods_per_year:.6g} a year by "
            "their times",
            "leave it out, or correct the times: they are epoch milliseconds",
        )
    per_year = min(found.periods_per_year, float(_MINUTES_A_YEAR)) if given is None else given
    remarks: tuple[str, ...] = (
        () if given else (f"periods_per_year is {per_year:.6g}, from the times of the balances",)
    )
    if found.gap is not None:
        begin, end = (iso_minute(moment) for moment in found.gap)
        remarks += (
            f"there is no balance between {begin} and {end}: that time counts as one period, and annual "
            "figures are of the periods there are",
        )
    return per_year, remarks


def _sample(
    label: str,
    balances: NDArray[np.float64],
    times: NDArray[np.int64] | None,
    periods_per_year: float,
    remarks: tuple[str, ...],
) -> Sample:
    with np.errstate(over="ignore", invalid="ignore"):
        series = ReturnSeries(balances, periods_per_year, times)
    reason = None
    if len(balances) < 2:
        reason = f"there are {len(balances)} balances: a return needs two"
    elif balances[0] <= 0:
        reason = f"the first balance is {balances[0]:g}: there is no return on nothing"
    elif not (np.isfinite(series.returns).all() and np.isfinite(series.balances).all()):
        reason = "a balance or a return leaves the range of a floating point number"
    if reason is not None:
        return Sample(label, empty_series(), reason=reason, remarks=remarks)
    lost = len(balances) - len(series.balances)
    if series.ruined:
        remarks += (
            f"everything was lost after {len(series.returns)} periods; {lost} later ones do not count",
        )
    return Sample(label, series, remarks=remarks)


def _weights(given: tuple[float, ...] | None, symbols: tuple[str, ...]) -> NDArray[np.float64]:
    if given is None:
        return np.full(len(symbols), 1.0 / len(symbols))
    if len(given) != len(symbols):
        raise _invalid(
            f"market.weights has {len(given)} values for {len(symbols)} symbols", "give one for each symbol"
        )
    if not any(given):
        raise _invalid("market.weights are all zero", "give at least one that is not")
    return np.array(given, dtype=np.float64)


def _check_length(name: str, length: int) -> None:
    if length > MAX_POINTS:
        raise _invalid(f"{name} has {length:,} values", f"give {MAX_POINTS:,} at most")


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
