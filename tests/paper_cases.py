"""Sessions and the backtests of the same minutes, over the candles of :mod:`parity_cases`."""

from collections.abc import Iterable, Iterator

import numpy as np

from jesse_mcp.adapters.embedded.paper import EmbeddedPaperEngine, EmbeddedPaperProcess
from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice, EngineOutcome, EngineRun
from jesse_mcp.domain.candles import CandleArray
from jesse_mcp.domain.paper import Minute, MinuteOrder, PaperRequest, PaperStep
from jesse_mcp.ports.paper import PaperSetup

_BACKTEST_ONLY = {"end_ms", "fast_mode", "benchmark", "gaps", "pipeline"}


def session_of(
    backtest: BacktestRequest, minute_order: MinuteOrder = "dense", **changes: object
) -> PaperRequest:
    """The replay of the same period."""
    same = backtest.model_dump(exclude=_BACKTEST_ONLY)
    return PaperRequest.model_validate(
        {**same, "end_ms": backtest.end_ms, "feed": "replay", "minute_order": minute_order, **changes}
    )


def rows_of(part: CandleSlice) -> CandleArray:
    return np.fromfile(part.path).reshape(-1, 6)[part.start_row : part.end_row]


def setup_of(run: EngineRun, request: PaperRequest) -> PaperSetup:
    """The session with the code and the warm-up of a run of the same minutes."""
    rows = {(part.exchange, part.symbol): rows_of(part) for part in run.candles}
    return PaperSetup(
        request=request,
        source=run.source,
        warm_up=tuple(
            series[series[:, 0] < request.start_ms]
            for series in (rows[key.exchange, key.symbol] for key in request.series)
        ),
    )


def minutes_of(run: EngineRun, request: PaperRequest) -> list[Minute]:
    """Every minute of the run from the start of the session on that has any candle."""
    by_time: dict[int, dict[int, tuple[float, float, float, float, float]]] = {}
    places = {(key.exchange, key.symbol): place for place, key in enumerate(request.series)}
    for part in run.candles:
        for timestamp, *values in rows_of(part).tolist():
            if timestamp >= request.start_ms:
                candle = (values[0], values[1], values[2], values[3], values[4])
                by_time.setdefault(int(timestamp), {})[places[part.exchange, part.symbol]] = candle
    return [Minute(timestamp=timestamp, rows=by_time[timestamp]) for timestamp in sorted(by_time)]


def portions(minutes: list[Minute], size: int) -> Iterator[list[Minute]]:
    for first in range(0, len(minutes), size):
        yield minutes[first : first + size]


def joined(steps: Iterable[PaperStep]) -> PaperStep:
    """Many steps as one; of what stands at the end, the last."""
    steps = list(steps)
    lists = ("trades", "orders", "equity", "daily")
    return steps[-1].model_copy(
        update={
            "minutes": sum(step.minutes for step in steps),
            "log": "",
            "seconds": 0.0,
            **{name: tuple(item for step in steps for item in getattr(step, name)) for name in lists},
        }
    )


async def work(process: EmbeddedPaperProcess, minutes: list[Minute], size: int = 1_440) -> PaperStep:
    steps = []
    for portion in portions(minutes, size):
        steps.append(await process.step(portion))
        if steps[-1].error is not None:
            break
    return joined(steps)


async def replayed(
    engine: EmbeddedPaperEngine, run: EngineRun, request: PaperRequest, size: int = 1_440
) -> tuple[PaperStep, EngineOutcome]:
    """A whole session: what its steps said, and its end."""
    process = await engine.open(setup_of(run, request))
    try:
        step = await work(process, minutes_of(run, request), size)
        return step, await process.finish()
    finally:
        await process.close()
