"""A server over time: memory, descriptors, and how long its event loop lets others wait."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx2
import psutil

_INTERVAL = 1.0
_MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """What a server process had at one moment.

    Attributes:
        at: seconds since the watch began.
        own: MiB resident.
        below: the same of all processes it started, in all; pages they share count for each.
        descriptors: open ones of the server.
        children: processes it started.
        lag: seconds that ``/health``, which touches nothing, took; ``None`` where there was no answer.
    """

    at: float
    own: float
    below: float
    descriptors: int
    children: int
    lag: float | None


class Watch:
    """Samples of one server."""

    def __init__(self, process: psutil.Process, health: str) -> None:
        self.samples: list[Sample] = []
        self._process = process
        self._health = health
        self._began = time.perf_counter()

    def restart(self) -> None:
        """Forget what was, and count time from now."""
        self.samples.clear()
        self._began = time.perf_counter()

    async def take(self, http: httpx2.AsyncClient) -> Sample:
        sample = Sample(
            time.perf_counter() - self._began,
            self._process.memory_info().rss / _MIB,
            *await asyncio.to_thread(self._look),
            await self._lag(http),
        )
        self.samples.append(sample)
        return sample

    def _look(self) -> tuple[float, int, int]:
        below, count = 0.0, 0
        for child in self._process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                below += child.memory_info().rss / _MIB
                count += 1
        return below, self._process.num_fds(), count

    async def _lag(self, http: httpx2.AsyncClient) -> float | None:
        started = time.perf_counter()
        try:
            (await http.get(self._health)).raise_for_status()
        except httpx2.HTTPError:
            return None
        return time.perf_counter() - started


@asynccontextmanager
async def watched(process: psutil.Process, url: str) -> AsyncIterator[Watch]:
    """A sample each second within the block."""
    watch = Watch(process, url.removesuffix("/mcp") + "/health")

    async def go_on() -> None:
        async with httpx2.AsyncClient(timeout=10.0) as http:
            while True:
                await watch.take(http)
                await asyncio.sleep(_INTERVAL)

    task = asyncio.create_task(go_on())
    try:
        yield watch
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def growth(samples: list[Sample]) -> float:
    """MiB a minute of the server itself, by least squares.

    Raises:
        ValueError: two samples at least.
    """
    if len(samples) < 2:
        raise ValueError("growth needs two samples")
    times = [sample.at / 60 for sample in samples]
    sizes = [sample.own for sample in samples]
    middle, mean = sum(times) / len(times), sum(sizes) / len(sizes)
    across = sum((at - middle) * (size - mean) for at, size in zip(times, sizes, strict=True))
    return across / sum((at - middle) ** 2 for at in times)
