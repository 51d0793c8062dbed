"""Pages of an import, appended to a file beside the series until they are merged into it.

A record is a header and a payload, each with a CRC-32, so that a record cut short by a crash is known as
such. Only the last one can be: each is on disk before the next is begun. What comes after a broken record
tells a torn tail, which is cut off, from damage, which is reported.

The caller holds the lock of the series throughout.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jesse_mcp.adapters.candles.atomic import sync_directory
from jesse_mcp.domain.candles import CandleArray
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.intervals import Interval

_MAGIC = b"\x93JMCP\x01\r\n"
#: Magic, journal identity, answered range, rows, bytes of the exchange name, bytes of the source, CRC of the
#: payload; then the CRC of all that.
_FIELDS = struct.Struct("<8s16sqqIIII")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _FIELDS.size + _CRC.size
_ROW_BYTES = 48
#: A journal this long is merged before it grows: the first bounds the memory and time of merging, the second
#: the walk along the headers.
_MAX_BYTES = 16 * 1_048_576
_MAX_PAGES = 512


@dataclass(frozen=True)
class Page:
    """One answer of an exchange: its candles (n, 6), and the range it answers for."""

    exchange: str
    source: str
    answered: Interval
    candles: CandleArray


@dataclass(frozen=True)
class Mark:
    """A place in a journal: everything before byte ``end`` of the journal ``identity`` (hexadecimal)."""

    identity: str
    end: int


@dataclass(frozen=True)
class Entry:
    """Where a record is, and what its header says."""

    identity: str
    offset: int
    answered: Interval
    rows: int
    exchange_bytes: int
    source_bytes: int
    checksum: int

    @property
    def payload_bytes(self) -> int:
        return self.exchange_bytes + self.source_bytes + self.rows * _ROW_BYTES

    @property
    def end(self) -> int:
        return self.offset + _HEADER_BYTES + self.payload_bytes

    @property
    def mark(self) -> Mark:
        return Mark(self.identity, self.end)


class Journal:
    """The journal at ``path``, which need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return self.path.exists()

    def entries(self) -> list[Entry]:
        """Whole records in the order they were written; a torn tail is left out.

        Raises:
            ResearchError: ``storage_failed`` when a record is broken that is not the last.
        """
        try:
            with self.path.open("rb") as file:
                return self._walk(file)
        except FileNotFoundError:
            return []

    def pages(self, entries: list[Entry]) -> list[Page]:
        """The content of records.

        Raises:
            ResearchError: ``storage_failed`` when one does not have its checksum.
        """
        if not entries:
            return []
        with self.path.open("rb") as file:
            return [self._page(file, entry) for entry in entries]

    def append(self, page: Page, entries: list[Entry]) -> None:
        """Add a record behind ``entries``, durably and all or nothing; a torn tail is overwritten.

        Raises:
            OSError: the journal is as before, or has a torn tail, which is the same.
        """
        if not entries:
            self._begin()
        end = entries[-1].end if entries else 0
        identity = bytes.fromhex(entries[-1].identity) if entries else os.urandom(16)
        # Without a buffer, which would try to write what the disk refused once more when it is closed.
        with self.path.open("r+b", buffering=0) as file:
            file.truncate(end)
            file.seek(end)
            try:
                unwritten = memoryview(_record(identity, page))
                while unwritten:
                    unwritten = unwritten[file.write(unwritten) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _begin(self) -> None:
        if not self.path.exists():
            self.path.touch()
            sync_directory(self.path.parent)

    def _walk(self, file: BinaryIO) -> list[Entry]:
        size = os.fstat(file.fileno()).st_size
        entries: list[Entry] = []
        offset = 0
        while offset < size:
            entry = _parse(os.pread(file.fileno(), _HEADER_BYTES, offset), offset)
            if entry is None or entry.end > size:
                self._refuse_damage(file, offset)
                return entries
            entries.append(entry)
            offset = entry.end
        if entries and self._payload(file, entries[-1]) is None:
            entries.pop()
        return entries

    def _refuse_damage(self, file: BinaryIO, offset: int) -> None:
        file.seek(offset + 1)
        if _MAGIC in file.read():
            raise self._damaged(offset)

    def _payload(self, file: BinaryIO, entry: Entry) -> bytes | None:
        payload = os.pread(file.fileno(), entry.payload_bytes, entry.offset + _HEADER_BYTES)
        return payload if zlib.crc32(payload) == entry.checksum else None

    def _page(self, file: BinaryIO, entry: Entry) -> Page:
        payload = self._payload(file, entry)
        if payload is None:
            raise self._damaged(entry.offset)
        names = entry.exchange_bytes + entry.source_bytes
        return Page(
            exchange=payload[: entry.exchange_bytes].decode(),
            source=payload[entry.exchange_bytes : names].decode(),
            answered=entry.answered,
            candles=np.frombuffer(payload, dtype="<f8", offset=names).reshape(-1, 6),
        )

    def _damaged(self, offset: int) -> ResearchError:
        return ResearchError(
            ErrorCode.STORAGE_FAILED,
            f"{self.path.parent.name}/{self.path.name} is damaged at byte {offset}",
            hint="remove this file and import again: only the pages in it are asked for once more",
            details={"path": str(self.path), "offset": offset},
        )


def is_full(entries: list[Entry]) -> bool:
    """Whether a journal of these records has to be merged before it gets another."""
    return bool(entries) and (len(entries) >= _MAX_PAGES or entries[-1].end >= _MAX_BYTES)


def after(entries: list[Entry], mark: Mark | None) -> list[Entry]:
    """The records that are not before ``mark``."""
    if mark is None:
        return entries
    return [entry for entry in entries if entry.identity != mark.identity or entry.end > mark.end]


def _record(identity: bytes, page: Page) -> bytes:
    exchange, source = page.exchange.encode(), page.source.encode()
    rows = np.ascontiguousarray(page.candles, dtype="<f8")
    payload = exchange + source + rows.tobytes()
    sizes = (len(rows), len(exchange), len(source))
    fields = _FIELDS.pack(_MAGIC, identity, *page.answered, *sizes, zlib.crc32(payload))
    return fields + _CRC.pack(zlib.crc32(fields)) + payload


def _parse(header: bytes, offset: int) -> Entry | None:
    if len(header) < _HEADER_BYTES:
        return None
    fields = header[: _FIELDS.size]
    if not fields.startswith(_MAGIC) or _CRC.unpack(header[_FIELDS.size :]) != (zlib.crc32(fields),):
        return None
    _, identity, start, end, rows, exchange, source, checksum = _FIELDS.unpack(fields)
    return Entry(identity.hex(), offset, (start, end), rows, exchange, source, checksum)
