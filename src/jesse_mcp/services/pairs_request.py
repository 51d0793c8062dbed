"""What may be asked of a backtest of a pair."""

from jesse_mcp.analytics.hedge_ratio import HedgeMethod
from jesse_mcp.domain.backtests import GapPolicy, HyperparameterValue
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.timeframes import timeframe_minutes
from jesse_mcp.services.price_panel import Points

DEFAULT_TIMEFRAME = "1h"
FEWEST_FORMATION_BARS = 60
MAX_FORMATION_BARS = 100_000
MAX_LOOKBACK = 20_000
#: Bars of each symbol, and bars times lookback: seconds of work.
MAX_BARS = 300_000
MAX_CELLS = 1_000_000_000
MAX_SHOWN = 200
_MOST = 1e15
_DAY_MINUTES = 1_440
HedgeRatio = HedgeMethod
_OF_MARKET = ("exchange", "timeframe", "start_date", "end_date", "gaps")


class PairsArguments(Value):
    """What a caller may say; ``None`` asks for the default. Of ``exchange`` and ``prices`` one is given."""

    symbol_y: str
    symbol_x: str
    exchange: str | None = None
    timeframe: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    gaps: GapPolicy | None = None
    prices: dict[str, Points] | None = None
    hedge_ratio: HedgeRatio = "ols"
    log_prices: bool = True
    formation_bars: int = 1_000
    hedge_lookback: int | None = None
    lookback: int = 100
    entry_z: float = 2.0
    exit_z: float = 0.5
    stop_z: float | None = None
    max_holding_bars: int | None = None
    notional: float | None = None
    starting_balance: float = 10_000
    leverage: int = 2
    fee: float | None = None
    slippage: float = 0.0005
    jesse: bool = False
    trades_shown: int = 20

    @property
    def bar(self) -> str:
        """The timeframe of stored candles."""
        return self.timeframe or DEFAULT_TIMEFRAME

    @property
    def window(self) -> int:
        """Bars of the rolling regression, memory of the Kalman filter."""
        return self.formation_bars if self.hedge_lookback is None else self.hedge_lookback

    @property
    def gross(self) -> float:
        """Value of both legs of a position, in the quote currency."""
        return self.starting_balance if self.notional is None else self.notional

    def recorded(self) -> dict[str, object]:
        """What a job keeps of the request: prices of the call are counted, not copied."""
        given: dict[str, object] = self.model_dump(mode="json", exclude_none=True, exclude={"prices"})
        if self.prices is not None:
            given["prices"] = {name: f"{len(points)} values" for name, points in self.prices.items()}
        return given

    def parameters(self) -> dict[str, HyperparameterValue]:
        """What makes one experiment with a pair another one; what was not asked for is left out."""
        values: dict[str, HyperparameterValue | None] = {
            "symbol_y": self.symbol_y,
            "symbol_x": self.symbol_x,
            "hedge_ratio": self.hedge_ratio,
            "log_prices": self.log_prices,
            "formation_bars": self.formation_bars,
            "hedge_lookback": self.window if self.hedge_ratio in ("rolling_ols", "kalman") else None,
            "lookback": self.lookback,
            "entry_z": self.entry_z,
            "exit_z": self.exit_z,
            "stop_z": self.stop_z,
            "max_holding_bars": self.max_holding_bars,
            "notional": self.gross,
            "slippage": self.slippage,
        }
        return {name: value for name, value in values.items() if value is not None}


