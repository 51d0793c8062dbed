"""A series as one Parquet file that carries its own summary.

The summary is in the key-value metadata of the file and not beside it: one rename replaces both, so they
cannot disagree, whatever is interrupted.
"""

import io
import json
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from jesse_mcp.domain.candles import (
    CLOSE,
    HIGH,
    LOW,
    OPEN,
    TIMESTAMP,
    VOLUME,
    CandleArray,
    SeriesKey,
    SeriesSummary,
    content_hash,
    missing_runs,
)
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute

METADATA_KEY = "jesse_mcp.series"
FORMAT = 1
#: Column of the file to column of the array. Files have the order people expect, arrays have Jesse's.
COLUMNS = {"timestamp": TIMESTAMP, "open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE, "volume": VOLUME}


def summarize(key: SeriesKey, candles: CandleArray, source: str) -> SeriesSummary:
    """The summary of a whole, nonempty series of shape (n, 6)."""
    timestamps = candles[:, TIMESTAMP].astype(np.int64)
    first, last = int(timestamps[0]), int(timestamps[-1])
    _, minutes = missing_runs(timestamps, first, last + MINUTE_MS)
    return SeriesSummary(
        exchange=key.exchange,
        symbol=key.symbol,
        first=iso_minute(first),
        last=iso_minute(last),
        rows=len(candles),
        missing=int(minutes.sum()),
        gap_count=len(minutes),
        content_hash=content_hash(candles),
        source=source,
    )


def encode(candles: CandleArray, summary: SeriesSummary) -> memoryview:
    """The bytes of the Parquet file: int64 ms timestamps, float64 prices and volume, zstd."""
    import polars as pl

    frame = pl.DataFrame(
        {
            name: np.ascontiguousarray(
                candles[:, column], dtype=np.int64 if column == TIMESTAMP else np.float64
            )
            for name, column in COLUMNS.items()
        }
    )
    buffer = io.BytesIO()
    described = json.dumps({"format": FORMAT, "summary": summary.model_dump()})
    frame.write_parquet(buffer, compression="zstd", metadata={METADATA_KEY: described})
    return buffer.getbuffer()


def read_summary(path: Path) -> SeriesSummary | None:
    """The summary of the series in ``path`` without reading its candles; ``None`` when there is no file.

    Raises:
        ResearchError: ``storage_failed`` when the file is damaged or not of this store.
    """
    try:
        with path.open("rb") as file:
            return _summary(path, file)
    except FileNotFoundError:
        return None


def read_timestamps(path: Path) -> NDArray[np.int64]:
    """Timestamps (epoch ms) of the series in ``path``, ascending; empty when there is no file."""
    import polars as pl

    try:
        with path.open("rb") as file:
            column = pl.read_parquet(file, columns=["timestamp"])["timestamp"]
            return np.asarray(column.to_numpy(), dtype=np.int64)
    except FileNotFoundError:
        return np.empty(0, dtype=np.int64)
    except pl.exceptions.PolarsError as error:
        raise _damaged(path, str(error)) from error


def read_series(path: Path) -> tuple[SeriesSummary, CandleArray] | None:
    """Summary and candles (n, 6) of one generation of a series; ``None`` when there is no file.

    Raises:
        ResearchError: ``storage_failed`` when the file is damaged: the candles are checked against their
            hash.
    """
    import polars as pl

    try:
        # One descriptor for both: a writer may replace the file in between.
        with path.open("rb") as file:
            summary = _summary(path, file)
            file.seek(0)
            frame = pl.read_parquet(file, columns=list(COLUMNS))
    except FileNotFoundError:
        return None
    except pl.exceptions.PolarsError as error:
        raise _damaged(path, str(error)) from error
    candles = np.empty((frame.height, 6), dtype=np.float64)
    for name, column in COLUMNS.items():
        candles[:, column] = frame[name].to_numpy()
    if content_hash(candles) != summary.content_hash:
        raise _damaged(path, "its candles do not have the recorded hash")
    return summary, candles


def _summary(path: Path, file: BinaryIO) -> SeriesSummary:
    import polars as pl

    try:
        described = json.loads(pl.read_parquet_metadata(file)[METADATA_KEY])
        if described["format"] != FORMAT:
            raise _damaged(path, f"its format is {described['format']}, this version reads {FORMAT}")
        return SeriesSummary.model_validate(described["summary"])
    except KeyError:
        raise _damaged(path, "it was not written by jesse-mcp") from None
    except (pl.exceptions.PolarsError, ValidationError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> ResearchError:
    return ResearchError(
        ErrorCode.STORAGE_FAILED,
        f"the stored series {path.parent.name}/{path.name} cannot be read: {why}",
        hint="delete this series with candles_delete and import its candles again",
        details={"path": str(path)},
    )
