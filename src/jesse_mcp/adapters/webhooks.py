"""Deliveries as signed HTTP requests, to addresses that are not inside the network of this machine."""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from jesse_mcp import __version__
from jesse_mcp.domain.deliveries import Delivery
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.webhooks import WebhookAttempt

#: Seconds an attempt may take in all, from the name to the last header of the answer.
TIMEOUT = 10.0
MAX_URL = 2_000
TIMESTAMP_HEADER = "X-Jesse-MCP-Timestamp"
SIGNATURE_HEADER = "X-Jesse-MCP-Signature"
_TRY_AGAIN = frozenset({408, 425, 429})

#: All that has been given out of IPv6 for the internet (RFC 4291, IANA's IPv6 Address Space); outside are
#: old forms that still lead inside: site-local, IPv4-compatible, the translation prefix of a network's own.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class _RefusedError(Exception):
    """An address that must not be asked."""


@dataclass(frozen=True)
class _Target:
    """Where to connect to, checked, and what to call it there."""

    url: str
    host: str
    name: str


class HttpWebhooks:
    """Implements :class:`jesse_mcp.ports.webhooks.WebhookSender`.

    A request is a ``POST`` of the content as JSON. ``X-Jesse-MCP-Signature`` is ``sha256=`` and the
    hexadecimal HMAC-SHA256 (RFC 2104, FIPS 180-4), by the secret, of ``X-Jesse-MCP-Timestamp`` (epoch
    seconds), a dot and the body: a receiver that compares both and refuses old timestamps can tell it from a
    forgery and from a repetition. ``Idempotency-Key`` is the same for every attempt of a delivery.

    The host is resolved once and the connection made to an address that was looked at, so a name cannot
    change its meaning in between. Redirects are not followed, and no proxy of the environment is used.

    Args:
        secret: signs; without one nothing is sent.
        allow_private: allow ``http`` and addresses of this machine and its networks.
        now: the clock, epoch seconds.
        timeout: seconds for an attempt.
        trust: which certificates are believed; default: those of the system's authorities.
    """

    def __init__(
        self,
        secret: SecretStr | None,
        *,
        allow_private: bool,
        now: Callable[[], float],
        timeout: float = TIMEOUT,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._secret = secret
        self._allow_private = allow_private
        self._now = now
        self._timeout = timeout
        self._trust = trust

    async def check(self, url: str) -> None:
        """See the port."""
        if self._secret is None:
            raise ResearchError(
                ErrorCode.CAPABILITY_MISSING,
                "webhook is given, and there is no secret to sign with",
                hint="set JESSE_MCP_WEBHOOK_SECRET, or JESSE_MCP_WEBHOOK_SECRET_FILE, and start the server "
                "again; or leave webhook out: paper_status has the alerts",
            )
        try:
            async with asyncio.timeout(self._timeout):
                await self._target(url)
        except (_RefusedError, OSError, TimeoutError) as error:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                f"webhook cannot be used: {_words(error)}",
                hint="give an https address on the internet; for one of your own network start the server "
                "with JESSE_MCP_WEBHOOK_ALLOW_PRIVATE=true",
                details={} if isinstance(error, _RefusedError) else {"reason": "unknown_host"},
            ) from error

    async def send(self, delivery: Delivery) -> WebhookAttempt:
        """See the port. The answer counts by its status alone, its body is not read."""
        # Nobody else waits for the library of HTTP.
        import httpx2

        if self._secret is None or delivery.webhook is None:
            return WebhookAttempt("there is no secret to sign with, or no webhook", final=True)
        try:
            async with asyncio.timeout(self._timeout):
                target = await self._target(delivery.webhook)
                status = await self._post(target, delivery, self._secret.get_secret_value().encode())
        except _RefusedError as refused:
            return WebhookAttempt(str(refused), final=True)
        except (OSError, TimeoutError, httpx2.HTTPError) as error:
            return WebhookAttempt(_words(error))
        if 200 <= status < 300:
            return WebhookAttempt()
        return WebhookAttempt(
            f"it answered with status {status}", final=status < 500 and status not in _TRY_AGAIN
        )

    async def _post(self, target: _Target, delivery: Delivery, secret: bytes) -> int:
        import httpx2

        body = json.dumps(delivery.content(), sort_keys=True).encode()
        timestamp = str(int(self._now()))
        headers = {
            "Host": target.host,
            "Content-Type": "application/json",
            "User-Agent": f"jesse-mcp/{__version__}",
            "Idempotency-Key": delivery.delivery_key,
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: f"sha256={signature(secret, timestamp, body)}",
        }
        async with (
            httpx2.AsyncClient(
                follow_redirects=False,
                trust_env=False,
                timeout=self._timeout,
                verify=self._trust or True,
            ) as client,
            client.stream(
                "POST", target.url, content=body, headers=headers, extensions={"sni_hostname": target.name}
            ) as answer,
        ):
            return int(answer.status_code)

    async def _target(self, url: str) -> _Target:
        """Where ``url`` leads. Raises ``_RefusedError``, ``OSError``."""
        parts, port = self._split(url)
        name = parts.hostname or ""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name, port, proto=6)
        except UnicodeError:
            # Labels of a name have 1 to 63 letters: the codec of names refuses others before anyone is asked.
            raise _RefusedError("its host is no name: a part of it is empty or too long") from None
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if not addresses:
            raise _RefusedError(f"{name} has no address")
        if not self._allow_private and (inside := [one for one in addresses if not is_public(one)]):
            raise _RefusedError(f"{name} is {inside[0]}, which is not an address on the internet")
        chosen = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])
        connect = parts._replace(netloc=f"{chosen}:{port}", fragment="")
        return _Target(connect.geturl(), parts.netloc, name)

    def _split(self, url: str) -> tuple[SplitResult, int]:
        if len(url) > MAX_URL or not url.isascii() or any(not " " < letter < "\x7f" for letter in url):
            raise _RefusedError(f"it is longer than {MAX_URL} letters, or has spaces or letters beyond ASCII")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise _RefusedError(str(error)) from None
        if parts.scheme != "https" and not (self._allow_private and parts.scheme == "http"):
            raise _RefusedError(f"its scheme is {parts.scheme or 'missing'}, not https")
        if not parts.hostname:
            raise _RefusedError("it names no host")
        if parts.username is not None or parts.password is not None:
            raise _RefusedError("it holds a user name, which would end up in logs")
        if port == 0:
            raise _RefusedError("its port is 0")
        return parts, port or (443 if parts.scheme == "https" else 80)


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Hexadecimal HMAC-SHA256 of ``timestamp``, a dot, and ``body``."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def is_public(address: IpAddress) -> bool:
    """Whether an address is one of the internet, also when another one is wrapped in it."""
    if address.is_multicast or not address.is_global:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    if address not in _GLOBAL_UNICAST and address not in _NAT64:
        return False
    return all(is_public(inner) for inner in _wrapped(address))


def _wrapped(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """IPv4 addresses that packets to ``address`` may end up at: mapped, 6to4, Teredo, NAT64 (RFC 6052)."""
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return str(error) or type(error).__name__
