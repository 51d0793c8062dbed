"""``jesse-mcp token``: who may use this server over the network."""

import sys
import time
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from jesse_mcp.cli.results import print_json
from jesse_mcp.composition import make_home, open_tokens
from jesse_mcp.domain.access import Scope, TokenRecord
from jesse_mcp.services.tokens import TokenService
from jesse_mcp.settings import Settings

Json = Annotated[bool, Parameter(name="--json", negative="")]


def register(app: App) -> None:
    tokens = App(name="token", help="Tokens that open this server over HTTP, and what each permits.")
    tokens.command(create)
    tokens.command(listing, name="list")
    tokens.command(revoke)
    app.command(tokens)


def create(
    name: str,
    *,
    scope: Annotated[tuple[Scope, ...], Parameter(negative="", consume_multiple=True)] = (Scope.READ,),
    expires_in_days: float | None = None,
) -> None:
    """Make a token and print it, this once. Only its hash is kept.

    Parameters
    ----------
    name
        Of whoever will use it; what the audit log says.
    scope
        What it permits; admin includes the others, and none of those another.
    expires_in_days
        Default: never.
    """
    settings = Settings()
    make_home(settings.home)
    secret, record = open_tokens(settings).create(name, scope, expires_in_days)
    notes = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    notes.print(f"{record.name}: {' '.join(record.scopes)}, {_until(record)}. It is not shown again:")
    sys.stdout.write(f"{secret}\n")
    notes.print(f"for servers whose JESSE_MCP_HOME is {settings.home}")
    notes.print("a server that was started while there was no token asks for one when it is started again")


def listing(*, json_: Json = False) -> None:
    """Names, scopes and times; the last four characters to tell which is which.

    Those in JESSE_MCP_TOKENS are listed too, where this command is given it as the server is.
    """
    service = _service()
    if json_:
        kept = [{**_shown(record), "source": "file"} for record in service.listing()]
        given = [{**_shown(record), "source": "environment", "created_at": None} for record in service.given]
        print_json({"tokens": [*kept, *given]})
        return
    table = Table("name", "scopes", "created", "state", "last four")
    for record in service.listing():
        created = _day(record.created_at)
        table.add_row(record.name, " ".join(record.scopes), created, _state(record), record.last_four)
    for record in service.given:
        table.add_row(record.name, " ".join(record.scopes), "", "in JESSE_MCP_TOKENS", record.last_four)
    Console().print(table)


def revoke(name: str) -> None:
    """Refuse a token from now on, also where a server is running."""
    record = _service().revoke(name)
    Console(highlight=False).print(f"{record.name} (…{record.last_four}) is revoked")


def _service() -> TokenService:
    return open_tokens(Settings())


def _shown(record: TokenRecord) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude={"sha256"})


def _state(record: TokenRecord) -> str:
    if record.revoked_at is not None:
        return f"revoked {_day(record.revoked_at)}"
    return _until(record) if record.usable(time.time()) else "expired"


def _until(record: TokenRecord) -> str:
    return "never expires" if record.expires_at is None else f"expires {_day(record.expires_at)}"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
