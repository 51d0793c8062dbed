"""The eight tools of paper sessions."""

from typing import Annotated, Any, Literal

from fastmcp import Context, FastMCP
from pydantic import Field, FiniteFloat

from jesse_mcp.composition import Application
from jesse_mcp.domain.backtests import DataRoute, EngineChoice, ExchangeType, LeverageMode, Route
from jesse_mcp.domain.paper import FeedName
from jesse_mcp.server.common_arguments import Limit, Offset
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool
from jesse_mcp.services.paper_request import PaperArguments
from jesse_mcp.services.paper_views import (
    PaperEquityCurve,
    PaperList,
    PaperMetricsView,
    PaperStarted,
    PaperStatusView,
    PaperStopped,
    PaperTrades,
    PaperUpdated,
)

Resolution = Literal["1m", "5m", "15m", "1h", "4h", "1d"]
SessionId = Annotated[str, Field(description="from paper_start or paper_list_sessions")]


def register(server: FastMCP, application: Application) -> None:
    async def paper_start(
        context: Context,
        strategy: Annotated[str | None, Field(description="with symbol; or routes")] = None,
        symbol: Annotated[str | None, Field(description="e.g. BTC-USDT")] = None,
        timeframe: Annotated[str, Field(description="1m to 1M")] = "1h",
        exchange: Annotated[
            str, Field(description="'Binance' is spot, or its perpetual futures with leverage above 1")
        ] = "Binance",
        starting_balance: Annotated[FiniteFloat, Field(description="in the quote currency")] = 10_000,
        leverage: Annotated[int, Field(description="futures only")] = 1,
        session_id: Annotated[str | None, Field(description="default: a new one")] = None,
        fee: Annotated[
            FiniteFloat | None, Field(description="fraction; null: the exchange's own, backtest's default")
        ] = 0.001,
        routes: Annotated[list[Route] | None, Field(description="more symbols, one balance")] = None,
        data_routes: Annotated[list[DataRoute] | None, Field(description="read, not traded")] = None,
        exchange_type: Annotated[
            ExchangeType | None, Field(description="default: the exchange's own")
        ] = None,
        leverage_mode: Annotated[LeverageMode, Field(description="futures only")] = "cross",
        hyperparameters: Annotated[
            dict[str, bool | int | FiniteFloat | str] | None, Field(description="as in backtest")
        ] = None,
        warm_up_candles: Annotated[int, Field(description="imported if missing")] = 240,
        feed: Annotated[
            FeedName, Field(description="exchange: as it happens; replay: stored candles")
        ] = "exchange",
        speed: Annotated[
            FiniteFloat | None, Field(description="replayed minutes a minute; default: all at once")
        ] = None,
        replay_start: Annotated[str | None, Field(description="YYYY-MM-DD, UTC")] = None,
        replay_end: Annotated[str | None, Field(description="exclusive; default: last stored day")] = None,
        notes: Annotated[str | None, Field(max_length=2_000, description="kept with it")] = None,
        watch: Annotated[
            list[dict[str, Any]] | None,
            Field(
                description="alerts: {kind, limit, stop, run_id}; kind and its limit: drawdown, daily_loss "
                "(fractions), loss_streak (losses in a row), no_data (minutes), drift (probability of the "
                "band, with run_id)"
            ),
        ] = None,
        webhook: Annotated[str | None, Field(description="URL that alerts are sent to")] = None,
        engine: Annotated[
            EngineChoice, Field(description="embedded: here, whatever is configured")
        ] = "configured",
    ) -> PaperStarted:
        """Trade a strategy on paper, minute by minute, exactly as a backtest would: no real orders.

        Runs until paper_stop, across restarts of the server: after a crash it catches up from its own record.
        """
        arguments = PaperArguments(
            strategy=strategy,
            symbol=symbol,
            timeframe=timeframe,
            exchange=exchange,
            starting_balance=starting_balance,
            leverage=leverage,
            session_id=session_id,
            fee=fee,
            routes=None if routes is None else tuple(routes),
            data_routes=tuple(data_routes or ()),
            exchange_type=exchange_type,
            leverage_mode=leverage_mode,
            hyperparameters=hyperparameters,
            warm_up_candles=warm_up_candles,
            feed=feed,
            speed=speed,
            replay_start=replay_start,
            replay_end=replay_end,
            notes=notes,
            watch=tuple(watch or ()),
            webhook=webhook,
            engine=engine,
        )
        return await application.paper.start(arguments, notifier(context))

    async def paper_stop(session_id: SessionId) -> PaperStopped:
        """End a session: open positions are closed at the current price, and it is stored as a run."""
        return await application.paper.stop(session_id)

    async def paper_status(session_id: SessionId) -> PaperStatusView:
        """A session now: equity, positions, orders, metrics, health of its feed, alerts, error."""
        return await application.paper.status(session_id)

    async def paper_get_trades(
        session_id: SessionId,
        limit: Annotated[int, Field(ge=1, le=1_000, description="how many to show")] = 100,
        offset: Offset = 0,
    ) -> PaperTrades:
        """Closed trades of a session, oldest first."""
        return await application.paper.trades(session_id, limit, offset)

    async def paper_get_equity(
        session_id: SessionId,
        resolution: Annotated[Resolution, Field(description="of the points")] = "1h",
        limit: Annotated[int, Field(ge=1, le=2_000, description="how many to show")] = 500,
        offset: Offset = 0,
    ) -> PaperEquityCurve:
        """Equity curve of a session, oldest first; drawdown is from the highest minute before."""
        return await application.paper.equity(session_id, resolution, limit, offset)

    async def paper_get_metrics(session_id: SessionId) -> PaperMetricsView:
        """Every metric of a session so far; what is not defined yet is null with the reason."""
        return await application.paper.metrics(session_id)

    async def paper_list_sessions(
        include_ended: Annotated[bool, Field(description="also those that are over")] = False,
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> PaperList:
        """Running sessions, newest first; with include_ended those that are over too."""
        return await application.paper.sessions(include_ended=include_ended, limit=limit, offset=offset)

    async def paper_update_session(
        session_id: SessionId,
        updates: Annotated[dict[str, Any], Field(description="{leverage, notes}: nothing else can change")],
    ) -> PaperUpdated:
        """Change the leverage of later entries, or the notes.

        Jesse has one leverage for the account: `pending` while a position is open, in force once none is.
        """
        return await application.paper.update(session_id, updates)

    add_tool(server, paper_start, title="Start paper trading", open_world=True)
    add_tool(server, paper_stop, title="Stop paper trading", destructive=True, idempotent=True)
    add_tool(server, paper_status, title="Paper session status", read_only=True)
    add_tool(server, paper_get_trades, title="Paper trades", read_only=True)
    add_tool(server, paper_get_equity, title="Paper equity", read_only=True)
    add_tool(server, paper_get_metrics, title="Paper metrics", read_only=True)
    add_tool(server, paper_list_sessions, title="List paper sessions", read_only=True)
    add_tool(server, paper_update_session, title="Update a paper session", idempotent=True)
