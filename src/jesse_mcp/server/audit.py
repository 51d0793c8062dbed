"""Who called what, with which outcome: one JSON object for every tool call."""

import json
import logging
import math
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jesse_mcp.domain.identity import iso_utc
from jesse_mcp.server.calls import FinishedCall
from jesse_mcp.server.rotating_file import BackgroundFile
from jesse_mcp.server.secret_masking import STARS, SecretMask

_LONGEST_VALUE = 200
#: Of a long text only this much is searched for secrets; it is more than any that begins in what is shown.
_LONGEST_SEARCHED = 20_000
_MOST_ENTRIES = 50
_DEEPEST = 6
_SECRET_NAMES = ("password", "token", "secret", "authorization", "api_key", "apikey", "private_key")


class AuditLog:
    """Lines in ``path``, written by a thread of its own; calls never wait for the disk.

    Args:
        path: what it appends to; rotated, readable by the owner only.
        mask: takes secrets out of text.
    """

    def __init__(self, path: Path, mask: SecretMask) -> None:
        self._mask = mask
        self._file = BackgroundFile(path)

    def start(self) -> None:
        self._file.start()

    def close(self) -> None:
        """Write what is left and stop. Blocks. Idempotent."""
        self._file.close()

    def began(self, tool: str) -> None:
        """Nothing: a call is written when it is over."""

    def ended(self, call: FinishedCall) -> None:
        line = {
            "time": iso_utc(call.started_at),
            "request_id": call.request_id,
            "client": self._mask(call.client),
            "address": call.address,
            "tool": self._mask(call.tool[:_LONGEST_SEARCHED])[:_LONGEST_VALUE],
            "arguments": self._outlined(call.arguments, 0),
            "outcome": call.outcome,
            "job_id": call.job_id,
            "run_id": call.run_id,
            "seconds": round(call.seconds, 4),
        }
        message = json.dumps({name: value for name, value in line.items() if value is not None})
        self._file.lines.put(logging.makeLogRecord({"msg": message}))

    def _outlined(self, value: Any, depth: int) -> Any:
        """``value`` without secrets, long texts and long lists."""
        if isinstance(value, str):
            text = self._mask(value[:_LONGEST_SEARCHED])
            return (
                text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(value)} characters)"
            )
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if not isinstance(value, dict | list | tuple):
            return value
        if depth == _DEEPEST or len(value) > _MOST_ENTRIES:
            return f"{len(value)} entries"
        if isinstance(value, dict):
            return {
                self._mask(str(name)[:_LONGEST_SEARCHED])[:_LONGEST_VALUE]: self._named(
                    str(name), part, depth
                )
                for name, part in value.items()
            }
        return [self._outlined(part, depth + 1) for part in value]

    def _named(self, name: str, value: Any, depth: int) -> Any:
        if _is_secret(name):
            return STARS
        if "webhook" in name.lower() and value is not None:
            return _place(value) if isinstance(value, str) else STARS
        return self._outlined(value, depth + 1)


def _place(url: str) -> str:
    """Whose address it is; the rest may be what lets others write there."""
    try:
        address = urlsplit(url[:_LONGEST_VALUE])
        host = address.hostname
    except ValueError:
        host = None
    return f"{address.scheme}://{host}/{STARS}" if host else STARS


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_NAMES)
