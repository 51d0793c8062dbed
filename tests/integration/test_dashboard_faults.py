"""Whatever happens to Jesse, a call ends in time and says what is true. Each test states after how long."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest

from jesse_host import PASSWORD, JesseHost, running_jesse
from jesse_host.faulty_proxy import Fault, FaultyProxy
from mcp_desk import RUN, SERIES, Desk, candle_file, environment, stdio_desk, strategy, wait_until

TOKEN = sha256(PASSWORD.encode()).hexdigest()
#: Seconds a test lets pass beyond what the product promises, because the machine is shared.
BUSY = 15.0
SLOWLY = "import time; time.sleep(0.1)"  # 14 s for the whole run


@contextmanager
def within(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds + BUSY


class Site:
    """A Jesse that tests may hurt, and servers that use it."""

    def __init__(self, engine_python: Path, host: JesseHost, folder: Path) -> None:
        self._engine_python = engine_python
        self._folder = folder
        self._desks = 0
        self.host = host

    @contextmanager
    def desk(self, url: str, **variables: str) -> Iterator[Desk]:
        self._desks += 1
        folder = self._folder / f"desk{self._desks}"
        folder.mkdir()
        secrets = variables if "JESSE_API_TOKEN" in variables else {"JESSE_PASSWORD": PASSWORD, **variables}
        surroundings = environment(folder, self._engine_python, JESSE_URL=url, **secrets)
        with stdio_desk(surroundings, folder / "log") as opened:
            yield opened
        log = (folder / "log").read_text()
        assert TOKEN not in log
        assert PASSWORD not in log

    def restart(self) -> None:
        self.host.kill_jesse()
        self.host.start_jesse()

    def change_password(self, password: str) -> None:
        path = self.host.project / ".env"
        path.write_text(re.sub(r'PASSWORD="[^"]*"', f'PASSWORD="{password}"', path.read_text(), count=1))
        self.restart()


@pytest.fixture(scope="module")
def site(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_jesse(engine_python) as host:
        yield Site(engine_python, host, tmp_path_factory.mktemp("desks"))


@pytest.fixture(scope="module")
def around(site: Site) -> Iterator[FaultyProxy]:
    with FaultyProxy(site.host.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_desk(site: Site, around: FaultyProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with site.desk(around.url) as opened:
        candles = candle_file(tmp_path_factory.mktemp("candles") / "btc.csv")
        opened.call("candles_import", **SERIES, path=str(candles))
        opened.call("strategy_write", name="Steady", code=strategy("Steady"))
        opened.call("strategy_write", name="Slow", code=strategy("Slow", SLOWLY))
        yield opened


@pytest.fixture
def proxy(around: FaultyProxy) -> Iterator[FaultyProxy]:
    around.seen.clear()
    yield around
    around.heal()


@pytest.fixture
def desk(shared_desk: Desk, proxy: FaultyProxy) -> Desk:
    return shared_desk


def started(desk: Desk, name: str, **more: Any) -> str:
    """A backtest that has been seen to advance."""
    job_id: str = desk.call("backtest", **RUN, strategy=name, wait_seconds=0, use_cache=False, **more)[
        "job_id"
    ]

    def moved() -> bool:
        job = desk.call("job_get", job_id=job_id)
        assert job["state"] in {"queued", "running"}, job
        return bool(job["progress"])

    wait_until(moved, f"{name} advancing")
    return job_id


def ended(desk: Desk, job_id: str) -> dict[str, Any]:
    def end() -> dict[str, Any] | None:
        job = desk.call("job_get", job_id=job_id, wait_seconds=5)
        return None if job["state"] in {"queued", "running"} else job

    job: dict[str, Any] = wait_until(end, f"the end of {job_id}")
    return job


def state_of(desk: Desk) -> str:
    state: str = desk.call("system_status")["engine"]["state"]
    return state


ASKING_JESSE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("strategy_list", {}),
    ("strategy_read", {"name": "Steady"}),
    ("strategy_write", {"name": "New", "code": strategy("New")}),
    ("strategy_delete", {"name": "Steady"}),
    ("candles_available", {}),
    ("candles_delete", SERIES),
    ("backtest", {**RUN, "strategy": "Steady"}),
)


def test_a_server_starts_without_jesse_and_recovers_with_it(site: Site, shared_desk: Desk) -> None:
    """Each refusal within 3 s; nothing has to be restarted afterwards."""
    site.host.kill_jesse()
    try:
        with site.desk(site.host.url) as desk:
            assert {name for name, _ in ASKING_JESSE} <= set(desk.tools)
            for tool, arguments in ASKING_JESSE:
                with within(3):
                    error = desk.refused(tool, **arguments)
                assert error["code"] == "jesse_unreachable", tool
                assert "jesse run" in error["hint"]
            with within(3):
                status = desk.call("system_status")
            assert (status["engine"]["state"], status["store"]["strategies"]) == ("unreachable", None)
            assert desk.call("run_list")["total"] == 0
            assert desk.call("indicator_list")["total"] > 100
            site.host.start_jesse()
            assert state_of(desk) == "ready"
            assert desk.call("backtest", **RUN, strategy="Steady")["state"] == "done"
    finally:
        site.restart()


def test_jesse_killed_in_the_middle_of_a_backtest(site: Site, desk: Desk) -> None:
    """Jesse may come back for 20 s; then the run is given up."""
    job_id = started(desk, "Slow")
    site.host.kill_jesse()
    try:
        with within(25):
            job = ended(desk, job_id)
        assert (job["state"], job["run_id"]) == ("failed", None)
        assert job["error"]["code"] == "jesse_unreachable"
        assert "lost during the backtest" in job["error"]["message"]
    finally:
        site.host.start_jesse()
    assert desk.call("backtest", **RUN, strategy="Steady", use_cache=False)["state"] == "done"


def test_postgres_killed_in_the_middle_of_a_backtest(site: Site, desk: Desk) -> None:
    """20 s as well. Some threads of Jesse find their database again and some do not: it wants a restart."""
    job_id = started(desk, "Slow")
    site.host.kill_postgres()
    try:
        with within(30):
            job = ended(desk, job_id)
        assert (job["state"], job["run_id"]) == ("failed", None)
        assert job["error"]["code"] == "jesse_database", job
        with within(3):
            status = desk.call("system_status")["engine"]
        assert (status["state"], status["code"]) == ("database", "jesse_database")
    finally:
        site.host.start_postgres()
        site.restart()
    assert state_of(desk) == "ready"
    assert desk.call("backtest", **RUN, strategy="Steady", use_cache=False)["state"] == "done"


def test_postgres_killed_before_a_backtest(site: Site, desk: Desk) -> None:
    """3 s."""
    site.host.kill_postgres()
    try:
        with within(3):
            error = desk.refused("backtest", **RUN, strategy="Steady", use_cache=False)
        assert error["code"] == "jesse_database"
        assert "restart Jesse" in error["hint"]
        with within(3):
            assert desk.refused("candles_available")["code"] == "jesse_database"
    finally:
        site.host.start_postgres()
        site.restart()


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ({"JESSE_PASSWORD": "wrong"}, "JESSE_PASSWORD"),
        ({"JESSE_API_TOKEN": "wrong"}, "JESSE_API_TOKEN"),
        ({"JESSE_PASSWORD": ""}, "none is configured"),
    ],
    ids=["password", "token", "none"],
)
def test_a_wrong_secret(site: Site, secret: dict[str, str], words: str) -> None:
    """3 s."""
    with site.desk(site.host.url, **secret) as desk, within(3):
        assert state_of(desk) == "unauthorized"
        for tool, arguments in ASKING_JESSE:
            error = desk.refused(tool, **arguments)
            assert error["code"] == "jesse_unauthorized", tool
            assert words in error["message"]


def test_a_token_revoked_in_mid_session(site: Site, desk: Desk) -> None:
    """3 s, and with the password back in force everything works again."""
    with site.desk(site.host.url, JESSE_API_TOKEN=TOKEN) as by_token:
        assert state_of(by_token) == "ready"
        assert state_of(desk) == "ready"
        site.change_password("another")
        try:
            for one, words in ((desk, "JESSE_PASSWORD"), (by_token, "JESSE_API_TOKEN")):
                with within(3):
                    error = one.refused("strategy_list")
                assert error["code"] == "jesse_unauthorized"
                assert words in error["message"]
                assert state_of(one) == "unauthorized"
        finally:
            site.change_password(PASSWORD)
        for one in (desk, by_token):
            assert one.call("strategy_list")["total"] >= 5


def test_a_jesse_that_hangs_is_told_apart(desk: Desk, proxy: FaultyProxy) -> None:
    """6 s for the status, whatever else hangs."""
    proxy.fail("", Fault(hang=True))
    with within(6):
        status = desk.call("system_status")
    assert status["engine"]["state"] == "unreachable"
    assert "slow" in status["engine"]["problem"]
    assert set(status["store"]["unknown"]) == {"candle_series", "strategies"}


def test_a_slow_answer_in_mid_run_changes_nothing(desk: Desk, proxy: FaultyProxy) -> None:
    """10 s for the look that hangs; the run ends as it would have."""
    expected = desk.call("backtest", **RUN, strategy="Steady")["run"]["metrics"]
    proxy.fail("POST /session-results/status", Fault(hang=True), times=1)
    with within(30):
        run = desk.call("backtest", **RUN, strategy="Steady", use_cache=False)["run"]
    assert run["metrics"] == expected


HTML = Fault(200, "<html>Sign in</html>", "text/html")
FIELD = '{"detail": [{"loc": ["body", "theme"], "msg": "Field required", "input": {"a": 1}}]}'
BAD_ANSWERS = [
    (Fault(422, FIELD), "jesse_rejected", "theme: Field required"),
    (Fault(500, '{"error": "KeyError: 1"}'), "jesse_failed", "KeyError"),
    (Fault(500, '{"error": "psycopg2.OperationalError: gone"}'), "jesse_database", "gone"),
    (Fault(500, "Internal Server Error", "text/plain"), "jesse_failed", "500"),
    (HTML, "jesse_unrecognised", "text/html"),
    (Fault(502, "<h1>Bad gateway</h1>", "text/html"), "jesse_unrecognised", "502"),
    (Fault(404, '{"detail": "Not Found"}'), "jesse_unsupported", "there is no"),
    (Fault(0), "jesse_unreachable", "broke"),
    (Fault(0, after_jesse=True), "jesse_unreachable", "broke"),
]
NAMES = ["422", "500", "500-database", "crash", "html", "502", "404", "cut", "cut-afterwards"]


@pytest.mark.parametrize(("fault", "code", "words"), BAD_ANSWERS, ids=NAMES)
def test_a_bad_answer_to_a_start(desk: Desk, proxy: FaultyProxy, fault: Fault, code: str, words: str) -> None:
    """10 s; the start is asked for once, and nothing of the run stays in Jesse's project."""
    proxy.fail("POST /backtest ", fault)
    with within(10):
        error = desk.refused(
            "backtest", **RUN, strategy="Steady", hyperparameters={"every": 5}, use_cache=False
        )
    assert error["code"] == code
    assert words in error["message"]
    assert proxy.seen.count("POST /backtest") == 1
    names = {line["name"] for line in desk.call("strategy_list")["strategies"] if line["origin"] == "user"}
    assert names == {"Steady", "Slow"}


