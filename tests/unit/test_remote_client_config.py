"""What ``client-config --url`` prints: the form of each client, and never a token."""

import json
from typing import Any, get_args

import pytest
from fastmcp.mcp_config import MCPConfig, RemoteMCPServer, StdioMCPServer

from jesse_mcp.cli.client_config import Client, client_config, remote_configuration
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.server.http.token_refusal import MCP_PATH
from jesse_mcp.unknown_variables import unknown_variables

DESK = "https://desk.example.org/mcp"


def entry_of(client: Client, address: str = DESK) -> dict[str, Any]:
    (entry,) = remote_configuration(client, address)[
        "servers" if client == "vscode" else "mcpServers"
    ].values()
    return dict(entry)


@pytest.mark.parametrize("client", get_args(Client))
def test_the_address_and_a_place_for_the_token(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    client_config(client, url="https://desk.example.org")
    said = capsys.readouterr()
    assert json.loads(said.out) == remote_configuration(client, DESK)
    assert DESK in said.out
    assert "Bearer " in said.out
    assert "put this into" in said.err
    assert "plain HTTP" not in said.err


@pytest.mark.parametrize(
    ("client", "bearer"),
    [
        ("claude-code", "Bearer ${JESSE_DESK_TOKEN}"),
        ("cursor", "Bearer ${env:JESSE_DESK_TOKEN}"),
        ("vscode", "Bearer ${input:jesse-desk-token}"),
        ("generic", "Bearer TOKEN"),
    ],
)
def test_clients_that_connect_themselves(client: Client, bearer: str) -> None:
    entry = entry_of(client)
    assert entry.pop("type", "http") == "http"
    assert entry == {"url": DESK, "headers": {"Authorization": bearer}}
    server = MCPConfig.from_dict({"mcpServers": {"jesse": entry_of(client)}}).mcpServers["jesse"]
    assert isinstance(server, RemoteMCPServer)
    assert (server.url, server.headers) == (DESK, {"Authorization": bearer})


def test_the_one_that_only_starts_programs_is_given_one_and_no_token_as_an_argument() -> None:
    server = MCPConfig.from_dict(remote_configuration("claude-desktop", DESK)).mcpServers["jesse"]
    assert isinstance(server, StdioMCPServer)
    assert server.args[:3] == ["-y", "mcp-remote", DESK]
    assert "--allow-http" not in server.args
    assert server.env == {"AUTHORIZATION": "Bearer TOKEN"}
    assert not any("TOKEN" in argument for argument in server.args)
    assert entry_of("claude-desktop", "http://10.0.0.7:8765/mcp")["args"][-1] == "--allow-http"


def test_what_a_client_asks_for_is_what_it_puts_in() -> None:
    (asked,) = remote_configuration("vscode", DESK)["inputs"]
    assert asked["password"] is True
    assert f"${{input:{asked['id']}}}" in entry_of("vscode")["headers"]["Authorization"]


def test_the_variable_of_the_token_is_no_misspelt_setting() -> None:
    assert unknown_variables(["JESSE_DESK_TOKEN"]) == []


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://desk.example.org", "https://desk.example.org" + MCP_PATH),
        ("https://desk.example.org/", "https://desk.example.org" + MCP_PATH),
        (" https://desk.example.org/desk/mcp ", "https://desk.example.org/desk/mcp"),
        ("http://[::1]:8765", "http://[::1]:8765" + MCP_PATH),
    ],
)
def test_a_path_that_is_missing_is_the_one_of_the_server(
    url: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client_config("generic", url=url)
    assert json.loads(capsys.readouterr().out)["mcpServers"]["jesse"]["url"] == address


def test_plain_http_to_another_machine_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    client_config("generic", url="http://10.0.0.7:8765")
    assert "whoever is on the way reads the token" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "",
        "desk.example.org",
        "ftp://desk.example.org",
        "https://",
        "https://desk:0/mcp",
        "https://desk:many/mcp",
        "https://[::1/mcp",
        "https://desk/mcp?token=x",
        "https://desk/mcp#x",
        "https://me:sentinel@desk/mcp",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ResearchError) as caught:
        client_config("generic", url=url)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert "sentinel" not in str(caught.value)
