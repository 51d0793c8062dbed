"""What a backtest is asked for and what it answers."""

from typing import Literal

from pydantic import Field

from jesse_mcp.domain.model import Value

ExchangeType = Literal["spot", "futures"]
LeverageMode = Literal["cross", "isolated"]
GapPolicy = Literal["refuse", "observed"]
HyperparameterValue = bool | int | float | str
#: What the settings name, or what runs on the machine of the server whatever they name.
EngineChoice = Literal["configured", "embedded"]
PipelineName = Literal["moving_block_bootstrap", "gaussian_noise", "gaussian_resampler"]


class Route(Value):
    """A symbol traded by a strategy."""

    strategy: str
    symbol: str
    timeframe: str


class DataRoute(Value):
    """Candles a strategy may read without trading them."""

    symbol: str
    timeframe: str
    exchange: str | None = Field(default=None, description="defaults to the exchange of the run")


class CandlePipeline(Value):
    """One of Jesse's candle pipelines: the candles traded on are altered, those of the warm-up are not."""

    name: PipelineName
    seed: int = Field(ge=0, lt=2**32)
    batch_size: int = Field(ge=2, description="minutes altered at a time")
    parameters: dict[str, float] = Field(default_factory=dict, description="in the words of Jesse's class")


class BacktestRequest(Value):
    """A backtest with every default filled in; equal requests are the same experiment.

    Dates are UTC calendar days in epoch milliseconds; ``end_ms`` is exclusive.
    """

    exchange: str
    exchange_type: ExchangeType
    routes: tuple[Route, ...]
    data_routes: tuple[DataRoute, ...] = ()
    start_ms: int
    end_ms: int
    starting_balance: float
    fee: float
    leverage: int = 1
    leverage_mode: LeverageMode = "cross"
    hyperparameters: dict[str, HyperparameterValue] = Field(default_factory=dict)
    warm_up_candles: int
    fast_mode: bool
    benchmark: bool = False
    gaps: GapPolicy = Field(
        default="refuse", description="'observed': minutes are missing, and the run used those there are"
    )
    pipeline: CandlePipeline | None = None


class CandleSlice(Value):
    """The part of a mapped series that a run reads.

    ``start_row`` is the first warm-up candle, ``trading_row`` the first candle traded, ``end_row`` one
    past the last. ``missing`` minutes between them have no candle.
    """

    exchange: str
    symbol: str
    path: str
    total_rows: int
    start_row: int
    trading_row: int
    end_row: int
    content_hash: str
    missing: int = 0


class EngineRun(Value):
    """What an engine executes: a request with its code and candles pinned."""

    request: BacktestRequest
    source: dict[str, str] = Field(description="project files by relative POSIX path")
    candles: tuple[CandleSlice, ...]


class Trade(Value):
    """A closed trade in Jesse's own terms; money in the quote currency, times in epoch milliseconds.

    ``holding_period`` is in seconds and ``pnl_percentage`` in percent of the margin used, as Jesse has
    them.
    """

    strategy: str
    exchange: str
    symbol: str
    type: Literal["long", "short"]
    opened_at: int
    closed_at: int
    entry_price: float
    exit_price: float
    qty: float
    size: float
    fee: float
    pnl: float
    pnl_percentage: float | None
    holding_period: float
    orders: tuple[dict[str, object], ...] = ()


class EquityPoint(Value):
    timestamp: int = Field(description="epoch milliseconds")
    balance: float


class EngineOutcome(Value):
    """What an engine hands back, nothing added and nothing rounded.

    ``metrics`` holds Jesse's metrics verbatim; a value that is not a finite number is ``None`` and its
    name is in ``undefined`` with the reason.
    """

    metrics: dict[str, float | int | str | None]
    undefined: dict[str, str]
    trades: tuple[Trade, ...]
    equity: tuple[EquityPoint, ...]
    equity_missing_reason: str | None = None
    hyperparameters: dict[str, HyperparameterValue] = Field(
        description="the values the strategies really ran with"
    )
    engine: dict[str, str] = Field(description="versions of what ran: jesse, python")
    log_tail: str = ""
    timings: dict[str, float] = Field(default_factory=dict, description="seconds, by part of the work")
