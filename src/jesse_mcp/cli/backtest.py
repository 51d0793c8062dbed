"""``jesse-mcp backtest``."""

import asyncio
import json
import math
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console

from jesse_mcp.cli.results import print_run, run_with_progress
from jesse_mcp.composition import Application
from jesse_mcp.domain.backtests import DataRoute, HyperparameterValue
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.settings import Settings

Json = Annotated[bool, Parameter(name="--json", negative="")]


def register(app: App) -> None:
    app.command(backtest)


def backtest(
    strategy: str,
    *,
    exchange: str,
    symbol: str,
    timeframe: str,
    start: Annotated[str, Parameter(name=("--start-date", "--start"))],
    end: Annotated[str | None, Parameter(name=("--end-date", "--end"))] = None,
    data: tuple[str, ...] = (),
    exchange_type: Literal["spot", "futures"] | None = None,
    starting_balance: float = 10_000,
    fee: float | None = None,
    leverage: int = 1,
    leverage_mode: Literal["cross", "isolated"] = "cross",
    hp: tuple[str, ...] = (),
    warm_up_candles: int = 240,
    fast_mode: Annotated[bool, Parameter(negative="")] = False,
    benchmark: Annotated[bool, Parameter(negative="")] = False,
    gaps: Literal["refuse", "observed"] | None = None,
    fresh: Annotated[bool, Parameter(negative="")] = False,
    title: str | None = None,
    json_: Json = False,
) -> None:
    """Run one strategy over stored candles.

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
    fresh
        Run again even if this exact experiment is stored.
    json_
        The whole result as JSON.
    """
    arguments = BacktestArguments(
        exchange=exchange,
        start_date=start,
        end_date=end,
        strategy=strategy,
        symbol=symbol,
        timeframe=timeframe,
        data_routes=tuple(_data_route(text) for text in data),
        exchange_type=exchange_type,
        starting_balance=starting_balance,
        fee=fee,
        leverage=leverage,
        leverage_mode=leverage_mode,
        hyperparameters=dict(_hyperparameter(text) for text in hp),
        warm_up_candles=warm_up_candles,
        fast_mode=fast_mode,
        benchmark=benchmark,
        gaps=gaps,
    )

    async def go() -> None:
        application = Application(Settings())
        await application.start()
        try:
            run = await run_with_progress(application, arguments, title, use_cache=not fresh)
        finally:
            await application.close()
        if json_:
            Console(soft_wrap=True).print(run.model_dump_json(indent=2), highlight=False, markup=False)
        else:
            print_run(run)

    asyncio.run(go())


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
