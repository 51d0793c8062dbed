"""What may be asked of a factor analysis."""

from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from jesse_mcp.analytics.crypto_factors import MIN_MARKET, MIN_RANKED
from jesse_mcp.domain.candles import parse_symbol
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import MAX_POINTS, MAX_SYMBOLS, SourceArguments

BuiltInFactor = Literal["market", "momentum", "size", "volatility", "btc", "eth"]
BUILT_IN: tuple[BuiltInFactor, ...] = get_args(BuiltInFactor)
#: Made by sorting the universe anew at every rebalancing.
SORTED: tuple[BuiltInFactor, ...] = ("momentum", "size", "volatility")
#: The return of one symbol of the universe, by its base.
COINS: dict[BuiltInFactor, str] = {"btc": "BTC", "eth": "ETH"}

DEFAULT_CONFIDENCE = 0.95
MAX_CONFIDENCE = 0.9999
MAX_FACTORS = 20
MAX_LAGS = 1_000
MAX_WINDOW = 1_000_000
MAX_DAYS = 365
_MAX_NAME = 40


class FactorUniverse(Value):
    """Stored candles at the times of the source."""

    exchange: str
    symbols: tuple[str, ...]
    formation_days: int = Field(default=21, description="history symbols are sorted by")
    rebalance_days: int = Field(default=7, description="7: Mondays")

    def normalised(self) -> tuple[str, ...]:
        """The symbols as the store names them, in alphabetical order: how they are listed is no matter."""
        return tuple(sorted(parse_symbol(symbol) for symbol in self.symbols))


Plain = tuple[float, ...]
Timed = tuple[tuple[int, float], ...]


class FactorArguments(Value):
    """A source, and factors made of a universe, given as numbers, or both.

    ``factors`` of ``None`` is market and btc, as far as the universe has them.
    """

    source: SourceArguments
    factors: tuple[BuiltInFactor, ...] | None = None
    universe: FactorUniverse | None = None
    factor_returns: dict[str, Plain | Timed] = Field(default_factory=dict)
    rolling_window: int | None = None
    hac_lags: int | None = None
    confidence: float = DEFAULT_CONFIDENCE

    def built_in(self) -> tuple[BuiltInFactor, ...]:
        """The factors to make of the universe."""
        if self.universe is None:
            return ()
        if self.factors is not None:
            return tuple(dict.fromkeys(self.factors))
        symbols = self.universe.normalised()
        market: tuple[BuiltInFactor, ...] = ("market",) if len(symbols) >= MIN_MARKET else ()
        btc: tuple[BuiltInFactor, ...] = ("btc",) if coins(symbols, "btc") else ()
        return market + btc

    def recorded(self) -> dict[str, object]:
        """What a job keeps of the request: long series of the call are counted, not copied."""
        request: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        for name in ("returns", "balances"):
            if name in request["source"]:
                request["source"][name] = f"{len(request['source'][name])} values"
        request["factor_returns"] = {
            name: f"{len(values)} values" for name, values in self.factor_returns.items()
        }
        return request


def factor_arguments(source: SourceArguments, **given: Any) -> FactorArguments:
    """The arguments as a tool receives them.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    try:
        return FactorArguments.model_validate({"source": source, **given})
    except ValidationError as error:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        raise invalid(
            f"{'.'.join(where[:2])} has {str(first['input'])[:200]}: {first['msg']}",
            "give factor_returns as {name: [[epoch ms of the period's end, return], ...]}, or a number for "
            "each return of the source, all finite",
        ) from error


def coins(symbols: tuple[str, ...], factor: BuiltInFactor) -> list[str]:
    """Those of the symbols whose base a factor is named after."""
    return [symbol for symbol in symbols if symbol.split("-")[0] == COINS[factor]]


def check(arguments: FactorArguments) -> None:
    """Everything that can be checked without reading anything.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    _check_factors(arguments)
    if arguments.universe is not None:
        _check_universe(arguments.universe, arguments.built_in())
    _check_given(arguments)
    window, lags = arguments.rolling_window, arguments.hac_lags
    checks: list[tuple[bool, str, object, str]] = [
        (
            window is None or 3 <= window <= MAX_WINDOW,
            "rolling_window",
            window,
            f"3 to {MAX_WINDOW:,} periods",
        ),
        (lags is None or 0 <= lags <= MAX_LAGS, "hac_lags", lags, f"0 to {MAX_LAGS:,}"),
        (
            0.5 < arguments.confidence <= MAX_CONFIDENCE,
            "confidence",
            arguments.confidence,
            f"above 0.5 and up to {MAX_CONFIDENCE}",
        ),
    ]
    for passed, name, received, wanted in checks:
        if not passed:
            raise invalid(f"{name} is {received}", f"{name} is {wanted}")


