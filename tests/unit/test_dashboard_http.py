"""How Jesse is called: secrets, logins, repeats, and every answer that is not the one hoped for."""

import gzip
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from pydantic import SecretStr

from jesse_mcp.adapters.dashboard import client as client_module
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.domain.errors import ErrorCode, ResearchError

URL = "http://jesse.test:9000"
PASSWORD = "correct horse"  # noqa: S105
TOKEN = sha256(PASSWORD.encode()).hexdigest()
BY_PASSWORD = Credentials(password=SecretStr(PASSWORD))
BY_TOKEN = Credentials(token=SecretStr(TOKEN))
CRASH = httpx2.Response(500, text="Internal Server Error")

Answer = Callable[[httpx2.Request], httpx2.Response]


class FakeJesse:
    """Logs in as Jesse does; ``answer`` is asked for everything else."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.requests: list[httpx2.Request] = []
        self.token = TOKEN
        self._answer = answer or (lambda _: httpx2.Response(200, json={"ok": True}))

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if request.url.path == "/auth/login":
            if json.loads(request.content)["password"] == PASSWORD:
                return httpx2.Response(200, json={"auth_token": self.token})
            return httpx2.Response(401, json={"message": "Invalid password"})
        if request.headers.get("authorization") != self.token and b"token=" not in request.content:
            return httpx2.Response(401, json={"message": "Invalid password"})
        return self._answer(request)

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]


def client_of(jesse: Answer, credentials: Credentials = BY_PASSWORD) -> DashboardClient:
    return DashboardClient(URL, credentials, transport=httpx2.MockTransport(jesse))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_PAUSES", (0.0, 0.0))


def failing(call: Callable[[], object]) -> ResearchError:
    with pytest.raises(ResearchError) as caught:
        call()
    error = caught.value
    assert error.hint
    said = f"{error.to_dict()} {error!r} {error.__cause__!r}"
    assert TOKEN not in said
    assert PASSWORD not in said
    return error


def test_one_login_serves_many_calls() -> None:
    jesse = FakeJesse()
    client = client_of(jesse)
    assert client.get("/a") == client.read("/b") == client.post("/c", {}) == {"ok": True}
    assert jesse.paths == ["/auth/login", "/a", "/b", "/c"]
    assert "authorization" not in jesse.requests[0].headers


def test_threads_that_need_a_login_share_it() -> None:
    jesse = FakeJesse()
    client = client_of(jesse)
    threads = [threading.Thread(target=client.get, args=("/a",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jesse.paths.count("/auth/login") == 1


def test_a_token_is_never_sent_to_the_login() -> None:
    jesse = FakeJesse()
    client_of(jesse, BY_TOKEN).get("/a")
    assert jesse.paths == ["/a"]
    jesse.token = "another"  # noqa: S105
    error = failing(lambda: client_of(jesse, BY_TOKEN).get("/a"))
    assert error.code is ErrorCode.JESSE_UNAUTHORIZED
    assert "JESSE_API_TOKEN" in error.message
    assert jesse.paths == ["/a", "/a"]


def test_a_token_wins_over_a_password() -> None:
    jesse = FakeJesse()
    client_of(jesse, Credentials(password=SecretStr("other"), token=SecretStr(TOKEN))).get("/a")
    assert jesse.paths == ["/a"]


def test_without_a_secret_nothing_is_sent() -> None:
    jesse = FakeJesse()
    error = failing(lambda: client_of(jesse, Credentials()).get("/a"))
    assert error.code is ErrorCode.JESSE_UNAUTHORIZED
    assert "JESSE_PASSWORD" in (error.hint or "")
    assert jesse.paths == []


def test_after_a_401_there_is_one_login_and_one_more_try() -> None:
    jesse = FakeJesse()
    client = client_of(jesse)
    client.get("/a")
    jesse.token = "renewed"  # noqa: S105
    assert client.post("/b", {}) == {"ok": True}
    assert jesse.paths == ["/auth/login", "/a", "/b", "/auth/login", "/b"]


def test_a_jesse_that_refuses_its_own_token_is_not_asked_for_ever() -> None:
    jesse = FakeJesse(lambda _: httpx2.Response(401, json={"message": "Invalid password"}))
    error = failing(lambda: client_of(jesse).get("/a"))
    assert error.code is ErrorCode.JESSE_UNAUTHORIZED
    assert jesse.paths == ["/auth/login", "/a", "/auth/login", "/a"]


def test_a_wrong_password() -> None:
    jesse = FakeJesse()
    error = failing(lambda: client_of(jesse, Credentials(password=SecretStr("wrong"))).get("/a"))
    assert error.code is ErrorCode.JESSE_UNAUTHORIZED
    assert "JESSE_PASSWORD" in error.message
    assert jesse.paths == ["/auth/login"]


@pytest.mark.parametrize("path", ["/auth/login", "/a"])
def test_a_401_of_a_proxy_does_not_blame_the_password(path: str) -> None:
    page = httpx2.Response(401, html="<h1>Sign in</h1>")
    jesse = FakeJesse(lambda _: page)
    answers = (lambda _: page) if path == "/auth/login" else jesse
    error = failing(lambda: client_of(answers).get("/a"))
    assert error.code is ErrorCode.JESSE_UNRECOGNISED
    assert "proxy" in (error.hint or "")


class Unsteady:
    """Fails ``times`` times with ``failure``, then answers."""

    def __init__(self, failure: Exception | httpx2.Response, times: int) -> None:
        self.left = times
        self.failure = failure

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.left -= 1
        if self.left < 0:
            return httpx2.Response(200, json={"ok": True})
        if isinstance(self.failure, httpx2.Response):
            return self.failure
        raise self.failure


BROKEN = httpx2.ReadError("reset by peer")
REFUSED = httpx2.ConnectError("[Errno 111] Connection refused")
BAD_GATEWAY = httpx2.Response(502, text="bad gateway")


@pytest.mark.parametrize("failure", [BROKEN, REFUSED, BAD_GATEWAY], ids=["broken", "refused", "gateway"])
def test_a_read_is_repeated(failure: Exception | httpx2.Response) -> None:
    jesse = FakeJesse(Unsteady(failure, 2))
    assert client_of(jesse, BY_TOKEN).read("/a") == {"ok": True}
    assert jesse.paths == ["/a"] * 3


def test_a_read_is_repeated_twice_at_most() -> None:
    jesse = FakeJesse(Unsteady(BROKEN, 9))
    error = failing(lambda: client_of(jesse, BY_TOKEN).get("/a"))
    assert (error.code, error.details["kind"]) == (ErrorCode.JESSE_UNREACHABLE, "broken")
    assert jesse.paths == ["/a"] * 3


@pytest.mark.parametrize("failure", [BROKEN, BAD_GATEWAY, httpx2.ReadTimeout("timed out")])
def test_what_has_an_effect_is_not_repeated_once_it_may_have_arrived(
    failure: Exception | httpx2.Response,
) -> None:
    for call in (
        lambda client: client.post("/a", {}),
        lambda client: client.upload("/a", {}, "a.csv", b"1"),
    ):
        jesse = FakeJesse(Unsteady(failure, 1))
        failing(lambda call=call, jesse=jesse: call(client_of(jesse, BY_TOKEN)))  # type: ignore[misc]
        assert jesse.paths == ["/a"]


def test_what_has_an_effect_is_repeated_when_it_never_arrived() -> None:
    jesse = FakeJesse(Unsteady(REFUSED, 2))
    assert client_of(jesse, BY_TOKEN).post("/a", {}) == {"ok": True}
    assert jesse.paths == ["/a"] * 3


@pytest.mark.parametrize("failure", [httpx2.ReadTimeout("timed out"), httpx2.ConnectTimeout("timed out")])
def test_silence_is_not_answered_by_asking_again(failure: Exception) -> None:
    jesse = FakeJesse(Unsteady(failure, 9))
    error = failing(lambda: client_of(jesse, BY_TOKEN).get("/a"))
    assert error.code is ErrorCode.JESSE_UNREACHABLE
    assert jesse.paths == ["/a"]


REDIRECT = httpx2.Response(
    302, headers={"location": f"https://elsewhere.test/login?token={TOKEN}"}, json={"ok": True}
)
HTML = httpx2.Response(200, html="<html>Welcome</html>")
LIST = httpx2.Response(200, json=[1])
NO_ENDPOINT = httpx2.Response(404, json={"detail": "Not Found"})
NO_METHOD = httpx2.Response(405, json={"detail": "Method Not Allowed"})
NO_SESSION = httpx2.Response(404, json={"error": "Session with ID 1 not found"})
FAULTY_FIELD = {"type": "missing", "loc": ["body", "symbol"], "msg": "Field required", "input": {"a": TOKEN}}


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (REDIRECT, ErrorCode.JESSE_UNRECOGNISED, "a redirect (status 302) to https://elsewhere.test/login,"),
        (HTML, ErrorCode.JESSE_UNRECOGNISED, "status 200 and text/html"),
        (LIST, ErrorCode.JESSE_UNRECOGNISED, "status 200 and application/json"),
        (NO_ENDPOINT, ErrorCode.JESSE_UNSUPPORTED, "there is no /a"),
        (NO_METHOD, ErrorCode.JESSE_UNSUPPORTED, "there is no /a"),
        (NO_SESSION, ErrorCode.JESSE_FAILED, "Session with ID 1 not found"),
        (
            httpx2.Response(422, json={"detail": [FAULTY_FIELD]}),
            ErrorCode.JESSE_REJECTED,
            "symbol: Field required",
        ),
        (
            httpx2.Response(500, json={"error": 'psycopg2.OperationalError: could not\n"connect"'}),
            ErrorCode.JESSE_DATABASE,
            "could not",
        ),
        (
            httpx2.Response(500, json={"error": "connection already closed"}),
            ErrorCode.JESSE_DATABASE,
            "connection already closed",
        ),
        (
            httpx2.Response(500, json={"error": "KeyError: 'x'", "traceback": "..."}),
            ErrorCode.JESSE_FAILED,
            "KeyError: 'x'",
        ),
        (
            httpx2.Response(500, text=f"oops {TOKEN}"),
            ErrorCode.JESSE_UNRECOGNISED,
            "status 500 and text/plain",
        ),
        (httpx2.Response(504, html="<h1>504</h1>"), ErrorCode.JESSE_UNRECOGNISED, "status 504"),
        (httpx2.Response(204), ErrorCode.JESSE_UNRECOGNISED, "status 204 and no content type"),
        (
            httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=httpx2.ByteStream(b"no gzip")),
            ErrorCode.JESSE_UNREACHABLE,
            "/a",
        ),
    ],
)
@pytest.mark.parametrize("credentials", [BY_PASSWORD, BY_TOKEN], ids=["password", "token"])
def test_answers_that_are_no_success(
    answer: httpx2.Response, code: ErrorCode, words: str, credentials: Credentials
) -> None:
    def fresh(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(answer.status_code, headers=answer.headers, stream=answer.stream)

    error = failing(lambda: client_of(FakeJesse(fresh), credentials).get("/a"))
    assert error.code is code
    assert words in error.message


@pytest.mark.parametrize(("session_status", "code"), [(500, "jesse_database"), (404, "jesse_failed")])
def test_a_crash_is_the_databases_when_that_cannot_be_asked(session_status: int, code: str) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.startswith("/backtest/sessions/") and session_status == 404:
            return NO_SESSION
        return CRASH

    jesse = FakeJesse(answer)
    error = failing(lambda: client_of(jesse, BY_TOKEN).post("/config/get", {}))
    assert error.code == code
    assert len(jesse.paths) == 2


def test_a_compressed_answer_is_read() -> None:
    body = gzip.compress(b'{"ok": true}')
    answer = httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=httpx2.ByteStream(body))
    assert client_of(FakeJesse(lambda _: answer)).get("/a") == {"ok": True}


def test_a_login_that_answers_with_the_password_keeps_it_out_of_the_error() -> None:
    for status, body in (
        (422, {"detail": [{"loc": ["body", "user"], "msg": "required", "input": PASSWORD}]}),
        (200, {"hello": PASSWORD}),
        (500, [PASSWORD]),
    ):
        answer = httpx2.Response(status, json=body)
        failing(lambda answer=answer: client_of(lambda _: answer).get("/a"))  # type: ignore[misc]


def test_a_path_prefix_is_kept() -> None:
    jesse = FakeJesse()
    client = DashboardClient(
        "https://host.test/jesse/", BY_TOKEN, transport=httpx2.MockTransport(jesse), longest_answer=5
    )
    client.get("/a", {"x": "1"})
    assert str(jesse.requests[0].url) == "https://host.test/jesse/a?x=1"
    assert client.websocket_url() == f"wss://host.test/jesse/ws?token={TOKEN}"


def test_no_secret_is_in_a_representation() -> None:
    client = client_of(FakeJesse())
    client.get("/a")
    for thing in (client, vars(client), client._token, client._http, client._http.headers):
        assert TOKEN not in repr(thing)
        assert PASSWORD not in repr(thing)


class Slow(BaseHTTPRequestHandler):
    """Over real sockets: says nothing, or trickles, or says what it should."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/silent":
            stopping(self.server).wait(30)
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        if self.path == "/trickle":
            while not stopping(self.server).wait(0.05):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    break
        else:
            self.wfile.write(b'{"ok": true}')
        self.close_connection = True

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


