"""Stars in place of secrets: those that are known, and what looks like one."""

import hashlib
import re
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

from jesse_mcp.domain.access import TOKEN_PREFIX
from jesse_mcp.settings import Settings

STARS = "**********"
#: A part of an address or a header that is shorter is no secret, and may be a part of any word.
_SHORTEST_PART = 8
#: Each reads a text once, however it is made up: what a client sends is looked through while others wait. So
#: one begins where a word does, or does not give back what it has taken.
_PATTERNS = (
    re.compile(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{16,}}"),
    re.compile(r"(?<=bearer )[^\s'\",;]{8,}", re.IGNORECASE),
    # The password of an address: between the first colon and the at sign.
    re.compile(r"(?<=://)[^\s/@:'\"]*:[^\s/@'\"]+(?=@)"),
)
#: A JWT begins with the base64 of {" and has three parts; the end of a word may stand before it: %22eyJ.
_JWT = re.compile(
    r"(?<![A-Za-z0-9_-])((?:(?!eyJ)[A-Za-z0-9_-])*+)eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]*"
)
_HEADER = re.compile(
    r"((?:proxy-)?authorization['\"]?\s*+[:,=]\s*+(?:b?['\"])?)(?:basic|digest|bearer)?\s*+[^\s'\",;]+",
    re.IGNORECASE,
)


class SecretMask:
    """Callable: text in, the same text without secrets out.

    Args:
        secrets: values to hide wherever they are.
    """

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        self._secrets = secrets
        self._shortest = min(map(len, secrets), default=0)

    def __call__(self, text: str) -> str:
        # Of many tokens each is looked for, and most texts are names that are shorter than all of them.
        for secret in self._secrets if len(text) >= self._shortest else ():
            text = text.replace(secret, STARS)
        text = _HEADER.sub(rf"\1{STARS}", text)
        text = _JWT.sub(rf"\1{STARS}", text)
        for pattern in _PATTERNS:
            text = pattern.sub(STARS, text)
        return text


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """The secrets of the settings, what Jesse makes of them, and the ways an address spells them."""
    given = []
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            given.append(value.get_secret_value())
    if settings.jesse_password is not None:
        given.append(hashlib.sha256(settings.jesse_password.get_secret_value().encode()).hexdigest())
    if settings.tokens is not None:
        given += [entry.split(":", 2)[-1] for entry in settings.tokens.get_secret_value().split()]
    if settings.database_url is not None:
        given.append(unquote(urlsplit(settings.database_url.get_secret_value()).password or ""))
    parts = []
    for headers in (settings.otel_exporter_otlp_headers, settings.otel_exporter_otlp_traces_headers):
        pairs = [] if headers is None else headers.get_secret_value().split(",")
        parts += [part.strip() for pair in pairs for part in (pair, unquote(pair.partition("=")[2]))]
    if settings.jobs_webhook is not None:
        # What is connected to is an address, so logs may have the rest alone.
        address = urlsplit(settings.jobs_webhook.get_secret_value())
        parts.append(address._replace(scheme="", netloc="", fragment="").geturl().strip("/"))
    given += [part for part in parts if len(part) >= _SHORTEST_PART]
    spelled = {
        form for secret in filter(None, given) for form in (secret, quote(secret), quote(secret, safe=""))
    }
    # A secret may be a part of another one.
    return tuple(sorted(spelled, key=len, reverse=True))
