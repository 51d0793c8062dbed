"""No secret reaches the log, whatever a library writes there."""

import hashlib
import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from jesse_mcp.server.log_output import SecretFreeFormatter
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
