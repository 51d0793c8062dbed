"""The client against a real Jesse."""

from hashlib import sha256

import pytest
from pydantic import SecretStr

from jesse_host import PASSWORD, JesseHost
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.domain.errors import ErrorCode, ResearchError


def client_of(host: JesseHost, **credentials: str) -> DashboardClient:
    secrets = {name: SecretStr(value) for name, value in (credentials or {"password": PASSWORD}).items()}
    return DashboardClient(host.url, Credentials(**secrets))


def test_a_password_is_exchanged_for_a_token(jesse_host: JesseHost) -> None:
    client = client_of(jesse_host)
    assert client.get("/system/system-info")["jesse_version"] == "3.5.3"
    assert client.token() == sha256(PASSWORD.encode()).hexdigest()
    assert client.read("/candles/existing").keys() == {"data"}
    client.close()


def test_a_token_is_used_as_it_is(jesse_host: JesseHost) -> None:
    client = client_of(jesse_host, token=sha256(PASSWORD.encode()).hexdigest())
    assert client.get("/strategy/all")["status"] == "success"
    client.close()


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        ({"password": "wrong"}, "password in JESSE_PASSWORD"),
        ({"token": "wrong"}, "token in JESSE_API_TOKEN"),
    ],
)
def test_wrong_secrets(jesse_host: JesseHost, credentials: dict[str, str], words: str) -> None:
    client = client_of(jesse_host, **credentials)
    with pytest.raises(ResearchError) as caught:
        client.get("/system/system-info")
    assert caught.value.code is ErrorCode.JESSE_UNAUTHORIZED
    assert words in caught.value.message
    client.close()


def test_what_jesse_rejects_is_said_field_by_field(jesse_host: JesseHost) -> None:
    client = client_of(jesse_host)
    with pytest.raises(ResearchError) as caught:
        client.post("/candles/delete", {"exchange": "Binance Spot"})
    assert caught.value.code is ErrorCode.JESSE_REJECTED
    assert caught.value.message.endswith("symbol: Field required")
    client.close()
