"""Decodes Parquet and Arrow files for :mod:`jesse_mcp.adapters.candles.columnar`, in a process of its own.

Run as a script. Requests come on standard input: a line of JSON (``kind``, ``size``, ``limit``), then
``size`` bytes. Each answer is a line of JSON on standard output: ``size`` and then as many bytes of Arrow
IPC, or ``error``.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import polars as pl


def answer(kind: str, content: bytes, limit: int) -> tuple[dict[str, object], bytes]:
    """The header and body of an answer."""
    try:
        buffer = io.BytesIO(content)
        frame = pl.read_parquet(buffer) if kind == "Parquet" else pl.read_ipc(buffer)
    except pl.exceptions.PanicException as error:
        return {"error": str(error)}, b""
    except (pl.exceptions.PolarsError, OSError, ValueError, MemoryError) as error:
        return {"error": str(error)}, b""
    if frame.estimated_size() > limit:
        return {"error": f"it unpacks to more than {limit:,} bytes"}, b""
    packed = io.BytesIO()
    frame.write_ipc(packed)
    return {"size": packed.tell()}, packed.getvalue()


def main() -> None:
    with contextlib.suppress(OSError):
        # When a file unpacks to more than there is, it is this process that has to go.
        Path("/proc/self/oom_score_adj").write_text("1000")
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        request = json.loads(line)
        header, body = answer(request["kind"], requests.read(request["size"]), request["limit"])
        answers.write(json.dumps(header).encode() + b"\n" + body)
        answers.flush()


if __name__ == "__main__":
    main()
