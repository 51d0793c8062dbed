"""No secret reaches the log, whatever a library writes there."""

import hashlib
import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from jesse_mcp.server.log_output import JsonFormatter, SecretFreeFormatter
from jesse_mcp.server.secret_masking import SecretMask, secrets_of
from jesse_mcp.settings import Settings

PASSWORD = "correct horse/ä"  # noqa: S105
HASH = hashlib.sha256(PASSWORD.encode()).hexdigest()
TOKEN = "given+token"  # noqa: S105


@pytest.fixture
def settings() -> Settings:
    return Settings(jesse_password=SecretStr(PASSWORD), jesse_api_token=SecretStr(TOKEN))


@pytest.mark.parametrize(
    "message",
    [
        f"HTTP Request: GET http://host/backtest/logs/1?token={HASH} 200",
        "> GET /ws?token=given%2Btoken HTTP/1.1",
        "form password=correct%20horse%2F%C3%A4",
        f"body {PASSWORD!r}",
    ],
)
def test_secrets_become_stars(settings: Settings, message: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(SecretFreeFormatter(SecretMask(secrets_of(settings))))
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s", (message,), None)
    try:
        raise ValueError(message)
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    handler.handle(record)
    text = stream.getvalue()
    assert text.count("**********") >= 2, "in the message and in the traceback"
    for secret in secrets_of(settings):
        assert secret not in text


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_secret_within_another_does_not_save_the_rest(one: str, two: str) -> None:
    secrets = secrets_of(Settings(jesse_password=SecretStr(f"{one}{two}"), jesse_api_token=None))
    assert set(SecretMask(secrets)(f"{one}{two}")) == {"*"}


def test_without_secrets_a_line_stays_as_it_is() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "hello", None, None)
    bare = Settings(jesse_password=None, jesse_api_token=None)
    assert SecretFreeFormatter(SecretMask(secrets_of(bare))).format(record).endswith("INFO x: hello")


FORGED = "2026-01-01 00:00:00,000 WARNING jesse_mcp.http: all is well"


def formatted(formatter: logging.Formatter, message: str, error: Exception | None = None) -> str:
    record = logging.LogRecord("x", logging.INFO, "", 0, "got %s", (message,), None)
    if error is not None:
        try:
            raise error
        except Exception as raised:  # noqa: BLE001  (whichever it is)
            record.exc_info = (type(raised), raised, raised.__traceback__)
    return formatter.format(record)


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_no_text_begins_a_line_of_the_log(end: str) -> None:
    hostile = f"a{end}{FORGED}"
    (line,) = formatted(SecretFreeFormatter(SecretMask()), hostile).splitlines()
    assert FORGED in line
    assert not line.startswith(FORGED)
    shown = formatted(SecretFreeFormatter(SecretMask()), hostile, ValueError(hostile)).splitlines()
    assert len(shown) > 3, "a traceback stays readable"
    assert all(line.startswith("\t") for line in shown[1:])
    (line,) = formatted(JsonFormatter(SecretMask()), hostile, ValueError(hostile)).splitlines()
    assert json.loads(line)["message"] == f"got {hostile}"


@given(st.text())
def test_a_message_is_one_line_that_moves_no_terminal(text: str) -> None:
    shown = formatted(SecretFreeFormatter(SecretMask()), text)
    assert len(shown.splitlines()) == 1
    assert not [sign for sign in shown if ord(sign) < 32 or 127 <= ord(sign) < 160]
