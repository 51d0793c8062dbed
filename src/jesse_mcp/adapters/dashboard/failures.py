"""What went wrong between us and Jesse, in words that help."""

import socket
import ssl
from typing import Any

import httpx2

from jesse_mcp.domain.errors import ErrorCode, ResearchError

_SHOWN = 400
#: What PostgreSQL's driver and Jesse's access layer say when they cannot reach the database.
_DATABASE = (
    "psycopg2",
    "OperationalError",
    "InterfaceError",
    "server closed",
    "connection already closed",
    "connection to server",
    "terminating connection",
    "the database system is",
    "current transaction is aborted",
)
#: What a web framework answers, rather than Jesse, when it knows no such endpoint.
_NO_ENDPOINT = ("Not Found", "Method Not Allowed")
_HINTS = {
    "refused": "start it with `jesse run` in the project folder, or correct JESSE_URL",
    "name": "the host name in JESSE_URL cannot be resolved: check its spelling, and the network",
    "tls": "for a certificate of your own authority set SSL_CERT_FILE; with no TLS there, write http://",
    "silent": "check host and port in JESSE_URL, and the firewall or VPN on the way to it",
}


def unreachable(url: str, reason: str, error: Exception) -> ResearchError:
    """No connection: refused, no such host, no trust in its certificate, no answer to the knock."""
    kind = _kind(error)
    return ResearchError(
        ErrorCode.JESSE_UNREACHABLE,
        f"Jesse at {url} does not answer: {reason}",
        hint=_HINTS[kind],
        details={"url": url, "kind": kind, "cause": type(error).__name__},
    )


def _kind(error: BaseException) -> str:
    if isinstance(error, httpx2.ConnectTimeout):
        return "silent"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return "name"
        if isinstance(cause, ssl.SSLError):
            return "tls"
        cause = cause.__cause__ or cause.__context__
    return "refused"


def interrupted(url: str, path: str, reason: str, error: Exception) -> ResearchError:
    """The request was sent and its answer never came: whether Jesse did it is not known."""
    silent = isinstance(error, httpx2.TimeoutException)
    happened = "was too slow to answer" if silent else "broke the connection while it worked on"
    return ResearchError(
        ErrorCode.JESSE_UNREACHABLE,
        f"Jesse at {url} {happened} {path}: {reason}",
        hint="Jesse may or may not have done it: look before you repeat the call",
        details={
            "url": url,
            "path": path,
            "kind": "slow" if silent else "broken",
            "cause": type(error).__name__,
        },
    )


def not_jesse(url: str, path: str, response: httpx2.Response, body: str) -> ResearchError:
    """An answer that Jesse would not give. ``body`` is shown, so it must hold no secret."""
    kind = response.headers.get("content-type", "no content type").partition(";")[0]
    hint = "JESSE_URL must point at Jesse's dashboard (port 9000 by default), past any proxy's login page"
    details: dict[str, object] = {"url": url, "path": path, "status": response.status_code}
    said = f"status {response.status_code} and {kind}"
    if response.is_redirect:
        # Never followed: it would carry the token wherever it is told to.
        said = f"a redirect (status {response.status_code}) to {_target(response)}"
        hint = (
            "give the final address as JESSE_URL: redirects are not followed, to keep the token from others"
        )
    elif response.status_code in {502, 503, 504}:
        hint = "the proxy before Jesse does not reach it: start Jesse, or correct the proxy"
    return ResearchError(
        ErrorCode.JESSE_UNRECOGNISED,
        f"{url} answered {path} with {said}, which is not Jesse's API",
        hint=hint,
        details={**details, "body": body[:_SHOWN]},
    )


def _target(response: httpx2.Response) -> str:
    """Where a redirect leads, without what may be a secret in it."""
    try:
        target = httpx2.URL(response.headers["location"])
        return str(target.copy_with(query=None, fragment=None, userinfo=b""))
    except (KeyError, httpx2.InvalidURL):
        return "nowhere"


def too_large(url: str, path: str, limit: int) -> ResearchError:
    """An answer that no run and no series of candles needs, or that never ends."""
    return ResearchError(
        ErrorCode.JESSE_UNRECOGNISED,
        f"{url} answered {path} with more than {limit:,} bytes, and was not read any further",
        hint="see whether JESSE_URL is Jesse's dashboard; if it is, ask for less at a time",
        details={"url": url, "path": path},
    )


def is_crash(response: httpx2.Response) -> bool:
    """Whether an exception of Jesse's went up to its web server, which then says nothing else."""
    return (
        response.status_code == httpx2.codes.INTERNAL_SERVER_ERROR
        and response.text == "Internal Server Error"
    )


def crashed(path: str, *, database: bool) -> ResearchError:
    """The error for such an answer, after a look at the database."""
    if database:
        return _database_lost(path, 500, "Internal Server Error")
    return ResearchError(
        ErrorCode.JESSE_FAILED,
        f"Jesse answered {path} with status 500 and no reason",
        hint="Jesse's own terminal shows the traceback",
        details={"path": path, "status": 500},
    )


def answered(path: str, status: int, body: Any) -> ResearchError:
    """An error status with a JSON body: what Jesse says, in its own words."""
    said = _said(body)
    details: dict[str, object] = {"path": path, "status": status}
    if status == httpx2.codes.UNPROCESSABLE_CONTENT:
        return ResearchError(
            ErrorCode.JESSE_REJECTED,
            f"Jesse rejects the request to {path}: {said}",
            hint="this Jesse may be of another version than 3.5: see system_status",
            details=details,
        )
    if isinstance(body, dict) and body.get("detail") in _NO_ENDPOINT:
        return ResearchError(
            ErrorCode.JESSE_UNSUPPORTED,
            f"there is no {path} in the program at JESSE_URL (status {status}: {said})",
            hint="it is another program than Jesse, or a Jesse other than 3.5: see system_status",
            details=details,
        )
    if any(word in said for word in _DATABASE):
        return _database_lost(path, status, said)
    return ResearchError(
        ErrorCode.JESSE_FAILED,
        f"Jesse answered {path} with status {status}: {said}",
        hint="Jesse's own terminal shows more" if status >= 500 else "see the message",
        details=details,
    )


def _database_lost(path: str, status: int, said: str) -> ResearchError:
    return ResearchError(
        ErrorCode.JESSE_DATABASE,
        f"Jesse has no database for {path}: it answered with status {status}: {said}",
        hint="start its PostgreSQL, then restart Jesse: it does not connect again by itself",
        details={"path": path, "status": status},
    )


def _said(body: Any) -> str:
    if isinstance(body, dict):
        for key in ("error", "message", "detail"):
            if body.get(key):
                return _flat(body[key])[:_SHOWN]
    return str(body)[:_SHOWN]


def _flat(value: Any) -> str:
    """FastAPI's list of faulty fields as ``field: fault; ...``, without what was received."""
    if not isinstance(value, list):
        return " ".join(str(value).split())
    return "; ".join(
        f"{'.'.join(str(part) for part in item.get('loc', ())[1:])}: {item.get('msg')}"
        if isinstance(item, dict)
        else str(item)
        for item in value
    )
