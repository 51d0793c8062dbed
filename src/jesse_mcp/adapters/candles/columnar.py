"""Parquet and Arrow files, decoded where a damaged one can do no harm.

On some damaged files the decoder aborts its process instead of raising an error, which would take a whole
server with it. So it runs in a child process, which lives as long as one import.
"""

import io
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from jesse_mcp.domain.errors import ErrorCode, ResearchError

if TYPE_CHECKING:
    import polars as pl

_CHILD = Path(__file__).with_name("columnar_child.py")


class ColumnarDecoder:
    """A context manager; the child starts with the first file, and again after a crash.

    Args:
        limit: bytes a table may take in memory.
        timeout: seconds one file may take.
    """

    def __init__(self, limit: int, timeout: float = 600.0) -> None:
        self._limit = limit
        self._timeout = timeout
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def decode(self, name: str, kind: str, content: bytes) -> "pl.DataFrame":
        """The table in ``content``, which is of ``kind`` ``"Parquet"`` or ``"Arrow"``.

        Raises:
            ResearchError: ``candles_invalid`` when it cannot be decoded, crashes the decoder or takes longer
                than the timeout.
        """
        import polars as pl

        child = self._started()
        overdue = threading.Timer(self._timeout, child.kill)
        overdue.start()
        try:
            header, body = self._ask(child, kind, content)
        except (OSError, ValueError, EOFError) as error:
            self._stop()
            raise _unreadable(name, kind, "it is damaged in a way that stops the decoder") from error
        finally:
            overdue.cancel()
        if "error" in header:
            raise _unreadable(name, kind, (str(header["error"]).splitlines() or ["it is damaged"])[0][:200])
        return pl.read_ipc(io.BytesIO(body))

    def _ask(self, child: subprocess.Popen[bytes], kind: str, content: bytes) -> tuple[dict[str, Any], bytes]:
        assert child.stdin is not None  # noqa: S101  # both are pipes
        assert child.stdout is not None  # noqa: S101
        request = {"kind": kind, "size": len(content), "limit": self._limit}
        child.stdin.write(json.dumps(request).encode() + b"\n" + content)
        child.stdin.flush()
        header = json.loads(child.stdout.readline())
        size = int(header.get("size", 0))
        body = child.stdout.read(size)
        if len(body) != size:
            raise EOFError
        return header, body

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            # -P: this folder must not be searched for the modules the child imports.
            self._child = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", str(_CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._child

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            # The pipe may still hold what the child never read; closing it again must not fail on that.
            self._child.communicate()
            self._child = None


def _unreadable(name: str, kind: str, why: str) -> ResearchError:
    return ResearchError(
        ErrorCode.CANDLES_INVALID,
        f"{name}: the {kind} file cannot be read: {why}",
        hint="export or download it again",
    )
