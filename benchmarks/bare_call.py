"""8. What FastMCP itself costs: the cheapest read tool against a server that does nothing."""

from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.connection import Served, connected, environment, serving
from benchmarks.desk import Desk, Steps
from benchmarks.report import Result, milliseconds, sampled

_ROUNDS, _CALLS = 10, 30
_BARE = Path(__file__).with_name("bare_server.py")


async def measure(desk: Desk, steps: Steps) -> list[Result]:
    """Rounds of calls to each in turn, nothing else going on."""
    rounds = desk.repeats(_ROUNDS)
    steps.expect(rounds)
    home = desk.home("bare-call")
    seconds: dict[str, list[float]] = {"nothing": [], "job_list": [], "system_status": []}
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving(home))
        bare = await stack.enter_async_context(connected([str(_BARE)], environment(home)))
        await served.warm()
        turns: list[tuple[Served, str]] = [(bare, "nothing"), (served, "job_list"), (served, "system_status")]
        for server, tool in turns:
            await server.call(tool)
        for number in range(rounds):
            for server, tool in turns[:: -1 if number % 2 else 1]:
                for _ in range(_CALLS):
                    seconds[tool].append((await server.timed(tool))[0])
            steps.done()
    samples = {tool: milliseconds(values) for tool, values in seconds.items()}
    differences = [
        ours - bare for ours, bare in zip(samples["system_status"], samples["nothing"], strict=True)
    ]
    figures = (
        sampled("bare FastMCP server, a tool that does nothing", samples["nothing"], "ms"),
        sampled("job_list, nothing stored", samples["job_list"], "ms"),
        sampled("system_status", samples["system_status"], "ms"),
        sampled("system_status, more than the bare call", differences, "ms"),
    )
    return [Result("bare call", "one call at a time over stdio, idle", figures)]
