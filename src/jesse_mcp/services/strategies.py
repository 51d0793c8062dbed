"""Strategies as an author works with them: find, read, check, write, remove; look up indicators."""

import ast
import asyncio
from collections.abc import Iterable
from functools import lru_cache

from pydantic import Field

from jesse_mcp.domain.catalog import JesseCatalog
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.strategies import (
    Finding,
    HyperparameterInfo,
    IndicatorInfo,
    Severity,
    StrategyInfo,
    StrategySource,
    ValidationReport,
    parse_strategy_name,
)
from jesse_mcp.domain.syntax import parsed
from jesse_mcp.ports.strategy_store import StrategyStore
from jesse_mcp.services.validation import validate_source
from jesse_mcp.services.validation.findings import closest

MAX_INDICATORS = 200
#: Letters; every word of a search is looked for in every indicator.
MAX_SEARCH = 200
_KEPT_OUTLINES = 512


class StrategyLine(Value):
    name: str
    origin: str = Field(description="'bundled' (read-only) or 'user'")
    description: str | None
    hyperparameters: tuple[str, ...] | None = Field(description="names; null when they are computed")
    problem: str | None = Field(description="the first error validation found; null when there is none")


class StrategyList(Value):
    strategies: tuple[StrategyLine, ...]
    total: int = Field(description="how many there are, whatever was searched for")


class StrategyView(Value):
    info: StrategyInfo
    code: str
    validation: ValidationReport


class StrategyWritten(Value):
    name: str
    created: bool = Field(description="false when an older version was replaced")
    code_hash: str = Field(description="SHA-256 of the files a run takes along")
    hyperparameters: tuple[HyperparameterInfo, ...] | None = Field(
        description="null when they are computed and cannot be read from the source"
    )
    warnings: tuple[Finding, ...]


class StrategyDeleted(Value):
    name: str


class IndicatorList(Value):
    indicators: tuple[IndicatorInfo, ...]
    total: int = Field(description="how many match in all")


