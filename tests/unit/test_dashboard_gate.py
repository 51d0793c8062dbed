"""Requests pass together; a download is alone, and gets its turn."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jesse_mcp.adapters.dashboard.gate import RequestGate
from jesse_mcp.domain.errors import ErrorCode, ResearchError

URL = "http://127.0.0.1:9000"


def soon() -> float:
    return time.monotonic() + 0.05


def test_requests_pass_together(tmp_path: Path) -> None:
    with RequestGate(URL, tmp_path).beside_others(), RequestGate(URL, tmp_path).beside_others(soon()):
        pass


def test_nothing_passes_beside_a_download(tmp_path: Path) -> None:
    gate = RequestGate(URL, tmp_path)
    with gate.alone(), pytest.raises(TimeoutError), RequestGate(URL, tmp_path).beside_others(soon()):
        pass
    with gate.beside_others(soon()):
        pass


def test_another_jesse_is_another_matter(tmp_path: Path) -> None:
    with RequestGate(URL, tmp_path).alone(), RequestGate("http://b", tmp_path).beside_others(soon()):
        pass


def test_a_download_waits_for_requests_and_new_ones_wait_for_it(tmp_path: Path) -> None:
    gate = RequestGate(URL, tmp_path)
    order: list[str] = []

    def download() -> None:
        with gate.alone():
            order.append("download")

    with gate.beside_others():
        thread = threading.Thread(target=download)
        thread.start()
        deadline = time.monotonic() + 30
        while True:  # until it holds the door
            try:
                with gate.beside_others(time.monotonic()):
                    assert time.monotonic() < deadline
            except TimeoutError:
                break
        order.append("request")
    thread.join()
    assert order == ["request", "download"]


def test_an_error_gives_the_lock_back(tmp_path: Path) -> None:
    gate = RequestGate(URL, tmp_path)
    with pytest.raises(ZeroDivisionError), gate.alone():
        raise ZeroDivisionError
    with gate.alone():
        pass


def test_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    gate = RequestGate(URL, tmp_path)
    code = (
        "import os, pathlib, sys; from jesse_mcp.adapters.dashboard.gate import RequestGate\n"
        "with RequestGate(sys.argv[1], pathlib.Path(sys.argv[2])).alone(): os._exit(7)"
    )
    ended = subprocess.run([sys.executable, "-c", code, URL, str(tmp_path)], check=False)
    assert ended.returncode == 7
    with gate.alone():
        pass


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    gate = RequestGate(URL, tmp_path)
    gate._door.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ResearchError) as caught, gate.beside_others():
        pass
    assert caught.value.code is ErrorCode.STORAGE_FAILED
    assert not (tmp_path / "elsewhere").exists()


def test_a_suspended_process_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    gate = RequestGate(URL, tmp_path, patience=0.05)
    code = (
        "import os, pathlib, signal, sys; from jesse_mcp.adapters.dashboard.gate import RequestGate\n"
        "with RequestGate(sys.argv[1], pathlib.Path(sys.argv[2])).beside_others():\n"
        "    print('held', flush=True); os.kill(os.getpid(), signal.SIGSTOP)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, URL, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(TimeoutError), gate.alone():
            pass
        with gate.beside_others():
            pass
    finally:
        process.kill()
        process.communicate()
    with RequestGate(URL, tmp_path).alone(), pytest.raises(TimeoutError), gate.beside_others():
        pass
