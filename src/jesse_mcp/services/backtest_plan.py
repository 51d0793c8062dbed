"""A backtest with everything it depends on pinned: request, code, candles, engine."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from jesse_mcp.domain.backtests import EngineChoice, EngineRun
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.catalog import JesseCatalog
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.exchanges import resolve_exchange
from jesse_mcp.domain.strategies import HyperparameterInfo, StrategySource
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_date, parse_date, timeframe_minutes
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.engine import BacktestEngine
from jesse_mcp.ports.strategy_store import StrategyStore
from jesse_mcp.services.backtest_request import BacktestArguments, complete, parsed_routes
from jesse_mcp.services.candle_slices import CandleSlicer, period, series_of
from jesse_mcp.services.code_warnings import CodeReader
from jesse_mcp.services.engine_choice import EmbeddedBeside, engine_for
from jesse_mcp.services.missing_candles import missing_candles

#: The code of strategies, by their names.
Sources = Callable[[frozenset[str]], StrategySource]


@dataclass(frozen=True)
class Plan:
    """What will be run, on which engine, and what identifies its answer.

    ``counted``: it is an experiment of its own, not another look at one.
    """

    run: EngineRun
    code_hash: str
    candle_hashes: dict[str, str]
    fingerprint: str
    warnings: tuple[str, ...]
    engine: EngineChoice = "configured"
    counted: bool = True


class BacktestPlanner:
    """Blocking; called in a thread.

    Args:
        engine: what the settings name.
        beside: the embedded engine, unless that is what they name.
    """

    def __init__(
        self,
        strategies: StrategyStore,
        candles: CandleStore,
        catalog: JesseCatalog,
        engine: BacktestEngine,
        beside: EmbeddedBeside | None = None,
    ) -> None:
        self._strategies = strategies
        self._catalog = catalog
        self._engine = engine
        self._beside = beside
        self._slicer = CandleSlicer(candles)
        self._reader = CodeReader(catalog)

    def pinned_sources(self) -> Sources:
        """Code that is read once and stays as it was: for many plans that must not mix two versions."""
        return cache(self._strategies.source)

    def plan(self, arguments: BacktestArguments, sources: Sources | None = None) -> Plan:
        """Check everything that can be checked without running.

        Args:
            sources: where to take the code from, by default as it is now.

        Raises:
            ResearchError: ``invalid_argument``, ``strategy_not_found``, ``candles_missing``,
                ``engine_not_installed``.
        """
        request = complete(arguments, self._catalog, self._end(arguments))
        if request.end_ms <= request.start_ms:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"the period is {period(request)}, which holds no candle",
                hint="end_date is exclusive: give one at least a day after start_date",
            )
        names = frozenset(route.strategy for route in request.routes)
        source = (sources or self._strategies.source)(names)
        slices = self._slicer.cut(request, arguments.gaps)
        if any(part.missing for part in slices):
            request = request.model_copy(update={"gaps": "observed"})
        run = EngineRun(request=request, source=source.files, candles=slices)
        hashes = {f"{part.symbol} on {part.exchange}": part.content_hash for part in slices}
        identity = {
            "request": request.model_dump(mode="json"),
            "code": source.code_hash,
            "candles": hashes,
            "engine": engine_for(arguments.engine, self._engine, self._beside).identity(),
        }
        return Plan(
            run=run,
            code_hash=source.code_hash,
            candle_hashes=hashes,
            fingerprint=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
            warnings=(*self._remarks(arguments), *self._warnings(run)),
            engine=arguments.engine,
        )

    def _remarks(self, arguments: BacktestArguments) -> tuple[str, ...]:
        if self._beside is None or arguments.engine == "configured":
            return ()
        return (self._beside.remark,)

    def declared(self, plan: Plan) -> dict[str, tuple[HyperparameterInfo, ...] | None]:
        """What each strategy of a plan says of its hyperparameters; ``None`` when that is computed."""
        names = dict.fromkeys(route.strategy for route in plan.run.request.routes)
        return {name: self._reader.report(name, plan.run.source).hyperparameters for name in names}

    def _end(self, arguments: BacktestArguments) -> int:
        if arguments.end_date is not None:
            return parse_date(arguments.end_date, "end_date")
        exchange = resolve_exchange(arguments.exchange, self._catalog)
        probe = complete(arguments, self._catalog, 0)
        keys = [SeriesKey(exchange=exchange.name, symbol=r.symbol) for r in parsed_routes(arguments)]
        return self._slicer.last_full_day(list(dict.fromkeys([*keys, *series_of(probe)])))

    def _warnings(self, run: EngineRun) -> list[str]:
        request = run.request
        warnings = missing_candles(run)
        warnings += [
            f"no {timeframe} candle starts on {iso_date(request.start_ms)}: Jesse counts them from the "
            "start of the run, so they differ from the exchange's own"
            for timeframe in sorted({route.timeframe for route in request.routes})
            if request.start_ms % (timeframe_minutes(timeframe) * MINUTE_MS)
        ]
        warnings += self._reader.warnings(request.routes, run.source, request.hyperparameters)
        return warnings