def stopping(server: Any) -> threading.Event:
    event: threading.Event = server.stopping
    return event


@pytest.fixture
def slow_server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.stopping = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    stopping(server).set()
    server.shutdown()
    thread.join()
    server.server_close()


def real_client(port: int, scheme: str = "http", **limits: Any) -> DashboardClient:
    return DashboardClient(f"{scheme}://127.0.0.1:{port}", BY_TOKEN, **limits)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:9000", True),
        ("http://localhost", True),
        ("http://[::1]:9000", True),
        ("http://host:9000", False),
    ],
)
def test_whether_jesse_is_on_this_machine(url: str, local: bool) -> None:
    client = DashboardClient(url, BY_TOKEN)
    assert client.is_local is local
    client.close()


@pytest.mark.parametrize("path", ["/silent", "/trickle"])
@pytest.mark.parametrize("safe", [True, False])
def test_a_slow_answer_ends_at_the_time_limit(
    slow_server: ThreadingHTTPServer, path: str, safe: bool
) -> None:
    limits: dict[str, Any] = {"timeout": httpx2.Timeout(0.3), "longest_answer": 0.3}
    for client, within in (
        (real_client(slow_server.server_port, **limits), None),
        (real_client(slow_server.server_port), 0.3),
    ):
        begun = time.monotonic()
        error = failing(
            lambda client=client, within=within: client.call("GET", path, safe=safe, within=within)  # type: ignore[misc]
        )
        assert time.monotonic() - begun < 5, "a tenth of what three attempts of the usual length would take"
        assert (error.code, error.details["kind"]) == (ErrorCode.JESSE_UNREACHABLE, "slow")
        client.close()


