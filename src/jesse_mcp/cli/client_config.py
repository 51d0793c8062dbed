"""``jesse-mcp client-config``: what to paste into an MCP client."""

import json
import sys
from typing import Any, Literal

from cyclopts import App
from rich.console import Console

from jesse_mcp.settings import Settings, variable

Client = Literal["claude-desktop", "claude-code", "cursor", "vscode", "generic"]

_WHERE: dict[str, str] = {
    "claude-desktop": "claude_desktop_config.json (Settings, Developer, Edit Config)",
    "claude-code": ".mcp.json in the project folder",
    "cursor": "~/.cursor/mcp.json",
    "vscode": ".vscode/mcp.json",
    "generic": "the configuration of the client",
}


def register(app: App) -> None:
    app.command(client_config, name="client-config")


def client_config(client: Client = "generic") -> None:
    """Print the configuration that lets an MCP client start this server.

    Parameters
    ----------
    client
        Whose format to print.
    """
    Console(stderr=True).print(f"put this into {_WHERE[client]}:", highlight=False)
    Console(soft_wrap=True).print(
        json.dumps(configuration(client, Settings()), indent=2), highlight=False, markup=False
    )


def configuration(client: Client, settings: Settings) -> dict[str, Any]:
    """The JSON object of ``client``. Settings made here are carried over: clients pass no variables on."""
    # -P: the client's working folder may hold a file named like a module.
    entry: dict[str, Any] = {"command": sys.executable, "args": ["-P", "-m", "jesse_mcp", "serve"]}
    carried = {
        variable(name): str(value)
        for name, value in settings.model_dump(mode="json").items()
        if name in settings.model_fields_set and value is not None
    }
    if carried:
        entry["env"] = carried
    if client == "vscode":
        return {"servers": {"jesse": {"type": "stdio", **entry}}}
    return {"mcpServers": {"jesse": entry}}
