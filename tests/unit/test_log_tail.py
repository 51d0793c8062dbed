"""What a run printed is kept to its end, and says when that is not everything."""

import pytest

from jesse_mcp.adapters.embedded.worker_process import LogTail

KEPT = 16 * 1024
SAID = f"[cut: only the last {KEPT} bytes were kept]\n"


@pytest.mark.parametrize("chunk", [1, 1000, 10 * KEPT])
@pytest.mark.parametrize("length", [0, 1, KEPT - 1, KEPT, KEPT + 1, 2 * KEPT, 2 * KEPT + 1, 5 * KEPT])
def test_a_log_is_whole_or_says_that_it_is_not(length: int, chunk: int) -> None:
    written = bytes(ord("a") + place % 26 for place in range(length))
    log = LogTail()
    for begin in range(0, length, chunk):
        log.add(written[begin : begin + chunk])
    said = SAID if length > KEPT else ""
    assert log.text() == said + written[-KEPT:].decode()
