"""Candle files of other tools: CSV, Parquet and Arrow, one file or a folder of them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jesse_mcp.adapters.candles.columnar import ColumnarDecoder
from jesse_mcp.adapters.candles.sources import Room, find_files, load
from jesse_mcp.domain.candles import TIMESTAMP, ParsedCandles
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.timeframes import iso_minute

GIBIBYTE = 1_073_741_824


class CandleFiles:
    """Implements :class:`jesse_mcp.ports.candle_store.CandleFileReader` for files of this machine.

    Args:
        max_bytes: largest import, unpacked, all files of a folder together.
    """

    def __init__(self, *, max_bytes: int = 2 * GIBIBYTE) -> None:
        self._max_bytes = max_bytes

    def read(
        self, path: Path, timestamp_unit: str | None = None, within: Sequence[Path] | None = None
    ) -> ParsedCandles:
        """All candles of a file or folder, checked, in time order.

        Formats are told apart by content: CSV (comma, semicolon, tab; plain, gzip or zip; with a header,
        or without one as Binance kline files or as timestamp, open, high, low, close, volume), Parquet,
        Arrow IPC. A folder has files of one type; where they overlap, their values must be equal.

        Args:
            path: the file or folder, ``~`` allowed.
            timestamp_unit: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"`` of numeric timestamps; detected when
                ``None``. Times without a zone are UTC.
            within: folders the files must be in, links followed; ``None``: anywhere.

        Raises:
            ResearchError: ``forbidden`` for what is not ``within``, whether it exists or not,
                ``invalid_argument`` for a path or unit that cannot be used, ``candles_invalid`` for content
                that is not one-minute candles, with the first offending rows in ``details``.
        """
        # Polars takes a while to load, and most runs of the server import nothing.
        from jesse_mcp.adapters.candles.file_table import candles_of
        from jesse_mcp.adapters.candles.timestamps import check_unit

        check_unit(timestamp_unit)
        files, others = find_files(path, within)
        left = self._max_bytes
        parts: list[tuple[str, ParsedCandles]] = []
        with ColumnarDecoder(self._max_bytes) as decoder:
            for file in files:
                source = load(file, Room(left, self._max_bytes))
                left -= len(source.content)
                parts.append((source.name, candles_of(source, timestamp_unit, decoder)))
        notes = (f"other files in the folder were ignored: {_some(others)}",) if others else ()
        if len(parts) == 1:
            return ParsedCandles(parts[0][1].candles, parts[0][1].detected, parts[0][1].notes + notes)
        return _joined(parts, notes)


def _joined(parts: list[tuple[str, ParsedCandles]], notes: tuple[str, ...]) -> ParsedCandles:
    rows = np.concatenate([part.candles for _, part in parts])
    origin = np.repeat(np.arange(len(parts)), [len(part.candles) for _, part in parts])
    order = np.argsort(rows[:, TIMESTAMP], kind="stable")
    rows, origin = rows[order], origin[order]
    repeated = np.flatnonzero(np.diff(rows[:, TIMESTAMP]) == 0) + 1
    conflicts = repeated[(rows[repeated] != rows[repeated - 1]).any(axis=1)]
    if len(conflicts):
        named = [_conflict(parts, rows, origin, int(row)) for row in conflicts[:5]]
        raise ResearchError(
            ErrorCode.CANDLES_INVALID,
            f"files of the folder disagree about {len(conflicts)} minutes, the first is {named[0]}",
            hint="keep the file that is right; nothing was stored",
            details={"problems": {"conflicting_files": len(conflicts)}, "rows": named},
        )
    if len(repeated):
        notes += (f"{len(repeated)} minutes were in more than one file, with the same values",)
    return ParsedCandles(
        np.delete(rows, repeated, axis=0),
        {"files": str(len(parts)), **_merged([part.detected for _, part in parts])},
        tuple(_counted([part.notes for _, part in parts])) + notes,
    )


def _conflict(
    parts: list[tuple[str, ParsedCandles]],
    rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    origin: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    row: int,
) -> str:
    minute = iso_minute(int(rows[row, TIMESTAMP]))
    return f"{minute} in {parts[origin[row - 1]][0]} and {parts[origin[row]][0]}"


def _merged(found: list[dict[str, str]]) -> dict[str, str]:
    keys = dict.fromkeys(key for one in found for key in one)
    return {key: "; ".join(dict.fromkeys(one[key] for one in found if key in one)) for key in keys}


def _counted(notes: list[tuple[str, ...]]) -> list[str]:
    counts = Counter(note for one in notes for note in one)
    return [f"{note} ({count} of {len(notes)} files)" for note, count in counts.items()]


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
