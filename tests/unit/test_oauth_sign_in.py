"""A client that knows nothing but the address of the server signs in at the issuer that it names."""

import asyncio
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
import uvicorn
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.utilities.tests import HeadlessOAuth
from joserfc import jwk, jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from jesse_mcp.server.http.asgi import AsgiApplication
from jesse_mcp.settings import Settings

KEY = jwk.RSAKey.generate_key(2048, {"kid": "one"})
CLAIMS = {"sub": "ann", "scope": "read"}


class Issuer:
    """As much of an authorization server as a client with PKCE needs; every user agrees to everything."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.resource: dict[str, str] = {}
        self.app = Starlette(
            routes=[
                Route("/.well-known/oauth-authorization-server", self._metadata),
                Route("/keys", self._keys),
                Route("/register", self._register, methods=["POST"]),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    async def _metadata(self, _: Request) -> JSONResponse:
        whole: dict[str, Any] = {
            f"{what}_endpoint": f"{self.address}/{path}"
            for what, path in (
                ("authorization", "authorize"),
                ("token", "token"),
                ("registration", "register"),
            )
        }
        whole |= {"issuer": self.address, "jwks_uri": f"{self.address}/keys"}
        whole |= {"response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"]}
        return JSONResponse(whole)

    async def _keys(self, _: Request) -> JSONResponse:
        return JSONResponse({"keys": [KEY.as_dict(private=False)]})

    async def _register(self, request: Request) -> JSONResponse:
        return JSONResponse(json.loads(await request.body()) | {"client_id": "somebody"}, 201)

    async def _authorize(self, request: Request) -> RedirectResponse:
        code = secrets.token_urlsafe()
        self.resource[code] = request.query_params["resource"]
        answer = {"code": code, "state": request.query_params["state"]}
        return RedirectResponse(f"{request.query_params['redirect_uri']}?{urlencode(answer)}", 302)

    async def _token(self, request: Request) -> JSONResponse:
        form = await request.form()
        now = int(time.time())
        audience = self.resource.pop(str(form["code"]))
        claims = CLAIMS | {"iss": self.address, "aud": audience, "iat": now, "exp": now + 60}
        access = jwt.encode({"alg": "RS256", "kid": "one"}, claims, KEY)
        return JSONResponse({"access_token": access, "token_type": "Bearer", "expires_in": 60})


@asynccontextmanager
async def served(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server._serve([listener]))
    while not server.started:
        assert not serving.done(), "it did not start"
        await asyncio.sleep(0)
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def listening() -> tuple[socket.socket, str]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


@asynccontextmanager
async def desk(tmp_path: Path) -> AsyncIterator[tuple[str, Issuer]]:
    there, issuer_address = listening()
    here, address = listening()
    issuer = Issuer(issuer_address)
    settings = Settings(
        home=tmp_path / "home",
        cache=tmp_path / "cache",
        prewarm=False,
        jwt_jwks_url=f"{issuer_address}/keys",
        jwt_issuer=issuer_address,
        jwt_audience=f"{address}/mcp",
        public_url=address,
    )
    async with served(issuer.app, there), served(AsgiApplication(settings), here):
        yield address, issuer


@pytest.mark.filterwarnings("ignore:Using in-memory token storage")
async def test_a_client_signs_in(tmp_path: Path) -> None:
    async with desk(tmp_path) as (address, _):
        url = f"{address}/mcp"
        transport = StreamableHttpTransport(url, auth=HeadlessOAuth(url))
        async with Client(transport) as client:
            tools = {tool.name for tool in await client.list_tools()}
            assert (await client.call_tool("run_list", {})).data is not None
    assert "run_list" in tools, "what the scope of the token opens"
    assert "strategy_write" not in tools


async def test_it_says_where_tokens_come_from(tmp_path: Path) -> None:
    async with desk(tmp_path) as (address, issuer), httpx2.AsyncClient() as client:
        refused = await client.post(f"{address}/mcp", json={})
        where = f"{address}/.well-known/oauth-protected-resource/mcp"
        said = await client.get(where)
        wrong = await client.post(f"{address}/mcp", json={}, headers={"Authorization": "Bearer x"})
    assert (refused.status_code, wrong.status_code) == (401, 401)
    assert refused.headers["WWW-Authenticate"] == f'Bearer resource_metadata="{where}"'
    assert wrong.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')
    assert wrong.headers["WWW-Authenticate"].endswith(f', resource_metadata="{where}"')
    metadata = said.json()
    assert metadata["resource"] == f"{address}/mcp"
    assert metadata["authorization_servers"] == [issuer.address], "as it is written"
    assert metadata["scopes_supported"] == ["read", "research", "write", "paper", "admin"]