def check(arguments: PairsArguments) -> None:
    """Everything that can be checked without reading anything.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    _check_source(arguments)
    _check_numbers(arguments)
    if arguments.hedge_lookback is not None and arguments.hedge_ratio not in ("rolling_ols", "kalman"):
        raise invalid(
            f"hedge_lookback is {arguments.hedge_lookback}, hedge_ratio is {arguments.hedge_ratio!r}",
            "leave it out: this hedge ratio is estimated once, on the formation bars",
        )


def _check_source(arguments: PairsArguments) -> None:
    if (arguments.exchange is None) == (arguments.prices is None):
        given = "neither" if arguments.exchange is None else "both"
        raise invalid(
            f"{given} of exchange and prices is given",
            "give exchange and start_date for stored candles, or prices for numbers",
        )
    if arguments.symbol_y == arguments.symbol_x:
        raise invalid(f"symbol_y and symbol_x are both {arguments.symbol_y}", "a pair has two symbols")
    if arguments.prices is not None:
        _check_inline(arguments)
        return
    if arguments.start_date is None:
        raise invalid("start_date is not given", "stored candles need the first day to trade")
    if timeframe_minutes(arguments.bar) > _DAY_MINUTES:
        raise invalid(f"timeframe is {arguments.bar}", "balances are daily: give 1D or shorter")


def _check_inline(arguments: PairsArguments) -> None:
    given = [name for name in _OF_MARKET if getattr(arguments, name) is not None]
    if given:
        raise invalid(
            f"{', '.join(given)} is given with prices", "leave it out: prices have no exchange and no candles"
        )
    if set(arguments.prices or {}) != {arguments.symbol_y, arguments.symbol_x}:
        raise invalid(
            f"prices has {sorted(arguments.prices or {})}, the pair is {arguments.symbol_y} and "
            f"{arguments.symbol_x}",
            "name the two series in prices as symbol_y and symbol_x",
        )
    if arguments.fee is None:
        raise invalid("fee is not given with prices", "prices have no exchange to take a fee from: give fee")
    if arguments.jesse:
        raise invalid("jesse is true with prices", "Jesse needs stored one-minute candles: give exchange")


def _check_numbers(arguments: PairsArguments) -> None:
    stop, longest, window = arguments.stop_z, arguments.max_holding_bars, arguments.window
    formation = arguments.formation_bars
    checks: list[tuple[bool, str, object, str]] = [
        (
            FEWEST_FORMATION_BARS <= formation <= MAX_FORMATION_BARS,
            "formation_bars",
            formation,
            f"{FEWEST_FORMATION_BARS} to {MAX_FORMATION_BARS:,}",
        ),
        (
            3 <= arguments.lookback <= min(MAX_LOOKBACK, formation),
            "lookback",
            arguments.lookback,
            f"3 to {MAX_LOOKBACK:,}, and no more than the {formation:,} formation_bars",
        ),
        (
            10 <= window <= formation,
            "hedge_lookback",
            window,
            f"10 to the {formation:,} formation_bars",
        ),
        (0 < arguments.entry_z <= 100, "entry_z", arguments.entry_z, "above 0, 100 at most"),
        (
            0 <= arguments.exit_z < arguments.entry_z,
            "exit_z",
            arguments.exit_z,
            f"from 0 to below entry_z, {arguments.entry_z:g}",
        ),
        (
            stop is None or arguments.entry_z < stop <= 1_000,
            "stop_z",
            stop,
            f"above entry_z, {arguments.entry_z:g}",
        ),
        (longest is None or 1 <= longest <= MAX_BARS, "max_holding_bars", longest, f"1 to {MAX_BARS:,}"),
        (1 <= arguments.leverage <= 125, "leverage", arguments.leverage, "a whole number, 1 to 125"),
        (
            0 < arguments.starting_balance <= _MOST,
            "starting_balance",
            arguments.starting_balance,
            "a positive amount",
        ),
        (
            0 < arguments.gross <= arguments.leverage * arguments.starting_balance,
            "notional",
            arguments.gross,
            f"above 0, {arguments.leverage * arguments.starting_balance:,.6g} at most: leverage times "
            "starting_balance",
        ),
        (
            arguments.fee is None or 0 <= arguments.fee < 0.1,
            "fee",
            arguments.fee,
            "a fraction of the traded value: 0.0004 is 0.04 %",
        ),
        (0 <= arguments.slippage < 0.1, "slippage", arguments.slippage, "a fraction of the price, below 0.1"),
        (
            0 <= arguments.trades_shown <= MAX_SHOWN,
            "trades_shown",
            arguments.trades_shown,
            f"0 to {MAX_SHOWN}",
        ),
    ]
    for passed, name, received, wanted in checks:
        if not passed:
            raise invalid(f"{name} is {received}", f"{name} must be {wanted}")


def invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
