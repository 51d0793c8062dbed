"""Servers that share records on PostgreSQL: how they are started, asked while others die, and looked at."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
from sqlalchemy import text

from faulty_service import HEADERS, FaultyService, alive, called, faulty_service
from jesse_mcp.adapters.storage.database import Database
from mcp_desk import SERIES, Desk, candle_file, environment, strategy, wait_until

#: By name, what strategies do at every candle; six days of hours are 144. ``Slow`` is not at its end before
#: somebody ends it, ``Short`` takes 7 s until it is told to :func:`hurry`.
STRATEGIES = {
    "Fast": "pass",
    "Short": "import os, time; os.path.exists({hurry!r}) or time.sleep(0.05)",
    "Slow": "import time; time.sleep(1)",
}
_HURRY = "hurry"


def surroundings(folder: Path, engine_python: Path, database: str, **more: str) -> dict[str, str]:
    """Of one of several servers, whose records are in ``database``."""
    shared = {"JESSE_MCP_DATABASE_URL": database, "JESSE_MCP_STATELESS": "true"}
    return environment(folder, engine_python, **shared, **more)


def furnish(desk: Desk, folder: Path) -> None:
    """Candles and strategies, which are in a home folder and not in the records."""
    desk.call("candles_import", **SERIES, path=str(candle_file(folder / "btc.csv")))
    for name, act in STRATEGIES.items():
        code = strategy(name, act.format(hurry=str(folder / _HURRY)))
        desk.call("strategy_write", name=name, code=code)


def hurry(folder: Path) -> None:
    """Tell runs of ``Short`` in the home folder that was furnished from ``folder``."""
    (folder / _HURRY).touch()


@contextmanager
def two_instances(
    folder: Path, engine_python: Path, database: str, **more: str
) -> Iterator[tuple[FaultyService, FaultyService]]:
    """Two servers with one home folder, which has candles and strategies."""
    given = surroundings(folder, engine_python, database, **more)
    with faulty_service(given, folder) as one, faulty_service(given, folder) as other:
        if not one.desk.call("candles_available")["series"]:
            furnish(one.desk, folder)
        yield one, other


def kill(service: FaultyService) -> None:
    """Only the server; what it had started has to notice."""
    below = service.below
    service.process.kill()
    service.process.wait()
    wait_until(lambda: not any(map(alive, below)), "no orphan being left")


def kill_all(service: FaultyService) -> None:
    """The server with everything it had started, as when its machine dies."""
    for process in (psutil.Process(service.process.pid), *service.below):
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    service.process.wait()


@dataclass
class NoAnswerError(Exception):
    """What a client gets instead of an answer."""

    reason: str


def ask(url: str, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """The answer or the error of a server without sessions.

    Raises:
        NoAnswerError: there was none.
    """
    try:
        answer = httpx2.post(url, content=called(tool, **arguments), headers=HEADERS, timeout=120)
    except httpx2.TransportError as error:
        raise NoAnswerError(type(error).__name__) from error
    if answer.status_code != 200:
        raise NoAnswerError(f"HTTP {answer.status_code}")
    for line in answer.text.splitlines():
        if line.startswith("data:"):
            message = json.loads(line.removeprefix("data:"))
            if "result" in message:
                content: dict[str, Any] = message["result"]["structuredContent"]
                return content
    raise NoAnswerError("the stream ended")


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def nothing_twice(database: Database) -> None:
    """No experiment is stored or counted twice."""
    for table in ("runs", "trials"):
        twice = f"SELECT fingerprint FROM {table} GROUP BY fingerprint HAVING count(*) > 1"  # noqa: S608
        assert rows(database, twice) == []