def _check_factors(arguments: FactorArguments) -> None:
    example = "universe={'exchange': ..., 'symbols': ['BTC-USDT', 'ETH-USDT', ...]}"
    if arguments.universe is None and arguments.factors is not None:
        raise invalid(
            f"factors is {list(arguments.factors)} without a universe to make them of", f"give {example}"
        )
    if arguments.universe is None and not arguments.factor_returns:
        raise invalid("neither universe nor factor_returns is given", f"give {example}, or factor_returns")
    built_in = arguments.built_in()
    if arguments.universe is not None and not built_in:
        raise invalid(
            f"factors is {None if arguments.factors is None else list(arguments.factors)} with the universe "
            f"{list(arguments.universe.symbols)}",
            f"name factors: {', '.join(BUILT_IN)}; market needs {MIN_MARKET} symbols, btc one of BTC",
        )
    count = len(built_in) + len(arguments.factor_returns)
    if count > MAX_FACTORS:
        raise invalid(f"{count} factors are given", f"give {MAX_FACTORS} at most")
    for name in arguments.factor_returns:
        if not 1 <= len(name.strip()) <= _MAX_NAME:
            raise invalid(
                f"factor_returns has the name {name[:100]!r}", f"name a factor in 1 to {_MAX_NAME} characters"
            )
        if name in built_in:
            raise invalid(f"{name} is in factor_returns and in factors", "give it once, or another name")


def _check_universe(universe: FactorUniverse, built_in: tuple[BuiltInFactor, ...]) -> None:
    symbols = universe.normalised()
    if not len(set(symbols)) == len(symbols) <= MAX_SYMBOLS:
        raise invalid(
            f"universe.symbols has {len(symbols)} symbols, {len(set(symbols))} of them different",
            f"name each symbol once, {MAX_SYMBOLS} at most",
        )
    for name in ("formation_days", "rebalance_days"):
        days = getattr(universe, name)
        if not 1 <= days <= MAX_DAYS:
            raise invalid(f"universe.{name} is {days}", f"give 1 to {MAX_DAYS}")
    least = {"market": MIN_MARKET, **dict.fromkeys(SORTED, MIN_RANKED)}
    for factor in built_in:
        if len(symbols) < least.get(factor, 1):
            raise invalid(
                f"{factor} is to be made of {len(symbols)} symbols",
                f"{factor} needs {least[factor]} symbols in universe.symbols, or leave it out of factors",
            )
        if factor in COINS and len(coins(symbols, factor)) != 1:
            raise invalid(
                f"{factor} is the return of the symbol of {COINS[factor]}, and universe.symbols has "
                f"{coins(symbols, factor) or 'none'}",
                f"have one of {COINS[factor]} in universe.symbols, or leave {factor} out of factors",
            )


def _check_given(arguments: FactorArguments) -> None:
    for name, values in arguments.factor_returns.items():
        if not values or len(values) > MAX_POINTS:
            raise invalid(f"factor_returns.{name} has {len(values):,} values", f"give 1 to {MAX_POINTS:,}")
        if isinstance(values[0], tuple):
            times = [time for time, _ in values]
            late = next((at for at in range(1, len(times)) if times[at] <= times[at - 1]), None)
            if late is not None:
                raise invalid(
                    f"factor_returns.{name}[{late}] is of {times[late]}, not later than the one before",
                    "give them oldest first, each time once, in epoch milliseconds",
                )


def invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
