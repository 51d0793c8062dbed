"""What the server says of itself, in the words of either generation of the protocol."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from mcp import MCPError
from mcp.types import INVALID_PARAMS
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_MODERN_VERSION

from jesse_mcp.composition import Application
from jesse_mcp.server.assembly import TITLE, build_server
from jesse_mcp.settings import Settings


@pytest.fixture
def server(tmp_path: Path) -> FastMCP:
    return build_server(
        Application(Settings(home=tmp_path / "home", cache=tmp_path / "cache", prewarm=False))
    )


@pytest.fixture(params=["legacy", "auto"])
async def client(server: FastMCP, request: pytest.FixtureRequest) -> AsyncIterator[Client[Any]]:
    async with Client(server, mode=request.param) as opened:
        yield opened


async def test_it_declares_what_it_has(client: Client[Any]) -> None:
    session = client.session
    assert session.server_info is not None
    assert session.server_info.title == TITLE
    declared = session.server_capabilities
    assert declared is not None
    assert declared.tools is not None
    assert declared.logging is None, "no message of the log is sent to a client"
    assert declared.completions is None
    assert declared.extensions is None


async def test_both_generations_are_found_by_whoever_asks(server: FastMCP) -> None:
    async with Client(server) as client:
        found = client.session.discover_result
        assert found is not None
        assert found.supported_versions == [LATEST_MODERN_VERSION, *reversed(HANDSHAKE_PROTOCOL_VERSIONS)]


async def test_a_cursor_that_was_never_handed_out_is_refused(client: Client[Any]) -> None:
    whole = await client.list_tools_mcp()
    assert whole.next_cursor is None, "all of them on one page"
    for ask in (client.list_tools_mcp, client.list_resources_mcp, client.list_prompts_mcp):
        with pytest.raises(MCPError, match="cursor") as caught:
            await ask(cursor="made up")
        assert caught.value.code == INVALID_PARAMS


async def test_every_argument_is_described(client: Client[Any]) -> None:
    """And says how it defaults only where that is not null."""
    for tool in await client.list_tools():
        for name, schema in tool.input_schema.get("properties", {}).items():
            assert schema.get("description"), (tool.name, name)
            assert schema.get("default", ...) is not None, (tool.name, name)
