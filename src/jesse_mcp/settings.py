"""Every setting, read from the environment once, in one place."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

import platformdirs
from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from jesse_mcp import setting_values

#: Several values in one variable, apart by commas.
Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(setting_values.apart)]
#: What only matters to a server over HTTP.
HTTP_ONLY = frozenset(
    {
        "host",
        "port",
        "stateless",
        "allowed_hosts",
        "allowed_origins",
        "trusted_proxies",
        "tokens",
        "tokens_file",
        "public_url",
    }
    | {f"jwt_{name}" for name in ("jwks_url", "issuer", "audience", "algorithm", "scope_claim")}
    | {"rate_limit_enabled", "rate_limit_requests_per_minute", "max_jobs_per_client", "max_queued_jobs"}
    | {"max_request_bytes", "request_timeout", "max_result_bytes", "min_free_disk_mb"}
)

#: What a file may hold instead, by `X_FILE`.
_SECRETS = ("jesse_password", "jesse_api_token", "tokens", "webhook_secret", "jobs_webhook", "database_url")


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
    confinement: Literal["on", "off"] = Field(
        default="on",
        description="keep strategies from files, network and other processes, as far as the system can",
    )
    strategy_reads: str | None = Field(
        default=None,
        description="files and folders that confined strategies may read, absolute, separated as in PATH",
    )
    prewarm: bool = Field(default=True, description="load Jesse when the server starts, not at the first run")
    webhook_secret: SecretStr | None = Field(
        default=None,
        validation_alias="JESSE_MCP_WEBHOOK_SECRET",
        description="signs what goes to webhooks: alerts of paper sessions, ends of jobs",
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
    log_format: Literal["text", "json"] = Field(
        default="text",
        validation_alias="LOG_FORMAT",
        description="a line of text or a JSON object for every message",
    )
    log_file: Path | None = Field(
        default=None, description="a file that gets the messages too, ten old ones of 10 MB are kept"
    )
    database_url: SecretStr | None = Field(
        default=None,
        validation_alias="JESSE_MCP_DATABASE_URL",
        description="postgresql+psycopg://USER:PASSWORD@HOST/DATABASE for the records, instead of a file",
    )
    database_url_file: Path | None = Field(
        default=None, validation_alias="JESSE_MCP_DATABASE_URL_FILE", description="a file that holds it"
    )
    jobs_webhook: SecretStr | None = Field(
        default=None,
        validation_alias="JESSE_MCP_JOBS_WEBHOOK",
        description="an https address that is told of every job that ends",
    )
    jobs_webhook_file: Path | None = Field(
        default=None, validation_alias="JESSE_MCP_JOBS_WEBHOOK_FILE", description="a file that holds it"
    )
    host: str = Field(
        default="127.0.0.1",
        description="address to serve HTTP on; one that is not this machine alone needs a token",
    )
    port: int = Field(default=8765, ge=0, le=65535, description="port to serve HTTP on; 0 picks a free one")
    stateless: bool = Field(
        default=False, description="no sessions over HTTP, so that a load balancer may send a call anywhere"
    )
    allowed_hosts: Listed = Field(
        default=(),
        description="names this server is called by over HTTP, such as desk.example.org, by commas",
    )
    allowed_origins: Listed = Field(
        default=(), description="web pages that may call, such as https://desk.example.org, by commas"
    )
    trusted_proxies: Listed = Field(
        default=(), description="addresses or networks whose X-Forwarded headers are believed, by commas"
    )
    tokens: SecretStr | None = Field(
        default=None,
        validation_alias="JESSE_MCP_TOKENS",
        description="tokens beside those of `jesse-mcp token`: NAME:SCOPE+SCOPE:TOKEN, by spaces",
    )
    tokens_file: Path | None = Field(
        default=None, validation_alias="JESSE_MCP_TOKENS_FILE", description="a file that holds them"
    )
    jwt_jwks_url: str | None = Field(
        default=None, description="keys of whoever issues JWTs that are accepted; https, or on this machine"
    )
    jwt_issuer: str | None = Field(default=None, description="`iss` such a JWT must have")
    jwt_audience: str | None = Field(default=None, description="`aud` such a JWT must have")
    jwt_algorithm: Literal[
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"
    ] = Field(default="RS256", description="the one algorithm such a JWT may be signed with")
    jwt_scope_claim: str = Field(default="scope", description="claim of such a JWT that names its scopes")
    public_url: str | None = Field(
        default=None,
        description="https://HOST of this server; its clients are then told to sign in at the issuer of JWTs",
    )
    rate_limit_enabled: bool | None = Field(
        default=None,
        validation_alias="RATE_LIMIT_ENABLED",
        description="limit requests and jobs of a client over HTTP; unset means where tokens are asked for",
    )
    rate_limit_requests_per_minute: int = Field(
        default=60,
        ge=1,
        le=100_000,
        validation_alias="RATE_LIMIT_REQUESTS_PER_MINUTE",
        description="requests of one client",
    )
    max_jobs_per_client: int = Field(default=8, ge=1, description="active jobs of one client")
    max_queued_jobs: int = Field(default=100, ge=1, description="waiting jobs of all clients")
    max_request_bytes: int = Field(default=2**22, ge=1024, le=2**22, description="longest request over HTTP")
    request_timeout: float = Field(
        default=30.0,
        gt=0,
        description="seconds a client may take to send a request over HTTP, or leave an answer unread",
    )
    max_result_bytes: int = Field(default=2**20, ge=10_000, description="longest answer over HTTP")
    min_free_disk_mb: int = Field(
        default=512, ge=0, description="MiB of free disk below which /ready says no"
    )
    import_folders: str | None = Field(
        default=None,
        description="folders that `path` of candles_import may point into, absolute, separated as in PATH",
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        default=None,
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="a collector of OpenTelemetry that gets spans, such as http://127.0.0.1:4318",
    )
    otel_exporter_otlp_traces_endpoint: str | None = Field(
        default=None,
        validation_alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        description="the whole address for spans, instead of that with /v1/traces",
    )
    otel_exporter_otlp_protocol: str | None = Field(
        default=None,
        validation_alias="OTEL_EXPORTER_OTLP_PROTOCOL",
        description="http/protobuf, the only one this server speaks",
    )
    otel_exporter_otlp_traces_protocol: str | None = Field(
        default=None,
        validation_alias="OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        description="the same, for spans alone",
    )
    otel_exporter_otlp_headers: SecretStr | None = Field(
        default=None,
        validation_alias="OTEL_EXPORTER_OTLP_HEADERS",
        description="NAME=VALUE that the collector asks for, by commas",
    )
    otel_exporter_otlp_traces_headers: SecretStr | None = Field(
        default=None,
        validation_alias="OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        description="the same, for spans alone",
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("jesse_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        return None if value is None else setting_values.dashboard_address(value)

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(setting_values.host, value))

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(setting_values.origin, value))

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(setting_values.network, value))

    @field_validator("tokens")
    @classmethod
    def _is_ascii(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().isascii():
            raise ValueError("tokens and their names have no letters beyond ASCII")
        return value

    @field_validator("jwt_jwks_url")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        return None if value is None else setting_values.key_address(value)

    @field_validator("public_url")
    @classmethod
    def _is_public(cls, value: str | None) -> str | None:
        return None if value is None else setting_values.public_address(value.rstrip("/"))

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

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            setting_values.database_address(value.get_secret_value())
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
            for name in map(variable, _SECRETS):
                path = values.get(f"{name}_FILE")
                if path and not values.get(name):
                    values[name] = setting_values.content(f"{name}_FILE", Path(path).expanduser())
        return values

    @model_validator(mode="after")
    def _has_address(self) -> Self:
        if self.engine == "dashboard" and self.jesse_url is None:
            raise ValueError("JESSE_MCP_ENGINE=dashboard needs JESSE_URL")
        if self.engine == "ray":
            setting_values.cluster_address(self.ray_address)
        return self

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        if self.jobs_webhook is not None and self.webhook_secret is None:
            raise ValueError("JESSE_MCP_JOBS_WEBHOOK needs JESSE_MCP_WEBHOOK_SECRET to sign with")
        return self

    @model_validator(mode="after")
    def _has_whole_jwt(self) -> Self:
        given = [self.jwt_jwks_url, self.jwt_issuer, self.jwt_audience]
        if any(given) and not all(given):
            raise ValueError(
                "JESSE_MCP_JWT_JWKS_URL, JESSE_MCP_JWT_ISSUER and JESSE_MCP_JWT_AUDIENCE belong together: "
                "set all of them or none"
            )
        if self.public_url is not None and not setting_values.is_safe_address(self.jwt_issuer or ""):
            raise ValueError(
                "JESSE_MCP_PUBLIC_URL sends clients to JESSE_MCP_JWT_ISSUER to sign in: set it, to an https "
                "address, or leave both out"
            )
        return self

    @field_validator("strategy_reads", "import_folders")
    @classmethod
    def _absolute_paths(cls, value: str | None) -> str | None:
        if any(not Path(path).is_absolute() for path in setting_values.paths(value)):
            raise ValueError(f"give absolute paths, separated by {os.pathsep!r}")
        return value

    @property
    def readable_by_strategies(self) -> tuple[str, ...]:
        return setting_values.paths(self.strategy_reads)

    @property
    def traces_address(self) -> str | None:
        """Where spans go; raises ValueError. Only where it is used: other programs read these too."""
        general, own = self.otel_exporter_otlp_endpoint, self.otel_exporter_otlp_traces_endpoint
        if general is None and own is None:
            return None
        return setting_values.collector_address(
            general, own, self.otel_exporter_otlp_traces_protocol or self.otel_exporter_otlp_protocol
        )

    @property
    def uses_dashboard(self) -> bool:
        return self.engine == "dashboard" or (self.engine == "auto" and self.jesse_url is not None)

    @field_validator("home", "cache", "jesse_python", "log_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else Path(os.path.abspath(value.expanduser()))  # noqa: PTH100


def variable(name: str) -> str:
    """The environment variable of a setting."""
    of_others = name.lower().startswith(("jesse_", "rate_limit_", "otel_")) or name.lower() in {
        "ray_address",
        "log_format",
    }
    return name.upper() if of_others else f"JESSE_MCP_{name.upper()}"
