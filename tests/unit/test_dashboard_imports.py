"""What Jesse says of an import, in our words; the texts are those that a real Jesse 3.5.3 left behind."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from jesse_mcp.adapters.dashboard.candles import DashboardCandleStore
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.import_failures import import_failure
from jesse_mcp.adapters.dashboard.imports import DashboardImporter
from jesse_mcp.domain.candles import SeriesKey, SeriesSummary
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.series_import import ImportOrder

MINUTE = 60_000
START = 1_704_067_200_000
_POOL = (
    "HTTPSConnectionPool(host='api.binance.com', port=443): Max retries exceeded with url: "
    "/api/v3/klines?interval=1m&symbol=ETHUSDT "
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('ProviderRequestError: b\'{"code": -1121, "msg": "Invalid symbol."}\'', ErrorCode.SYMBOL_UNKNOWN),
        ("ProviderSymbolNotFoundError: ERROR 404 Not Found. Check the symbol", ErrorCode.SYMBOL_UNKNOWN),
        ("ValueError: Unknown symbol NOPE-USDT", ErrorCode.SYMBOL_UNKNOWN),
        (
            "ProviderRateLimitError: ERROR 429 Too Many Requests: the request rate limit for this IP address "
            "was reached. The exchange asks to wait 7 seconds. Reduce how often this IP calls the exchange",
            ErrorCode.RATE_LIMITED,
        ),
        (
            "ProviderUnavailableError: ERROR 418 I'm a Teapot: the exchange has temporarily banned this IP",
            ErrorCode.RATE_LIMITED,
        ),
        ("ProviderUnavailableError: ERROR 451 Unavailable For Legal Reasons", ErrorCode.EXCHANGE_BLOCKED),
        ("ProviderUnavailableError: ERROR 403 Forbidden", ErrorCode.EXCHANGE_BLOCKED),
        (
            f"RetryError: {_POOL}(Caused by ResponseError('too many 500 error responses'))",
            ErrorCode.EXCHANGE_UNAVAILABLE,
        ),
        (
            "ProviderUnavailableError: ERROR: 502 Bad Gateway. Please try again later",
            ErrorCode.EXCHANGE_UNAVAILABLE,
        ),
        (
            f"ProviderUnavailableError: {_POOL}(Caused by ProxyError('Unable to connect to proxy', "
            "RemoteDisconnected('Remote end closed connection without response')))",
            ErrorCode.EXCHANGE_UNREACHABLE,
        ),
        (
            "ChunkedEncodingError: ('Connection broken: IncompleteRead(61051 bytes read, 61052 more "
            "expected)', IncompleteRead(61051 bytes read, 61052 more expected))",
            ErrorCode.EXCHANGE_UNREACHABLE,
        ),
        (
            "ProviderSchemaError: Expecting value: line 1 column 1 (char 0)",
            ErrorCode.EXCHANGE_ANSWER_INVALID,
        ),
        (
            "HistoricalCandleValidationError: open and close must be within low and high",
            ErrorCode.EXCHANGE_ANSWER_INVALID,
        ),
        (
            "CandleNotFoundInExchange: No observed candles were returned for BTC-USDT on Binance Spot",
            ErrorCode.CANDLES_MISSING,
        ),
        (
            "ValueError: Nowhere is not a supported historical provider. Supported providers are: []",
            ErrorCode.CAPABILITY_MISSING,
        ),
        (
            "ValueError: Today's date is not accepted. start_date must represent a date BEFORE today.",
            ErrorCode.INVALID_ARGUMENT,
        ),
        ("OperationalError: server closed the connection unexpectedly", ErrorCode.JESSE_DATABASE),
        ("ZeroDivisionError: division by zero", ErrorCode.JESSE_FAILED),
    ],
)
def test_a_line_of_text_becomes_a_code(text: str, code: ErrorCode) -> None:
    error = import_failure("BTC-USDT on Binance Spot", text, "Traceback ...")
    assert error.code is code
    assert error.message == f"BTC-USDT on Binance Spot: {text}"
    assert error.hint
    assert ("traceback" in error.details) is (code is ErrorCode.JESSE_FAILED)
    assert error.details.get("retry_after_seconds") == (7.0 if "7 seconds" in text else None)


class SaysSo:
    """A client to whom everything is said in turn."""

    def __init__(self, statuses: list[dict[str, Any]], active: bool = True) -> None:
        self._statuses = iter(statuses)
        self._active = active
        self.posted: list[tuple[str, dict[str, Any]]] = []

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.posted.append((path, body))
        return {}

    def read(self, path: str, _body: dict[str, Any] | None = None) -> dict[str, Any]:
        if path == "/candles/import-status":
            return next(self._statuses)
        return {"data": [self.posted[0][1]["id"]] if self._active else []}


class Holds:
    """A store whose series is as given before and after."""

    def __init__(self, *summaries: SeriesSummary | None) -> None:
        self._summaries: Iterator[SeriesSummary | None] = iter(summaries)
        self.forgotten = 0
        self.learnt: list[tuple[int, int]] = []

    def summary(self, _key: SeriesKey) -> SeriesSummary | None:
        return next(self._summaries)

    def forget(self, _key: SeriesKey) -> None:
        self.forgotten += 1

    def note_answer(self, _key: SeriesKey, start_ms: int, end_ms: int) -> None:
        self.learnt.append((start_ms, end_ms))


def held(first: str, last: str, rows: int) -> SeriesSummary:
    return SeriesSummary(
        exchange="Binance Spot",
        symbol="BTC-USDT",
        first=first,
        last=last,
        rows=rows,
        missing=0,
        gap_count=0,
        missing_by_kind={},
        content_hash="0",
        source="Jesse",
    )


def finished(start_ms: int, end_ms: int) -> dict[str, Any]:
    result = {"actual_start_timestamp": start_ms, "actual_end_timestamp": end_ms}
    return {"status": "finished", "result": result}


async def imported(client: SaysSo, store: Holds, exchange: str = "Binance Spot") -> int:
    importer = DashboardImporter(
        cast(DashboardClient, client), cast(DashboardCandleStore, store), poll_seconds=0.001
    )
    order = ImportOrder(exchange, ("BTC-USDT",), START, START + 10 * MINUTE, to_now=True)
    return await importer.fetch(order, "BTC-USDT", lambda _progress: None)


async def test_what_is_new_is_counted_and_the_exchange_known_to_be_asked() -> None:
    store = Holds(
        held("2024-01-01T00:03Z", "2024-01-01T00:05Z", 3), held("2024-01-01T00:01Z", "2024-01-01T00:09Z", 8)
    )
    client = SaysSo([{"status": "running"}, finished(START + MINUTE, START + 9 * MINUTE)])
    assert await imported(client, store) == 5
    assert store.learnt == [(START, START + 3 * MINUTE), (START + 6 * MINUTE, START + 10 * MINUTE)]
    assert store.forgotten == 1


async def test_nothing_follows_from_silence_about_minutes_an_exchange_no_longer_keeps() -> None:
    store = Holds(None, held("2024-01-01T00:05Z", "2024-01-01T00:09Z", 5))
    client = SaysSo([finished(START + 5 * MINUTE, START + 9 * MINUTE)])
    assert await imported(client, store, "Kraken Pro Spot") == 5
    assert store.learnt == [(START + 5 * MINUTE, START + 10 * MINUTE)]


async def test_nothing_follows_from_such_silence_after_what_was_there_either() -> None:
    """Candles up to minute 2 were there; of the next ones the exchange keeps none."""
    store = Holds(
        held("2024-01-01T00:00Z", "2024-01-01T00:02Z", 3), held("2024-01-01T00:00Z", "2024-01-01T00:09Z", 5)
    )
    client = SaysSo([finished(START, START + 9 * MINUTE)])
    assert await imported(client, store, "Kraken Pro Spot") == 2
    assert store.learnt == []


@pytest.mark.parametrize(
    ("said", "found", "words"),
    [
        ({"status": "finished"}, None, "does not know what became"),
        (finished(START, START + 9 * MINUTE), None, "but has nothing"),
        (
            finished(START, START + 9 * MINUTE),
            held("2024-01-01T00:00Z", "2024-01-01T00:08Z", 9),
            "but has 2024-01-01T00:00Z to 2024-01-01T00:08Z",
        ),
        ({"status": "something new"}, None, "does not know what became"),
    ],
)
async def test_success_is_what_the_database_holds(
    said: dict[str, Any], found: SeriesSummary | None, words: str
) -> None:
    store = Holds(None, found)
    with pytest.raises(ResearchError, match=words) as caught:
        await imported(SaysSo([said]), store)
    assert caught.value.code is ErrorCode.JESSE_FAILED
    assert store.forgotten == 1, "whatever it was, candles may have come"


async def test_a_stop_waits_for_the_start_it_is_to_stop() -> None:
    """A cancellation that reached Jesse before the import would stop nothing."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(SaysSo):
        def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
            if path == "/candles/import":
                loop.call_soon_threadsafe(begun.set)
                asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)
            return super().post(path, body)

    client = Slow([])
    task = asyncio.create_task(imported(client, Holds(None)))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [path for path, _ in client.posted] == ["/candles/import", "/candles/cancel-import"]
