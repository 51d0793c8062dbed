"""A whole series of Jesse's, read from its CSV download as it arrives."""

import io
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError

PATH = "/candles/export"
_HEADER = b"timestamp,open,close,high,low,volume"
#: Bytes of text that are held at a time; some 60 of them are a candle.
_BLOCK = 1_048_576
#: Seconds between attempts. A download of Jesse's changes threads, and breaks off when another request comes
#: between: its database connections belong to threads.
_PAUSES = (0.1, 0.3, 1.0, 2.0)


class DashboardOrigin:
    """Implements :class:`jesse_mcp.ports.candle_store.SeriesOrigin`: a running Jesse."""

    def __init__(self, client: DashboardClient) -> None:
        self._client = client

    @property
    def name(self) -> str:
        return f"Jesse at {self._client.url}"

    def whole(self, key: SeriesKey, arrived: Callable[[int], None]) -> CandleArray:
        """See the port and :func:`exported`."""
        return exported(self._client, key, arrived)


def exported(
    client: DashboardClient, key: SeriesKey, arrived: Callable[[int], None] = lambda _rows: None
) -> CandleArray:
    """Every one-minute candle of a series, in Jesse's column order.

    The numbers are those of Jesse's database, which keeps prices and volume as float4, in their shortest
    decimal form: a run of Jesse's computes with the same.

    Args:
        client: where Jesse is.
        key: the series.
        arrived: told the number of candles so far; an exception it raises ends the download.

    Returns:
        Shape (n, 6); empty when Jesse has no such series.

    Raises:
        ResearchError: ``jesse_database`` when that is why the download broke off, ``jesse_unsupported`` for
            another table than the one of Jesse 3.5, and what :meth:`DashboardClient.stream` raises.
    """
    for pause in (*_PAUSES, None):
        try:
            return _downloaded(client, key, arrived)
        except ResearchError as error:
            if error.code is not ErrorCode.JESSE_UNREACHABLE or error.details.get("kind") == "busy":
                raise
            # Jesse answers before it reads, so that its own trouble shows as a download that breaks off.
            client.read("/candles/existing")
            if pause is None or error.details.get("kind") != "broken":
                raise
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _downloaded(client: DashboardClient, key: SeriesKey, arrived: Callable[[int], None]) -> CandleArray:
    blocks: list[CandleArray] = []
    with client.stream(PATH, {"exchange": key.exchange, "symbol": key.symbol}) as pieces:
        for block in _whole_lines(key, pieces):
            blocks.append(_parsed(key, block))
            arrived(sum(len(rows) for rows in blocks))
    return np.concatenate([np.empty((0, 6)), *blocks])


def _whole_lines(key: SeriesKey, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The text without its header, in blocks that end at a line's end."""
    held = b""
    headed = False
    for piece in pieces:
        held += piece
        if not headed and b"\n" in held:
            header, _, held = held.partition(b"\n")
            if header.strip() != _HEADER:
                raise _other_table(key, header)
            headed = True
        if headed and len(held) >= _BLOCK:
            block, _, held = held.rpartition(b"\n")
            yield block
    if not headed or (held and not held.endswith(b"\n")):
        raise _other_table(key, held)
    if held:
        yield held


def _parsed(key: SeriesKey, block: bytes) -> CandleArray:
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {"timestamp": pl.Int64}
    schema |= {f"c{column}": pl.Float64 for column in range(1, 6)}
    try:
        frame = pl.read_csv(io.BytesIO(block), has_header=False, schema=schema)
    except pl.exceptions.PolarsError as error:
        raise _other_table(key, block[:200]) from error
    if frame.null_count().row(0) != (0,) * 6:
        raise _other_table(key, block[:200])
    return np.asarray(frame.to_numpy(), dtype=np.float64)


def _other_table(key: SeriesKey, text: bytes) -> ResearchError:
    return ResearchError(
        ErrorCode.JESSE_UNSUPPORTED,
        f"the candles of {key} came from Jesse as another table than expected: {text[:200]!r}",
        hint="this version reads the export of Jesse 3.5: see system_status for the version that runs",
    )
