"""MCP clients in a process of their own, told what to do by ``load.py``.

Orders come as lines of JSON on standard input, each is answered by a line of JSON when it is done. The first
line says who the clients are (:class:`Plan`); tokens are in it, and so in no command line.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from mcp.shared.exceptions import MCPError

#: Protocols that are in use: one with sessions and an initial handshake, and the one without.
ERAS = ("legacy", "auto")
#: Calls after which a client closes its connection and opens a new one, on average.
_CALLS_A_CONNECTION = 50
_CONNECTING_AT_ONCE = 10
_LONGEST_CALL = 180.0
_AFTER_REFUSAL = 1.0
_ACTIVE = ("queued", "running")
_TOO_MANY = 429
_ATTEMPTS = 10
_FAILURES = (MCPError, RuntimeError, httpx2.HTTPError, TimeoutError)
BARE: tuple[str, str, dict[str, Any]] = ("bare", "nothing", {})


@dataclass(frozen=True)
class Plan:
    """Who the clients of a process are.

    Args:
        urls: of the servers, by name.
        tokens: one for each client.
        pause: mean seconds between the calls of a client.
        mix: arguments of :class:`~benchmarks.load_calls.Mix`, the seed aside.
        trivial: tool and arguments that are compared with the bare server's.
    """

    urls: dict[str, str]
    tokens: list[str]
    pause: float
    seed: int
    mix: dict[str, Any]
    trivial: tuple[str, dict[str, Any]]


class Agent:
    """One client, connected to all servers."""

    def __init__(self, plan: Plan, number: int) -> None:
        from benchmarks.load_calls import Mix

        self.era = ERAS[number % len(ERAS)]
        self._plan = plan
        self._token = plan.tokens[number]
        self._random = random.Random(plan.seed + number)  # noqa: S311 - no secret
        self._mix = Mix(**plan.mix, seed=plan.seed + number)
        self._refused = 0
        self._clients: dict[str, tuple[AsyncExitStack, Client[Any]]] = {}
        self._broken: set[str] = set()
        self.failures: Counter[str] = Counter()
        self.connections = 0

    async def connect(self, server: str) -> None:
        """Raises: whatever the last of several attempts failed with."""
        for attempt in range(1, _ATTEMPTS + 1):
            stack, self._refused = AsyncExitStack(), 0
            transport = StreamableHttpTransport(
                self._plan.urls[server], auth=self._token, httpx_client_factory=self._http
            )
            try:
                client = await stack.enter_async_context(Client(transport, mode=self.era))
            except _FAILURES as error:
                self.failures[self._code(error)] += 1
                if attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(_AFTER_REFUSAL)
            else:
                self.connections += 1
                self._clients[server] = stack, client
                return

    async def disconnect(self, server: str) -> None:
        """A connection that has failed says so again when it is closed; that is counted already."""
        stack, _ = self._clients.pop(server)
        try:
            await stack.aclose()
        except _FAILURES as error:
            if server not in self._broken:
                self.failures[self._code(error)] += 1
        self._broken.discard(server)

    async def close(self) -> None:
        for server in list(self._clients):
            await self.disconnect(server)

    async def timed(self, server: str, tool: str, arguments: dict[str, Any]) -> tuple[float, str]:
        """Seconds, and ``ok`` or what went wrong; a job is waited for."""
        self._refused = 0
        started = time.perf_counter()
        try:
            async with asyncio.timeout(_LONGEST_CALL):
                outcome = await self._call(server, tool, arguments)
        except _FAILURES as error:
            outcome = self._code(error)
            if self._refused != _TOO_MANY:
                self._broken.add(server)
        return time.perf_counter() - started, outcome

    def _code(self, error: Exception) -> str:
        return f"http_{self._refused}" if self._refused else type(error).__name__

    async def _call(self, server: str, tool: str, arguments: dict[str, Any]) -> str:
        _, client = self._clients[server]
        while True:
            answer = await client.call_tool(tool, arguments, raise_on_error=False)
            content = answer.structured_content or {}
            if answer.is_error:
                return str(content.get("error", {}).get("code", "unknown"))
            if (
                tool == "job_get"
                and "wait_seconds" in arguments
                and content["state"] not in (*_ACTIVE, "done")
            ):
                return str((content.get("error") or {}).get("code", content["state"]))
            if content.get("state") not in _ACTIVE:
                return "ok"
            tool, arguments = "job_get", {"job_id": content["job_id"], "wait_seconds": 45}

    async def load(self, until: float) -> list[list[Any]]:
        """Calls of the mix: kind, tool, seconds, outcome."""
        records = []
        while await self._paused(until):
            asked = self._mix.draw()
            seconds, outcome = await self.timed("ours", asked.tool, asked.arguments)
            records.append([asked.kind, asked.tool, seconds, outcome])
            await self._after(outcome)
        return records

    async def pairs(self, until: float) -> list[list[Any]]:
        """The trivial call of either server, in turn first: seconds of ours and of the bare one, outcomes."""
        records = []
        calls = {"ours": ("ours", *self._plan.trivial), "bare": BARE}
        while await self._paused(until):
            order = ["ours", "bare"] if self._random.random() < 0.5 else ["bare", "ours"]
            found = {name: await self.timed(*calls[name]) for name in order}
            records.append([found["ours"][0], found["bare"][0], found["ours"][1], found["bare"][1]])
            for name in tuple(self._broken):
                await self._again(name)
        return records

    async def _paused(self, until: float) -> bool:
        """Wait as long as somebody thinks; whether there is time for another call."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(
            min(self._random.expovariate(1 / self._plan.pause), max(0.0, until - loop.time()))
        )
        return loop.time() < until

    async def _after(self, outcome: str) -> None:
        """Now and then a new connection; after a refusal a moment's rest."""
        if outcome in (f"http_{_TOO_MANY}", "rate_limited"):
            await asyncio.sleep(_AFTER_REFUSAL)
        elif "ours" in self._broken or self._random.random() < 1 / _CALLS_A_CONNECTION:
            await self._again("ours")

    async def _again(self, server: str) -> None:
        await self.disconnect(server)
        await self.connect(server)

    def _http(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
        **_: Any,
    ) -> httpx2.AsyncClient:
        """As the SDK makes it, but without certificates, which take long to read and are not needed here.

        It notes which answers were refusals: the SDK does not tell.
        """
        patience = timeout or httpx2.Timeout(30.0, read=300.0)
        client = httpx2.AsyncClient(headers=headers, timeout=patience, auth=auth, verify=False)

        async def note(response: httpx2.Response) -> None:
            if response.status_code >= 400 and response.request.method == "POST":
                self._refused = response.status_code

        client.event_hooks.setdefault("response", []).append(note)
        return client


