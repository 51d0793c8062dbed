"""Options that commands share which run a strategy over stored candles."""

import json
import math
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from jesse_mcp.domain.backtests import DataRoute, EngineChoice, HyperparameterValue
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services.backtest_request import BacktestArguments

Flag = Annotated[bool, Parameter(negative="")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run is made with.

    Parameters
    ----------
    start
        First day traded, YYYY-MM-DD UTC.
    end
        Day after the last; default: the end of the stored candles.
    data
        Candles the strategy reads, as SYMBOL:TIMEFRAME; repeatable.
    hp
        A hyperparameter as NAME=VALUE (VALUE in JSON); repeatable.
    gaps
        Missing minutes: refuse, or run on those observed. Default: only gaps the exchange has, up to 1 %.
    engine
        embedded: run on this machine, on copies of a running Jesse's candles and code.
    """

    exchange: str
    symbol: str
    timeframe: str
    start: Annotated[str, Parameter(name=("--start-date", "--start"))]
    end: Annotated[str | None, Parameter(name=("--end-date", "--end"))] = None
    data: tuple[str, ...] = ()
    exchange_type: Literal["spot", "futures"] | None = None
    starting_balance: float = 10_000
    fee: float | None = None
    leverage: int = 1
    leverage_mode: Literal["cross", "isolated"] = "cross"
    hp: tuple[str, ...] = ()
    warm_up_candles: int = 240
    fast_mode: Flag = False
    gaps: Literal["refuse", "observed"] | None = None
    engine: EngineChoice = "configured"

    def arguments(self, strategy: str, *, benchmark: bool = False) -> BacktestArguments:
        """The same as arguments of a backtest.

        Raises:
            ResearchError: ``invalid_argument`` for text that does not say what it should.
        """
        return BacktestArguments(
            exchange=self.exchange,
            start_date=self.start,
            end_date=self.end,
            strategy=strategy,
            symbol=self.symbol,
            timeframe=self.timeframe,
            data_routes=tuple(_data_route(text) for text in self.data),
            exchange_type=self.exchange_type,
            starting_balance=self.starting_balance,
            fee=self.fee,
            leverage=self.leverage,
            leverage_mode=self.leverage_mode,
            hyperparameters=dict(_hyperparameter(text) for text in self.hp),
            warm_up_candles=self.warm_up_candles,
            fast_mode=self.fast_mode,
            benchmark=benchmark,
            gaps=self.gaps,
            engine=self.engine,
        )


def _data_route(text: str) -> DataRoute:
    symbol, separator, timeframe = text.partition(":")
    if not separator:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT, f"--data is {text!r}", hint="write SYMBOL:TIMEFRAME, e.g. ETH-USDT:4h"
        )
    return DataRoute(symbol=symbol, timeframe=timeframe)


def _hyperparameter(text: str) -> tuple[str, HyperparameterValue]:
    name, separator, value = text.partition("=")
    if not separator:
        raise ResearchError(ErrorCode.INVALID_ARGUMENT, f"--hp is {text!r}", hint="write NAME=VALUE")
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = value
    finite = not isinstance(parsed, float) or math.isfinite(parsed)
    if not isinstance(parsed, bool | int | float | str) or not finite:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT, f"--hp {name} is {value!r}", hint="a number, true, false or text"
        )
    return name, parsed
