"""Who may call which tool, what is written down of a call, and that no secret is in it."""

import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.client import CallToolResult
from hypothesis import given, settings
from hypothesis import strategies as st

from jesse_mcp.composition import Application
from jesse_mcp.domain.access import ALL_SCOPES, Caller, Scope, granted
from jesse_mcp.domain.call_context import calling
from jesse_mcp.server.assembly import build_server
from jesse_mcp.server.audit import AuditLog
from jesse_mcp.server.authorisation import scope_of
from jesse_mcp.server.calls import FinishedCall, Origin
from jesse_mcp.server.http.metrics import Metrics
from jesse_mcp.server.log_output import JsonFormatter, SecretFreeFormatter, set_up_logging
from jesse_mcp.server.rotating_file import SharedRotatingFile
from jesse_mcp.server.secret_masking import STARS, SecretMask
from jesse_mcp.settings import Settings

TOKEN = "jmcp_" + "aB3-_xyz" * 5
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"

#: What every tool needs that could be mistaken; the others follow from what they say of themselves.
EXPECTED = {
    "system_status": Scope.READ,
    "candles_available": Scope.READ,
    "candles_import": Scope.WRITE,
    "candles_delete": Scope.WRITE,
    "strategy_list": Scope.READ,
    "strategy_read": Scope.READ,
    "strategy_validate": Scope.READ,
    "strategy_write": Scope.WRITE,
    "strategy_delete": Scope.WRITE,
    "backtest": Scope.RESEARCH,
    "optimize": Scope.RESEARCH,
    "monte_carlo": Scope.RESEARCH,
    "risk_report": Scope.RESEARCH,
    "run_get": Scope.READ,
    "job_list": Scope.READ,
    "job_cancel": Scope.RESEARCH,
}


@pytest.fixture
async def application(tmp_path: Path) -> AsyncIterator[Application]:
    application = Application(Settings(home=tmp_path / "home", cache=tmp_path / "cache", prewarm=False))
    yield application
    await application.close()


def caller(*scopes: Scope) -> Any:
    who = Caller("token:bot", frozenset(scopes), limited=True)
    return lambda: Origin(who, "192.0.2.7", "req_1")


def error_of(result: CallToolResult) -> dict[str, Any]:
    assert result.is_error
    content = result.structured_content
    assert content is not None
    return dict(content["error"])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_every_tool_has_its_scope(application: Application) -> None:
    tools = {tool.name: scope_of(tool) for tool in await build_server(application).list_tools()}
    assert {name: tools[name] for name in EXPECTED} == EXPECTED
    for name, scope in tools.items():
        if name.startswith("paper_"):
            assert scope in {Scope.PAPER, Scope.READ}, name
        assert scope is not Scope.ADMIN


async def test_only_what_is_permitted_is_listed_and_called(application: Application) -> None:
    who = Caller("token:bot", ALL_SCOPES)
    server = build_server(application, origin=lambda: Origin(who, None, "req_1"))
    every = {tool.name: scope_of(tool) for tool in await server.list_tools()}
    async with Client(server) as client:
        for scope in Scope:
            permitted = granted([scope])
            who = Caller("token:bot", permitted)
            listed = {tool.name for tool in await client.list_tools()}
            assert listed == {name for name, needed in every.items() if needed in permitted}
            for name, needed in every.items():
                if needed not in permitted:
                    error = error_of(await client.call_tool(name, {}, raise_on_error=False))
                    assert error["code"] == "forbidden", name
                    assert error["message"] == f"{name} needs the scope {needed}; token:bot has {scope}"
                    assert error["details"] == {"scope": needed}
                    told = error["hint"].split("--scope ")[1].split("`")[0].split()
                    assert set(told) == {scope, needed}, "what it has and what it lacks"


async def test_the_user_of_this_machine_may_do_everything(application: Application) -> None:
    async with Client(build_server(application)) as client:
        assert len(await client.list_tools()) >= len(EXPECTED)


async def test_a_tool_that_does_not_exist_is_no_secret(application: Application) -> None:
    async with Client(build_server(application, origin=caller(Scope.READ))) as client:
        error = error_of(await client.call_tool("nonsense", {}, raise_on_error=False))
    assert error["code"] == "invalid_argument"
    assert "strategy_write" not in error["hint"], "only those that may be called are named"


