"""JWTs of a real issuer with a real key set over HTTP, and everything that only looks like one."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jwk, jwt

from jesse_mcp.adapters.storage.token_file import TokenFile
from jesse_mcp.domain.access import ALL_SCOPES, Scope
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.http.asgi import asks_for_tokens, check_reach
from jesse_mcp.server.http.authentication import BearerTokens, http_origin, jwt_verifier
from jesse_mcp.services.tokens import TokenService
from jesse_mcp.settings import Settings

ISSUER = "https://id.example.org"
AUDIENCE = "desk"
KEY = jwk.RSAKey.generate_key(2048, {"kid": "one"})
OTHER_KEY = jwk.RSAKey.generate_key(2048, {"kid": "one"})
GOOD = "g" * 32


class Keys(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/keys")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = json.dumps({"keys": [KEY.as_dict(private=False)]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def jwks_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Keys) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/keys"
        server.shutdown()
        thread.join()


@pytest.fixture
def settings(jwks_url: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, jwt_jwks_url=jwks_url, jwt_issuer=ISSUER, jwt_audience=AUDIENCE)


def verifier(settings: Settings) -> BearerTokens:
    tokens = TokenService(TokenFile(settings.home / "tokens.json"), f"bot:read:{GOOD}")
    return BearerTokens(tokens, jwt_verifier(settings), settings.jwt_scope_claim)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "iat": now,
        "exp": now + 60,
        "scope": "read paper x",
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def signed(key: Any = KEY, header: dict[str, Any] | None = None, **changes: Any) -> str:
    whole = {"alg": "RS256", "kid": "one"} | (header or {})
    return jwt.encode(whole, claims(**changes), key, algorithms=[whole["alg"]])


def part(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def unsigned(algorithm: str) -> str:
    return f"{part({'alg': algorithm, 'kid': 'one'})}.{part(claims())}."


def confused() -> str:
    """Signed with the public key as if it were a shared secret."""
    body = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part(claims())}"
    public = KEY.as_pem(private=False)
    return f"{body}.{part(hmac.new(public, body.encode(), hashlib.sha256).digest())}"


def changed() -> str:
    header, _, signature = signed().split(".")
    return f"{header}.{part(claims(scope='admin'))}.{signature}"


async def test_a_good_one(settings: Settings) -> None:
    access = await verifier(settings).verify_token(signed())
    assert access is not None
    assert (access.client_id, access.scopes) == ("jwt:ann", ["paper", "read"]), "unknown scopes are nothing"


def critical() -> str:
    """Asks for an extension that nobody here knows; RFC 7515, 4.1.11. Signed by hand: libraries refuse to."""
    body = f"{part({'alg': 'RS256', 'kid': 'one', 'crit': ['x'], 'x': 1})}.{part(claims())}"
    assert KEY.private_key is not None
    signature = KEY.private_key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{body}.{part(signature)}"


def by_hand(header: bytes | dict[str, Any], key: Any = OTHER_KEY) -> str:
    """Well signed by ``key``; libraries refuse to write such a header."""
    body = f"{part(header)}.{part(claims(scope='admin'))}"
    signature = key.private_key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{body}.{part(signature)}"


BAD: dict[str, Callable[[], str]] = {
    "a key in the header": lambda: by_hand(
        {"alg": "RS256", "kid": "one", "jwk": OTHER_KEY.as_dict(private=False)}
    ),
    "a key somewhere else": lambda: by_hand(
        {"alg": "RS256", "kid": "one", "jku": "http://127.0.0.1:9/keys", "x5u": "file:///etc/hostname"}
    ),
    "no name of a key": lambda: by_hand({"alg": "RS256"}),
    "a path as name of a key": lambda: by_hand({"alg": "RS256", "kid": "../../../../dev/null"}),
    "a query as name of a key": lambda: by_hand({"alg": "RS256", "kid": "x' UNION SELECT 'one"}),
    "a list as name of a key": lambda: by_hand({"alg": "RS256", "kid": ["one"]}),
    "an object as name of a key": lambda: by_hand({"alg": "RS256", "kid": {"one": 1}}),
    "another default": lambda: by_hand({"alg": "RS256", "kid": "_default"}),
    "no signature": lambda: f"{signed().rpartition('.')[0]}.",
    "a deep header": lambda: by_hand(b"[" * 5_000),
    "a deep claim": lambda: f"{part({'alg': 'RS256', 'kid': 'one'})}.{part(b'[' * 5_000)}.{part(b'x')}",
    "a long number": lambda: by_hand(b'{"alg":"RS256","kid":' + b"1" * 5_000 + b"}"),
    "no object": lambda: by_hand(b"[1]"),
    "twice an algorithm": lambda: by_hand(b'{"alg":"RS256","kid":"one","alg":"none"}'),
    "not base64": lambda: "@@@@.@@@@.@@@@",
    "another key": lambda: signed(OTHER_KEY),
    "unknown key": lambda: signed(header={"kid": "two"}),
    "alg none": lambda: unsigned("none"),
    "alg None": lambda: unsigned("None"),
    "public key as secret": confused,
    "changed": changed,
    "another algorithm": lambda: signed(header={"alg": "RS512"}),
    "wrong issuer": lambda: signed(iss="https://evil.example"),
    "issuer with more": lambda: signed(iss=f"{ISSUER}.evil.example"),
    "no issuer": lambda: signed(iss=None),
    "wrong audience": lambda: signed(aud="another"),
    "other audiences": lambda: signed(aud=["another", "desk2"]),
    "no audience": lambda: signed(aud=None),
    "expired": lambda: signed(exp=int(time.time()) - 1),
    "never expires": lambda: signed(exp=None),
    "expires some day": lambda: signed(exp="tomorrow"),
    "expires in infinity": lambda: signed(exp=float("inf")),
    "not yet": lambda: signed(nbf=int(time.time()) + 600),
    "odd begin": lambda: signed(nbf="now"),
    "critical header": critical,
    "two parts": lambda: "a.b",
    "rubbish": lambda: "ä.\0.\n",
    "empty": lambda: "",
    "long": lambda: "e30." * 20_000,
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_one(settings: Settings, name: str) -> None:
    assert await verifier(settings).verify_token(BAD[name]()) is None


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        ("admin", sorted(ALL_SCOPES)),
        (["read", "write"], ["read", "write"]),
        ("", []),
        (None, []),
        (7, []),
        ({"admin": True}, []),
        ([["admin"], "read"], ["read"]),
    ],
)
async def test_scopes_of_a_claim(settings: Settings, claim: Any, scopes: list[str]) -> None:
    named = settings.model_copy(update={"jwt_scope_claim": "desk_scopes"})
    access = await verifier(named).verify_token(signed(desk_scopes=claim, scope="admin"))
    assert access is not None
    assert access.scopes == scopes


async def test_a_token_of_ours_beside(settings: Settings) -> None:
    access = await verifier(settings).verify_token(GOOD)
    assert access is not None
    assert (access.client_id, access.scopes, access.expires_at) == ("token:bot", ["read"], None)


async def test_keys_nobody_serves_open_nothing(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"jwt_jwks_url": "http://127.0.0.1:9/keys"})
    assert await verifier(nowhere).verify_token(signed()) is None


async def test_keys_are_not_fetched_from_where_a_redirect_leads(settings: Settings, jwks_url: str) -> None:
    moved = settings.model_copy(update={"jwt_jwks_url": jwks_url.replace("/keys", "/moved")})
    assert await verifier(moved).verify_token(signed()) is None


async def test_made_up_names_of_keys_are_not_asked_for_each_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = Keys.do_GET

    def counted(handler: Keys) -> None:
        asked.append(handler.path)
        real(handler)

    monkeypatch.setattr(Keys, "do_GET", counted)
    bearer = verifier(settings)
    for number in range(20):
        assert await bearer.verify_token(by_hand({"alg": "RS256", "kid": f"made-up-{number}"})) is None
    assert len(asked) == 1
    assert await bearer.verify_token(signed()) is not None


def test_without_a_request_there_is_nobody() -> None:
    for authenticated in (True, False):
        with pytest.raises(ResearchError) as caught:
            http_origin(authenticated=authenticated, limited=True)()
        assert caught.value.code is ErrorCode.FORBIDDEN


def test_who_may_be_reached(tmp_path: Path, settings: Settings) -> None:
    plain = Settings(home=tmp_path)
    tokens = TokenService(TokenFile(tmp_path / "tokens.json"))
    check_reach(plain, tokens, this_machine_only=True)
    assert not asks_for_tokens(plain, tokens)
    for open_settings, alone in (
        (plain, False),
        (plain.model_copy(update={"allowed_hosts": ("desk.example.org",)}), True),
        (plain.model_copy(update={"trusted_proxies": ("127.0.0.1",)}), True),
    ):
        with pytest.raises(ResearchError, match="without a token") as caught:
            check_reach(open_settings, tokens, this_machine_only=alone)
        assert "jesse-mcp token create" in str(caught.value.hint)
    check_reach(settings, tokens, this_machine_only=False)
    assert asks_for_tokens(settings, tokens)
    tokens.create("bot", [Scope.READ])
    check_reach(plain, tokens, this_machine_only=False)
    tokens.revoke("bot")
    with pytest.raises(ResearchError, match="without a token"):
        check_reach(plain, tokens, this_machine_only=False)
    check_reach(plain, tokens, this_machine_only=True)
    assert asks_for_tokens(plain, tokens), "nobody comes in any more, rather than everybody"


def test_without_an_issuer_no_jwt_is_looked_at(tmp_path: Path) -> None:
    assert jwt_verifier(Settings(home=tmp_path)) is None
