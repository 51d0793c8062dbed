"""Who may do what: scopes, the callers that have them, and the tokens that prove it."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value

#: A token of ours can be told from other text, so that it can be found where it does not belong.
TOKEN_PREFIX = "jmcp_"  # noqa: S105
#: Of a token somebody made themselves; 32 characters of a random alphabet are more than 128 bits.
SHORTEST_TOKEN = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Scope(StrEnum):
    """What a caller may do. ``admin`` includes the others; the others do not include each other."""

    READ = "read"
    RESEARCH = "research"
    WRITE = "write"
    PAPER = "paper"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


def granted(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """``scopes`` with those they include."""
    given = frozenset(scopes)
    return ALL_SCOPES if Scope.ADMIN in given else given


def parse_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Scopes by their names.

    Raises:
        ResearchError: ``invalid_argument`` for an unknown name, or none at all.
    """
    found = set()
    for name in names:
        if name not in set(Scope):
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT, f"there is no scope {name!r}", hint=f"scopes: {', '.join(Scope)}"
            )
        found.add(Scope(name))
    if not found:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT, "a token without a scope permits nothing", hint="give one or more"
        )
    return frozenset(found)


@dataclass(frozen=True)
class Caller:
    """Whoever makes a call.

    Attributes:
        name: ``local``, ``token:NAME``, ``jwt:SUBJECT`` or ``address:IP``; limits are counted by it.
        scopes: what it may do.
        limited: whether its requests and jobs are counted against the limits of a client.
    """

    name: str
    scopes: frozenset[Scope]
    limited: bool = False


#: The user who started this process, on stdio or on the command line.
LOCAL = Caller("local", ALL_SCOPES)


class TokenRecord(Value):
    """What is kept of a token; never the token itself. Times are epoch seconds."""

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...]
    created_at: float
    expires_at: float | None = Field(default=None, description="null: never")
    revoked_at: float | None = None
    last_four: str = Field(description="end of the token, to recognise it by")

    def usable(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def opened_by(self, secret_digest: str) -> bool:
        """Whether it is this token; the time it takes says nothing about how much of it was right."""
        return hmac.compare_digest(self.sha256, secret_digest)


def token_digest(secret: str) -> str:
    """Hex SHA-256 of a token.

    Slow, salted hashes make guessing a password dear. A token has 256 random bits: there is nothing to guess,
    no two are alike, and a slow hash would only let anybody keep the server busy with wrong ones.
    """
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def checked_name(name: str) -> str:
    """``name`` if it may name a token.

    Raises:
        ResearchError: ``invalid_argument``.
    """
    if not _NAME.fullmatch(name):
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"{name[:80]!r} cannot name a token",
            hint="1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    return name
