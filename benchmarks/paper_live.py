"""How long after a minute's close a paper session has decided, in real time.

    ./dev run python benchmarks/paper_live.py [--minutes 10]

A server of its own is asked by an MCP client over stdio to trade a strategy on one-minute candles; the
exchange is the one of the tests, imitated on this machine, whose minutes are those of the clock. The latency
is from the close of a minute to its outcome being stored, so the grace the feed gives the exchange to publish
is in it.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SYMBOL, EXCHANGE = "BTC-USDT", "Binance Perpetual Futures"
_DAY_MS = 86_400_000
_STRATEGY = '''
from jesse.strategies import Strategy


class LivePaper(Strategy):
    """In and out every other minute."""

    def should_long(self):
        return self.index % 2 == 0

    def go_long(self):
        self.buy = 1, self.price

    def update_position(self):
        self.liquidate()
'''


def main() -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--minutes", type=int, default=10, help="to follow, in real time")
    minutes: int = options.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="paper-live-") as folder:
        report(measured(Path(folder), minutes), minutes)


def measured(folder: Path, minutes: int) -> dict[str, Any]:
    """Every minute's latency, and what the session came to."""
    from exchange_server import ExchangeServer
    from jesse_mcp.adapters.embedded.provision import install
    from jesse_mcp.analytics.synthetic import synthetic_candles
    from jesse_mcp.settings import Settings
    from mcp_desk import environment, stdio_desk

    settings = Settings()
    python = install(settings.cache, settings.jesse_python, lambda _message: None).python
    today = int(time.time() * 1000) // _DAY_MS * _DAY_MS
    candles = synthetic_candles(today - 2 * _DAY_MS, 4 * 1440, 7)
    with (
        ExchangeServer({(EXCHANGE, SYMBOL): candles}) as server,
        stdio_desk(environment(folder, python, **server.environment), folder / "log") as desk,
    ):
        desk.call("strategy_write", name="LivePaper", code=_STRATEGY)
        began = time.monotonic()
        started = desk.call(
            "paper_start",
            strategy="LivePaper",
            symbol=SYMBOL,
            timeframe="1m",
            exchange=EXCHANGE,
            warm_up_candles=60,
        )
        took = time.monotonic() - began
        name = started["session_id"]
        seen = followed(desk, name, minutes)
        metrics = desk.call("paper_get_metrics", session_id=name)
        stopped = desk.call("paper_stop", session_id=name)
        return {"started": took, "seen": seen, "metrics": metrics, "stopped": stopped}


def followed(desk: Any, name: str, minutes: int) -> dict[str, dict[str, Any]]:
    """Status after each minute, by its close."""
    seen: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + (minutes + 3) * 60
    while len(seen) <= minutes and time.monotonic() < deadline:
        status = desk.call("paper_status", session_id=name)
        if status["status"] != "running":
            raise SystemExit(f"the session is {status['status']}: {status['error']}")
        if status["traded_through"] is not None and status["feed"].get("latency_ms") is not None:
            # Once more: the latency is known a moment after the minute.
            seen[status["traded_through"]] = status
        time.sleep(0.5)
    return seen


def report(found: dict[str, Any], minutes: int) -> None:
    """To standard output."""
    whole = list(found["seen"].items())[:minutes]
    latencies = sorted(status["feed"]["latency_ms"]["last"] for _, status in whole)
    for close, status in whole:
        latency = status["feed"]["latency_ms"]["last"]
        print(f"{close}  {latency:>6} ms  equity {status['current_equity']:,.2f}")
    events = [event for _, status in whole[-1:] for event in status["events"]]
    for event in events:
        print(f"event {event['timestamp']} {event['kind']}: {event['message']}")
    print(f"{len(latencies)} of {minutes} minutes; paper_start took {found['started']:.1f} s")
    if latencies:
        middle = latencies[len(latencies) // 2]
        print(f"from close to decision: median {middle} ms, longest {latencies[-1]} ms")
    print(json.dumps({"metrics": found["metrics"]["metrics"], "final": found["stopped"]["final_metrics"]}))


if __name__ == "__main__":
    main()