@pytest.mark.parametrize(("fault", "code", "words"), BAD_ANSWERS[:7], ids=NAMES[:7])
def test_a_bad_answer_to_a_question(
    desk: Desk, proxy: FaultyProxy, fault: Fault, code: str, words: str
) -> None:
    """3 s."""
    proxy.fail("GET /strategy/all", fault)
    with within(3):
        error = desk.refused("strategy_list")
    assert (error["code"], words in error["message"]) == (code, True)


def test_a_question_that_is_cut_off_is_asked_again(desk: Desk, proxy: FaultyProxy) -> None:
    proxy.fail("GET /strategy/all", Fault(0), times=2)
    assert desk.call("strategy_list")["total"] >= 5
    assert proxy.seen.count("GET /strategy/all") >= 3


def test_a_program_that_is_not_jesse(desk: Desk, proxy: FaultyProxy) -> None:
    proxy.fail("", HTML)
    with within(3):
        assert state_of(desk) == "not_jesse"


def test_a_jesse_of_another_version(desk: Desk, proxy: FaultyProxy, site: Site) -> None:
    """3 s, before anything is changed there."""
    proxy.fail("GET /system/system-info", Fault(200, '{"jesse_version": "4.0.1"}'))
    with within(3):
        status = desk.call("system_status")["engine"]
    assert (status["state"], status["jesse_version"]) == ("unsupported", "4.0.1")
    with site.desk(proxy.url) as fresh, within(3):
        error = fresh.refused("backtest", **RUN, strategy="Steady", use_cache=False)
        assert error["code"] == "jesse_unsupported"
        assert "POST /backtest" not in proxy.seen


