"""Who called what, with which outcome: one JSON object for every tool call."""

import json
import logging
from pathlib import Path
from typing import Any

from jesse_mcp.domain.identity import iso_utc
from jesse_mcp.server.calls import FinishedCall
from jesse_mcp.server.rotating_file import BackgroundFile
from jesse_mcp.server.secret_masking import STARS, SecretMask

_LONGEST_VALUE = 200
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
            "tool": self._mask(call.tool)[:_LONGEST_VALUE],
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
            text = self._mask(value)
            return (
                text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)"
            )
        if not isinstance(value, dict | list | tuple):
            return value
        if depth == _DEEPEST or len(value) > _MOST_ENTRIES:
            return f"{len(value)} entries"
        if isinstance(value, dict):
            return {
                self._mask(str(name))[:_LONGEST_VALUE]: STARS
                if _is_secret(str(name))
                else self._outlined(part, depth + 1)
                for name, part in value.items()
            }
        return [self._outlined(part, depth + 1) for part in value]


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_NAMES)
