"""``backtest_batch``, ``optimize`` and ``walk_forward``."""

from typing import Annotated, Any

from fastmcp import Context, FastMCP
from pydantic import Field, FiniteFloat, ValidationError

from jesse_mcp.composition import Application
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import unusual
from jesse_mcp.domain.search import SamplerName
from jesse_mcp.server.common_arguments import Offset, Seed
from jesse_mcp.server.progress import notifier
from jesse_mcp.server.registration import add_tool
from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.batch_cells import Vary, cells_of
from jesse_mcp.services.batches import BatchAnswer, paged
from jesse_mcp.services.objectives import parse_objectives
from jesse_mcp.services.optimization_answer import OptimizationAnswer
from jesse_mcp.services.optimization_request import OptimizationArguments
from jesse_mcp.services.search_space import Range
from jesse_mcp.services.walk_forward_answer import WalkForwardAnswer
from jesse_mcp.services.walk_forward_request import WalkForwardArguments

Settings = Annotated[
    dict[str, Any] | None,
    Field(description="any other argument of backtest: routes, fee, engine, hyperparameters, ..."),
]
OfBacktest = Annotated[str | None, Field(description="as in backtest")]
Resume = Annotated[
    str | None, Field(description="job_id alone: its answer, or what is left of it when it was interrupted")
]
Wait = Annotated[float, Field(ge=0, le=600, description="then the job goes on: follow it with job_get")]