async def test_an_answer_that_is_too_long_is_refused_whole(application: Application) -> None:
    async with Client(build_server(application, longest_result=2000)) as client:
        error = error_of(await client.call_tool("indicator_list", {"limit": 100}, raise_on_error=False))
        assert error["code"] == "result_too_large"
        assert error["details"]["bytes"] > error["details"]["limit"] == 2000
        assert (await client.call_tool("indicator_list", {"limit": 1})).structured_content


async def test_every_call_is_audited(application: Application) -> None:
    path = application.settings.home / "logs" / "audit.jsonl"
    async with Client(build_server(application, origin=caller(Scope.READ))) as client:
        await client.call_tool("run_list", {"limit": 3})
        await client.call_tool("run_get", {"run_id": f"x {TOKEN}"}, raise_on_error=False)
        await client.call_tool("strategy_write", {"name": "A", "code": "x" * 500}, raise_on_error=False)
        await client.call_tool("n" * 500, {}, raise_on_error=False)
    listed, got, wrote, unknown = lines(path)
    assert {name: listed[name] for name in ("client", "address", "request_id", "tool", "outcome")} == {
        "client": "token:bot",
        "address": "192.0.2.7",
        "request_id": "req_1",
        "tool": "run_list",
        "outcome": "ok",
    }
    assert listed["arguments"] == {"limit": 3}
    assert 0 < listed["seconds"] < 60
    assert (got["outcome"], got["arguments"]) == ("run_not_found", {"run_id": f"x {STARS}"})
    assert wrote["outcome"] == "forbidden"
    assert wrote["arguments"]["code"] == "x" * 200 + "… (500 characters)"
    assert (unknown["tool"], unknown["outcome"]) == ("n" * 200, "invalid_argument")
    assert path.stat().st_mode & 0o777 == 0o600


def finished(**changes: Any) -> FinishedCall:
    whole: dict[str, Any] = {
        "client": "local",
        "address": None,
        "request_id": "req_1",
        "tool": "backtest",
        "known_tool": True,
        "arguments": {},
        "outcome": "ok",
        "started_at": 1_700_000_000.0,
        "seconds": 0.25,
        "job_id": None,
        "run_id": None,
    }
    return FinishedCall(**whole | changes)


@contextmanager
def audit(path: Path, *secrets: str) -> Iterator[AuditLog]:
    log = AuditLog(path, SecretMask(secrets))
    log.start()
    try:
        yield log
    finally:
        log.close()


def test_arguments_are_outlined_and_masked(tmp_path: Path) -> None:
    deep: Any = "bottom"
    for _ in range(100):
        deep = {"a": [deep]}
    arguments = {
        "password": "hunter2",
        "nested": {"api_key": "k", "X-Authorization": "y", "fine": [1, 2.5, None, True]},
        "text": f"see {TOKEN} and hidden",
        TOKEN: 1,
        "many": list(range(1000)),
        "deep": deep,
    }
    with audit(tmp_path / "audit", "hidden") as log:
        log.ended(finished(arguments=arguments, job_id="job_1", run_id="run_1"))
    (line,) = lines(tmp_path / "audit")
    text = json.dumps(line)
    assert not any(secret in text for secret in ("hunter2", '"k"', '"y"', TOKEN, "hidden"))
    kept = line["arguments"]
    assert kept["password"] == STARS
    assert kept["nested"] == {"api_key": STARS, "X-Authorization": STARS, "fine": [1, 2.5, None, True]}
    assert kept["many"] == "1000 entries"
    assert "bottom" not in text
    assert (line["job_id"], line["run_id"], line["time"]) == ("job_1", "run_1", "2023-11-14T22:13:20.000Z")


def test_a_webhook_is_named_by_its_host_alone(tmp_path: Path) -> None:
    sent = {
        "webhook": "https://hooks.example:8443/T0/B1/hidden-path?key=hidden",
        "job_webhook": "http://[::1/hidden",
    }
    with audit(tmp_path / "audit") as log:
        log.ended(finished(arguments=sent | {"updates": {"webhook": None}, "webhooks": ["hidden"]}))
    kept = lines(tmp_path / "audit")[0]["arguments"]
    assert kept["webhook"] == f"https://hooks.example/{STARS}"
    assert (kept["job_webhook"], kept["webhooks"], kept["updates"]) == (STARS, STARS, {"webhook": None})


