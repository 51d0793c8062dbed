"""The order of a campaign: alone, many, alone again; both servers in turn all the while."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks import market
from benchmarks.desk import Desk, Steps
from benchmarks.load_calls import Mix
from benchmarks.load_clients import BARE, ERAS, Plan
from benchmarks.load_processes import Clients, ServerProcess, bare_server, clients, new_tokens, our_server
from benchmarks.load_watch import Sample, Watch, watched
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

#: Seconds of a round: the mix on ours, then either server's trivial call in turn.
MIXED, PAIRED = 20.0, 10.0
_BLOCK = 10
_BLOCKS, _OTHER_BLOCKS = 60, 12
_STORED_RUNS = 3
#: One stored record by its key: about the least that a tool of ours reads.
TRIVIAL = "job_get"


@dataclass
class Alone:
    """Calls of one client, one at a time, in blocks by turns.

    Attributes:
        ours: seconds of each call of ours; ``bare`` of the neighbouring one.
        cpu: seconds of CPU of our server, ``bare_cpu`` of the bare one, in as many calls.
    """

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    cpu: float = 0.0
    bare_cpu: float = 0.0


@dataclass
class Found:
    """Everything a campaign measured, before it is summed up.

    Attributes:
        calls: kind, tool, seconds, outcome of every call of the mix.
        mixed_seconds: that they took.
        pairs: seconds of ours and of the bare server, and their outcomes.
        pair_cpu: CPU seconds of ours and of the bare server meanwhile.
        alone: by era and read.
        outcomes: of every call of the campaign, with others than those of the mix.
        stop: seconds, exit code, processes left.
    """

    calls: list[list[Any]] = field(default_factory=list)
    mixed_seconds: float = 0.0
    mixed_cpu: float = 0.0
    clients_cpu: float = 0.0
    pairs: list[list[Any]] = field(default_factory=list)
    pair_cpu: list[float] = field(default_factory=lambda: [0.0, 0.0])
    alone: dict[tuple[str, str], Alone] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    before_clients: float = 0.0
    after_clients: float = 0.0
    last: Sample | None = None
    connections: int = 0
    stop: tuple[float, int, int] = (0.0, 0, 0)


@dataclass(frozen=True)
class Size:
    """How large a campaign is."""

    clients: int
    processes: int
    minutes: float
    pause: float
    jobs: float
    per_minute: int


class Campaign:
    """One run of it.

    Args:
        desk: where.
        size: how large.
        steps: a step is a block of calls or a round's part.
    """

    def __init__(self, desk: Desk, size: Size, steps: Steps) -> None:
        self._size = size
        self._steps = steps
        self._desk = desk
        self._tokens = new_tokens(size.clients + len(ERAS))
        self.found = Found()

    async def run(self) -> Found:
        home = self._desk.home("load")
        logs = self._desk.folder
        async with AsyncExitStack() as stack:
            ours = await stack.enter_async_context(
                our_server(home, self._tokens, self._size.per_minute, logs / "ours.log")
            )
            bare = await stack.enter_async_context(bare_server(self._tokens, logs / "bare.log"))
            self._servers = {"ours": ours, "bare": bare}
            self._plan = await self._stocked(ours)
            await self._whole(ours)
            self.found.stop = await ours.stop()
        return self.found

    async def _whole(self, ours: ServerProcess) -> None:
        rounds = self._desk.repeats(_BLOCKS), self._desk.repeats(_OTHER_BLOCKS)
        reads = [name for name in self._mix().reads() if name != TRIVIAL]
        expected = len(ERAS) * (2 * rounds[0] + len(reads) * rounds[1])
        self._steps.expect(expected + round(self._size.minutes * 60))
        async with self._crowd(self._tokens[-len(ERAS) :]) as one:
            self._steps.doing("one client")
            await one.tell("connect")
            await self._alone(one, [TRIVIAL], rounds[0])
            await self._alone(one, reads, rounds[1])
            async with watched(ours.watched, ours.url) as watch:
                await self._many(watch)
            self._steps.doing("one client")
            await self._alone(one, [TRIVIAL], rounds[0])
            self.found.outcomes.update((await one.tell("disconnect"))["failures"])

    async def _many(self, watch: Watch) -> None:
        found, size = self.found, self._size
        await _next_sample(watch)
        found.before_clients = watch.samples[-1].own
        async with AsyncExitStack() as stack:
            self._steps.doing("connecting")
            parts = [self._tokens[number : size.clients : size.processes] for number in range(size.processes)]
            crowds = [await stack.enter_async_context(self._crowd(part)) for part in parts]
            await _all(crowds, "connect")
            left = size.minutes * 60
            watch.restart()
            while left > 0:
                self._steps.doing(f"{size.clients} clients")
                mixed = min(MIXED, left * MIXED / (MIXED + PAIRED)) if left < MIXED + PAIRED else MIXED
                paired = min(PAIRED, left - mixed)
                await self._mixed(crowds, mixed)
                self._steps.doing(f"{size.clients} clients, either server")
                await self._paired(crowds, paired)
                left -= mixed + paired
            found.samples = list(watch.samples)
            for ended in await _all(crowds, "disconnect"):
                found.connections += ended["connections"]
                found.outcomes.update(ended["failures"])
        await _next_sample(watch)
        found.last = watch.samples[-1]

    async def _mixed(self, crowds: list[Clients], seconds: float) -> None:
        loop, cpu = asyncio.get_running_loop(), self._servers["ours"].cpu_seconds
        started, used, theirs = loop.time(), cpu(), sum(crowd.cpu_seconds() for crowd in crowds)
        for part in await self._waited(_all(crowds, "load", seconds=seconds), seconds):
            self.found.calls += part
            self.found.outcomes.update(record[3] for record in part)
        self.found.mixed_seconds += loop.time() - started
        self.found.mixed_cpu += cpu() - used
        self.found.clients_cpu += sum(crowd.cpu_seconds() for crowd in crowds) - theirs

    async def _paired(self, crowds: list[Clients], seconds: float) -> None:
        servers = [self._servers["ours"], self._servers["bare"]]
        used = [server.cpu_seconds() for server in servers]
        for part in await self._waited(_all(crowds, "pairs", seconds=seconds), seconds):
            self.found.pairs += part
            self.found.outcomes.update(record[2] for record in part)
            self.found.outcomes.update(record[3] for record in part)
        for index, server in enumerate(servers):
            self.found.pair_cpu[index] += server.cpu_seconds() - used[index]

    async def _waited(self, work: Any, seconds: float) -> Any:
        """The outcome of ``work``; the bar moves every second meanwhile."""

        async def move() -> None:
            for _ in range(round(seconds)):
                await asyncio.sleep(1)
                self._steps.done()

        moving = asyncio.create_task(move())
        try:
            return await work
        finally:
            moving.cancel()

    async def _alone(self, one: Clients, reads: list[str], blocks: int) -> None:
        """Blocks of a read and of the bare call in turn, so that what disturbs hits both."""
        known = self._mix().reads()
        for era in ERAS:
            for read in reads:
                alone = self.found.alone.setdefault((era, read), Alone())
                for number in range(blocks):
                    turns = [("ours", *known[read]), BARE]
                    for server, tool, arguments in turns[:: -1 if number % 2 else 1]:
                        seconds, used = await self._block(one, era, server, tool, arguments)
                        if server == "ours":
                            alone.ours += seconds
                            alone.cpu += used
                        else:
                            alone.bare += seconds
                            alone.bare_cpu += used
                    self._steps.done()

    async def _block(
        self, one: Clients, era: str, server: str, tool: str, arguments: dict[str, Any]
    ) -> tuple[list[float], float]:
        process = self._servers[server]
        used = process.cpu_seconds()
        told = {"era": era, "server": server, "tool": tool, "arguments": arguments, "count": _BLOCK}
        answer = await one.tell("block", **told)
        self.found.outcomes.update(answer["outcomes"])
        return answer["seconds"], process.cpu_seconds() - used

    async def _stocked(self, ours: ServerProcess) -> Plan:
        """What the clients are about, after a few runs are stored to read."""
        self._steps.doing("storing runs")
        transport = StreamableHttpTransport(ours.url, auth=self._tokens[-1])
        async with Client(transport) as client:
            for number, hyperparameters in enumerate(market.variations(_STORED_RUNS)):
                asked = market.call(
                    end_date=market.MONTH_END, title=f"run {number}", hyperparameters=hyperparameters
                )
                await client.call_tool("backtest", asked)
            runs = (await client.call_tool("run_list", {})).structured_content or {}
            jobs = (await client.call_tool("job_list", {})).structured_content or {}
        known: dict[str, Any] = {
            "runs": [run["run_id"] for run in runs["runs"]],
            "jobs": [job["job_id"] for job in jobs["jobs"]],
            "share": self._size.jobs,
        }
        trivial = Mix(**known, seed=0).reads()[TRIVIAL]
        urls = {name: server.url for name, server in self._servers.items()}
        return Plan(urls, self._tokens, self._size.pause, 0, known, trivial)

    def _mix(self) -> Mix:
        return Mix(**self._plan.mix, seed=0)

    @asynccontextmanager
    async def _crowd(self, tokens: list[str]) -> AsyncIterator[Clients]:
        plan = Plan(**{**asdict(self._plan), "tokens": tokens, "seed": self._tokens.index(tokens[0])})
        async with clients(plan) as crowd:
            yield crowd


async def _all(crowds: list[Clients], do: str, **arguments: Any) -> list[Any]:
    return await asyncio.gather(*(crowd.tell(do, **arguments) for crowd in crowds))


async def _next_sample(watch: Watch) -> None:
    seen = len(watch.samples)
    while len(watch.samples) == seen:
        await asyncio.sleep(0.1)
