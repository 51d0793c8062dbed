"""How rules report what they saw."""

import difflib
from collections.abc import Iterable
from typing import Protocol

from jesse_mcp.domain.strategies import Finding, Severity

#: Looking for similar names is slow; after this many in one rule, what is wrong is no typing error.
MAX_SUGGESTIONS = 20


class Located(Protocol):
    """Whatever has a line: every statement and expression of a syntax tree."""

    @property
    def lineno(self) -> int: ...


def error(rule: str, message: str, at: Located | None, suggestion: str | None = None) -> Finding:
    """Something Jesse will refuse, or that raises when it is reached."""
    return _finding(Severity.ERROR, rule, message, at, suggestion)


def warning(rule: str, message: str, at: Located | None, suggestion: str | None = None) -> Finding:
    """Something that runs but is probably not what was meant."""
    return _finding(Severity.WARNING, rule, message, at, suggestion)


def _finding(
    severity: Severity, rule: str, message: str, at: Located | None, suggestion: str | None
) -> Finding:
    line = None if at is None else at.lineno
    return Finding(severity=severity, rule=rule, message=message, line=line, suggestion=suggestion)


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most like ``name``, upper and lower case aside."""
    by_fold = {candidate.casefold(): candidate for candidate in sorted(known)}
    matches = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=cutoff)
    return by_fold[matches[0]] if matches else None


def did_you_mean(candidate: str | None) -> str | None:
    """``candidate`` as a suggestion."""
    return None if candidate is None else f"use {candidate}"