def test_numbers_that_json_does_not_know_are_written_as_text(tmp_path: Path) -> None:
    with audit(tmp_path / "audit") as log:
        log.ended(finished(arguments={"fee": float("nan"), "many": [float("inf"), 1.5]}))
    text = (tmp_path / "audit").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["arguments"] == {"fee": "nan", "many": ["inf", 1.5]}


@pytest.mark.parametrize(
    "piece",
    [
        "eyJ",
        "eyJaaaaaaaa.",
        "authorization:",
        "authorization",
        "authorization: ",
        "bearer ",
        "jmcp_",
        "://",
        "://a:",
        "a:@",
    ],
)
def test_looking_for_secrets_takes_no_longer_for_a_text_made_up_to_be_slow(piece: str) -> None:
    """What took time with the square of the length would take hours."""
    mask = SecretMask(("hidden",))
    for text in (piece * 400_000, piece + " " * 4_000_000, piece + "a" * 4_000_000):
        mask(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
@settings(max_examples=50)
def test_whatever_is_sent_makes_one_line(arguments: dict[str, Any]) -> None:
    log = AuditLog(Path("/nowhere"), SecretMask())
    log.ended(finished(arguments=arguments))
    message = log._file.lines.get_nowait().getMessage()
    assert "\n" not in message
    assert json.loads(message)["tool"] == "backtest"


def test_a_call_never_waits_for_the_disk(tmp_path: Path) -> None:
    """Nobody writes yet, and nobody waits; what was put is written when somebody does."""
    log = AuditLog(tmp_path / "audit", SecretMask())
    for _ in range(1000):
        log.ended(finished())
    assert not (tmp_path / "audit").exists()
    log.start()
    log.close()
    log.close()
    assert len(lines(tmp_path / "audit")) == 1000


def test_a_disk_that_refuses_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with audit(tmp_path / "file" / "audit") as log:
        log.ended(finished())
        log.ended(finished())
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}/file/audit cannot be written: lines are lost"
    ]


_WRITER = """
import logging, sys
from pathlib import Path
from jesse_mcp.server.rotating_file import SharedRotatingFile
handler = SharedRotatingFile(Path(sys.argv[1]), max_bytes=2000, kept=100)
for number in range(200):
    handler.emit(logging.makeLogRecord({"msg": f"{sys.argv[2]} {number:04}"}))
"""


def test_processes_that_share_a_file_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    files = [file for file in tmp_path.iterdir() if file.suffix != ".lock"]
    found = sorted(line for file in files for line in file.read_text().splitlines())
    assert found == sorted(f"{name} {number:04}" for name in "ab" for number in range(200))
    assert len(files) > 1, "it was rotated"
    assert all(file.stat().st_size <= 2000 for file in files)


def test_a_file_that_somebody_else_has_rotated_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    mine, other = (SharedRotatingFile(path, max_bytes=60, kept=5) for _ in range(2))
    for number in range(2):
        mine.emit(logging.makeLogRecord({"msg": f"{number:025}"}))
    other.emit(logging.makeLogRecord({"msg": "rotates"}))
    mine.emit(logging.makeLogRecord({"msg": "follows"}))
    mine.close()
    other.close()
    assert path.read_text() == "rotates\nfollows\n"
    assert len((tmp_path / "log.1").read_text().splitlines()) == 2


def test_old_files_are_given_up(tmp_path: Path) -> None:
    handler = SharedRotatingFile(tmp_path / "log", max_bytes=100, kept=2)
    for number in range(100):
        handler.emit(logging.makeLogRecord({"msg": f"{number:09}"}))
    handler.close()
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"log", "log.1", "log.2", "log.lock"}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"got {TOKEN}!", f"got {STARS}!"),
        (f"token={JWT}", f"token={STARS}"),
        (f"token%3D{JWT}&", f"token%3D{STARS}&"),
        (f"a-long-name.example.org.{JWT}", f"a-long-name.example.org.{STARS}"),
        ("Authorization: Bearer abc", f"Authorization: {STARS}"),
        ("authorization: Basic dXNlcjpwYXNz", f"authorization: {STARS}"),
        ("{'Authorization': 'Bearer abcdef'}", f"{{'Authorization': '{STARS}'}}"),
        ("(b'authorization', b'Bearer abcdef')", f"(b'authorization', b'{STARS}')"),
        ("curl -H bearer 0123456789", f"curl -H bearer {STARS}"),
        ("postgres://user:p4ss@host:5432/db", f"postgres://{STARS}@host:5432/db"),
        ("at http://127.0.0.1:8765/mcp", "at http://127.0.0.1:8765/mcp"),
        ("mail me@example.org: soon", "mail me@example.org: soon"),
        ("jmcp_ is how tokens begin", "jmcp_ is how tokens begin"),
        ("hidden here", f"{STARS} here"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, clean: str) -> None:
    assert SecretMask(("hidden",))(text) == clean


