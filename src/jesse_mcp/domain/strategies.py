"""Strategies as source: listing, findings of validation, and the bundle a run executes."""

import hashlib
import re
from enum import StrEnum

from pydantic import Field

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


class Finding(Value):
    """One thing validation saw, without executing anything."""

    severity: Severity
    rule: str = Field(description="stable identifier of the rule")
    message: str
    line: int | None = None
    suggestion: str | None = None


class HyperparameterInfo(Value):
    """A hyperparameter as far as it can be read from the source without running it."""

    name: str
    type: str | None = None
    min: float | None = None
    max: float | None = None
    step: float | None = None
    default: bool | int | float | str | None = None
    options: tuple[bool | int | float | str, ...] | None = None


class StrategyInfo(Value):
    name: str
    origin: str = Field(description="'bundled' (read-only) or 'user'")
    description: str | None = Field(description="first line of the class docstring")
    hyperparameters: tuple[HyperparameterInfo, ...] | None = Field(
        description="null when they are computed and cannot be read from the source"
    )
    code_hash: str


class StrategySource(Value):
    """Everything a worker needs to run strategies: files by relative path under a project root.

    ``files`` maps POSIX paths such as ``strategies/Trend/__init__.py`` to text.
    """

    files: dict[str, str]

    @property
    def code_hash(self) -> str:
        """SHA-256 over paths and contents, independent of order."""
        digest = hashlib.sha256()
        for path in sorted(self.files):
            digest.update(path.encode() + b"\0" + self.files[path].encode() + b"\0")
        return digest.hexdigest()


class ValidationReport(Value):
    valid: bool
    class_name: str | None
    findings: tuple[Finding, ...]
    hyperparameters: tuple[HyperparameterInfo, ...] | None


class IndicatorInfo(Value):
    name: str
    signature: str
    returns: tuple[str, ...] = Field(description="fields of the result; empty for a single series")
    summary: str | None


def parse_strategy_name(name: str) -> str:
    """``name`` unchanged when it can be a Python class and a folder.

    Raises:
        ResearchError: ``invalid_argument`` otherwise (this is also what keeps paths inside the store).
    """
    if not _NAME.fullmatch(name):
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"strategy name is {name!r}",
            hint="use a Python class name: a letter, then letters, digits or underscores, 64 at most",
        )
    return name
