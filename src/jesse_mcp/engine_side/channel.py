"""Length-prefixed JSON messages on a descriptor that nothing else writes to."""

import json
import os
import struct
import threading
from typing import Any

_HEADER = struct.Struct(">I")


class ChannelClosedError(Exception):
    """The other end is gone."""


class Channel:
    """One end of a stream; sending is safe from several threads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        text = json.dumps(message, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        # Half a surrogate pair, as a strategy may log it, is not text anywhere else.
        payload = text.encode(errors="replace")
        view = memoryview(_HEADER.pack(len(payload)) + payload)
        with self._lock:
            while view:
                view = view[os.write(self._descriptor, view) :]

    def receive(self) -> dict[str, Any]:
        (size,) = _HEADER.unpack(self._read(_HEADER.size))
        message: dict[str, Any] = json.loads(self._read(size))
        return message

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            chunk = os.read(self._descriptor, size - len(parts))
            if not chunk:
                raise ChannelClosedError
            parts += chunk
        return bytes(parts)
