"""What strategies and files are called that exist in Jesse only for a while."""

import re
import secrets
import time

_TEMPORARY = re.compile(r"[A-Za-z][A-Za-z0-9_]*_mcp_(\d{10})_[0-9a-f]{8}")
_ROOM_FOR_NAME = 40
#: Where Jesse writes candles for others to read.
SPOOLS = "research_scripts"


def temporary_name(name: str) -> str:
    """A name nobody else has, by which a person still recognises ``name``."""
    return f"{name[:_ROOM_FOR_NAME]}_mcp_{int(time.time()):010d}_{secrets.token_hex(4)}"


def is_temporary(name: str) -> bool:
    """Whether :func:`temporary_name` made this name, here or in another process."""
    return _TEMPORARY.fullmatch(name) is not None


def age(name: str) -> float:
    """Seconds since a temporary name was made."""
    match = _TEMPORARY.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no temporary name")
    return time.time() - int(match[1])


def spool_path(name: str) -> str:
    """The file of candles that goes with a temporary name, relative to Jesse's project."""
    return f"{SPOOLS}/{name}.csv"
