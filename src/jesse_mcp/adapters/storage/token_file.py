"""Tokens in one small JSON file that only its owner may read."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from jesse_mcp.adapters.storage.failures import storage_failed, teaching_errors
from jesse_mcp.domain.access import TokenRecord
from jesse_mcp.domain.errors import ErrorCode, ResearchError

_LOCK_SECONDS = 10
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class TokenFile:
    """A :class:`~jesse_mcp.ports.tokens.TokenStore`.

    It is read again whenever it was replaced, so a token that another process revokes is refused at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._records: tuple[TokenRecord, ...] = ()

    def records(self) -> tuple[TokenRecord, ...]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._seen, self._records = None, ()
            return ()
        except OSError as error:
            raise self._unusable(os.strerror(error.errno or 0)) from error
        if found.st_mode & _OTHERS:
            raise self._unusable("others than its owner may read it", f"chmod 600 {self._path}")
        # Every change is a new file under the same name.
        version = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        if version != self._seen:
            self._records = self._read()
            self._seen = version
        return self._records

    def add(self, record: TokenRecord) -> None:
        with self._changing() as kept:
            if any(old.name == record.name and old.revoked_at is None for old in kept):
                raise ResearchError(
                    ErrorCode.INVALID_ARGUMENT,
                    f"there is a token {record.name!r} already",
                    hint=f"`jesse-mcp token revoke {record.name}` first, or choose another name",
                )
            self._write((*kept, record))

    def revoke(self, name: str, at: float) -> TokenRecord:
        with self._changing() as kept:
            for index, record in enumerate(kept):
                if record.name == name and record.revoked_at is None:
                    revoked = record.model_copy(update={"revoked_at": at})
                    self._write((*kept[:index], revoked, *kept[index + 1 :]))
                    return revoked
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"there is no token {name!r} to revoke",
            hint="`jesse-mcp token list` has those of the file; others end with JESSE_MCP_TOKENS",
        )

    @contextmanager
    def _changing(self) -> Iterator[tuple[TokenRecord, ...]]:
        """What is kept, while nobody else changes it."""
        with teaching_errors(), FileLock(f"{self._path}.lock", timeout=_LOCK_SECONDS, mode=0o600):
            yield self.records()

    def _read(self) -> tuple[TokenRecord, ...]:
        try:
            entries = json.loads(self._path.read_text())["tokens"]
            return tuple(TokenRecord.model_validate(entry) for entry in entries)
        except OSError as error:
            raise self._unusable(os.strerror(error.errno or 0)) from error
        except (ValueError, KeyError, TypeError, ValidationError):
            # Without the cause: its text could hold what the file holds.
            raise self._unusable(
                "it is damaged", "restore it from a backup, or move it away and create the tokens anew"
            ) from None

    def _write(self, records: tuple[TokenRecord, ...]) -> None:
        entries: list[dict[str, Any]] = [record.model_dump(mode="json") for record in records]
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump({"tokens": entries}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            raise self._unusable(os.strerror(error.errno or 0)) from error

    def _unusable(self, reason: str, hint: str | None = None) -> ResearchError:
        return storage_failed(
            f"the tokens in {self._path} cannot be used: {reason}",
            hint or "let the user the server runs as read and write JESSE_MCP_HOME",
        )
