"""What may be done to a strategy, whatever store it is in."""

import difflib

from jesse_mcp.adapters.strategies.project_files import MAX_FILE_BYTES
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.strategies import parse_strategy_name


def is_name(name: str) -> bool:
    """Whether a folder of this name can be a strategy."""
    try:
        parse_strategy_name(name)
    except ResearchError:
        return False
    return True


def encoded(code: str) -> bytes:
    """The code as UTF-8.

    Raises:
        ResearchError: ``invalid_argument`` for what is no text, or too much.
    """
    try:
        content = code.encode()
    except UnicodeEncodeError as error:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"the code holds a character that is no text, at position {error.start}",
            hint="send the code as plain Unicode text",
        ) from None
    if len(content) > MAX_FILE_BYTES:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"the code is {len(content)} bytes long",
            hint=f"keep a strategy below {MAX_FILE_BYTES} bytes",
        )
    return content


def not_found(name: str, names: dict[str, str]) -> ResearchError:
    """The error for a name that is not among ``names``."""
    by_fold = {known.casefold(): known for known in names}
    close = [by_fold[match] for match in difflib.get_close_matches(name.casefold(), by_fold, n=3, cutoff=0.5)]
    return ResearchError(
        ErrorCode.STRATEGY_NOT_FOUND,
        f"there is no strategy {name!r}",
        hint=f"did you mean {' or '.join(close)}?"
        if close
        else "see strategy_list, or create it with strategy_write",
        details={"closest": close, "count": len(names)},
    )


def check_writable(name: str, names: dict[str, str], overwrite: bool) -> None:
    """Refuse to write where that is not allowed.

    Args:
        name: of the strategy to write.
        names: every strategy and its origin.
        overwrite: whether a user strategy of that name may be replaced.

    Raises:
        ResearchError: ``strategy_exists``, ``strategy_read_only``.
    """
    origin = names.get(name)
    if origin == "bundled":
        raise read_only(name)
    if origin == "user" and not overwrite:
        raise ResearchError(
            ErrorCode.STRATEGY_EXISTS,
            f"there is a strategy {name!r} already",
            hint="see it with strategy_read, then strategy_write with overwrite=true, or another name",
        )
    same = [known for known in names if known.casefold() == name.casefold() and known != name]
    if origin is None and same:
        raise ResearchError(
            ErrorCode.STRATEGY_EXISTS,
            f"{name!r} differs from the strategy {same[0]!r} only in upper and lower case",
            hint=f"choose another name, or write {same[0]} itself",
        )


def read_only(name: str) -> ResearchError:
    """The error for a change to a bundled strategy."""
    return ResearchError(
        ErrorCode.STRATEGY_READ_ONLY,
        f"{name!r} is a bundled strategy and cannot be changed",
        hint="take its code from strategy_read, rename the class, strategy_write it under the new name",
    )