def test_a_websocket_dropped_in_mid_run(desk: Desk, proxy: FaultyProxy) -> None:
    """The run takes no longer than without: about 20 s for the slow one."""
    expected = desk.call("backtest", **RUN, strategy="Steady")["run"]["metrics"]
    job_id = started(desk, "Slow")
    wait_until(lambda: proxy.websockets, "a websocket")
    proxy.drop_websockets()
    with within(40):
        job = ended(desk, job_id)
    assert job["state"] == "done"
    run = desk.call("run_get", run_id=job["run_id"])
    assert run["metrics"]["total"] == expected["total"]
    assert run["metrics"]["net_profit"] == expected["net_profit"]


def test_no_websocket_at_all(desk: Desk, proxy: FaultyProxy) -> None:
    """Polling takes its place."""
    expected = desk.call("backtest", **RUN, strategy="Steady")["run"]["metrics"]
    proxy.fail("GET /ws", Fault(404, "{}"))
    with within(30):
        run = desk.call("backtest", **RUN, strategy="Steady", use_cache=False)["run"]
    assert run["metrics"] == expected
    assert "GET /ws" in proxy.seen


def test_a_strategy_that_raises(desk: Desk) -> None:
    """15 s: Jesse starts a process for it first."""
    before = "raise ValueError('nothing')"
    desk.call("strategy_write", name="Raising", code=strategy("Raising", before))
    try:
        with within(15):
            error = desk.refused("backtest", **RUN, strategy="Raising", use_cache=False)
    finally:
        desk.call("strategy_delete", name="Raising")
    assert error["code"] == "strategy_raised"
    assert "ValueError" in error["message"]
    assert "strategies/Raising/__init__.py" in error["details"]["traceback"]


