"""From what a caller says to a complete, checked :class:`BacktestRequest`."""

from typing import Any

from jesse_mcp.domain.backtests import (
    BacktestRequest,
    DataRoute,
    EngineChoice,
    ExchangeType,
    GapPolicy,
    HyperparameterValue,
    LeverageMode,
    Route,
)
from jesse_mcp.domain.candles import parse_symbol
from jesse_mcp.domain.catalog import ExchangeInfo, JesseCatalog
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.exchanges import resolve_exchange
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.strategies import parse_strategy_name
from jesse_mcp.domain.timeframes import iso_date, parse_date, timeframe_minutes

MAX_LEVERAGE = 1000


class BacktestArguments(Value):
    """What a caller may say; ``None`` asks for the default."""

    exchange: str
    start_date: str
    end_date: str | None = None
    strategy: str | None = None
    symbol: str | None = None
    timeframe: str | None = None
    routes: tuple[Route, ...] | None = None
    data_routes: tuple[DataRoute, ...] = ()
    exchange_type: ExchangeType | None = None
    starting_balance: float = 10_000
    fee: float | None = None
    leverage: int = 1
    leverage_mode: LeverageMode = "cross"
    hyperparameters: dict[str, HyperparameterValue] | None = None
    warm_up_candles: int = 240
    fast_mode: bool = False
    benchmark: bool = False
    gaps: GapPolicy | None = None
    engine: EngineChoice = "configured"


def complete(arguments: BacktestArguments, catalog: JesseCatalog, end_ms: int) -> BacktestRequest:
    """Fill in every default and check every value that can be checked without candles.

    Args:
        end_ms: what to use when ``end_date`` is not given.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    exchange = resolve_exchange(arguments.exchange, catalog)
    exchange_type = arguments.exchange_type or exchange.type
    _check_numbers(arguments, exchange_type)
    routes = parsed_routes(arguments)
    data_routes = tuple(
        DataRoute(
            symbol=parse_symbol(d.symbol),
            timeframe=_timeframe(d.timeframe),
            exchange=None if d.exchange is None else _other(d.exchange, exchange, catalog),
        )
        for d in arguments.data_routes
    )
    _check_routes(routes, exchange)
    return BacktestRequest(
        exchange=exchange.name,
        exchange_type=exchange_type,
        routes=routes,
        data_routes=data_routes,
        start_ms=parse_date(arguments.start_date, "start_date"),
        end_ms=end_ms,
        starting_balance=arguments.starting_balance,
        fee=exchange.fee if arguments.fee is None else arguments.fee,
        leverage=arguments.leverage,
        leverage_mode=arguments.leverage_mode,
        hyperparameters=arguments.hyperparameters or {},
        warm_up_candles=arguments.warm_up_candles,
        fast_mode=arguments.fast_mode,
        benchmark=arguments.benchmark,
    )


def said_again(request: BacktestRequest, engine: EngineChoice) -> BacktestArguments:
    """The arguments that ask for a stored request once more; of a pipeline they say nothing."""
    same = request.model_dump(exclude={"start_ms", "end_ms", "pipeline"})
    return BacktestArguments.model_validate(
        {
            **same,
            "start_date": iso_date(request.start_ms),
            "end_date": iso_date(request.end_ms),
            "engine": engine,
        }
    )


def parsed_routes(arguments: BacktestArguments) -> tuple[Route, ...]:
    """The routes, from ``routes`` or from the short form of one.

    Raises:
        ResearchError: ``invalid_argument`` when neither or both are given.
    """
    short = {
        "strategy": arguments.strategy,
        "symbol": arguments.symbol,
        "timeframe": arguments.timeframe,
    }
    given = [name for name, value in short.items() if value is not None]
    if arguments.routes is not None:
        if given:
            raise _invalid(
                f"both routes and {', '.join(given)} were given",
                "give routes alone, or strategy, symbol and timeframe for a single route",
            )
        if not arguments.routes:
            raise _invalid("routes is empty", "give at least one route: {strategy, symbol, timeframe}")
        routes = arguments.routes
    else:
        missing = [name for name in short if name not in given]
        if missing:
            raise _invalid(f"{', '.join(missing)} not given", "a run needs strategy, symbol and timeframe")
        routes = (Route.model_validate(short),)
    return tuple(
        Route(
            strategy=parse_strategy_name(route.strategy),
            symbol=parse_symbol(route.symbol),
            timeframe=_timeframe(route.timeframe),
        )
        for route in routes
    )


def _timeframe(timeframe: str) -> str:
    timeframe_minutes(timeframe)
    return timeframe


def _other(name: str, exchange: ExchangeInfo, catalog: JesseCatalog) -> str | None:
    """The exchange of a data route; the run's own is not repeated, so equal requests stay equal."""
    resolved = resolve_exchange(name, catalog).name
    return None if resolved == exchange.name else resolved


def _check_numbers(arguments: BacktestArguments, exchange_type: ExchangeType) -> None:
    checks: list[tuple[bool, str, Any, str]] = [
        (arguments.starting_balance > 0, "starting_balance", arguments.starting_balance, "a positive amount"),
        (
            arguments.fee is None or 0 <= arguments.fee < 0.1,
            "fee",
            arguments.fee,
            "a fraction of the traded value: 0.0004 is 0.04 %",
        ),
        (1 <= arguments.leverage <= MAX_LEVERAGE, "leverage", arguments.leverage, "a whole number from 1"),
        (
            exchange_type == "futures" or arguments.leverage == 1,
            "leverage",
            arguments.leverage,
            "1 on spot, or exchange_type='futures'",
        ),
        (
            0 <= arguments.warm_up_candles <= 100_000,
            "warm_up_candles",
            arguments.warm_up_candles,
            "0 to 100000 candles of the longest timeframe",
        ),
    ]
    for passed, name, received, wanted in checks:
        if not passed:
            raise _invalid(f"{name} is {received}", f"{name} must be {wanted}")


def _check_routes(routes: tuple[Route, ...], exchange: ExchangeInfo) -> None:
    symbols = [route.symbol for route in routes]
    repeated = sorted({symbol for symbol in symbols if symbols.count(symbol) > 1})
    if repeated:
        raise _invalid(
            f"{', '.join(repeated)} is traded by more than one route",
            "Jesse trades a symbol once per run: start a run for each, or combine the logic in one strategy",
        )
    quotes = sorted({symbol.partition("-")[2] for symbol in symbols})
    if len(quotes) > 1:
        raise _invalid(
            f"routes mix the quote currencies {', '.join(quotes)}",
            "all routes of a run share one balance, so one quote currency",
        )
    settled = exchange.settlement_currency
    if settled is not None and quotes != [settled]:
        raise _invalid(
            f"{exchange.name} settles in {settled}, the symbol is quoted in {quotes[0]}",
            f"use a symbol that ends in -{settled}",
        )


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
