"""A series as one Parquet file that carries its own description.

What is known about the series is in the key-value metadata of the file and not beside it: one rename replaces
all of it, so nothing can disagree, whatever is interrupted.
"""

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from jesse_mcp.adapters.candles.journal import Mark
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
)
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.gaps import explained_runs
from jesse_mcp.domain.intervals import Intervals
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute

if TYPE_CHECKING:
    import polars as pl

METADATA_KEY = "jesse_mcp.series"
FORMAT = 2
#: Rows in a group: a page is compared with the group it falls into, a year has 17 of them.
_ROW_GROUP = 32_768
#: Column of the file to column of the array. Files have the order people expect, arrays have Jesse's.
COLUMNS = {"timestamp": TIMESTAMP, "open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE, "volume": VOLUME}


def summarize(
    key: SeriesKey, candles: CandleArray, answered: Intervals, source: str, now_ms: int
) -> SeriesSummary:
    """The summary, at ``now_ms``, of a whole, nonempty series of shape (n, 6)."""
    timestamps = candles[:, TIMESTAMP].astype(np.int64)
    first, last = int(timestamps[0]), int(timestamps[-1])
    runs = explained_runs(key.exchange, timestamps, answered, first, last + MINUTE_MS, now_ms=now_ms)
    return SeriesSummary(
        exchange=key.exchange,
        symbol=key.symbol,
        first=iso_minute(first),
        last=iso_minute(last),
        rows=len(candles),
        missing=int(runs.minutes.sum()),
        gap_count=len(runs.minutes),
        missing_by_kind=runs.by_kind(),
        content_hash=content_hash(candles),
        source=source,
    )


@dataclass(frozen=True)
class Description:
    """What the file of a series says besides its candles.

    ``summary`` is ``None`` for a series without candles, ``answered`` the ranges an exchange answered for,
    ``included`` the part of the journal whose pages are in this file.
    """

    exchange: str
    summary: SeriesSummary | None
    answered: Intervals = ()
    included: Mark | None = None


def encode(candles: CandleArray, description: Description) -> memoryview:
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
    summary, included = description.summary, description.included
    described = {
        "format": FORMAT,
        "exchange": description.exchange,
        "summary": None if summary is None else summary.model_dump(),
        "answered": description.answered,
        "included": None if included is None else asdict(included),
    }
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        row_group_size=_ROW_GROUP,
        metadata={METADATA_KEY: json.dumps(described)},
    )
    return buffer.getbuffer()


def read_description(path: Path) -> Description | None:
    """What is known of the series in ``path`` without reading its candles; ``None`` when there is no file.

    Raises:
        ResearchError: ``storage_failed`` when the file is damaged or not of this store.
    """
    try:
        with path.open("rb") as file:
            return _described(path, file)
    except FileNotFoundError:
        return None


def read_timestamps(path: Path) -> tuple[Description, NDArray[np.int64]] | None:
    """Description and timestamps (epoch ms, ascending) of a series; ``None`` when there is no file.

    Raises:
        ResearchError: ``storage_failed`` when the file is damaged.
    """
    found = _read(path, ["timestamp"])
    if found is None:
        return None
    return found[0], np.asarray(found[1]["timestamp"].to_numpy(), dtype=np.int64)


def read_series(path: Path) -> tuple[Description, CandleArray] | None:
    """Description and candles (n, 6) of one generation of a series; ``None`` when there is no file.

    Raises:
        ResearchError: ``storage_failed`` when the file is damaged: the candles are checked against their
            hash.
    """
    found = _read(path, list(COLUMNS))
    if found is None:
        return None
    description, candles = found[0], _candles(found[1])
    expected = None if description.summary is None else description.summary.content_hash
    if (content_hash(candles) if len(candles) else None) != expected:
        raise _damaged(path, "its candles do not have the recorded hash")
    return description, candles


def read_part(path: Path, start_ms: int, end_ms: int) -> CandleArray:
    """Candles in ``[start_ms, end_ms)`` of an existing file, read in part and not checked against the hash.

    Raises:
        ResearchError: ``storage_failed`` when the file is damaged.
    """
    import polars as pl

    wanted = pl.col("timestamp").is_between(start_ms, end_ms, closed="left")
    try:
        return _candles(pl.scan_parquet(path).select(list(COLUMNS)).filter(wanted).collect())
    except pl.exceptions.PolarsError as error:
        raise _damaged(path, str(error)) from error


def _read(path: Path, columns: list[str]) -> "tuple[Description, pl.DataFrame] | None":
    import polars as pl

    try:
        # One descriptor for both: a writer may replace the file in between.
        with path.open("rb") as file:
            description = _described(path, file)
            file.seek(0)
            return description, pl.read_parquet(file, columns=columns)
    except FileNotFoundError:
        return None
    except pl.exceptions.PolarsError as error:
        raise _damaged(path, str(error)) from error


def _candles(frame: "pl.DataFrame") -> CandleArray:
    candles = np.empty((frame.height, 6), dtype=np.float64)
    for name, column in COLUMNS.items():
        candles[:, column] = frame[name].to_numpy()
    return candles


def _described(path: Path, file: BinaryIO) -> Description:
    import polars as pl

    try:
        found = json.loads(pl.read_parquet_metadata(file)[METADATA_KEY])
        if found["format"] == 1:
            return _described_by_the_first_format(found["summary"])
        if found["format"] != FORMAT:
            raise _damaged(path, f"its format is {found['format']}, this version reads {FORMAT}")
        return Description(
            exchange=str(found["exchange"]),
            summary=None if found["summary"] is None else SeriesSummary.model_validate(found["summary"]),
            answered=tuple((int(start), int(end)) for start, end in found["answered"]),
            included=None if found["included"] is None else Mark(**found["included"]),
        )
    except KeyError:
        raise _damaged(path, "it was not written by jesse-mcp") from None
    except (pl.exceptions.PolarsError, ValidationError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from error


def _described_by_the_first_format(summary: dict[str, object]) -> Description:
    """Of a file written before anything was known about what exchanges had been asked."""
    by_kind = {"not_asked": summary["missing"]} if summary["missing"] else {}
    validated = SeriesSummary.model_validate({**summary, "missing_by_kind": by_kind})
    return Description(validated.exchange, validated)


def _damaged(path: Path, why: str) -> ResearchError:
    return ResearchError(
        ErrorCode.STORAGE_FAILED,
        f"the stored series {path.parent.name}/{path.name} cannot be read: {why}",
        hint="delete this series with candles_delete and import its candles again",
        details={"path": str(path)},
    )
