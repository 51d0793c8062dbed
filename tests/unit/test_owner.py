"""A dead owner is recognised; a live or unknown one is never called dead."""

import os
import subprocess
import sys

import psutil
import pytest

from jesse_mcp.adapters.storage.owner import owner_id, owner_is_dead


def owner_of(pid: int, start: float | None = None) -> str:
    host, _, _ = owner_id().rsplit(":", 2)
    moment = psutil.Process(pid).create_time() - psutil.boot_time() if start is None else start
    return f"{host}:{pid}:{moment:.2f}"


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def test_this_process_is_alive_and_keeps_its_identity() -> None:
    assert owner_id() == owner_id()
    assert f":{os.getpid()}:" in owner_id()
    assert not owner_is_dead(owner_id())


def test_a_killed_process_is_dead_before_and_after_its_parent_noticed() -> None:
    with sleeper() as process:
        owner = owner_of(process.pid)
        assert not owner_is_dead(owner)
        process.kill()
        # Waits for the end without collecting it: a zombie is left.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        assert owner_is_dead(owner)
    assert owner_is_dead(owner)


def test_a_reused_process_number_is_dead() -> None:
    host, pid, start = owner_id().rsplit(":", 2)
    assert owner_is_dead(f"{host}:{pid}:{float(start) - 60:.2f}")


def test_setting_the_clock_kills_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = owner_id()
    boot, start = psutil.boot_time(), psutil.Process().create_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: boot + 3600)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: start + 3600)
    assert not owner_is_dead(owner)


@pytest.mark.parametrize(
    "owner",
    ["elsewhere:1:0.00", "", "nonsense", "a:b", "::", "elsewhere:pid:start"],
)
def test_what_cannot_be_known_is_not_dead(owner: str) -> None:
    assert not owner_is_dead(owner)


def test_a_foreign_format_on_this_host_is_not_dead() -> None:
    host, pid, _ = owner_id().rsplit(":", 2)
    assert not owner_is_dead(f"{host}:{pid}:yesterday")
    assert not owner_is_dead(f"{host}:me:0.00")
    assert not owner_is_dead(f"{owner_id()}:more")


def test_a_number_no_process_can_have_is_dead() -> None:
    assert owner_is_dead(owner_of(2**40, start=1.0))
