"""Where the server's own time goes: ``./dev run python benchmarks/profile_server.py [--cached] [--lines N]``.

The server runs inside this process and is called through memory. Work that it hands to threads is done in
the event loop's own thread instead, because the profiler sees one thread only; so the profile is of work,
not of waiting.
"""

import argparse
import asyncio
import cProfile
import pstats
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any


class _Inline(ThreadPoolExecutor):
    """Does everything at once, where it is asked for."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            future.set_exception(error)
        return future


async def _profile(folder: Path, calls: int, *, cached: bool) -> cProfile.Profile:
    from benchmarks import market
    from fastmcp import Client

    from jesse_mcp.composition import Application
    from jesse_mcp.server.assembly import build_server
    from jesse_mcp.settings import Settings

    market.stock(folder / "candles")
    application = Application(Settings().model_copy(update={"home": folder}))
    asyncio.get_running_loop().set_default_executor(_Inline())
    profile = cProfile.Profile()
    # Short, so that it is the server that is looked at.
    arguments = market.call(fast_mode=True)
    async with Client(build_server(application)) as client:
        for _ in range(2):
            await client.call_tool("backtest", arguments)
        profile.enable()
        for _ in range(calls):
            await client.call_tool("backtest", {**arguments, "use_cache": cached})
        profile.disable()
    return profile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cached", action="store_true", help="the repeated call, answered from the store")
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--lines", type=int, default=60)
    parser.add_argument("--sort", default="cumulative")
    chosen = parser.parse_args()
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory(prefix="jesse-mcp-profile-") as folder:
        profile = asyncio.run(_profile(Path(folder), chosen.calls, cached=chosen.cached))
    print(f"{chosen.calls} calls")
    pstats.Stats(profile).sort_stats(chosen.sort).print_stats(chosen.lines)


if __name__ == "__main__":
    main()