class StrategyService:
    """Never executes a strategy.

    Args:
        store: where strategies live.
        catalog: what the supported Jesse offers.
    """

    def __init__(self, store: StrategyStore, catalog: JesseCatalog) -> None:
        self._store = store
        self._catalog = catalog
        # What a stored strategy is told does not depend on anything else, and is asked for again and again.
        self._outlined = lru_cache(_KEPT_OUTLINES)(self._outline)

    async def listing(self, search: str | None = None) -> StrategyList:
        """Every strategy, or those whose name or description contains ``search``."""
        lines = await asyncio.to_thread(self._lines)
        wanted = (search or "").casefold()
        found = [line for line in lines if wanted in f"{line.name}\n{line.description or ''}".casefold()]
        return StrategyList(strategies=tuple(found), total=len(lines))

    async def read(self, name: str) -> StrategyView:
        """Source, facts and findings of one strategy.

        Raises:
            ResearchError: ``strategy_not_found`` with the closest names, ``invalid_argument``.
        """
        return await asyncio.to_thread(self._view, name)

    async def validate(self, code: str | None = None, name: str | None = None) -> ValidationReport:
        """Findings on ``code``, or on the stored strategy ``name``; with both, on ``code`` as that strategy.

        Raises:
            ResearchError: ``invalid_argument`` when neither is given, ``strategy_not_found``.
        """
        if name is not None:
            parse_strategy_name(name)
        if code is not None:
            return await asyncio.to_thread(validate_source, code, self._catalog, name)
        if name is None:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT,
                "there is nothing to validate",
                hint="give the code of a strategy, or the name of a stored one",
            )
        return await asyncio.to_thread(lambda: self._outlined(self._store.read(name), name)[0])

    async def write(self, name: str, code: str, overwrite: bool = False) -> StrategyWritten:
        """Store a strategy; what validation calls an error is refused, warnings are handed back.

        Raises:
            ResearchError: ``strategy_invalid`` with all findings in ``details``, ``strategy_exists``,
                ``strategy_read_only``, ``invalid_argument``, ``storage_failed``.
        """
        parse_strategy_name(name)
        return await asyncio.to_thread(self._write, name, code, overwrite)

    async def delete(self, name: str) -> StrategyDeleted:
        """Remove a user strategy.

        Raises:
            ResearchError: ``strategy_not_found``, ``strategy_read_only``, ``storage_failed``.
        """
        await asyncio.to_thread(self._store.delete, name)
        return StrategyDeleted(name=name)

    async def indicators(
        self, search: str | None = None, name: str | None = None, limit: int = 50
    ) -> IndicatorList:
        """Indicators of ``jesse.indicators``: the one called ``name``, or those that match ``search``.

        Raises:
            ResearchError: ``invalid_argument`` for an unknown name, with the closest one, a bad limit, or a
                text that is too long.
        """
        if not 1 <= limit <= MAX_INDICATORS:
            raise ResearchError(
                ErrorCode.INVALID_ARGUMENT, f"limit is {limit}", hint=f"use 1 to {MAX_INDICATORS}"
            )
        for argument, text in (("search", search), ("name", name)):
            if len(text or "") > MAX_SEARCH:
                raise ResearchError(
                    ErrorCode.INVALID_ARGUMENT,
                    f"{argument} has {len(text or '')} letters",
                    hint=f"give {MAX_SEARCH} at most: a word or two of the description",
                )
        if name is not None:
            return IndicatorList(indicators=(self._indicator(name),), total=1)
        found = _matching(self._catalog.indicators, (search or "").casefold())
        return IndicatorList(indicators=tuple(found[:limit]), total=len(found))

    def _lines(self) -> list[StrategyLine]:
        return [self._line(name, origin) for name, origin in self._store.names().items()]

    def _line(self, name: str, origin: str) -> StrategyLine:
        try:
            code = self._store.read(name)
        except ResearchError as error:
            # One unreadable file must not hide the others.
            return StrategyLine(
                name=name, origin=origin, description=None, hyperparameters=None, problem=error.message
            )
        report, description = self._outlined(code, name)
        declared = report.hyperparameters
        problems = [found.message for found in report.findings if found.severity is Severity.ERROR]
        return StrategyLine(
            name=name,
            origin=origin,
            description=description,
            hyperparameters=None if declared is None else tuple(entry.name for entry in declared),
            problem=problems[0] if problems else None,
        )

    def _view(self, name: str) -> StrategyView:
        code = self._store.read(name)
        report, description = self._outlined(code, name)
        try:
            source = self._store.source(frozenset({name}))
        except ResearchError as error:
            # The author has to see the code that cannot be run, to put it right.
            source = StrategySource(files={f"strategies/{name}/__init__.py": code})
            finding = Finding(
                severity=Severity.ERROR, rule=error.code.value, message=error.message, suggestion=error.hint
            )
            report = report.model_copy(update={"valid": False, "findings": (finding, *report.findings)})
        info = StrategyInfo(
            name=name,
            # Bundled ones are always listed; a user's may be removed by someone else at any moment.
            origin=self._store.names().get(name, "user"),
            description=description,
            hyperparameters=report.hyperparameters,
            code_hash=source.code_hash,
        )
        return StrategyView(info=info, code=code, validation=report)

    def _outline(self, code: str, name: str) -> tuple[ValidationReport, str | None]:
        """Findings and description of a stored strategy."""
        report = validate_source(code, self._catalog, name)
        return report, _description(code, report.class_name)

    def _write(self, name: str, code: str, overwrite: bool) -> StrategyWritten:
        report = validate_source(code, self._catalog, name)
        if not report.valid:
            raise _invalid(name, report)
        created = self._store.names().get(name) != "user"
        self._store.write(name, code, overwrite)
        return StrategyWritten(
            name=name,
            created=created,
            code_hash=self._store.source(frozenset({name})).code_hash,
            hyperparameters=report.hyperparameters,
            warnings=report.findings,
        )

    def _indicator(self, name: str) -> IndicatorInfo:
        known = {indicator.name: indicator for indicator in self._catalog.indicators}
        if name in known:
            return known[name]
        best = closest(name, known)
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"Jesse {self._catalog.jesse_version} has no indicator {name!r}",
            hint=f"did you mean {best!r}?"
            if best
            else "use indicator_list with search and a word of the description",
        )


def _invalid(name: str, report: ValidationReport) -> ResearchError:
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    first = errors[0]
    place = f"line {first.line}: " if first.line else ""
    others = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return ResearchError(
        ErrorCode.STRATEGY_INVALID,
        f"strategy {name} was not written. {place}{first.message}{others}",
        hint=first.suggestion or "correct the findings, then write it again",
        details={"findings": [finding.model_dump(mode="json") for finding in report.findings]},
    )


def _description(code: str, class_name: str | None) -> str | None:
    """First line of the class docstring."""
    if class_name is None:
        return None
    for node in ast.walk(parsed(code)):
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            lines = (ast.get_docstring(node) or "").strip().splitlines()
            return lines[0] if lines else None
    return None


def _matching(indicators: Iterable[IndicatorInfo], wanted: str) -> list[IndicatorInfo]:
    """Indicators with every word of ``wanted``; those whose name starts with it come first."""
    words = wanted.split()
    found = [
        indicator
        for indicator in indicators
        if all(
            word in f"{indicator.signature} {indicator.summary} {' '.join(indicator.returns)}".casefold()
            for word in words
        )
    ]
    return sorted(
        found, key=lambda item: (not item.name.startswith(wanted), wanted not in item.name, item.name)
    )
