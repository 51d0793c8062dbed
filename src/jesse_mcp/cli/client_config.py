"""``jesse-mcp client-config``: what to paste into an MCP client."""

import json
import sys
from typing import Any, Literal
from urllib.parse import urlsplit

from cyclopts import App
from pydantic import SecretStr
from rich.console import Console

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.setting_values import is_safe_address
from jesse_mcp.settings import HTTP_ONLY, Settings, variable

Client = Literal["claude-desktop", "claude-code", "cursor", "vscode", "generic"]

_WHERE: dict[str, str] = {
    "claude-desktop": "claude_desktop_config.json (Settings, Developer, Edit Config)",
    "claude-code": ".mcp.json in the project folder",
    "cursor": "~/.cursor/mcp.json",
    "vscode": ".vscode/mcp.json",
    "generic": "the configuration of the client",
}
#: Not JESSE_MCP_...: a server on the same machine would take it for a misspelt setting.
_TOKEN_VARIABLE = "JESSE_DESK_TOKEN"  # noqa: S105 - the name of a variable
_TOKEN_INPUT = "jesse-desk-token"  # noqa: S105 - a name
#: How each takes the token from elsewhere, so that none is in a file that is shared, and what is left to do.
_BEARER: dict[str, tuple[str, str]] = {
    "claude-desktop": (
        "Bearer TOKEN",
        "put the token in place of TOKEN; Node.js must be installed: this client starts programs only",
    ),
    "claude-code": (
        f"Bearer ${{{_TOKEN_VARIABLE}}}",
        f"start the client where the variable {_TOKEN_VARIABLE} holds the token",
    ),
    "cursor": (
        f"Bearer ${{env:{_TOKEN_VARIABLE}}}",
        f"start the client where the variable {_TOKEN_VARIABLE} holds the token",
    ),
    "vscode": (f"Bearer ${{input:{_TOKEN_INPUT}}}", "the client asks for the token, once"),
    "generic": ("Bearer TOKEN", "put the token in place of TOKEN"),
}


def register(app: App) -> None:
    app.command(client_config, name="client-config")


def client_config(client: Client = "generic", *, url: str | None = None) -> None:
    """Print the configuration that lets an MCP client start this server, or connect to one that runs.

    Parameters
    ----------
    client
        Whose format to print.
    url
        Of a server that runs elsewhere, such as https://desk.example.org; without a path, /mcp is added.
    """
    notes = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    if url is not None:
        address = _address(url)
        _print(client, remote_configuration(client, address), notes)
        notes.print(f"{_BEARER[client][1]}; a server without tokens needs no Authorization")
        if not is_safe_address(address):
            notes.print("plain HTTP: whoever is on the way reads the token and can change the answers")
        return
    settings = Settings()
    _print(client, configuration(client, settings), notes)
    for name in _left_out(settings):
        file = f"name a file in {variable(name)}_FILE, readable by you only, or "
        way = file if f"{name}_file" in Settings.model_fields else ""
        notes.print(f"{variable(name)} is left out: {way}add it there")


def _print(client: Client, shown: dict[str, Any], notes: Console) -> None:
    notes.print(f"put this into {_WHERE[client]}:")
    Console(soft_wrap=True).print(json.dumps(shown, indent=2), highlight=False, markup=False)


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


def remote_configuration(client: Client, address: str) -> dict[str, Any]:
    """The JSON object of ``client`` for a server at ``address``, with a place for the token."""
    bearer = _BEARER[client][0]
    if client == "claude-desktop":
        # So the token stays out of argv, and no argument has a blank, which Windows tears apart.
        bridge = ["-y", "mcp-remote", address, "--header", "Authorization:${AUTHORIZATION}"]
        if not is_safe_address(address):
            bridge.append("--allow-http")
        entry = {"command": "npx", "args": bridge, "env": {"AUTHORIZATION": bearer}}
        return {"mcpServers": {"jesse": entry}}
    there = {"url": address, "headers": {"Authorization": bearer}}
    if client == "vscode":
        asked = {"type": "promptString", "id": _TOKEN_INPUT, "description": "Token of jesse-mcp"}
        return {"inputs": [{**asked, "password": True}], "servers": {"jesse": {"type": "http", **there}}}
    return {"mcpServers": {"jesse": {"type": "http", **there} if client == "claude-code" else there}}


def _address(url: str) -> str:
    try:
        given = urlsplit(url.strip())
        usable = given.scheme in {"http", "https"} and bool(given.hostname) and given.port != 0
    except ValueError:
        usable = False
    if not usable or given.username is not None or given.query or given.fragment:
        received = "given with a user name" if "@" in url else repr(url)
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"--url is {received}, which is no address of a server",
            hint="give https://HOST, https://HOST:PORT or https://HOST/PATH; the token goes elsewhere",
        )
    return given.geturl() if given.path.strip("/") else given._replace(path="/mcp").geturl()


def _secrets(settings: Settings) -> list[str]:
    return [name for name in Settings.model_fields if isinstance(getattr(settings, name), SecretStr)]


def _left_out(settings: Settings) -> list[str]:
    """Secrets that came by their variable: a configuration file is no place for them."""
    return [
        name
        for name in _secrets(settings)
        if name not in HTTP_ONLY and getattr(settings, f"{name}_file", None) is None
    ]
