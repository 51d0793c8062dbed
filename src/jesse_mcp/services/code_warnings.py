"""What validation says of the code of a run, and of the hyperparameters it is given."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from jesse_mcp.domain.backtests import HyperparameterValue, Route
from jesse_mcp.domain.catalog import JesseCatalog
from jesse_mcp.domain.strategies import Severity, ValidationReport
from jesse_mcp.services.declared_ranges import outside_declared
from jesse_mcp.services.validation import validate_source

_FINDINGS_IN_WARNINGS = 5
_REMEMBERED_STRATEGIES = 64


class CodeReader:
    """Validates strategies, each version of one once."""

    def __init__(self, catalog: JesseCatalog) -> None:
        self._catalog = catalog
        # Validation takes longer than the rest of a plan, and says the same of the same code.
        self._report = lru_cache(_REMEMBERED_STRATEGIES)(self._validated)

    def report(self, strategy: str, files: Mapping[str, str]) -> ValidationReport:
        """Of a strategy among the files of a run, by relative POSIX path."""
        return self._report(strategy, files[f"strategies/{strategy}/__init__.py"])

    def warnings(
        self,
        routes: Sequence[Route],
        files: Mapping[str, str],
        hyperparameters: Mapping[str, HyperparameterValue],
    ) -> tuple[str, ...]:
        """One sentence for everything doubtful, strategy by strategy."""
        found: list[str] = []
        for name in dict.fromkeys(route.strategy for route in routes):
            report = self.report(name, files)
            found += outside_declared(name, report.hyperparameters, dict(hyperparameters))
            found += _pointed_out(name, report)
        return tuple(found)

    def _validated(self, name: str, code: str) -> ValidationReport:
        return validate_source(code, self._catalog, name)


def _pointed_out(name: str, report: ValidationReport) -> list[str]:
    return [
        f"{name} line {finding.line}: {finding.message}"
        for finding in report.findings[:_FINDINGS_IN_WARNINGS]
        if finding.severity in (Severity.ERROR, Severity.WARNING)
    ]
