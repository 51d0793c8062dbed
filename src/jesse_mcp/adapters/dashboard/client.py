"""The endpoints' common ground: one connection pool, one login, one way to fail. Blocking and thread-safe."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx2

from jesse_mcp.adapters.dashboard import failures
from jesse_mcp.adapters.dashboard.login import Credentials, TokenHolder, refused

#: Seconds. Jesse answers from a thread pool that a busy machine can starve, hence the patience for a read.
_TIMEOUT = httpx2.Timeout(connect=5.0, read=60.0, write=60.0, pool=30.0)
_LIMITS = httpx2.Limits(max_connections=16, max_keepalive_connections=8)
_PAUSES = (0.2, 1.0)
_TRY_AGAIN = frozenset({502, 503, 504})


class DashboardClient:
    """Calls Jesse.

    Args:
        url: where the dashboard is, such as ``http://127.0.0.1:9000``; a path prefix is kept.
        credentials: a token or a password.
        timeout: overrides the time limits, in seconds.
    """

    def __init__(self, url: str, credentials: Credentials, timeout: httpx2.Timeout = _TIMEOUT) -> None:
        self.url = url.rstrip("/")
        self._token = TokenHolder(credentials)
        self._http = httpx2.Client(base_url=self.url, timeout=timeout, limits=_LIMITS, follow_redirects=False)

    def get(self, path: str, params: dict[str, str] | None = None) -> dict[str, Any]:
        """A read; repeated when Jesse does not answer. Raises as :meth:`call`."""
        return self.call("GET", path, params=params, safe=True)

    def read(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A POST that only reads, as most of Jesse's do; repeated like a GET. Raises as :meth:`call`."""
        return self.call("POST", path, body=body or {}, safe=True)

    def post(self, path: str, body: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        """A POST with an effect; sent again only when it cannot have arrived. Raises as :meth:`call`.

        Args:
            patience: seconds to wait for the answer, where that may take longer than usual.
        """
        return self.call("POST", path, body=body, safe=False, patience=patience)

    def upload(self, path: str, fields: dict[str, str], name: str, content: bytes) -> dict[str, Any]:
        """A form with one CSV file. Raises as :meth:`call`."""
        return self.call("POST", path, form=fields, files={"file": (name, content, "text/csv")}, safe=False)

    def call(self, method: str, path: str, *, safe: bool, **parts: Any) -> dict[str, Any]:
        """One endpoint.

        Returns:
            The JSON object of a 2xx answer.

        Raises:
            ResearchError: ``jesse_unreachable``, ``jesse_unauthorized``, ``jesse_unrecognised`` for an answer
                that is not Jesse's, ``jesse_rejected`` for a 422, ``jesse_database``, ``jesse_failed``.
        """
        response = self._authorised(lambda: self._sent(method, path, safe, parts))
        return self._understood(path, response)

    @contextmanager
    def stream(self, path: str, fields: dict[str, str]) -> Iterator[Iterator[bytes]]:
        """The body of a form POST that answers with a download, in pieces. Raises as :meth:`call`.

        Such routes want the token as the form's field ``token``.
        """
        try:
            with self._http.stream("POST", path, data={**fields, "token": self.token()}) as response:
                if response.status_code == httpx2.codes.UNAUTHORIZED:
                    raise refused(self._token.credentials)
                if response.is_error or "text/csv" not in response.headers.get("content-type", ""):
                    response.read()
                    self._understood(path, response)
                    raise failures.not_jesse(self.url, path, response)
                yield response.iter_bytes()
        except httpx2.TransportError as error:
            raise failures.interrupted(self.url, path, error) from error

    def token(self) -> str:
        """The token in use, after a login where that is needed. A secret. Raises as :meth:`call`."""
        return self._token.known() or self._logged_in()

    def websocket_url(self) -> str:
        """Where Jesse pushes its events. Holds the token: not to be logged. Raises as :meth:`call`."""
        scheme, rest = self.url.split("://", 1)
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws?token={quote(self.token())}"

    def close(self) -> None:
        self._http.close()

    def _authorised(self, send: Any) -> httpx2.Response:
        """With a login first where there is no token, and once more after a 401."""
        used = self.token()
        response: httpx2.Response = send()
        if response.status_code != httpx2.codes.UNAUTHORIZED:
            return response
        self._token.forget(used)
        if not self._token.credentials.can_log_in:
            raise refused(self._token.credentials)
        self.token()
        response = send()
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            raise refused(self._token.credentials)
        return response

    def _logged_in(self) -> str:
        password = self._token.password()
        response = self._sent("POST", "/auth/login", True, {"body": {"password": password}}, login=True)
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            raise refused(self._token.credentials)
        token = self._understood("/auth/login", response).get("auth_token")
        if not isinstance(token, str) or not token:
            raise failures.not_jesse(self.url, "/auth/login", response)
        self._token.accept(token)
        return token

    def _sent(
        self, method: str, path: str, safe: bool, parts: dict[str, Any], login: bool = False
    ) -> httpx2.Response:
        headers = {} if login else {"authorization": self.token()}
        for pause in (*_PAUSES, None):
            try:
                response = self._http.request(
                    method,
                    path,
                    headers=headers,
                    params=parts.get("params"),
                    json=parts.get("body"),
                    data=parts.get("form"),
                    files=parts.get("files"),
                    timeout=self._limits(parts.get("patience")),
                )
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                # Never arrived, so it may be sent again whatever it does.
                if pause is None:
                    raise failures.unreachable(self.url, error) from error
            except httpx2.TransportError as error:
                if pause is None or not safe:
                    raise failures.interrupted(self.url, path, error) from error
            else:
                if pause is None or not safe or response.status_code not in _TRY_AGAIN:
                    return response
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _limits(self, patience: float | None) -> httpx2.Timeout:
        usual = self._http.timeout
        if patience is None:
            return usual
        return httpx2.Timeout(connect=usual.connect, read=patience, write=usual.write, pool=usual.pool)

    def _understood(self, path: str, response: httpx2.Response) -> dict[str, Any]:
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise failures.not_jesse(self.url, path, response)
        if response.is_error:
            raise failures.answered(path, response.status_code, body)
        return body
