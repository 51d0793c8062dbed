"""Imports that are killed or run out of disk: processes as a user has them, asking the imitated exchanges.

Nothing wrong is stored, at most the page under way is lost, and the next import asks for the rest only.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from exchange_server import ExchangeServer, faults
from jesse_mcp.adapters.candles.journal import Journal
from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from mcp_desk import environment, http_desk, http_server, wait_until

START = 1_704_067_200_000
MINUTE = 60_000
PAGE = 1000
KEY = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
SERIES = {"exchange": KEY.exchange, "symbol": KEY.symbol}
DAYS = {"start_date": "2024-01-01", "end_date": "2024-01-07"}
COUNT = 6 * 1440
COMMAND = [
    *(sys.executable, "-m", "jesse_mcp", "candles", "import", "--json"),
    *("--exchange", KEY.exchange, "--symbol", KEY.symbol),
    *("--start-date", DAYS["start_date"], "--end-date", DAYS["end_date"]),
]


def history() -> CandleArray:
    return synthetic_candles(START, 7 * 1440, 8)


@pytest.fixture
def exchange() -> Iterator[ExchangeServer]:
    with ExchangeServer({(KEY.exchange, KEY.symbol): history()}) as server:
        yield server


@pytest.fixture
def surroundings(tmp_path: Path, engine_python: Path, exchange: ExchangeServer) -> dict[str, str]:
    return environment(tmp_path, engine_python, JESSE_MCP_PREWARM="false", **exchange.environment)


def candle_folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "candles"


def pages_on_disk(tmp_path: Path) -> int:
    """As they lie there; a store would merge them."""
    return len(Journal(candle_folder(tmp_path) / "binance-spot" / "BTC-USDT.journal").entries())


def stored(candles: Path) -> CandleArray:
    return ParquetCandleStore(candles).read(KEY)


def minutes_asked(exchange: ExchangeServer, after: int = 0) -> list[int]:
    """Starts of the one-minute pages that were asked for, without the search for the listing."""
    pages = [line.params for line in exchange.asked()[after:] if line.params["interval"] == "1m"]
    return [int(page["startTime"]) for page in pages if int(page["startTime"]) > 0]


def import_again(surroundings: dict[str, str]) -> dict[str, Any]:
    ended = subprocess.run(
        COMMAND, env=surroundings, capture_output=True, text=True, timeout=240, check=False
    )
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def end(processes: list[psutil.Process]) -> None:
    def gone() -> bool:
        return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)

    wait_until(gone, "the end of every process")


def check_first_part(exchange: ExchangeServer, tmp_path: Path) -> int:
    """What is stored is the beginning of the source, at most one page short; the number of candles."""
    served = sum(line.rows for line in exchange.asked() if minute_page(line.params) and line.fault is None)
    rows = stored(candle_folder(tmp_path))
    np.testing.assert_array_equal(rows, history()[: len(rows)])
    assert served - PAGE <= len(rows) <= served
    assert 2 * PAGE <= len(rows) < COUNT, "it was in the middle"
    return len(rows)


def minute_page(params: Any) -> bool:
    return bool(params["interval"] == "1m" and int(params["startTime"]) >= START)


def check_the_rest(exchange: ExchangeServer, tmp_path: Path, before: int, had: int) -> None:
    """The second import asked once for what was missing, and has everything."""
    starts = [int(one.params["startTime"]) for one in exchange.asked()[before:] if minute_page(one.params)]
    assert starts == list(range(START + had * MINUTE, START + COUNT * MINUTE, PAGE * MINUTE))
    np.testing.assert_array_equal(stored(candle_folder(tmp_path)), history()[:COUNT])


def hold_page_after(exchange: ExchangeServer, pages: int) -> None:
    exchange.faults.add(faults.slow(3600), skip=pages, when=lambda request: minute_page(request.params))


def hold_fourth_page(exchange: ExchangeServer) -> None:
    hold_page_after(exchange, 3)


def held(exchange: ExchangeServer, tmp_path: Path) -> bool:
    return exchange.faults.pending == [] and pages_on_disk(tmp_path) >= 3


def test_a_killed_command_goes_on_where_it_was(
    exchange: ExchangeServer, surroundings: dict[str, str], tmp_path: Path
) -> None:
    hold_fourth_page(exchange)
    with subprocess.Popen(COMMAND, env=surroundings, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: held(exchange, tmp_path), "the fourth page being waited for")
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) >= 2, "a template and a worker"
        process.kill()
    end(below)
    had = check_first_part(exchange, tmp_path)
    before = len(exchange.asked())
    answer = import_again(surroundings)
    assert answer["series"][0] == {
        "symbol": "BTC-USDT",
        "expected": COUNT,
        "present": COUNT,
        "missing_by_kind": {},
    }
    check_the_rest(exchange, tmp_path, before, had)


@pytest.mark.parametrize("pages", [2, 4])
def test_killed_at_any_moment(
    exchange: ExchangeServer, surroundings: dict[str, str], tmp_path: Path, pages: int
) -> None:
    """Between or within pages, as it happens."""
    # It does not come to its end before it is killed, however late this is.
    hold_page_after(exchange, COUNT // PAGE)
    with subprocess.Popen(COMMAND, env=surroundings, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: pages_on_disk(tmp_path) >= pages, f"{pages} pages on disk")
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    end(below)
    exchange.faults.clear()
    had = check_first_part(exchange, tmp_path)
    before = len(exchange.asked())
    import_again(surroundings)
    check_the_rest(exchange, tmp_path, before, had)


def test_a_killed_server_goes_on_where_it_was(
    exchange: ExchangeServer, surroundings: dict[str, str], tmp_path: Path
) -> None:
    hold_fourth_page(exchange)
    with http_server(surroundings, tmp_path / "log") as (process, url):
        with http_desk(url) as desk:
            fetched = desk.call("candles_import", **SERIES, **DAYS, wait_seconds=0)["fetched"]
            assert fetched["state"] in ("queued", "running")
            wait_until(lambda: held(exchange, tmp_path), "the fourth page being waited for")
        family = [psutil.Process(process.pid)]
        family += family[0].children(recursive=True)
        assert len(family) >= 3, "a server, a template and a worker"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        end(family)
    had = check_first_part(exchange, tmp_path)
    before = len(exchange.asked())
    with http_server(surroundings, tmp_path / "log") as (_, url), http_desk(url) as desk:
        job = desk.call("job_get", job_id=fetched["job_id"])
        assert (job["state"], job["error"]["code"]) == ("lost", "job_lost")
        again = desk.call("candles_import", **SERIES, **DAYS, wait_seconds=120)["fetched"]
        assert (again["state"], again["series"][0]["present"]) == ("done", COUNT)
    check_the_rest(exchange, tmp_path, before, had)


def test_a_killed_worker_is_an_error_of_the_job_alone(
    exchange: ExchangeServer, surroundings: dict[str, str], tmp_path: Path
) -> None:
    hold_fourth_page(exchange)
    with http_server(surroundings, tmp_path / "log") as (process, url), http_desk(url) as desk:
        job_id = desk.call("candles_import", **SERIES, **DAYS, wait_seconds=0)["fetched"]["job_id"]
        wait_until(lambda: held(exchange, tmp_path), "the fourth page being waited for")
        port = int(exchange.environment["HTTPS_PROXY"].rpartition(":")[2])
        fetching = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if any(link.raddr and link.raddr.port == port for link in child.net_connections("tcp"))
        ]
        assert len(fetching) == 1
        fetching[0].kill()
        job = wait_until(lambda: failed(desk.call("job_get", job_id=job_id)), "the job failing")
        assert job["error"]["code"] == "worker_crashed", job["error"]
        assert job["error"]["hint"]
        end(fetching)
        had = check_first_part(exchange, tmp_path)
        before = len(exchange.asked())
        again = desk.call("candles_import", **SERIES, **DAYS, wait_seconds=120)["fetched"]
        assert (again["state"], again["series"][0]["present"]) == ("done", COUNT)
        check_the_rest(exchange, tmp_path, before, had)


def failed(job: dict[str, Any]) -> dict[str, Any] | None:
    return job if job["state"] == "failed" else None


# --- a disk that is full ---------------------------------------------------------------------------------

_ON_A_SMALL_DISK = """
set -eu
mkdir -p "$CANDLES"
mount -t tmpfs -o size=200k tmpfs "$CANDLES"
status=0
"$@" > "$OUT/first" 2> "$OUT/first-error" || status=$?
echo $status > "$OUT/status"
"$PYTHON" -m jesse_mcp candles list --json > "$OUT/listed"
"$PYTHON" -m jesse_mcp candles check --exchange "Binance Spot" --symbol BTC-USDT --json > "$OUT/checked"
cp -r "$CANDLES" "$OUT/full"
mount -o remount,size=64m tmpfs "$CANDLES"
"$@" > "$OUT/second" 2> "$OUT/second-error"
cp -r "$CANDLES" "$OUT/after"
"""


def small_disks_can_be_made() -> bool:
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    attempt = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt"]
    return subprocess.run(attempt, capture_output=True, check=False).returncode == 0


def test_a_full_disk(exchange: ExchangeServer, surroundings: dict[str, str], tmp_path: Path) -> None:
    if not small_disks_can_be_made():
        pytest.skip("this machine does not let this user mount a small disk (unshare -rm, tmpfs)")
    out = tmp_path / "out"
    out.mkdir()
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", _ON_A_SMALL_DISK, "sh", *COMMAND],
        env={
            **surroundings,
            "CANDLES": str(candle_folder(tmp_path)),
            "OUT": str(out),
            "PYTHON": sys.executable,
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, (ended.stderr, *(path.read_text() for path in out.glob("*-error")))
    assert (out / "status").read_text() == "1\n"
    message, hint = (out / "first-error").read_text().splitlines()
    assert message.startswith("storage_failed: could not store BTC-USDT on Binance Spot: No space left")
    assert "free some disk space" in hint
    rows = stored(out / "full")
    assert PAGE <= len(rows) < COUNT
    np.testing.assert_array_equal(rows, history()[: len(rows)])
    (listed,) = json.loads((out / "listed").read_text())["series"]
    checked = json.loads((out / "checked").read_text())["coverage"]
    assert listed["rows"] == checked["present"] == len(rows), "all of it is read while the disk is full"
    assert json.loads((out / "second").read_text())["series"][0]["present"] == COUNT
    np.testing.assert_array_equal(stored(out / "after"), history()[:COUNT])
    starts = [start for start in minutes_asked(exchange) if start >= START]
    assert starts.count(START) == 1, "what is stored is not asked for again"


def test_files_that_may_not_grow(
    exchange: ExchangeServer, surroundings: dict[str, str], tmp_path: Path
) -> None:
    """The same on any machine: a limit on the size of files, which no page beyond it can pass."""
    limit = 300_000

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    ended = subprocess.run(
        COMMAND,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        preexec_fn=limited,
    )
    assert ended.returncode == 1, ended.stdout
    message, hint = ended.stderr.splitlines()[-2:]
    assert message.startswith("storage_failed: could not store BTC-USDT on Binance Spot: File too large")
    assert "ulimit -f" in hint
    had = check_first_part(exchange, tmp_path)
    before = len(exchange.asked())
    import_again(surroundings)
    check_the_rest(exchange, tmp_path, before, had)
