"""How this process proves to Jesse who it is."""

import threading
from dataclasses import dataclass, field

from pydantic import SecretStr

from jesse_mcp.domain.errors import ErrorCode, ResearchError

_SETTINGS = "JESSE_PASSWORD or JESSE_API_TOKEN, or JESSE_PASSWORD_FILE or JESSE_API_TOKEN_FILE,"


@dataclass(frozen=True)
class Credentials:
    """A token, or the password it is made from. The token never expires: as secret as the password."""

    password: SecretStr | None = None
    token: SecretStr | None = None

    @property
    def can_log_in(self) -> bool:
        """Whether a new token can be asked for; a token that was given cannot be renewed."""
        return self.token is None and self.password is not None


@dataclass
class TokenHolder:
    """The token in use; several threads may ask for it."""

    credentials: Credentials
    _token: str | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def known(self) -> str | None:
        """The token given or got by a login, if there is one."""
        if self.credentials.token is not None:
            return self.credentials.token.get_secret_value()
        return self._token

    def password(self) -> str:
        """What to log in with.

        Raises:
            ResearchError: ``jesse_unauthorized`` when neither a token nor a password is set.
        """
        if self.credentials.password is None:
            raise ResearchError(
                ErrorCode.JESSE_UNAUTHORIZED,
                "Jesse asks for a login and none is configured",
                hint=f"set {_SETTINGS} in the environment of this server",
            )
        return self.credentials.password.get_secret_value()

    def hidden(self, text: str) -> str:
        """``text`` without the token: an answer may repeat what it was sent."""
        token = self.known()
        return text.replace(token, "**********") if token else text

    def accept(self, token: str) -> None:
        with self._lock:
            self._token = token

    def forget(self, token: str | None) -> None:
        """Drop the token that was refused, unless another thread has replaced it meanwhile."""
        with self._lock:
            if self._token == token:
                self._token = None


def refused(credentials: Credentials) -> ResearchError:
    """The error for a login or a token that Jesse does not accept."""
    if credentials.token is not None:
        return ResearchError(
            ErrorCode.JESSE_UNAUTHORIZED,
            "Jesse does not accept the token in JESSE_API_TOKEN or JESSE_API_TOKEN_FILE",
            hint="the token changes with Jesse's PASSWORD: copy it anew, or unset it and set JESSE_PASSWORD",
        )
    return ResearchError(
        ErrorCode.JESSE_UNAUTHORIZED,
        "Jesse does not accept the password in JESSE_PASSWORD or JESSE_PASSWORD_FILE",
        hint="it must equal PASSWORD in the .env file of the Jesse project that runs at JESSE_URL",
    )
