"""The protocol is kept to, as MCP's conformance suite and mcpscore judge it."""

from pathlib import Path
from types import ModuleType

import pytest

from jesse_mcp.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def conformance(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import conformance_command as module

    return module


@pytest.fixture
def programs(conformance: ModuleType) -> object:
    try:
        return conformance.installed(Settings().cache)
    except conformance.NotInstalledError as error:
        pytest.skip(f"the judges cannot be had here: {error}")


def test_both_generations_of_the_protocol_are_kept_to(
    conformance: ModuleType, programs: object, tmp_path: Path
) -> None:
    reports = tmp_path / "reports"
    reports.mkdir()
    results = conformance.suite_results(
        programs,
        tmp_path,
        reports,
        lambda _step: None,
        modes=["sessions"],
        revisions=["2025-11-25", "2026-07-28"],
    )
    for where, scenarios in results.items():
        assert conformance.failures(scenarios) == [], where
        general = [scenario for scenario in scenarios if scenario.for_all]
        assert len(general) >= 9, where
        assert all(scenario.passed for scenario in general), where


def test_the_audit_finds_little(conformance: ModuleType, programs: object, tmp_path: Path) -> None:
    score = conformance.plain_audit(programs, tmp_path, tmp_path)
    assert score.percent >= conformance.LEAST_PERCENT, score.failed
    allowed = {
        "security_tls_enabled",
        "server_icons_present",
        "server_websiteurl_present",
        "tools_output_properties_documented",
        "transport_invalid_request_error_code",
    }
    assert {rule for rule, _, _ in score.failed} <= allowed
