"""Tokens: made, listed, revoked, and recognised."""

import logging
import secrets
import time
from collections.abc import Callable, Iterable

from jesse_mcp.domain.access import (
    SHORTEST_TOKEN,
    TOKEN_PREFIX,
    Caller,
    Scope,
    TokenRecord,
    checked_name,
    granted,
    parse_scopes,
    token_digest,
)
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.tokens import TokenStore

logger = logging.getLogger("jesse_mcp.tokens")

_RANDOM_BYTES = 32
_DAY = 86_400


class TokenService:
    """Those of a store, and those the environment gives.

    Args:
        store: where tokens are kept.
        given: the text of ``JESSE_MCP_TOKENS``: ``NAME:SCOPE+SCOPE:TOKEN``, several apart by white space.
        now: the clock, epoch seconds.

    Raises:
        ResearchError: ``invalid_argument`` for a text that is not of this form; never with the text.
    """

    def __init__(
        self, store: TokenStore, given: str | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._now = now
        self._given = tuple(_given_record(entry) for entry in (given or "").split())
        names = [record.name for record in self._given]
        if len(set(names)) < len(names):
            raise _malformed("two entries have the same name")

    def create(
        self, name: str, scopes: Iterable[Scope], days: float | None = None
    ) -> tuple[str, TokenRecord]:
        """A new token, which is told this once, and what is kept of it.

        Args:
            days: how long it is good for; ``None``: until it is revoked.

        Raises:
            ResearchError: ``invalid_argument``, ``storage_failed``.
        """
        if days is not None and not 0 < days <= 36_500:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"a token cannot last {days:g} days",
                hint="more than 0, or leave it out",
            )
        secret = TOKEN_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        now = self._now()
        expires_at = None if days is None else now + days * _DAY
        record = _record(checked_name(name), parse_scopes(scopes), secret, now, expires_at)
        self._store.add(record)
        return secret, record

    @property
    def given(self) -> tuple[TokenRecord, ...]:
        """Those of the environment; when they were made is not known."""
        return self._given

    def listing(self) -> tuple[TokenRecord, ...]:
        """Those of the store, revoked and expired ones too.

        Raises:
            ResearchError: ``storage_failed``.
        """
        return self._store.records()

    def revoke(self, name: str) -> TokenRecord:
        """Running servers refuse it from their next request on.

        Raises:
            ResearchError: ``invalid_argument`` when there is none to revoke, ``storage_failed``.
        """
        kept = {record.name for record in self._store.records()}
        if name not in kept and name in {record.name for record in self._given}:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"{name} is a token of JESSE_MCP_TOKENS: only whoever sets that can take it back",
                hint="remove it there, then start the server again",
            )
        return self._store.revoke(name, self._now())

    def any_known(self) -> bool:
        """Whether there ever was one: then nobody comes in without.

        Raises:
            ResearchError: ``storage_failed``.
        """
        return bool(self._given or self._store.records())

    def any_usable(self) -> bool:
        """Whether one opens the door now.

        Raises:
            ResearchError: ``storage_failed``.
        """
        now = self._now()
        return any(record.usable(now) for record in (*self._given, *self._store.records()))

    def identify(self, secret: str) -> tuple[Caller, TokenRecord] | None:
        """Who has this token; ``None`` for an unknown, expired or revoked one, and while none can be read."""
        digest = token_digest(secret)
        try:
            kept = self._store.records()
        except ResearchError as error:
            logger.error("%s; only tokens of the environment are accepted", error.message)  # noqa: TRY400
            kept = ()
        # Every one is compared, so that the time does not tell which one it was.
        found = [record for record in (*self._given, *kept) if record.opened_by(digest)]
        now = self._now()
        for record in found:
            if record.usable(now):
                return Caller(f"token:{record.name}", granted(record.scopes)), record
        return None


def _record(
    name: str, scopes: frozenset[Scope], secret: str, created_at: float, expires_at: float | None
) -> TokenRecord:
    return TokenRecord(
        name=name,
        sha256=token_digest(secret),
        scopes=tuple(scope for scope in Scope if scope in scopes),
        created_at=created_at,
        expires_at=expires_at,
        last_four=secret[-4:],
    )


def _given_record(entry: str) -> TokenRecord:
    name, _, rest = entry.partition(":")
    scopes, _, secret = rest.partition(":")
    if not secret:
        raise _malformed("an entry has less than three parts")
    if len(secret) < SHORTEST_TOKEN or not secret.isascii():
        raise _malformed(f"a token is shorter than {SHORTEST_TOKEN} characters, or not ASCII")
    try:
        return _record(checked_name(name), parse_scopes(scopes.split("+")), secret, 0.0, None)
    except ResearchError:
        # Not its words: parts may have been mixed up, and then the token is where the name belongs.
        raise _malformed(f"a name cannot name a token, or a scope is none of {', '.join(Scope)}") from None


def _malformed(problem: str) -> ResearchError:
    return ResearchError(
        ErrorCode.INVALID_ARGUMENT,
        f"JESSE_MCP_TOKENS cannot be read: {problem}",
        hint="NAME:SCOPE+SCOPE:TOKEN, several apart by spaces; `jesse-mcp token create` makes tokens",
    )
