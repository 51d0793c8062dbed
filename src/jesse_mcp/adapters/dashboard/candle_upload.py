"""Our candles into Jesse's database, under the exchange they are wanted for."""

import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress

import httpx2
import numpy as np

from jesse_mcp.adapters.dashboard.candle_export import exported
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.domain.candles import TIMESTAMP, CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError

#: The exchange name under which Jesse takes candles from a file.
CUSTOM_DATA = "Custom Data"
#: Jesse reads a file twice before it answers: pieces of this many rows stay far below the time limit.
ROWS_PER_FILE = 50_000
#: Seconds for a copy, which is one statement per 100 000 rows.
COPY_PATIENCE = 900.0
_ABANDONED_SECONDS = 86_400
_STAGING = "JESSEMCP"
_STAGED = re.compile(rf"{_STAGING}\.(\d{{10}})\.[0-9A-F]{{8}}-USDT")
_HEADER = "timestamp,open,close,high,low,volume\n"


def upload_candles(
    client: DashboardClient,
    key: SeriesKey,
    candles: CandleArray,
    progress: Callable[[float], None] = lambda _fraction: None,
) -> int:
    """Make a new series of Jesse's out of ours.

    The candles go through a series of our own on ``Custom Data``, which Jesse then renames; a series the
    user has is neither changed nor added to. Jesse keeps prices as float4: read them back to know them.
    What is half done when this fails is removed again.

    Args:
        client: where Jesse is.
        key: the series to make; the exchange is one that Jesse can backtest.
        candles: shape (n, 6), sorted and unique, n > 0.
        progress: told the fraction done; an exception it raises ends the upload.

    Returns:
        The number of candles that Jesse has stored.

    Raises:
        ResearchError: ``invalid_argument`` when the series exists, ``candles_invalid``, and what
            :meth:`DashboardClient.call` raises.
    """
    if len(candles) == 0:
        raise ResearchError(ErrorCode.CANDLES_INVALID, f"there are no candles of {key} to upload")
    existing = existing_series(client)
    if key in existing:
        raise _exists(key)
    _remove_abandoned(client, existing)
    staging = SeriesKey(exchange=CUSTOM_DATA, symbol=_staging_symbol())
    try:
        for start in range(0, len(candles), ROWS_PER_FILE):
            _store(client, staging.symbol, candles[start : start + ROWS_PER_FILE])
            progress(min(0.9, 0.9 * (start + ROWS_PER_FILE) / len(candles)))
        copied = _renamed(client, staging, key, candles)
    except BaseException:
        with suppress(ResearchError):
            delete_series(client, staging)
        raise
    # Jesse remembers for an hour what it once read of a series of this name.
    client.post("/candles/clear-cache", {})
    progress(1.0)
    return copied


def existing_series(client: DashboardClient) -> set[SeriesKey]:
    """Every series in Jesse's database. Raises as :meth:`DashboardClient.call`."""
    rows = client.read("/candles/existing")["data"]
    return {SeriesKey(exchange=row["exchange"], symbol=row["symbol"]) for row in rows}


def is_staging(key: SeriesKey) -> bool:
    """Whether this is an upload under way, or one that was abandoned: nothing to show to a user."""
    return key.exchange == CUSTOM_DATA and _STAGED.fullmatch(key.symbol) is not None


def delete_series(client: DashboardClient, key: SeriesKey) -> int:
    """Remove a series of Jesse's; the number of rows removed. Raises as :meth:`DashboardClient.call`."""
    answer = client.post("/candles/delete", {"exchange": key.exchange, "symbol": key.symbol})
    client.post("/candles/clear-cache", {})
    return int(answer["deleted_count"])


def _store(client: DashboardClient, symbol: str, rows: CandleArray) -> None:
    lines = [
        f"{int(row[0])},{row[1]!r},{row[2]!r},{row[3]!r},{row[4]!r},{row[5]!r}\n" for row in rows.tolist()
    ]
    content = (_HEADER + "".join(lines)).encode()
    fields = {"symbol": symbol, "timestamp_format": "unix_ms"}
    try:
        client.upload("/candles/custom/import", fields, "candles.csv", content)
    except ResearchError as error:
        if error.code is not ErrorCode.JESSE_REJECTED:
            raise
        raise ResearchError(
            ErrorCode.CANDLES_INVALID,
            error.message,
            hint="Jesse wants whole minutes, prices above zero, and open and close within low and high",
            details=error.details,
        ) from error


def _renamed(client: DashboardClient, staging: SeriesKey, key: SeriesKey, candles: CandleArray) -> int:
    request = {
        "exchange": staging.exchange,
        "symbol": staging.symbol,
        "target_exchange": key.exchange,
        "target_symbol": key.symbol,
        "delete_source": True,
    }
    try:
        copied = int(client.post("/candles/copy", request, patience=COPY_PATIENCE)["copied_count"])
    except ResearchError as error:
        status = error.details.get("status")
        if status == httpx2.codes.CONFLICT:
            raise _exists(key) from error
        if status != httpx2.codes.UNPROCESSABLE_CONTENT:
            with suppress(ResearchError):
                _remove_half(client, key, candles)
        raise
    if copied != len(candles):
        _remove_half(client, key, candles)
        raise ResearchError(
            ErrorCode.JESSE_FAILED,
            f"Jesse stored {copied} of {len(candles)} candles of {key}",
            hint="they were removed again: try once more",
        )
    return copied


def _remove_half(client: DashboardClient, key: SeriesKey, candles: CandleArray) -> None:
    """Delete the beginning of a copy, if that is what is there and not what somebody else has put there."""
    stored = exported(client, key)
    ours = candles[: len(stored)]
    same = len(stored) == len(ours) and np.array_equal(stored[:, TIMESTAMP], ours[:, TIMESTAMP])
    if len(stored) and same and np.array_equal(stored.astype(np.float32), ours.astype(np.float32)):
        delete_series(client, key)


def _staging_symbol() -> str:
    return f"{_STAGING}.{int(time.time()):010d}.{secrets.token_hex(4).upper()}-USDT"


def _remove_abandoned(client: DashboardClient, existing: set[SeriesKey]) -> None:
    """What an upload left whose process was killed; a young one may still be at work."""
    for key in existing:
        match = _STAGED.fullmatch(key.symbol) if is_staging(key) else None
        if match is not None and time.time() - int(match[1]) > _ABANDONED_SECONDS:
            delete_series(client, key)


def _exists(key: SeriesKey) -> ResearchError:
    return ResearchError(
        ErrorCode.INVALID_ARGUMENT,
        f"Jesse holds candles of {key} already",
        hint=f"run on those, or upload as {key.symbol} on {CUSTOM_DATA!r}, or delete the series first",
        details={"exchange": key.exchange, "symbol": key.symbol},
    )
