"""Every variable that is read, what is refused, and that no secret is shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from jesse_mcp.cli import demo, doctor, main
from jesse_mcp.cli.client_config import client_config, configuration
from jesse_mcp.settings import Settings, variable
from jesse_mcp.unknown_variables import unknown_variables

SECRET = "sentinel-51c0-of-some-length"  # noqa: S105  (a value to look for)
RECORDS = f"postgresql+psycopg://me:{SECRET}@host/desk"
ADDRESS = "http://127.0.0.1:9000"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JESSE_PASSWORD", SECRET)
    monkeypatch.setenv("JESSE_API_TOKEN", SECRET)
    monkeypatch.setenv("JESSE_MCP_TOKENS", f"bot:read:{SECRET}")
    monkeypatch.setenv("JESSE_MCP_DATABASE_URL", RECORDS)
    monkeypatch.setenv("JESSE_MCP_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("JESSE_MCP_JOBS_WEBHOOK", f"https://hooks.example.org/{SECRET}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{SECRET}")


JWT = {
    "jwks_url": "https://id.example.org/keys",
    "issuer": "https://id.example.org",
    "audience": "desk",
    "algorithm": "ES256",
    "scope_claim": "scp",
}
VALUES: dict[str, tuple[str, Any]] = {
    "home": ("/tmp/h", Path("/tmp/h")),  # noqa: S108
    "cache": ("/tmp/c", Path("/tmp/c")),  # noqa: S108
    "jesse_python": ("/opt/python", Path("/opt/python")),
    "engine": ("embedded", "embedded"),
    "jesse_url": (f" {ADDRESS}/prefix/ ", f"{ADDRESS}/prefix"),
    "jesse_password": (SECRET, SECRET),
    "jesse_password_file": ("/dev/null", Path("/dev/null")),
    "jesse_api_token": (SECRET, SECRET),
    "jesse_api_token_file": ("/dev/null", Path("/dev/null")),
    "dashboard_runs": ("3", 3),
    "dashboard_stall": ("9.5", 9.5),
    "ray_address": ("head:6379", "head:6379"),
    "ray_runs": ("7", 7),
    "workers": ("5", 5),
    "run_timeout": ("12.5", 12.5),
    "run_memory_mb": ("100", 100),
    "confinement": ("off", "off"),
    "strategy_reads": ("/opt/models:/opt/data", "/opt/models:/opt/data"),
    "prewarm": ("false", False),
    "webhook_secret": (SECRET, SECRET),
    "webhook_secret_file": ("/dev/null", Path("/dev/null")),
    "webhook_allow_private": ("true", True),
    "log_level": ("debug", "DEBUG"),
    "log_format": ("json", "json"),
    "log_file": ("/tmp/l", Path("/tmp/l")),  # noqa: S108
    "database_url": (RECORDS, RECORDS),
    "database_url_file": ("/dev/null", Path("/dev/null")),
    "jobs_webhook": (f"https://hooks.example.org/{SECRET}", f"https://hooks.example.org/{SECRET}"),
    "jobs_webhook_file": ("/dev/null", Path("/dev/null")),
    "host": ("192.0.2.1", "192.0.2.1"),
    "port": ("80", 80),
    "stateless": ("true", True),
    "allowed_hosts": ("a.example.org, *.example.com", ("a.example.org", "*.example.com")),
    "allowed_origins": ("https://a.example.org:8443,", ("https://a.example.org:8443",)),
    "trusted_proxies": ("10.0.0.0/8,::1", ("10.0.0.0/8", "::1")),
    "tokens": (SECRET, SECRET),
    "tokens_file": ("/dev/null", Path("/dev/null")),
    **{f"jwt_{name}": (value, value) for name, value in JWT.items()},
    "public_url": ("https://desk.example.org/", "https://desk.example.org"),
    "rate_limit_enabled": ("false", False),
    "rate_limit_requests_per_minute": ("7", 7),
    "max_jobs_per_client": ("2", 2),
    "max_queued_jobs": ("3", 3),
    "max_request_bytes": ("2048", 2048),
    "request_timeout": ("1.5", 1.5),
    "max_result_bytes": ("20000", 20_000),
    "min_free_disk_mb": ("0", 0),
    "import_folders": ("/srv/a:/srv/b", "/srv/a:/srv/b"),
    "otel_exporter_otlp_endpoint": ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
    "otel_exporter_otlp_traces_endpoint": ("http://127.0.0.1:4318/x", "http://127.0.0.1:4318/x"),
    "otel_exporter_otlp_protocol": ("http/protobuf", "http/protobuf"),
    "otel_exporter_otlp_traces_protocol": ("http/protobuf", "http/protobuf"),
    "otel_exporter_otlp_headers": (f"key={SECRET}", f"key={SECRET}"),
    "otel_exporter_otlp_traces_headers": (f"key={SECRET}", f"key={SECRET}"),
}


def test_every_setting_has_a_value_here_and_a_description() -> None:
    assert list(VALUES) == list(Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("name", VALUES)
def test_a_variable_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value = VALUES[name]
    if name.endswith("_file"):  # the secret itself wins over its file
        secret = name.removesuffix("_file")
        monkeypatch.setenv(variable(secret), VALUES[secret][0] if secret in VALUES else SECRET)
    for part in JWT if name.startswith(("jwt_", "public_url")) else ():  # they belong together
        monkeypatch.setenv(variable(f"jwt_{part}"), JWT[part])
    if name.startswith("jobs_webhook"):  # nothing is sent without a signature
        monkeypatch.setenv("JESSE_MCP_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv(variable(name), text)
    settings = Settings()
    found = getattr(settings, name)
    assert (found.get_secret_value() if hasattr(found, "get_secret_value") else found) == value
    assert name in settings.model_fields_set


@pytest.mark.parametrize("name", [name for name in VALUES if not name.endswith("_file")])
def test_with_the_prefix_a_variable_is_read_or_told_of(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in JWT if name.startswith(("jwt_", "public_url")) else ():  # they belong together
        monkeypatch.setenv(variable(f"jwt_{part}"), JWT[part])
    if name == "jobs_webhook":  # nothing is sent without a signature
        monkeypatch.setenv("JESSE_MCP_WEBHOOK_SECRET", SECRET)
    prefixed = f"JESSE_MCP_{name.upper()}"
    monkeypatch.setenv(prefixed, VALUES[name][0])
    assert (name in Settings().model_fields_set) is not bool(unknown_variables([prefixed]))
    assert unknown_variables([variable(name)]) == []


@pytest.mark.parametrize("name", VALUES)
def test_an_empty_variable_means_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default = getattr(Settings(), name)
    monkeypatch.setenv(variable(name), "")
    assert getattr(Settings(), name) == default


@pytest.mark.parametrize("name", ["JESSE_PASSWORD", "JESSE_API_TOKEN"])
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_may_be_in_a_file(
    name: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text(SECRET + ending, newline="")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    found = getattr(Settings(), name.lower())
    assert found.get_secret_value() == SECRET


def test_paths_that_strategies_read_are_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JESSE_MCP_STRATEGY_READS", "/opt/models:/opt/data:")
    assert Settings().readable_by_strategies == ("/opt/models", "/opt/data")
    monkeypatch.setenv("JESSE_MCP_STRATEGY_READS", "/opt/models:data")
    with pytest.raises(ValidationError, match="absolute"):
        Settings()


def test_folders_to_import_from_are_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JESSE_MCP_IMPORT_FOLDERS", "/srv/candles:candles")
    with pytest.raises(ValidationError, match="absolute"):
        Settings()


@pytest.mark.usefixtures("secrets")
def test_a_secret_wins_over_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JESSE_PASSWORD_FILE", str(tmp_path / "missing"))
    password = Settings().jesse_password
    assert password is not None
    assert password.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("variables", "dashboard"),
    [
        ({}, False),
        ({"JESSE_URL": ADDRESS}, True),
        ({"JESSE_URL": ADDRESS, "JESSE_MCP_ENGINE": "embedded"}, False),
        ({"JESSE_URL": ADDRESS, "JESSE_MCP_ENGINE": "dashboard"}, True),
        ({"JESSE_PASSWORD": SECRET}, False),
    ],
)
def test_which_engine_is_used(
    variables: dict[str, str], dashboard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings().uses_dashboard is dashboard


FAULTS = {
    "no scheme": ({"JESSE_URL": "localhost:9000"}, "invalid setting JESSE_URL: ", "http://HOST:PORT"),
    "other scheme": ({"JESSE_URL": "ftp://host"}, "invalid setting JESSE_URL: ", "http://HOST:PORT"),
    "no host": ({"JESSE_URL": "http://"}, "invalid setting JESSE_URL: ", "http://HOST:PORT"),
    "port": ({"JESSE_URL": "http://host:99999"}, "invalid setting JESSE_URL: ", "range"),
    "port zero": ({"JESSE_URL": "http://host:0"}, "invalid setting JESSE_URL: ", "range"),
    "bracket": ({"JESSE_URL": "http://[::1"}, "invalid setting JESSE_URL: ", "IPv6"),
    "credentials": (
        {"JESSE_URL": f"http://me:{SECRET}@host:9000"},
        "invalid setting JESSE_URL: ",
        "JESSE_PASSWORD",
    ),
    "query": ({"JESSE_URL": f"{ADDRESS}?token={SECRET}"}, "invalid setting JESSE_URL: ", "JESSE_API_TOKEN"),
    "no address": ({"JESSE_MCP_ENGINE": "dashboard"}, "invalid settings: ", "needs JESSE_URL"),
    "no cluster": ({"JESSE_MCP_ENGINE": "ray"}, "invalid settings: ", "needs RAY_ADDRESS"),
    "own cluster": ({"JESSE_MCP_ENGINE": "ray", "RAY_ADDRESS": "local"}, "invalid settings: ", "HOST:PORT"),
    "client of a cluster": (
        {"JESSE_MCP_ENGINE": "ray", "RAY_ADDRESS": "ray://head:10001"},
        "invalid settings: ",
        "HOST:PORT",
    ),
    "no engine": ({"JESSE_MCP_ENGINE": "cloud"}, "invalid setting JESSE_MCP_ENGINE: ", "'cloud'"),
    "runs": ({"JESSE_MCP_DASHBOARD_RUNS": "0"}, "invalid setting JESSE_MCP_DASHBOARD_RUNS: ", "'0'"),
    "token": ({"JESSE_API_TOKEN": f"{SECRET} ö"}, "invalid setting JESSE_API_TOKEN: ", "ASCII"),
    "star": (
        {"JESSE_MCP_ALLOWED_HOSTS": "*"},
        "invalid setting JESSE_MCP_ALLOWED_HOSTS: ",
        "desk.example.org",
    ),
    "wide star": ({"JESSE_MCP_ALLOWED_HOSTS": "*.org"}, "invalid setting JESSE_MCP_ALLOWED_HOSTS: ", "*.org"),
    "inner star": (
        {"JESSE_MCP_ALLOWED_HOSTS": "a*.b.org"},
        "invalid setting JESSE_MCP_ALLOWED_HOSTS: ",
        "a*",
    ),
    "origin": (
        {"JESSE_MCP_ALLOWED_ORIGINS": "desk.example.org"},
        "invalid setting JESSE_MCP_ALLOWED_ORIGINS: ",
        "https://HOST",
    ),
    "any origin": (
        {"JESSE_MCP_ALLOWED_ORIGINS": "https://*"},
        "invalid setting JESSE_MCP_ALLOWED_ORIGINS: ",
        "https://HOST",
    ),
    "any proxy": ({"JESSE_MCP_TRUSTED_PROXIES": "*"}, "invalid setting JESSE_MCP_TRUSTED_PROXIES: ", "'*'"),
    "all proxies": (
        {"JESSE_MCP_TRUSTED_PROXIES": "0.0.0.0/0"},
        "invalid setting JESSE_MCP_TRUSTED_PROXIES: ",
        "everybody",
    ),
    "proxy within a network": (
        {"JESSE_MCP_TRUSTED_PROXIES": "10.0.0.1/8"},
        "invalid setting JESSE_MCP_TRUSTED_PROXIES: ",
        "give 10.0.0.0/8 for all of it",
    ),
    "plain keys": (
        {"JESSE_MCP_JWT_JWKS_URL": "http://id.example.org/keys"},
        "invalid setting JESSE_MCP_JWT_JWKS_URL: ",
        "https",
    ),
    "half a JWT": (
        {"JESSE_MCP_JWT_JWKS_URL": "https://id.example.org/keys"},
        "invalid settings: ",
        "JESSE_MCP_JWT_AUDIENCE",
    ),
    "shared secret": (
        {"JESSE_MCP_JWT_ALGORITHM": "HS256"},
        "invalid setting JESSE_MCP_JWT_ALGORITHM: ",
        "RS256",
    ),
    "own token": (
        {"JESSE_MCP_TOKENS": f"bot:read:{SECRET}ö"},
        "invalid setting JESSE_MCP_TOKENS: ",
        "ASCII",
    ),
    **{
        f"database, {fault}": (
            {"JESSE_MCP_DATABASE_URL": address},
            "invalid setting JESSE_MCP_DATABASE_URL: ",
            "postgresql+psycopg://",
        )
        for fault, address in {
            "other": f"mysql://me:{SECRET}@host/desk",
            "file": "sqlite:///records.sqlite",
            "no name": f"postgresql://me:{SECRET}@host/",
            "slash in the password": f"postgresql://me:{SECRET}/x@host/desk",
            "hash in the password": f"postgresql://me:{SECRET}#x@host/desk",
            "slash behind a number": f"postgresql://me:12/{SECRET}@host/desk",
            "question in the password": f"postgresql://me:12?{SECRET}@host/desk",
            "space": f"postgresql://me:{SECRET} @host/desk",
            "port": f"postgresql://me@host:{SECRET}/desk",
            "bracket": f"postgresql://[{SECRET}/desk",
        }.items()
    },
    "unsigned": (
        {"JESSE_MCP_JOBS_WEBHOOK": f"https://hooks.example.org/{SECRET}"},
        "invalid settings: ",
        "JESSE_MCP_WEBHOOK_SECRET",
    ),
    "password": ({"JESSE_PASSWORD": f"{SECRET}\udcff"}, "invalid setting JESSE_PASSWORD: ", "UTF-8"),
    "no file": ({"JESSE_PASSWORD_FILE": "/nowhere/at-all"}, "invalid settings: ", "/nowhere/at-all"),
    "folder": ({"JESSE_API_TOKEN_FILE": "/"}, "invalid settings: ", "JESSE_API_TOKEN_FILE"),
    "empty file": ({"JESSE_PASSWORD_FILE": "/dev/null"}, "invalid settings: ", "is empty"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_setting_is_explained_without_a_secret(
    fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variables, begin, words = FAULTS[fault]
    monkeypatch.setenv("JESSE_PASSWORD" if "PASSWORD" not in str(variables) else "JESSE_API_TOKEN", SECRET)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert SECRET not in str(caught.value)
    monkeypatch.setattr("sys.argv", ["jesse-mcp", "doctor"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (1, "")
    assert begin in shown.err
    assert words in shown.err
    assert "Value error" not in shown.err
    assert "Traceback" not in shown.err
    assert SECRET not in shown.err


def test_a_file_that_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("JESSE_PASSWORD_FILE", str(tmp_path / "secret"))
    with pytest.raises(ValidationError, match="no UTF-8 text"):
        Settings()


@pytest.mark.usefixtures("secrets")
def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JESSE_URL", ADDRESS)
    settings = Settings()
    console = Console(width=300)
    with console.capture() as captured:
        console.print(doctor._settings_table(settings))
    table = captured.get()
    assert "**********" in table
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(vars(settings)), table):
        assert SECRET not in shown


CLIENTS = ("claude-desktop", "claude-code", "cursor", "vscode", "generic")


@pytest.fixture(params=CLIENTS)
def carried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("JESSE_URL", ADDRESS)
    client: str = request.param
    return client


@pytest.mark.usefixtures("secrets")
def test_what_a_client_configuration_leaves_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    client_config("generic")
    said = capsys.readouterr().err
    assert SECRET not in said
    assert "JESSE_MCP_JOBS_WEBHOOK is left out: name a file in JESSE_MCP_JOBS_WEBHOOK_FILE" in said
    assert "OTEL_EXPORTER_OTLP_HEADERS is left out: add it there" in said


@pytest.mark.usefixtures("secrets")
def test_a_client_configuration_holds_no_secret_and_no_stars_in_its_place(carried: Any) -> None:
    text = json.dumps(configuration(carried, Settings()))
    assert ADDRESS in text
    assert SECRET not in text
    assert "***" not in text


def test_a_client_configuration_points_at_the_file_of_a_secret(
    carried: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    monkeypatch.setenv("JESSE_PASSWORD_FILE", str(tmp_path / "secret"))
    text = json.dumps(configuration(carried, Settings()))
    assert f'"JESSE_PASSWORD_FILE": "{tmp_path}/secret"' in text
    assert SECRET not in text
    assert 'JESSE_PASSWORD"' not in text


def test_the_demo_stays_on_this_machine() -> None:
    given = {
        "JESSE_URL": ADDRESS,
        "X": "1",
        "JESSE_MCP_DATABASE_URL": RECORDS,
        "JESSE_MCP_DATABASE_URL_FILE": "x",
        "JESSE_MCP_JOBS_WEBHOOK_FILE": "x",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
    }
    variables = demo.server_environment(Path("/somewhere"), given)
    for gone in ("DATABASE", "WEBHOOK", "OTEL"):
        assert gone not in str(variables)
    assert variables["JESSE_MCP_ENGINE"] == "embedded"
    assert (variables["JESSE_MCP_HOME"], variables["X"]) == ("/somewhere/home", "1")


def test_a_short_secret_of_webhooks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JESSE_MCP_WEBHOOK_SECRET", "sixteen-is-least")
    assert Settings().webhook_secret is not None
    monkeypatch.setenv("JESSE_MCP_WEBHOOK_SECRET", "fifteen-letters")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "16 characters" in str(caught.value)
    assert "fifteen" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["http://desk.example.org", "https://desk.example.org/prefix", "https://a@desk.example.org"]
)
def test_a_public_address_is_an_origin_nobody_listens_to(value: str) -> None:
    whole: dict[str, Any] = {f"jwt_{name}": text for name, text in JWT.items()}
    with pytest.raises(ValidationError, match="give https://HOST"):
        Settings(**whole, public_url=value)


@pytest.mark.parametrize("issuer", [None, "desk", "http://id.example.org"])
def test_a_public_address_needs_an_issuer_to_sign_in_at(issuer: str | None) -> None:
    whole: dict[str, Any] = {f"jwt_{name}": text for name, text in JWT.items()} | {"jwt_issuer": issuer}
    given = whole if issuer is not None else {}
    with pytest.raises(ValidationError, match="JESSE_MCP_JWT_ISSUER"):
        Settings(**given, public_url="https://desk.example.org")
