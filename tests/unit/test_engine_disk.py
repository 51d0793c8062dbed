"""A place for the engine's files that is not there, or has no room."""

import errno
import os
import sys
from pathlib import Path

import pytest

from jesse_mcp.adapters.embedded.environment import EngineEnvironment
from jesse_mcp.adapters.embedded.outcomes import failure
from jesse_mcp.adapters.embedded.pool import WorkerPool
from jesse_mcp.domain.errors import ErrorCode, ResearchError

ENGINE = EngineEnvironment(Path(sys.executable), "JESSE_PYTHON", "3.5.3", "3.11.7", "some engine")


async def test_a_cache_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.write_text("not a folder")
    pool = WorkerPool(lambda: ENGINE, cache, 1)
    with pytest.raises(ResearchError) as caught:
        await pool.warm()
    await pool.close()
    assert caught.value.code is ErrorCode.STORAGE_FAILED
    assert "JESSE_MCP_CACHE" in str(caught.value.hint)
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, ErrorCode.STORAGE_FAILED),
        (errno.EDQUOT, ErrorCode.STORAGE_FAILED),
        (errno.EISDIR, ErrorCode.STRATEGY_RAISED),
    ],
)
def test_want_of_space_is_no_fault_of_the_strategy(number: int, code: ErrorCode) -> None:
    raised = OSError(number, os.strerror(number))
    message = {"kind": "raised", "type": "OSError", "message": str(raised), "traceback": "", "line": None}
    assert failure({**message, "log": ""}, "", 256).code is code
