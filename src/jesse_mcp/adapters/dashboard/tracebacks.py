"""A Python traceback as text, cut down to what its reader can change."""

import re
from dataclasses import dataclass
from typing import NamedTuple

_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<name>.+))?$')
_HEADER = "Traceback (most recent call last):"
_DURING_IMPORT = re.compile(r"problem in \S+ - (?P<type>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$", re.DOTALL)
_LIBRARY_FRAMES = 3
_LONGEST = 8_000
_LONGEST_MESSAGE = 2_000
#: What our checks in a run raise: JSON, and as long as they make it.
_OF_OURS = "RunRejectedError"


class Raised(NamedTuple):
    """An exception as Jesse tells it."""

    type: str
    message: str
    traceback: str
    line: int | None
    in_user_code: bool


@dataclass(frozen=True)
class _Frame:
    file: str
    line: int
    name: str
    code: str


def parse(exception: str, traceback: str, renamed: dict[str, str]) -> Raised:
    """What to show of an exception.

    Args:
        exception: ``Type: message``.
        traceback: as :func:`traceback.format_exc` writes it; may be empty.
        renamed: name in Jesse to the name the user knows.
    """
    kind, _, message = exception.partition(": ")
    blocks = [block for block in traceback.split(_HEADER) if block.strip()]
    block = blocks[-1] if blocks else ""
    during_import = _DURING_IMPORT.match(message) if kind == "ErrorDuringImport" else None
    if during_import:
        # pydoc's wrapping of what the import raised, which comes first.
        kind, message = during_import["type"].rpartition(".")[2], during_import["message"] or ""
        block = blocks[0] if blocks else ""
    if kind != _OF_OURS:
        message = message[:_LONGEST_MESSAGE]
    frames = _frames(block)
    users = [at for at, frame in enumerate(frames) if _is_users(frame)]
    after = frames[users[-1] + 1 :] if users else frames
    kept = [frames[at] for at in users] + after[-_LIBRARY_FRAMES:]
    lines = [f"{_short(frame.file)}:{frame.line} in {frame.name}\n{frame.code}" for frame in kept]
    last = f"{kind}: {message}" if message else kind
    shown = ("".join(lines) + last)[-_LONGEST:]
    line = frames[users[-1]].line if users else None
    return Raised(kind, _named(message, renamed), _named(shown, renamed), line, bool(users))


def _frames(block: str) -> list[_Frame]:
    frames: list[_Frame] = []
    for text in block.splitlines():
        match = _FRAME.match(text)
        if match:
            frames.append(_Frame(match["file"], int(match["line"]), match["name"] or "<module>", ""))
        elif frames and text.startswith("    ") and not text.strip(" ~^"):
            continue
        elif frames and text.startswith("    ") and not frames[-1].code:
            frames[-1] = _Frame(frames[-1].file, frames[-1].line, frames[-1].name, f"{text}\n")
    return frames


def _is_users(frame: _Frame) -> bool:
    path = frame.file.replace("\\", "/")
    ours = path.rpartition("/")[2].startswith("_jesse_mcp_") or frame.name.startswith("_jesse_mcp_")
    # Jesse's own package has a folder of that name, too.
    return (
        "/strategies/" in path
        and "/site-packages/" not in path
        and "/jesse/strategies/" not in path
        and not ours
    )


def _short(file: str) -> str:
    path = file.replace("\\", "/")
    for folder in ("/site-packages/", "/strategies/"):
        _, found, after = path.rpartition(folder)
        if found:
            return after if "site-packages" in folder else f"strategies/{after}"
    return path.rpartition("/")[2]


def _named(text: str, renamed: dict[str, str]) -> str:
    for used, name in renamed.items():
        text = text.replace(used, name)
    return text
