"""``jesse-mcp backup`` and ``jesse-mcp restore``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from jesse_mcp.cli.results import print_json, progress_bar
from jesse_mcp.composition import open_backups
from jesse_mcp.domain.backups import ByteProgress
from jesse_mcp.settings import Settings

Flag = Annotated[bool, Parameter(negative="")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="print JSON")]


def register(app: App) -> None:
    app.command(backup)
    app.command(restore)


def backup(file: Path, *, json_: Json = False) -> None:
    """Copy everything in JESSE_MCP_HOME to one new file; servers may go on working.

    Parameters
    ----------
    file
        Readable by you alone. Logs are not in it, nor are the settings and secrets of the environment.
    """
    service = open_backups(Settings())
    with _bar("copying") as progress:
        made = service.back_up(file, progress)
    if json_:
        print_json(made.model_dump(mode="json"))
        return
    _say(f"{made.files:,} files of {made.bytes:,} bytes are in {made.path}", made.notes)


def restore(file: Path, *, replace: Flag = False, json_: Json = False) -> None:
    """Put a backup into JESSE_MCP_HOME, after every file was checked. Stop servers first.

    Parameters
    ----------
    file
        What `jesse-mcp backup` has made.
    replace
        Put aside what is there, into a folder of the home folder; without it, that folder has to be empty.
    """
    service = open_backups(Settings())
    with _bar("checking") as progress:
        restored = service.restore(file, progress, replace=replace)
    if json_:
        print_json(restored.model_dump(mode="json"))
        return
    aside = () if restored.put_aside is None else (f"what was there is now in {restored.put_aside}",)
    said = f"{restored.files:,} files of {restored.created_at} are in {restored.home}"
    _say(said, (*aside, *restored.notes))


def _say(text: str, notes: tuple[str, ...]) -> None:
    output = Console(highlight=False, soft_wrap=True, markup=False)
    for line in (text, *(f"note: {note}" for note in notes)):
        output.print(line)


@contextmanager
def _bar(doing: str) -> Iterator[ByteProgress]:
    with progress_bar() as bar:
        task = bar.add_task(doing, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show
