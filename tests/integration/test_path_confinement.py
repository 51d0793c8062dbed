"""No text given to a tool, and no link in the home folder, reaches a file outside of it."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastmcp import Client

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.composition import Application
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.server.assembly import build_server
from jesse_mcp.settings import Settings
from mcp_desk import EXCHANGE, strategy
from text_arguments import Place, paths_as_names, placed, places
from tool_calls import REQUIRED

SENTINEL = "sentinel-4f81d0"
#: An exchange as it is written in a candle file outside, in the folder `bait`, and a price there.
EXCHANGE_OUTSIDE, PRICE_OUTSIDE = "BAIt", 7.125
#: What a tool needs before it looks at the name under test. Nothing is stored, so nothing is computed.
PLAUSIBLE: dict[str, Any] = {
    "exchange": EXCHANGE,
    "symbol": "BTC-USDT",
    "symbol_x": "BTC-USDT",
    "symbol_y": "ETH-USDT",
    "symbols": ["BTC-USDT"],
    "strategy": "TrendFollowing",
    "start_date": "2024-01-03",
    "end_date": "2024-01-05",
    "timeframe": "1h",
    "name": "Nobody",
    "code": strategy("Nobody"),
    "session_id": "nobody",
    "job_id": "job_none",
    "run_id": "run_none",
    "run_ids": ["run_none", "run_other"],
    "method": "trades_shuffle",
    "updates": {"notes": "x"},
    # Not live: no exchange is asked.
    "feed": "replay",
    "replay_start": "2024-01-03",
    "replay_end": "2024-01-05",
}
#: Of what is given inside of another argument, what else it needs.
INSIDE: dict[str, dict[str, Any]] = {
    "market": {name: PLAUSIBLE[name] for name in ("exchange", "symbols", "start_date", "end_date")},
    "universe": {name: PLAUSIBLE[name] for name in ("exchange", "symbols")},
    "routes": {name: PLAUSIBLE[name] for name in ("strategy", "symbol", "timeframe")},
    "data_routes": {name: PLAUSIBLE[name] for name in ("symbol", "timeframe")},
}
#: Beside these the market would come from the store, and the place under test would be refused unseen.
INSTEAD = {"path": ("start_date", "end_date"), "listed": ("symbol", "start_date", "end_date")}


class Watch:
    """What this process opens, lists, makes or removes below a folder. Hooks of Python stay for good."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or not event.startswith(("open", "os.", "shutil.")):
            return
        for one in arguments:
            path = (
                os.fsdecode(one)
                if isinstance(one, str | bytes)
                else str(one)
                if hasattr(one, "__fspath__")
                else ""
            )
            if path and "\0" not in path and os.path.realpath(path).startswith(self.folder):
                self.seen.append(f"{event} {path}")


@pytest.fixture(scope="session")
def watch() -> Watch:
    return Watch()


@dataclass
class Bench:
    """A server in this process, in a folder beside which bait lies."""

    folder: Path
    portal: BlockingPortal
    client: "Client[Any]"

    @property
    def outside(self) -> Path:
        return self.folder / "outside"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        async def ask() -> Any:
            return await self.client.call_tool(tool, arguments, raise_on_error=False)

        content: dict[str, Any] = self.portal.call(ask).structured_content
        return content


@pytest.fixture(scope="module")
def bench(engine_python: Path, tmp_path_factory: pytest.TempPathFactory, watch: Watch) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("confined")
    lay_bait(folder / "outside")
    settings = Settings(
        home=folder / "home", cache=folder / "cache", jesse_python=engine_python, prewarm=False, workers=1
    )
    with start_blocking_portal() as portal:
        server = build_server(Application(settings))
        with portal.wrap_async_context_manager(Client(server)) as client:
            watch.folder = str(folder / "outside")
            try:
                yield Bench(folder, portal, client)
            finally:
                watch.folder = None


def lay_bait(outside: Path) -> None:
    """What somebody who got out of the home folder would find, as a strategy, as candles, as anything."""
    bait = outside / "Bait"
    bait.mkdir(parents=True)
    (bait / "__init__.py").write_text(strategy("Bait", f"'{SENTINEL}'"))
    (bait / "secret.json").write_text(json.dumps({"secret": SENTINEL}))
    (outside / "Bait.json").write_text(SENTINEL)
    (outside / "credentials").write_text(SENTINEL)
    rows = np.array([[1_704_067_200_000, *[PRICE_OUTSIDE] * 4, 1.0]])
    ParquetCandleStore(outside).write(SeriesKey(exchange=EXCHANGE_OUTSIDE, symbol="BTC-USDT"), rows, SENTINEL)


def shape(folder: Path) -> dict[str, tuple[int, int, bytes | None]]:
    """Everything below a folder: mode, time of change, content."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


def beside(bench: Bench) -> set[str]:
    return {entry.name for entry in bench.folder.iterdir()}


def base(schema: dict[str, Any], place: Place) -> dict[str, Any]:
    """Arguments among which only the one at ``place`` is at fault."""
    known = schema["properties"].keys() & PLAUSIBLE.keys()
    top = str(place[0])
    chosen = {name: PLAUSIBLE[name] for name in known if name not in INSTEAD.get(top, ())}
    if "market" in schema["properties"]:
        # One source: that under test, or a run.
        source = top if top in {"market", "session_id", "run_ids", "prices"} else "run_id"
        chosen = {name: value for name, value in chosen.items() if name == source or name not in _SOURCES}
    if "symbols" in chosen and "symbol" in chosen:
        del chosen["symbol" if top == "symbols" else "symbols"]
    if top in INSIDE:
        inner = dict(INSIDE[top])
        chosen[top] = [inner] if isinstance(place[1], int) else inner
    if top in {"routes"}:
        for name in ("strategy", "symbol", "timeframe"):
            chosen.pop(name, None)
    if "wait_seconds" in schema["properties"]:
        chosen["wait_seconds"] = 0
    return chosen


_SOURCES = {"run_id", "run_ids", "session_id"}


@pytest.mark.parametrize("tool", REQUIRED)
def test_no_text_of_any_argument_is_a_way_out(
    bench: Bench, watch: Watch, tool: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    schema = next(one for one in bench.portal.call(bench.client.list_tools) if one.name == tool).input_schema
    around, before = beside(bench) | {"home", "cache"}, shape(bench.outside)
    watch.seen.clear()
    for place in dict.fromkeys(places(schema, schema)):
        for text in paths_as_names(bench.outside):
            arguments = placed(base(schema, place), place, text)
            answer = json.dumps(bench.call(tool, arguments))
            found = [one for one in (SENTINEL, EXCHANGE_OUTSIDE, str(PRICE_OUTSIDE)) if one in answer]
            assert not found, (place, text)
            assert "internal_error" not in answer, (place, text, answer)
    looked = {seen.split()[0] for seen in watch.seen}
    # A folder of candle files may be anywhere; that there are none in it is found by listing it.
    assert looked <= ({"os.listdir", "os.scandir"} if tool == "candles_import" else set()), watch.seen
    assert shape(bench.outside) == before
    assert beside(bench) <= around
    assert SENTINEL not in caplog.text
