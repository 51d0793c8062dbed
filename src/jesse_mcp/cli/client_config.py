"""``jesse-mcp client-config``: what to paste into an MCP client."""

import json
import sys
from typing import Any, Literal

from cyclopts import App
from pydantic import SecretStr
from rich.console import Console

from jesse_mcp.settings import HTTP_ONLY, Settings, variable

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
    settings = Settings()
    notes = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    notes.print(f"put this into {_WHERE[client]}:")
    Console(soft_wrap=True).print(
        json.dumps(configuration(client, settings), indent=2), highlight=False, markup=False
    )
    for name in _left_out(settings):
        file = f"name a file in {variable(name)}_FILE, readable by you only, or "
        way = file if f"{name}_file" in Settings.model_fields else ""
        notes.print(f"{variable(name)} is left out: {way}add it there")


def configuration(client: Client, settings: Settings) -> dict[str, Any]:
    """The JSON object of ``client``. Settings made here are carried over: clients pass no variables on."""
    # -P: the client's working folder may hold a file named like a module.
    entry: dict[str, Any] = {"command": sys.executable, "args": ["-P", "-m", "jesse_mcp", "serve"]}
    carried = {
        variable(name): str(value)
        for name, value in settings.model_dump(mode="json").items()
        if name in settings.model_fields_set - HTTP_ONLY
        and value is not None
        and name not in _secrets(settings)
    }
    if carried:
        entry["env"] = carried
    if client == "vscode":
        return {"servers": {"jesse": {"type": "stdio", **entry}}}
    return {"mcpServers": {"jesse": entry}}


def _secrets(settings: Settings) -> list[str]:
    return [name for name in Settings.model_fields if isinstance(getattr(settings, name), SecretStr)]


def _left_out(settings: Settings) -> list[str]:
    """Secrets that came by their variable: a configuration file is no place for them."""
    return [
        name
        for name in _secrets(settings)
        if name not in HTTP_ONLY and getattr(settings, f"{name}_file", None) is None
    ]
