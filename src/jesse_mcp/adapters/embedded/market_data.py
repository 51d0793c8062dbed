"""Candles from exchanges through Jesse's drivers, in a worker process of their own."""

import asyncio
import os
import time
from dataclasses import replace
from typing import Any

import numpy as np

from jesse_mcp.adapters.embedded.outcomes import crash
from jesse_mcp.adapters.embedded.pool import WorkerPool
from jesse_mcp.adapters.embedded.template_process import TemplateProcess
from jesse_mcp.adapters.embedded.worker_process import Worker
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.market_data import CandlePage, FetchSummary, PageConsumer

_SILENCE_SECONDS = 300.0
_COLUMNS = 6
# How a user tells Python's HTTP clients the way out; it may hold a password and is kept from strategies.
_NETWORK = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
)

_CODES = {
    "symbol_unknown": ErrorCode.SYMBOL_UNKNOWN,
    "rate_limited": ErrorCode.RATE_LIMITED,
    "blocked": ErrorCode.EXCHANGE_BLOCKED,
    "unavailable": ErrorCode.EXCHANGE_UNAVAILABLE,
    "unreachable": ErrorCode.EXCHANGE_UNREACHABLE,
    "answer_invalid": ErrorCode.EXCHANGE_ANSWER_INVALID,
    "too_old": ErrorCode.INVALID_ARGUMENT,
    "no_driver": ErrorCode.CAPABILITY_MISSING,
}
_HINTS = {
    "symbol_unknown": "check the symbol and its quote currency on this exchange (BASE-QUOTE)",
    "rate_limited": "wait, then call again: it goes on where it stopped; other programs here count too",
    "blocked": "the exchange refuses this address or country: use another exchange, or a proxy (HTTPS_PROXY)",
    "unavailable": "the exchange is down: call again later, it goes on where it stopped",
    "unreachable": "check the network and HTTPS_PROXY, then call again: it goes on where it stopped",
    "too_old": "this exchange serves recent candles only: start later, or import a file",
    "no_driver": "import a file with path=..., or use an exchange whose candles can be fetched",
    "answer_invalid": "nothing of the page was stored; call again, and report it if it repeats",
}


class EmbeddedMarketData:
    """Implements :class:`jesse_mcp.ports.market_data.MarketDataSource`.

    Args:
        pool: fetching waits for the network, so its workers do not count against the pool's capacity.
        retry_seconds: first pause before a page is asked for again; it doubles.
        attempts: how often a page is asked for in all.
        pace: multiplies the pause between requests that Jesse's driver prescribes.
    """

    def __init__(
        self, pool: WorkerPool, *, retry_seconds: float = 2.0, attempts: int = 5, pace: float = 1.0
    ) -> None:
        self._pool = pool
        self._retry_seconds = retry_seconds
        self._attempts = attempts
        self._pace = pace

    async def fetch(
        self, exchange: str, symbol: str, ranges: list[tuple[int, int]], consume: PageConsumer
    ) -> FetchSummary:
        """See the port."""
        request = {"kind": "candles", "exchange": exchange, "symbol": symbol, "ranges": ranges}
        async with self._pool.uncounted_worker() as (template, worker):
            await worker.send(self._completed(request))
            summary = await _pages(template, worker, consume, exchange, symbol)
            ended = time.monotonic()
        # The process has taken its time to end.
        passed = int((time.monotonic() - ended) * 1000)
        at = summary.exchange_ms
        return summary if at is None else replace(summary, exchange_ms=at + passed)

    async def symbols(self, exchange: str) -> list[str]:
        """See the port."""
        async with self._pool.uncounted_worker() as (template, worker):
            await worker.send(self._completed({"kind": "symbols", "exchange": exchange}))
            while (message := await _next(worker)) is not None:
                if message.get("event") == "result":
                    return [str(symbol) for symbol in message["symbols"]]
                if message.get("event") == "failed":
                    raise _failure(message, exchange, None)
            raise await _crash(template, worker)

    def _completed(self, request: dict[str, Any]) -> dict[str, Any]:
        names = [*_NETWORK, *(name.lower() for name in _NETWORK)]
        return {
            **request,
            "network": {name: os.environ[name] for name in names if name in os.environ},
            "retry_seconds": self._retry_seconds,
            "attempts": self._attempts,
            "pace": self._pace,
        }


async def _pages(
    template: TemplateProcess, worker: Worker, consume: PageConsumer, exchange: str, symbol: str
) -> FetchSummary:
    while (message := await _next(worker)) is not None:
        match message.get("event"):
            case "page":
                await consume(_page(message))
            case "result":
                return FetchSummary(
                    message["pages"],
                    message["listed_ms"],
                    message["seconds_waiting"],
                    message["exchange_ms"],
                )
            case "failed":
                raise _failure(message, exchange, symbol)
    raise await _crash(template, worker)


async def _next(worker: Worker) -> dict[str, Any] | None:
    try:
        async with asyncio.timeout(_SILENCE_SECONDS):
            return await worker.receive()
    except TimeoutError:
        raise ResearchError(
            ErrorCode.EXCHANGE_UNREACHABLE,
            f"the exchange has not answered for {_SILENCE_SECONDS:g} s",
            hint=_HINTS["unreachable"],
        ) from None


def _page(message: dict[str, Any]) -> CandlePage:
    rows = np.array(message["rows"], dtype=np.float64).reshape(-1, _COLUMNS)
    return CandlePage(int(message["start_ms"]), int(message["end_ms"]), rows)


def _failure(message: dict[str, Any], exchange: str, symbol: str | None) -> ResearchError:
    kind = message["kind"]
    what = exchange if symbol is None else f"{symbol} on {exchange}"
    details: dict[str, object] = {"exchange": exchange, "symbol": symbol}
    if message["retry_after"] is not None:
        details["retry_after_seconds"] = message["retry_after"]
    hint = _HINTS[kind]
    if "NameResolution" in message["message"] or "getaddrinfo" in message["message"]:
        hint = "the exchange's host name could not be resolved: check DNS and the network, then call again"
    return ResearchError(_CODES[kind], f"{what}: {message['message']}", hint=hint, details=details)


async def _crash(template: TemplateProcess, worker: Worker) -> ResearchError:
    ended = await template.settle(worker)
    return crash(ended, worker.log.text(), memory_mb=0)
