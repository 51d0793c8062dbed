"""Every setting, read from the environment once, in one place."""

import os
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """``JESSE_MCP_*`` variables; ``JESSE_PYTHON`` keeps the name other Jesse tools know."""

    model_config = SettingsConfigDict(
        env_prefix="JESSE_MCP_",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
        # What was received may be a secret, and the text of an error goes to logs.
        hide_input_in_errors=True,
    )

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("jesse-mcp", appauthor=False)),
        description="strategies, candles, runs and jobs",
    )
    cache: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("jesse-mcp", appauthor=False)),
        description="the engine environment and other things that can be made again",
    )
    jesse_python: Path | None = Field(
        default=None,
        validation_alias="JESSE_PYTHON",
        description="a Python that has Jesse installed; unset means the managed environment",
    )
    engine: Literal["auto", "embedded", "dashboard", "ray"] = Field(
        default="auto", description="where backtests run; auto means the dashboard when JESSE_URL is set"
    )
    jesse_url: str | None = Field(
        default=None,
        validation_alias="JESSE_URL",
        description="a running Jesse's dashboard, such as http://127.0.0.1:9000",
    )
    jesse_password: SecretStr | None = Field(
        default=None, validation_alias="JESSE_PASSWORD", description="PASSWORD of that Jesse's .env file"
    )
    jesse_password_file: Path | None = Field(
        default=None, validation_alias="JESSE_PASSWORD_FILE", description="a file that holds it"
    )
    jesse_api_token: SecretStr | None = Field(
        default=None,
        validation_alias="JESSE_API_TOKEN",
        description="a token of that Jesse, used as it is and instead of the password",
    )
    jesse_api_token_file: Path | None = Field(
        default=None, validation_alias="JESSE_API_TOKEN_FILE", description="a file that holds it"
    )
    dashboard_runs: int = Field(
        default=2, ge=1, le=64, description="runs at the same time on the dashboard's machine"
    )
    dashboard_stall: float = Field(
        default=300.0, gt=0, description="seconds a run on the dashboard may stand still"
    )
    ray_address: str | None = Field(
        default=None,
        validation_alias="RAY_ADDRESS",
        description="the Ray cluster that the engine `ray` uses: HOST:PORT of its head, or auto",
    )
    ray_runs: int = Field(
        default=64, ge=1, le=4096, description="runs at the same time on the Ray cluster, at most"
    )
    workers: int = Field(
        default_factory=lambda: max(1, os.cpu_count() or 1), ge=1, le=256, description="runs at the same time"
    )
    run_timeout: float = Field(default=3600.0, gt=0, description="seconds one run may take")
    run_memory_mb: int = Field(default=4096, ge=64, description="memory one run may add, in MiB")
    prewarm: bool = Field(default=True, description="load Jesse when the server starts, not at the first run")
    webhook_secret: SecretStr | None = Field(
        default=None,
        validation_alias="JESSE_MCP_WEBHOOK_SECRET",
        description="signs the alerts of paper sessions that go to webhooks",
    )
    webhook_secret_file: Path | None = Field(
        default=None, validation_alias="JESSE_MCP_WEBHOOK_SECRET_FILE", description="a file that holds it"
    )
    webhook_allow_private: bool = Field(
        default=False, description="allow webhooks by http and to this machine and its networks"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="what goes to standard error"
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("jesse_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is None:
            return None
        address = urlsplit(value.strip())
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise ValueError("give http://HOST:PORT or https://HOST")
        if address.username or address.password or address.query or address.fragment:
            raise ValueError("give the address alone: secrets belong in JESSE_PASSWORD or JESSE_API_TOKEN")
        if address.port == 0:  # reading it checks the others
            raise ValueError("Port out of range 1-65535")
        return address.geturl().rstrip("/")

    @field_validator("jesse_api_token")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        token = "" if value is None else value.get_secret_value()
        if not token.isascii() or any(character.isspace() for character in token):
            raise ValueError("a token has neither spaces nor letters beyond ASCII: copy it anew")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("a secret to sign with has at least 16 characters")
        return value

    @field_validator("jesse_password")
    @classmethod
    def _is_text(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(
            "\ud800" <= character <= "\udfff" for character in value.get_secret_value()
        ):
            raise ValueError("a password is UTF-8 text")
        return value

    @model_validator(mode="before")
    @classmethod
    def _secrets_from_files(cls, values: object) -> object:
        """``X_FILE`` stands for the content of that file; ``X`` itself wins."""
        if isinstance(values, dict):
            for name in ("JESSE_PASSWORD", "JESSE_API_TOKEN", "JESSE_MCP_WEBHOOK_SECRET"):
                path = values.get(f"{name}_FILE")
                if path and not values.get(name):
                    values[name] = _content(f"{name}_FILE", Path(path).expanduser())
        return values

    @model_validator(mode="after")
    def _has_address(self) -> Self:
        if self.engine == "dashboard" and self.jesse_url is None:
            raise ValueError("JESSE_MCP_ENGINE=dashboard needs JESSE_URL")
        if self.engine == "ray":
            _check_cluster(self.ray_address)
        return self

    @property
    def uses_dashboard(self) -> bool:
        return self.engine == "dashboard" or (self.engine == "auto" and self.jesse_url is not None)

    @field_validator("home", "cache", "jesse_python")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else Path(os.path.abspath(value.expanduser()))  # noqa: PTH100


def _content(name: str, path: Path) -> str:
    """A file's text without the line ends that editors add."""
    try:
        text = path.read_text().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"the file of {name}, {path}, cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the file of {name}, {path}, is no UTF-8 text") from None
    if not text:
        raise ValueError(f"the file of {name}, {path}, is empty")
    return text


def _check_cluster(address: str | None) -> None:
    """Only where it is used: other programs read RAY_ADDRESS too, and take more forms of it."""
    if address is None:
        raise ValueError("JESSE_MCP_ENGINE=ray needs RAY_ADDRESS")
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdigit():
        raise ValueError(
            f"RAY_ADDRESS is {address!r}: give HOST:PORT of the head node, or auto on a node of the cluster"
        )


def variable(name: str) -> str:
    """The environment variable of a setting."""
    of_others = name.lower().startswith("jesse_") or name.lower() == "ray_address"
    return name.upper() if of_others else f"JESSE_MCP_{name.upper()}"