def logged(text: str, **extra: Any) -> logging.LogRecord:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "%s", (text,), None)
    record.__dict__.update(extra)
    return record


def test_a_line_of_json() -> None:
    formatter = JsonFormatter(SecretMask())
    with calling(Caller("token:bot", frozenset()), "req_7"):
        line = json.loads(formatter.format(logged(f"a\nb {TOKEN}", job_id="job_1", run_id="run_1")))
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "x",
        "message": f"a\nb {STARS}",
        "request_id": "req_7",
        "client": "token:bot",
        "job_id": "job_1",
        "run_id": "run_1",
    }
    record = logged("outside")
    try:
        raise ValueError(TOKEN)
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    line = json.loads(formatter.format(record))
    assert not {"request_id", "client"} & line.keys()
    assert "ValueError" in line["exception"]
    assert TOKEN not in line["exception"]
    assert TOKEN not in SecretFreeFormatter(SecretMask()).format(record)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_file_gets_what_standard_error_gets(tmp_path: Path, form: Any) -> None:
    root, framework = logging.getLogger(), logging.getLogger("fastmcp")
    before, level, theirs = root.handlers[:], root.level, framework.handlers[:]
    root.handlers.clear()
    try:
        close = set_up_logging(Settings(home=tmp_path, log_file=tmp_path / "logs" / "log", log_format=form))
        with calling(Caller("token:bot", frozenset()), "req_7"):
            logging.getLogger("x").warning("hello %s", TOKEN)
        close()
        close()
    finally:
        root.handlers[:], framework.handlers[:] = before, theirs
        root.setLevel(level)
    (line,) = (tmp_path / "logs" / "log").read_text().splitlines()
    assert TOKEN not in line
    if form == "json":
        assert (json.loads(line)["request_id"], json.loads(line)["message"]) == ("req_7", f"hello {STARS}")
    else:
        assert line.endswith(f"WARNING x: hello {STARS}")


async def test_metrics_count_what_happened(application: Application) -> None:
    await application.start()
    metrics = Metrics(application.experiments.answers)
    asked = (application.system, application.paper, application.job_notifier)
    origin = caller(Scope.READ)
    async with Client(build_server(application, origin=origin, observers=[metrics])) as client:
        for _ in range(3):
            await client.call_tool("run_list", {})
        await client.call_tool("run_get", {"run_id": "x"}, raise_on_error=False)
        for number in range(5):
            await client.call_tool(f"invented{number}", {}, raise_on_error=False)
        text = (await metrics.exposition(*asked)).decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['jesse_mcp_tool_calls_total{tool="run_list"}'] == "3.0"
    assert values['jesse_mcp_tool_calls_total{tool="unknown"}'] == "5.0"
    assert values['jesse_mcp_tool_errors_total{code="run_not_found",tool="run_get"}'] == "1.0"
    assert values['jesse_mcp_tool_seconds_count{tool="run_list"}'] == "3.0"
    assert values["jesse_mcp_tool_calls_in_flight"] == "0.0"
    assert values['jesse_mcp_jobs{state="queued"}'] == "0.0"
    assert values['jesse_mcp_experiments_total{answer="stored"}'] == "0.0"
    assert values["jesse_mcp_candle_series"] == "0.0"
    assert values["jesse_mcp_status_known"] == "1.0"
    assert values['jesse_mcp_paper_sessions{status="running"}'] == "0.0"
    assert values['jesse_mcp_paper_alerts{delivery="waiting"}'] == "0.0"
    assert values["jesse_mcp_paper_seconds_behind"] == "NaN"
    assert values['jesse_mcp_job_webhooks{delivery="given_up"}'] == "0.0"
    assert "invented" not in text


def test_two_applications_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.ended(finished())
    assert [len(next(iter(m._calls.collect())).samples) > 0 for m in (one, other)] == [True, False]