def register(server: FastMCP, application: Application) -> None:
    async def backtest_batch(
        context: Context,
        exchange: OfBacktest = None,
        strategy: OfBacktest = None,
        symbol: OfBacktest = None,
        timeframe: OfBacktest = None,
        start_date: OfBacktest = None,
        end_date: OfBacktest = None,
        settings: Settings = None,
        vary: Annotated[Vary | None, Field(description="lists to combine, each with every other")] = None,
        cells: Annotated[
            list[dict[str, Any]] | None,
            Field(description="instead of vary: for each run the arguments of backtest it changes"),
        ] = None,
        sort_by: Annotated[str | None, Field(description="a metric column, best first")] = None,
        limit: Annotated[int, Field(ge=1, le=500, description="rows a page")] = 50,
        offset: Offset = 0,
        resume: Resume = None,
        wait_seconds: Wait = 45,
    ) -> BatchAnswer:
        """Run up to 1,000 backtests and compare them in one table; each is stored (run_get).

        Arguments as in backtest are shared by all. A cell that fails has its error in the table.
        """
        if sort_by is not None:
            # Before everything is run, not after.
            parse_objectives((sort_by,))
        given = _given(
            exchange=exchange,
            strategy=strategy,
            symbol=symbol,
            timeframe=timeframe,
            start_date=start_date,
            end_date=end_date,
        )
        listener = notifier(context)
        if resume is not None:
            _alone(resume, {**given, **_given(settings=settings, vary=vary, cells=cells)})
            answer = await application.batches.resume(resume, wait_seconds=wait_seconds, on_progress=listener)
        else:
            answer = await application.batches.run(
                _merged(given, settings),
                cells_of(vary, None if cells is None else tuple(cells)),
                wait_seconds=wait_seconds,
                on_progress=listener,
            )
        return paged(answer, sort_by, limit, offset)

    async def optimize(
        context: Context,
        exchange: OfBacktest = None,
        strategy: OfBacktest = None,
        symbol: OfBacktest = None,
        timeframe: OfBacktest = None,
        start_date: OfBacktest = None,
        end_date: OfBacktest = None,
        settings: Settings = None,
        metrics: Annotated[
            list[str] | None,
            Field(description="one or two of Jesse's, as name, name:max or name:min; default sharpe_ratio"),
        ] = None,
        space: Annotated[
            dict[str, Range] | None,
            Field(description="what to search; default: every hyperparameter declared with a range"),
        ] = None,
        trials: Annotated[int, Field(description="points to try")] = 100,
        sampler: Annotated[SamplerName, Field(description="how points are chosen")] = "tpe",
        seed: Seed = 0,
        min_trades: Annotated[int, Field(description="trials with fewer never win")] = 10,
        test_fraction: Annotated[
            FiniteFloat | None, Field(description="end of the period kept out of the search; default 0.3")
        ] = None,
        test_start: Annotated[str | None, Field(description="instead: first day kept out")] = None,
        early_stop: Annotated[int | None, Field(description="after so many without improvement")] = None,
        pruning: Annotated[
            bool, Field(description="give up trials below the median after 10 and 25 % of the period")
        ] = False,
        in_flight: Annotated[int, Field(description="trials at once; part of what fixes the answer")] = 8,
        resume: Resume = None,
        wait_seconds: Wait = 45,
    ) -> OptimizationAnswer:
        """Search hyperparameters on the first part of a period; run the best few on the rest, once.

        Same request and seed, same answer. Every trial is stored and counted. Believe the test numbers, not
        the training ones.
        """
        given = _given(
            exchange=exchange,
            strategy=strategy,
            symbol=symbol,
            timeframe=timeframe,
            start_date=start_date,
            end_date=end_date,
        )
        listener = notifier(context)
        own: dict[str, Any] = {
            "metrics": ("sharpe_ratio",) if metrics is None else tuple(metrics),
            "space": space,
            "trials": trials,
            "sampler": sampler,
            "seed": seed,
            "min_trades": min_trades,
            "test_fraction": test_fraction,
            "test_start": test_start,
            "early_stop": early_stop,
            "pruning": pruning,
            "in_flight": in_flight,
        }
        if resume is not None:
            _alone(resume, {**given, **_given(settings=settings), **unusual(OptimizationArguments, own)})
            return await application.optimizations.resume(
                resume, wait_seconds=wait_seconds, on_progress=listener
            )
        arguments = OptimizationArguments(backtest=_backtest(_merged(given, settings)), **own)
        return await application.optimizations.optimize(
            arguments, wait_seconds=wait_seconds, on_progress=listener
        )

    async def walk_forward(
        context: Context,
        exchange: OfBacktest = None,
        strategy: OfBacktest = None,
        symbol: OfBacktest = None,
        timeframe: OfBacktest = None,
        start_date: OfBacktest = None,
        end_date: OfBacktest = None,
        settings: Settings = None,
        train_days: Annotated[int | None, Field(description="searched on")] = None,
        test_days: Annotated[int | None, Field(description="that follow them")] = None,
        step_days: Annotated[int | None, Field(description="default: test_days")] = None,
        anchored: Annotated[bool, Field(description="every training begins at start_date")] = False,
        purge_days: Annotated[int, Field(description="unused days before each test")] = 0,
        keep_partial: Annotated[bool, Field(description="a last test cut short")] = True,
        metric: Annotated[str | None, Field(description="as metrics of optimize")] = None,
        space: Annotated[dict[str, Range] | None, Field(description="as in optimize")] = None,
        trials: Annotated[int, Field(description="per window; 0 tests fixed hyperparameters")] = 50,
        sampler: Annotated[SamplerName, Field(description="as in optimize")] = "tpe",
        seed: Seed = 0,
        min_trades: Annotated[int, Field(description="as in optimize")] = 10,
        resume: Resume = None,
        wait_seconds: Wait = 45,
    ) -> WalkForwardAnswer:
        """Optimize on one period, test on the next, move on: what is left on days it was not fitted to.

        Tests are stitched into one equity.
        """
        given = _given(
            exchange=exchange,
            strategy=strategy,
            symbol=symbol,
            timeframe=timeframe,
            start_date=start_date,
            end_date=end_date,
        )
        listener = notifier(context)
        own: dict[str, Any] = {
            "train_days": train_days,
            "test_days": test_days,
            "step_days": step_days,
            "anchored": anchored,
            "purge_days": purge_days,
            "keep_partial": keep_partial,
            "metric": metric,
            "space": space,
            "trials": trials,
            "sampler": sampler,
            "seed": seed,
            "min_trades": min_trades,
        }
        if resume is not None:
            _alone(resume, {**given, **_given(settings=settings), **unusual(WalkForwardArguments, own)})
            return await application.walk_forwards.resume(
                resume, wait_seconds=wait_seconds, on_progress=listener
            )
        if train_days is None or test_days is None:
            raise _invalid("train_days or test_days is not given", "give both, e.g. 180 and 30")
        arguments = WalkForwardArguments(backtest=_backtest(_merged(given, settings)), **own)
        return await application.walk_forwards.walk(
            arguments, wait_seconds=wait_seconds, on_progress=listener
        )

    add_tool(server, walk_forward, title="Walk forward", idempotent=True)
    add_tool(server, backtest_batch, title="Backtest many", idempotent=True)
    add_tool(server, optimize, title="Optimize hyperparameters", idempotent=True)


def _given(**arguments: Any) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


def _alone(resume: str, others: dict[str, Any]) -> None:
    if others:
        raise _invalid(
            f"resume={resume!r} was given with {', '.join(others)}",
            "a job is resumed as it was asked for: give resume alone",
        )


def _merged(given: dict[str, Any], settings: dict[str, Any] | None) -> dict[str, Any]:
    settings = settings or {}
    unknown = [name for name in settings if name not in BacktestArguments.model_fields]
    if unknown:
        raise _invalid(
            f"settings: backtest has no argument {unknown[0]!r}",
            f"it has: {', '.join(BacktestArguments.model_fields)}",
        )
    twice = [name for name in settings if name in given]
    if twice:
        raise _invalid(f"{twice[0]} was given, and again in settings", "give it once")
    return {**given, **settings}


def _backtest(values: dict[str, Any]) -> BacktestArguments:
    try:
        return BacktestArguments.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise _invalid(
            f"{name}: {problem['msg']}; received {str(problem['input'])[:200]!r}",
            "exchange and start_date are needed, and strategy, symbol and timeframe or routes",
        ) from None


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