def looping(name: str, tell: Path) -> str:
    """Slow for long enough to be seen to advance, then in a loop; the worker writes its process id."""
    lines = (
        "import os, pathlib, time",
        f"pathlib.Path({str(tell)!r}).write_text(str(os.getpid()))",
        "time.sleep(0.2) if self.index < 20 else any(iter(int, 1))",
    )
    return strategy(name, "; ".join(lines))


def runs(tell: Path) -> bool:
    try:
        return psutil.Process(int(tell.read_text())).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_strategy_that_loops_is_cancelled(desk: Desk, site: Site, tmp_path: Path) -> None:
    """15 s. Should Jesse not get rid of its worker, that is said and not hidden."""
    tell = tmp_path / "pid"
    desk.call("strategy_write", name="Looping", code=looping("Looping", tell))
    try:
        job_id = started(desk, "Looping")
        with within(15):
            cancelled = desk.call("job_cancel", job_id=job_id)
        assert cancelled["state"] == "cancelled"
        reported = bool(desk.call("system_status")["engine"].get("cancelled_but_running"))
        assert reported or not runs(tell)
    finally:
        desk.call("strategy_delete", name="Looping")
        site.restart()


def test_a_strategy_that_loops_meets_the_time_limit(site: Site, desk: Desk, tmp_path: Path) -> None:
    """The limit and 15 s."""
    tell = tmp_path / "pid"
    desk.call("strategy_write", name="Endless", code=looping("Endless", tell))
    try:
        with site.desk(site.host.url, JESSE_MCP_RUN_TIMEOUT="5") as hasty, within(5 + 15):
            error = hasty.refused("backtest", **RUN, strategy="Endless")
        assert error["code"] == "run_timeout"
        assert "may run on" in error["message"] or not tell.exists() or not runs(tell)
    finally:
        desk.call("strategy_delete", name="Endless")
        site.restart()


def test_missing_candles_are_found_before_jesse_is_asked(desk: Desk, proxy: FaultyProxy) -> None:
    """3 s."""
    with within(3):
        error = desk.refused("backtest", **{**RUN, "symbol": "ETH-USDT"}, strategy="Steady")
    assert error["code"] == "candles_missing"
    assert "POST /backtest" not in proxy.seen


def test_two_servers_at_once(site: Site, desk: Desk) -> None:
    """Each gets the answer to its own question, and copies of the candles do not disturb each other: 60 s."""
    alone = [
        desk.call("backtest", **RUN, strategy="Steady", hyperparameters={"every": every})["run"]["metrics"]
        for every in (3, 7)
    ]
    with ExitStack() as stack, within(60):
        others = [stack.enter_context(site.desk(site.host.url)) for _ in range(2)]
        jobs = [
            other.call(
                "backtest", **RUN, strategy="Steady", hyperparameters={"every": every}, wait_seconds=0
            )["job_id"]
            for other, every in zip(others, (3, 7), strict=True)
        ]
        for other, job_id, expected in zip(others, jobs, alone, strict=True):
            job = ended(other, job_id)
            assert job["state"] == "done", job.get("error")
            assert other.call("run_get", run_id=job["run_id"])["metrics"] == expected
        assert others[0].call("run_list")["total"] == 1
