"""What is told about a variable that no setting reads."""

import logging

import pytest

from jesse_mcp.cli.doctor import variables_check
from jesse_mcp.unknown_variables import unknown_variables

SECRET = "sentinel-5d21"  # noqa: S105


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("JESSE_MCP_ALOWED_HOSTS", "JESSE_MCP_ALLOWED_HOSTS"),
        ("JESSE_MCP_IMPORT_FOLDER", "JESSE_MCP_IMPORT_FOLDERS"),
        ("JESSE_MCP_PASSWORD", "JESSE_PASSWORD"),
        ("JESSE_MCP_RATE_LIMIT", "RATE_LIMIT_ENABLED"),
        ("jesse_mcp_token", "JESSE_MCP_TOKENS"),
        ("JESSE_MCP_JESSE_PASSWORD_FILE", "JESSE_PASSWORD_FILE"),
    ],
)
def test_the_nearest_name_is_told(name: str, meant: str) -> None:
    (said,) = unknown_variables([name, "PATH", "JESSE_PYTHON"])
    assert said == f"{name.upper()} is the name of no setting, so it changes nothing; {meant} may be meant"


def test_a_name_like_no_other() -> None:
    (said,) = unknown_variables(["JESSE_MCP_ZZZZZ"])
    assert said == "JESSE_MCP_ZZZZZ is the name of no setting, so it changes nothing"


def test_the_doctor_tells_names_and_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    assert variables_check().passed
    monkeypatch.setenv("JESSE_MCP_ALOWED_HOSTS", SECRET)
    check = variables_check()
    assert not check.passed
    assert "JESSE_MCP_ALLOWED_HOSTS" in check.found
    assert SECRET not in f"{check.found}{check.hint}"


def test_the_log_tells_names_and_no_values(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from jesse_mcp.server.log_output import warn_of_unknown_variables

    monkeypatch.setenv("JESSE_MCP_ALOWED_HOSTS", SECRET)
    with caplog.at_level(logging.WARNING):
        warn_of_unknown_variables()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "JESSE_MCP_ALLOWED_HOSTS may be meant" in record.getMessage()
    assert SECRET not in caplog.text