def test_patience_is_longer_than_the_usual_limit(slow_server: ThreadingHTTPServer) -> None:
    client = real_client(slow_server.server_port, timeout=httpx2.Timeout(0.2), longest_answer=0.2)
    begun = time.monotonic()
    failing(lambda: client.post("/silent", {}, patience=1.0))
    assert 1.0 <= time.monotonic() - begun < 5
    client.close()


def test_the_environments_proxy_is_not_used_for_this_machine(
    slow_server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    client = real_client(slow_server.server_port)
    assert client.get("/quick") == {"ok": True}
    client.close()


def test_a_refused_connection() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = real_client(taken.getsockname()[1])
        error = failing(lambda: client.get("/a"))
    assert (error.code, error.details["kind"]) == (ErrorCode.JESSE_UNREACHABLE, "refused")
    assert "jesse run" in (error.hint or "")
    client.close()


def test_an_unknown_host() -> None:
    client = DashboardClient("http://no-such-host.invalid:9000", BY_TOKEN)
    error = failing(lambda: client.get("/a"))
    assert (error.code, error.details["kind"]) == (ErrorCode.JESSE_UNREACHABLE, "name")
    client.close()


def test_a_certificate_of_an_own_authority(
    slow_server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    plain = slow_server.socket
    slow_server.socket = context.wrap_socket(plain, server_side=True)
    client = real_client(slow_server.server_port, "https")
    error = failing(lambda: client.get("/quick"))
    assert (error.code, error.details["kind"]) == (ErrorCode.JESSE_UNREACHABLE, "tls")
    assert "SSL_CERT_FILE" in (error.hint or "")
    client.close()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    client = real_client(slow_server.server_port, "https")
    assert client.get("/quick") == {"ok": True}
    client.close()


def test_no_header_goes_to_the_log(
    slow_server: ThreadingHTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = real_client(slow_server.server_port)
    client.get("/quick")
    client.close()
    assert "/quick" in caplog.text
    assert TOKEN not in caplog.text
