"""The endpoints' common ground: one connection pool, one login, one way to fail. Blocking and thread-safe."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2

from jesse_mcp.adapters.dashboard import failures
from jesse_mcp.adapters.dashboard.login import Credentials, TokenHolder, refused

#: Seconds. Jesse answers from a thread pool that a busy machine can starve, hence the patience for a read.
_TIMEOUT = httpx2.Timeout(connect=5.0, read=60.0, write=60.0, pool=30.0)
#: Seconds for one answer from its first byte to its last.
_LONGEST_ANSWER = 300.0
#: Bytes of one answer, unpacked; and of one that may take longer than usual, such as a whole series.
_LARGEST_ANSWER, _LARGEST_FILE = 2**28, 2**30
_LIMITS = httpx2.Limits(max_connections=16, max_keepalive_connections=8)
_PAUSES = (0.2, 1.0)
_TRY_AGAIN = frozenset({502, 503, 504})
#: Headers that no longer hold for a body that was received and unpacked.
_OF_THE_TRANSFER = frozenset({"content-encoding", "content-length", "transfer-encoding"})
#: A secret sent to this machine has no business in a proxy, whatever HTTP_PROXY says.
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


class DashboardClient:
    """Calls Jesse.

    Args:
        url: where the dashboard is, such as ``http://127.0.0.1:9000``; a path prefix is kept.
        credentials: a token or a password.
        timeout: overrides the time limits, in seconds.
        longest_answer: seconds one answer may take in all, however steadily it trickles.
        transport: what carries the requests; default: the network.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        timeout: httpx2.Timeout = _TIMEOUT,
        *,
        longest_answer: float = _LONGEST_ANSWER,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._token = TokenHolder(credentials)
        self._login = threading.Lock()
        self._timeout = timeout
        self._longest_answer = longest_answer
        self._http = httpx2.Client(
            base_url=self.url,
            timeout=timeout,
            limits=_LIMITS,
            follow_redirects=False,
            transport=transport,
            mounts={f"all://{name}": None for name in _LOCAL} if transport is None else None,
        )

    @property
    def is_local(self) -> bool:
        """Whether Jesse is on this machine, so that no proxy stands between."""
        return httpx2.URL(self.url).host in {name.strip("[]") for name in _LOCAL}

    def get(
        self, path: str, params: dict[str, str] | None = None, *, within: float | None = None
    ) -> dict[str, Any]:
        """A read; repeated when Jesse does not answer. Raises as :meth:`call`."""
        return self.call("GET", path, params=params, safe=True, within=within)

    def read(
        self, path: str, body: dict[str, Any] | None = None, *, within: float | None = None
    ) -> dict[str, Any]:
        """A POST that only reads, as most of Jesse's do; repeated like a GET. Raises as :meth:`call`."""
        return self.call("POST", path, body=body or {}, safe=True, within=within)

    def post(self, path: str, body: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        """A POST with an effect; sent again only when it cannot have arrived. Raises as :meth:`call`.

        Args:
            path: below the address of the dashboard.
            body: JSON.
            patience: seconds to wait for the answer, where that may take longer than usual.
        """
        return self.call("POST", path, body=body, safe=False, patience=patience)

    def upload(self, path: str, fields: dict[str, str], name: str, content: bytes) -> dict[str, Any]:
        """A form with one CSV file. Raises as :meth:`call`."""
        return self.call("POST", path, form=fields, files={"file": (name, content, "text/csv")}, safe=False)

    def call(
        self, method: str, path: str, *, safe: bool, within: float | None = None, **parts: Any
    ) -> dict[str, Any]:
        """One endpoint.

        Args:
            method: of HTTP.
            path: below the address of the dashboard.
            safe: whether doing it twice is as good as once.
            within: seconds for this call with everything it takes, instead of the usual limits and repeats.
            parts: ``params``, ``body`` (JSON), ``form`` or ``files``, and ``patience`` as for :meth:`post`.

        Returns:
            The JSON object of a 2xx answer.

        Raises:
            ResearchError: ``jesse_unreachable``, ``jesse_unauthorized``, ``jesse_unrecognised`` for an answer
                that is not Jesse's, ``jesse_unsupported`` when Jesse lacks the endpoint, ``jesse_rejected``
                for a 422, ``jesse_database``, ``jesse_failed``.
        """
        end = None if within is None else time.monotonic() + within
        response = self._authorised(end, lambda token: self._sent(method, path, safe, parts, token, end))
        return self._understood(path, response, end)

    def token(self) -> str:
        """The token in use, after a login where that is needed. A secret. Raises as :meth:`call`."""
        return self._token_within(None)

    def websocket_url(self) -> str:
        """Where Jesse pushes its events. Holds the token: not to be logged. Raises as :meth:`call`."""
        scheme, rest = self.url.split("://", 1)
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws?token={quote(self.token())}"

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._http.close()

    def _token_within(self, end: float | None) -> str:
        known = self._token.known()
        if known:
            return known
        # One login for all threads that find out together that they need one.
        if not self._login.acquire(timeout=-1 if end is None else max(0.0, end - time.monotonic())):
            raise failures.interrupted(self.url, "/auth/login", "timed out", httpx2.ReadTimeout("timed out"))
        try:
            return self._token.known() or self._logged_in(end)
        finally:
            self._login.release()

    def _authorised(self, end: float | None, send: Callable[[str], httpx2.Response]) -> httpx2.Response:
        """With a login first where there is no token, and once more after a 401."""
        used = self._token_within(end)
        response = send(used)
        if response.status_code != httpx2.codes.UNAUTHORIZED:
            return response
        self._refused(response, used)
        response = send(self._token_within(end))
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            self._own_refusal(response)
            raise refused(self._token.credentials)
        return response

    def _logged_in(self, end: float | None) -> str:
        password = self._token.password()
        path = "/auth/login"
        response = self._sent("POST", path, True, {"body": {"password": password}}, None, end)
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            self._own_refusal(response)
            raise refused(self._token.credentials)
        token = self._understood(path, response, end).get("auth_token")
        # What no header can hold would be an error of the library, or another header.
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            raise failures.not_jesse(self.url, path, response, "")
        self._token.accept(token)
        return token

    def _refused(self, response: httpx2.Response, used: str) -> None:
        """Be ready to log in anew, if that can be done."""
        self._own_refusal(response)
        self._token.forget(used)
        if not self._token.credentials.can_log_in:
            raise refused(self._token.credentials)

    def _own_refusal(self, response: httpx2.Response) -> None:
        """A 401 of something before Jesse says nothing about our password."""
        if _object(response.text) is None:
            raise failures.not_jesse(self.url, response.request.url.path, response, "")

    def _sent(
        self,
        method: str,
        path: str,
        safe: bool,
        parts: dict[str, Any],
        token: str | None,
        end: float | None,
    ) -> httpx2.Response:
        for pause in (None,) if end is not None else (*_PAUSES, None):
            try:
                response = self._exchanged(
                    end,
                    parts.get("patience"),
                    method=method,
                    url=path,
                    headers={} if token is None else {"authorization": token},
                    params=parts.get("params"),
                    json=parts.get("body"),
                    data=parts.get("form"),
                    files=parts.get("files"),
                )
            except httpx2.RequestError as error:
                # What never arrived may be sent again whatever it does. Silence is no reason to.
                arrived = not isinstance(error, httpx2.ConnectError)
                hopeless = isinstance(error, httpx2.TimeoutException | httpx2.DecodingError)
                if pause is None or hopeless or (arrived and not safe):
                    raise self._broken(path, error) from error
            else:
                if pause is None or not safe or response.status_code not in _TRY_AGAIN:
                    return response
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _exchanged(self, end: float | None, patience: float | None, **request: Any) -> httpx2.Response:
        """The whole answer. The library limits each wait for a piece; this limits their sum."""
        begun = time.monotonic()
        end = begun + max(self._longest_answer, patience or 0.0) if end is None else end
        limits = self._timeout.as_dict()
        limits["read"] = limits["read"] if patience is None else patience
        built = self._http.build_request(**request, timeout=_shortened(limits, end - begun))
        response = self._http.send(built, stream=True)
        body, largest = bytearray(), _LARGEST_ANSWER if patience is None else _LARGEST_FILE
        try:
            for piece in response.iter_bytes():
                body += piece
                if len(body) > largest:
                    raise failures.too_large(self.url, built.url.path, largest)
                if time.monotonic() > end:
                    raise httpx2.ReadTimeout("the answer came too slowly", request=built)
        finally:
            response.close()
        headers = [item for item in response.headers.multi_items() if item[0] not in _OF_THE_TRANSFER]
        return httpx2.Response(response.status_code, headers=headers, content=bytes(body), request=built)

    def _broken(self, path: str, error: httpx2.RequestError) -> Exception:
        reason = self._token.hidden(str(error)) or type(error).__name__
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return failures.unreachable(self.url, reason, error)
        return failures.interrupted(self.url, path, reason, error)

    def _understood(self, path: str, response: httpx2.Response, end: float | None) -> dict[str, Any]:
        text = response.text if response.is_success else self._token.hidden(response.text)
        body = _object(text)
        if response.is_success and body is not None:
            return body
        if failures.is_crash(response):
            raise failures.crashed(path, database=self._database_is_down(end))
        if response.is_success or response.is_redirect or body is None:
            # The answer to a login may repeat the password.
            raise failures.not_jesse(self.url, path, response, "" if path == "/auth/login" else text)
        raise failures.answered(path, response.status_code, body)

    def _database_is_down(self, end: float | None) -> bool:
        """Looking for a session that cannot exist crashes only when the database cannot be asked."""
        token = self._token.known()
        if token is None:
            return False
        try:
            answer = self._sent("POST", f"/backtest/sessions/{uuid4()}", True, {"body": {}}, token, end)
        except Exception:  # noqa: BLE001  (the failure to be told about is another one)
            return False
        return failures.is_crash(answer)


def _object(text: str) -> dict[str, Any] | None:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _shortened(limits: dict[str, float | None], seconds: float) -> httpx2.Timeout:
    most = max(0.001, seconds)
    return httpx2.Timeout(
        **{name: most if limit is None else min(limit, most) for name, limit in limits.items()}
    )
