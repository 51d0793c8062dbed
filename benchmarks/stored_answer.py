"""2. A repeated experiment, answered from the store."""

from benchmarks.connection import serving
from benchmarks.desk import Desk, Steps
from benchmarks.market import call
from benchmarks.report import Figure, Goal, Result, milliseconds, sampled

_RUNS, _REPEATS_OF_EACH = 5, 20
_GOAL = 100 / 50


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """The run, then its repeats, several times over."""
    runs = desk.repeats(_RUNS)
    steps.expect(2 * runs)
    figures: list[Figure] = []
    async with serving(desk.home("stored-answer")) as served:
        await served.warm()
        for fast_mode in (False, True):
            mode = "fast" if fast_mode else "step"
            ran, repeated = [], []
            for _ in range(runs):
                steps.doing(f"{mode} mode")
                ran.append((await served.timed("backtest", **call(fast_mode=fast_mode)))[0])
                for _ in range(_REPEATS_OF_EACH):
                    seconds, answer = await served.timed(
                        "backtest", **call(fast_mode=fast_mode, use_cache=True)
                    )
                    if not answer["cached"]:
                        raise RuntimeError("a repeated experiment was run again")
                    repeated.append(seconds)
                steps.done()
            run = sampled(f"the run, {mode} mode", milliseconds(ran), "ms")
            shares = [100_000 * seconds / run.value for seconds in repeated]
            figures += [
                run,
                sampled(f"its repeat, {mode} mode", milliseconds(repeated), "ms"),
                sampled("share of the run", shares, "%", Goal("at most", _GOAL)),
            ]
    return [Result("stored answer", "the same backtest call again, over stdio", tuple(figures))]