class Crowd:
    """All clients of this process."""

    def __init__(self, plan: Plan) -> None:
        self._agents = [Agent(plan, number) for number in range(len(plan.tokens))]
        self._urls = plan.urls

    async def obey(self, order: dict[str, Any]) -> Any:
        return await getattr(self, f"do_{order.pop('do')}")(**order)

    async def do_connect(self) -> None:
        free = asyncio.Semaphore(_CONNECTING_AT_ONCE)

        async def one(agent: Agent) -> None:
            async with free:
                for server in self._urls:
                    await agent.connect(server)

        await asyncio.gather(*map(one, self._agents))

    async def do_disconnect(self) -> dict[str, Any]:
        """How many connections there were, and what failed when they were opened and closed."""
        await asyncio.gather(*(agent.close() for agent in self._agents))
        failures = sum((agent.failures for agent in self._agents), Counter())
        return {"connections": sum(agent.connections for agent in self._agents), "failures": failures}

    async def do_load(self, seconds: float) -> list[Any]:
        return await self._all(lambda agent, until: agent.load(until), seconds)

    async def do_pairs(self, seconds: float) -> list[Any]:
        return await self._all(lambda agent, until: agent.pairs(until), seconds)

    async def do_block(
        self, era: str, server: str, tool: str, arguments: dict[str, Any], count: int
    ) -> dict[str, Any]:
        """So many calls of the one client of an era, one after the other."""
        (agent, *_) = [agent for agent in self._agents if agent.era == era]
        found = [await agent.timed(server, tool, arguments) for _ in range(count)]
        return {"seconds": [each[0] for each in found], "outcomes": Counter(each[1] for each in found)}

    async def _all(self, act: Callable[[Agent, float], Any], seconds: float) -> list[Any]:
        until = asyncio.get_running_loop().time() + seconds
        records = await asyncio.gather(*(act(agent, until) for agent in self._agents))
        return [record for part in records for record in part]


@asynccontextmanager
async def _orders() -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader(limit=2**24)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        yield reader
    finally:
        transport.close()


async def _serve() -> None:
    async with _orders() as lines:
        crowd = Crowd(Plan(**json.loads(await lines.readline())))
        while line := await lines.readline():
            answer = await crowd.obey(json.loads(line))
            print(json.dumps({"answer": answer}), flush=True)


def main() -> None:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    asyncio.run(_serve())


if __name__ == "__main__":
    main()
