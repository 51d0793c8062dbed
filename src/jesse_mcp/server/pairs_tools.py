"""``pairs_backtest``."""

from typing import Annotated

from fastmcp import Context, FastMCP
from pydantic import Field, FiniteFloat

from jesse_mcp.composition import Application
from jesse_mcp.domain.backtests import GapPolicy
from jesse_mcp.server.common_arguments import Title
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool
from jesse_mcp.services.pairs import PairsAnswer
from jesse_mcp.services.pairs_request import HedgeRatio, PairsArguments


def register(server: FastMCP, application: Application) -> None:
    async def pairs_backtest(
        context: Context,
        symbol_y: Annotated[str, Field(description="e.g. ETH-USDT")],
        symbol_x: Annotated[str, Field(description="hedges y")],
        exchange: Annotated[str | None, Field(description="futures; or give prices")] = None,
        timeframe: Annotated[str | None, Field(description="default: 1h")] = None,
        start_date: Annotated[str | None, Field(description="first day traded")] = None,
        end_date: Annotated[str | None, Field(description="exclusive")] = None,
        hedge_ratio: Annotated[HedgeRatio, Field(description="how it is estimated")] = "ols",
        log_prices: Annotated[bool, Field(description="spread of logarithms")] = True,
        formation_bars: Annotated[int, Field(description="before start_date, to estimate on")] = 1_000,
        hedge_lookback: Annotated[
            int | None, Field(description="bars of rolling_ols, memory of kalman; default: formation_bars")
        ] = None,
        lookback: Annotated[int, Field(description="bars of the z-score")] = 100,
        entry_z: Annotated[FiniteFloat, Field(description="z-score to enter at")] = 2.0,
        exit_z: Annotated[FiniteFloat, Field(description="and to leave at")] = 0.5,
        stop_z: Annotated[FiniteFloat | None, Field(description="and to give up at")] = None,
        max_holding_bars: Annotated[int | None, Field(description="then it is closed")] = None,
        notional: Annotated[
            FiniteFloat | None, Field(description="gross of both legs; default: starting_balance")
        ] = None,
        starting_balance: Annotated[FiniteFloat, Field(description="in the quote currency")] = 10_000,
        leverage: Annotated[int, Field(description="of the account; limits notional")] = 2,
        fee: Annotated[FiniteFloat | None, Field(description="default: the exchange's own")] = None,
        slippage: Annotated[FiniteFloat, Field(description="fraction a fill")] = 0.0005,
        gaps: Annotated[GapPolicy | None, Field(description="as in backtest")] = None,
        prices: Annotated[
            dict[str, list[tuple[int, FiniteFloat]]] | None,
            Field(description="instead of exchange: {symbol: [[epoch ms, price], ...]}"),
        ] = None,
        jesse: Annotated[bool, Field(description="also execute it in Jesse, two routes; compare")] = False,
        trades_shown: Annotated[int, Field(description="how many, the last ones")] = 20,
        title: Title = None,
        wait_seconds: Annotated[float, Field(ge=0, le=600, description="then see job_get")] = 45,
    ) -> PairsAnswer:
        """Trade the spread of two symbols: cointegration before the start, hedge ratio, z-score, both legs.

        Decided at a close on prices up to it, filled at the next open. Stored as a run for the risk tools.
        """
        return await application.pairs.backtest(
            PairsArguments(
                symbol_y=symbol_y,
                symbol_x=symbol_x,
                exchange=exchange,
                timeframe=timeframe,
                start_date=start_date,
                end_date=end_date,
                gaps=gaps,
                prices=None if prices is None else {name: tuple(points) for name, points in prices.items()},
                hedge_ratio=hedge_ratio,
                log_prices=log_prices,
                formation_bars=formation_bars,
                hedge_lookback=hedge_lookback,
                lookback=lookback,
                entry_z=entry_z,
                exit_z=exit_z,
                stop_z=stop_z,
                max_holding_bars=max_holding_bars,
                notional=notional,
                starting_balance=starting_balance,
                leverage=leverage,
                fee=fee,
                slippage=slippage,
                jesse=jesse,
                trades_shown=trades_shown,
            ),
            title=title,
            wait_seconds=wait_seconds,
            on_progress=notifier(context),
        )

    add_tool(server, pairs_backtest, title="Pairs backtest", idempotent=True)
