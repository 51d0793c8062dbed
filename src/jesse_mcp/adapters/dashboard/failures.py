"""What went wrong between us and Jesse, in words that help."""

from typing import Any

import httpx2

from jesse_mcp.domain.errors import ErrorCode, ResearchError

_SHOWN = 400


def unreachable(url: str, error: Exception) -> ResearchError:
    """No answer at all: refused, no such host, no route, no time."""
    reason = str(error) or type(error).__name__
    return ResearchError(
        ErrorCode.JESSE_UNREACHABLE,
        f"Jesse at {url} does not answer: {reason}",
        hint="start it with `jesse run` in the project folder, or correct JESSE_URL",
        details={"url": url, "cause": type(error).__name__},
    )


def interrupted(url: str, path: str, error: Exception) -> ResearchError:
    """The request was sent and its answer never came: whether Jesse did it is not known."""
    reason = str(error) or type(error).__name__
    return ResearchError(
        ErrorCode.JESSE_UNREACHABLE,
        f"the connection to Jesse at {url} broke while it worked on {path}: {reason}",
        hint="Jesse may or may not have done it: look before you repeat the call",
        details={"url": url, "path": path, "cause": type(error).__name__},
    )


def not_jesse(url: str, path: str, response: httpx2.Response) -> ResearchError:
    """An answer that Jesse would not give."""
    kind = response.headers.get("content-type", "no content type")
    return ResearchError(
        ErrorCode.JESSE_UNRECOGNISED,
        f"{url} answered {path} with status {response.status_code} and {kind}, which is not Jesse's API",
        hint="JESSE_URL must point at Jesse's dashboard (port 9000 by default), past any proxy's login page",
        details={"url": url, "path": path, "status": response.status_code, "body": response.text[:_SHOWN]},
    )


def answered(path: str, status: int, body: Any) -> ResearchError:
    """An error status with a JSON body: what Jesse says, in its own words."""
    said = _said(body)
    if status == httpx2.codes.UNPROCESSABLE_CONTENT:
        return ResearchError(
            ErrorCode.JESSE_REJECTED,
            f"Jesse rejects the request to {path}: {said}",
            hint="this Jesse may be of another version than 3.5: see system_status",
            details={"path": path, "status": status, "body": body},
        )
    database = any(
        word in said for word in ("psycopg2", "OperationalError", "InterfaceError", "server closed")
    )
    return ResearchError(
        ErrorCode.JESSE_DATABASE if database else ErrorCode.JESSE_FAILED,
        f"Jesse answered {path} with status {status}: {said}",
        hint=(
            "Jesse has lost its PostgreSQL: start that, then restart Jesse"
            if database
            else "Jesse's own terminal shows the traceback"
        ),
        details={"path": path, "status": status},
    )


def _said(body: Any) -> str:
    if isinstance(body, dict):
        for key in ("error", "message", "detail"):
            if body.get(key):
                return _flat(body[key])[:_SHOWN]
    return str(body)[:_SHOWN]


def _flat(value: Any) -> str:
    """FastAPI's list of faulty fields as ``field: fault; ...``."""
    if not isinstance(value, list):
        return str(value)
    return "; ".join(
        f"{'.'.join(str(part) for part in item.get('loc', ())[1:])}: {item.get('msg')}"
        if isinstance(item, dict)
        else str(item)
        for item in value
    )
