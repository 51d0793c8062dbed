"""Who sends a request: bearer tokens of ours, and JWTs of somebody the settings trust."""

import ipaddress
import math
import time
from collections.abc import MutableMapping
from typing import Any

from fastmcp.server.auth import AccessToken, AuthProvider, RemoteAuthProvider, TokenVerifier
from fastmcp.server.dependencies import get_access_token, get_http_request
from pydantic import AnyHttpUrl, ConfigDict, TypeAdapter

from jesse_mcp.domain.access import ALL_SCOPES, Caller, Scope, granted
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.calls import Origin, OriginLookup
from jesse_mcp.services.tokens import TokenService
from jesse_mcp.settings import Settings

REQUEST_ID = "jesse_mcp.request_id"
#: Seconds by which the clock of an issuer may be ahead.
_LEEWAY = 30
_LONGEST_SUBJECT = 100


class BearerTokens(TokenVerifier):
    """What the framework asks about every ``Authorization: Bearer`` header.

    Args:
        tokens: those made here.
        jwt: of the framework; ``None`` when the settings name no issuer.
        scope_claim: of a JWT, a text of scopes apart by spaces or a list. Unknown ones are left out.
    """

    def __init__(self, tokens: TokenService, jwt: TokenVerifier | None, scope_claim: str) -> None:
        super().__init__()
        self._tokens = tokens
        self._jwt = jwt
        self._scope_claim = scope_claim

    async def verify_token(self, token: str) -> AccessToken | None:
        """The holder and its scopes; ``None`` for a token that opens nothing."""
        found = self._tokens.identify(token)
        if found is not None:
            caller, record = found
            expires_at = None if record.expires_at is None else math.ceil(record.expires_at)
            return AccessToken(
                token=token, client_id=caller.name, scopes=sorted(caller.scopes), expires_at=expires_at
            )
        if self._jwt is None:
            return None
        try:
            access = await self._jwt.verify_token(token)
        except (RecursionError, OverflowError):
            # Its parts are read before anybody knows who wrote them: one nested too deeply is none.
            return None
        return None if access is None else self._ours(access)

    def _ours(self, access: AccessToken) -> AccessToken | None:
        """What the framework has found valid, if it also ends some day and has begun."""
        begins = access.claims.get("nbf", 0)
        if access.expires_at is None or not isinstance(begins, int | float) or begins > time.time() + _LEEWAY:
            return None
        claimed = access.claims.get(self._scope_claim, ())
        names = claimed.split() if isinstance(claimed, str) else claimed
        listed = isinstance(names, list | tuple)
        known = {scope for scope in Scope if listed and scope in names}
        subject = str(access.subject or access.client_id)[:_LONGEST_SUBJECT]
        changes = {"client_id": f"jwt:{subject}", "scopes": sorted(granted(known))}
        return access.model_copy(update=changes)


def authentication(settings: Settings, tokens: TokenService) -> AuthProvider:
    """What checks tokens; with a public address it also says who issues them (RFC 9728)."""
    verifier = BearerTokens(tokens, jwt_verifier(settings), settings.jwt_scope_claim)
    if settings.public_url is None or settings.jwt_issuer is None:
        return verifier
    return RemoteAuthProvider(
        verifier,
        authorization_servers=[_as_written(settings.jwt_issuer)],
        base_url=settings.public_url,
        scopes_supported=[scope.value for scope in Scope],
        resource_name="jesse-mcp",
    )


def _as_written(address: str) -> AnyHttpUrl:
    """Without a slash that is not there: clients compare the name of an issuer letter by letter."""
    exact = ConfigDict(url_preserve_empty_path=True)
    return TypeAdapter(AnyHttpUrl, config=exact).validate_python(address)


def jwt_verifier(settings: Settings) -> TokenVerifier | None:
    """The framework's, for the issuer of the settings: one algorithm, one issuer, one audience."""
    if settings.jwt_jwks_url is None:
        return None
    # Nobody else waits for the libraries of keys.
    from fastmcp.server.auth.providers.jwt import JWTVerifier

    return JWTVerifier(
        jwks_uri=settings.jwt_jwks_url,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        algorithm=settings.jwt_algorithm,
    )


def http_origin(*, authenticated: bool, limited: bool) -> OriginLookup:
    """Who has sent the message that is being answered.

    Args:
        authenticated: whether tokens are asked for. If not, everybody who gets here may do everything.
        limited: whether the limits of a client apply.
    """

    def find() -> Origin:
        try:
            scope = get_http_request().scope
        except RuntimeError:
            raise _nobody() from None
        address = client_address(scope)
        if not authenticated:
            return Origin(Caller(f"address:{address}", ALL_SCOPES, limited), address, scope[REQUEST_ID])
        access = get_access_token()
        if access is None:
            raise _nobody()
        scopes = frozenset(Scope(name) for name in access.scopes)
        return Origin(Caller(access.client_id, scopes, limited), address, scope[REQUEST_ID])

    return find


def client_address(scope: MutableMapping[str, Any]) -> str:
    """The IP address of a request; of IPv6 the network, since a client has all addresses of one."""
    client = scope.get("client")
    try:
        address = ipaddress.ip_address(client[0] if client else "")
    except ValueError:
        # A Unix socket, or a proxy that passes on nonsense.
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


def _nobody() -> ResearchError:
    return ResearchError(
        ErrorCode.FORBIDDEN, "nobody is known to have made this call", hint="send a token with every request"
    )
