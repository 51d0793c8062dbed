"""``backtest``."""

from typing import Annotated

from fastmcp import Context, FastMCP
from pydantic import Field, FiniteFloat

from jesse_mcp.composition import Application
from jesse_mcp.domain.backtests import (
    DataRoute,
    EngineChoice,
    ExchangeType,
    GapPolicy,
    LeverageMode,
    Route,
)
from jesse_mcp.server.common_arguments import Title
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.backtests import BacktestAnswer


def register(server: FastMCP, application: Application) -> None:
    async def backtest(
        context: Context,
        exchange: Annotated[str, Field(description="as Jesse names it, e.g. 'Binance Perpetual Futures'")],
        start_date: Annotated[str, Field(description="first day traded, YYYY-MM-DD UTC")],
        end_date: Annotated[
            str | None, Field(description="day after the last, exclusive; default: end of the stored candles")
        ] = None,
        strategy: Annotated[
            str | None, Field(description="for a single route, with symbol and timeframe")
        ] = None,
        symbol: Annotated[str | None, Field(description="e.g. BTC-USDT")] = None,
        timeframe: Annotated[str | None, Field(description="1m to 1M, e.g. 4h or 1D")] = None,
        routes: Annotated[
            list[Route] | None, Field(description="several symbols at once, one balance")
        ] = None,
        data_routes: Annotated[
            list[DataRoute] | None, Field(description="candles the strategy reads but does not trade")
        ] = None,
        exchange_type: Annotated[
            ExchangeType | None, Field(description="default: the exchange's own")
        ] = None,
        starting_balance: Annotated[FiniteFloat, Field(description="in the quote currency")] = 10_000,
        fee: Annotated[
            FiniteFloat | None, Field(description="fraction per fill; default: the exchange's own")
        ] = None,
        leverage: Annotated[int, Field(description="futures only")] = 1,
        leverage_mode: Annotated[LeverageMode, Field(description="futures only")] = "cross",
        hyperparameters: Annotated[
            dict[str, bool | int | FiniteFloat | str] | None,
            Field(description="override declared defaults by name"),
        ] = None,
        warm_up_candles: Annotated[
            int, Field(description="candles of the longest timeframe before start_date, stored ones needed")
        ] = 240,
        fast_mode: Annotated[
            bool, Field(description="Jesse's faster simulator: fills by candle batch")
        ] = False,
        benchmark: Annotated[bool, Field(description="add buy and hold of the same symbols")] = False,
        gaps: Annotated[
            GapPolicy | None,
            Field(
                description="missing minutes: refuse, or run on those observed; default: only gaps the "
                "exchange itself has, up to 1 %"
            ),
        ] = None,
        engine: Annotated[
            EngineChoice,
            Field(description="embedded: run here, on copies of a running Jesse's candles and code"),
        ] = "configured",
        title: Title = None,
        use_cache: Annotated[
            bool, Field(description="false runs again even if this exact experiment is stored")
        ] = True,
        wait_seconds: Annotated[
            float, Field(ge=0, le=600, description="then the job goes on: follow it with job_get")
        ] = 45,
    ) -> BacktestAnswer:
        """Run a strategy over stored candles with the real Jesse engine; its metrics come back verbatim.

        Candles are needed for warm-up and period; the error names the first missing range otherwise.
        The run is stored: run_get has its trades, equity and log.
        """
        arguments = BacktestArguments(
            exchange=exchange,
            start_date=start_date,
            end_date=end_date,
            strategy=strategy,
            symbol=symbol,
            timeframe=timeframe,
            routes=None if routes is None else tuple(routes),
            data_routes=tuple(data_routes or ()),
            exchange_type=exchange_type,
            starting_balance=starting_balance,
            fee=fee,
            leverage=leverage,
            leverage_mode=leverage_mode,
            hyperparameters=hyperparameters,
            warm_up_candles=warm_up_candles,
            fast_mode=fast_mode,
            benchmark=benchmark,
            gaps=gaps,
            engine=engine,
        )
        return await application.backtests.backtest(
            arguments,
            title=title,
            use_cache=use_cache,
            wait_seconds=wait_seconds,
            on_progress=notifier(context),
        )

    add_tool(server, backtest, title="Backtest", idempotent=True)
