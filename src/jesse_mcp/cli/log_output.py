"""What goes to standard error."""

import hashlib
import logging
import sys
from urllib.parse import quote

from jesse_mcp.settings import Settings


def log_to_standard_error(settings: Settings) -> None:
    """One format for everything that logs, and no secret; standard output belongs to the protocol."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SecretFreeFormatter(secrets_of(settings)))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    if settings.log_level != "DEBUG":
        # It writes a line for every request.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
    framework = logging.getLogger("fastmcp")
    framework.handlers.clear()
    framework.propagate = True
    framework.setLevel(logging.NOTSET)


class SecretFreeFormatter(logging.Formatter):
    """Stars in place of secrets.

    Some of Jesse's routes want the token in the address, and the libraries that fetch and connect log
    addresses.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "**********")
        return text


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """The secrets of the settings, what Jesse makes of them, and the ways an address spells them."""
    given = []
    if settings.jesse_api_token is not None:
        given.append(settings.jesse_api_token.get_secret_value())
    if settings.jesse_password is not None:
        password = settings.jesse_password.get_secret_value()
        given += [password, hashlib.sha256(password.encode()).hexdigest()]
    spelled = {form for secret in given for form in (secret, quote(secret), quote(secret, safe=""))}
    # A secret may be a part of another one.
    return tuple(sorted(spelled, key=len, reverse=True))
