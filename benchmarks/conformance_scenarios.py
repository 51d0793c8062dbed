"""MCP's conformance suite against a server, and which of its scenarios any server must pass."""

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TOOL, _PROMPT, _RESOURCE = "a tool of the suite's", "a prompt of the suite's", "a resource of the suite's"
#: What the other scenarios want that only a server made for the suite has. Whatever is not listed is for all.
NEEDS = {
    "completion-complete": "completions, which are not declared",
    "resources-subscribe": "subscriptions to resources, which are not declared",
    "resources-unsubscribe": "subscriptions to resources, which are not declared",
    "tools-call-simple-text": _TOOL,
    "tools-call-image": _TOOL,
    "tools-call-audio": _TOOL,
    "tools-call-embedded-resource": _TOOL,
    "tools-call-mixed-content": _TOOL,
    "tools-call-with-logging": _TOOL,
    "tools-call-error": _TOOL,
    "tools-call-with-progress": _TOOL,
    "tools-call-sampling": _TOOL,
    "tools-call-elicitation": _TOOL,
    "json-schema-2020-12": _TOOL,
    "elicitation-sep1034-defaults": _TOOL,
    "elicitation-sep1330-enums": _TOOL,
    "server-sse-polling": _TOOL,
    "http-custom-header-server-validation": _TOOL,
    "resources-read-text": _RESOURCE,
    "resources-read-binary": _RESOURCE,
    "resources-templates-read": _RESOURCE,
    "prompts-get-simple": _PROMPT,
    "prompts-get-with-args": _PROMPT,
    "prompts-get-embedded-resource": _PROMPT,
    "prompts-get-with-image": _PROMPT,
    "input-required-result-basic-elicitation": _TOOL,
    "input-required-result-basic-sampling": _TOOL,
    "input-required-result-basic-list-roots": _TOOL,
    "input-required-result-request-state": _TOOL,
    "input-required-result-multiple-input-requests": _TOOL,
    "input-required-result-multi-round": _TOOL,
    "input-required-result-missing-input-response": _TOOL,
    "input-required-result-non-tool-request": _PROMPT,
    "input-required-result-result-type": _TOOL,
    "input-required-result-tampered-state": _TOOL,
    "input-required-result-capability-check": _TOOL,
    "input-required-result-ignore-extra-params": _TOOL,
    "input-required-result-validate-input": _TOOL,
}
#: Checks of scenarios for all that call a tool of the suite's.
CHECKS_WITH_A_TOOL = frozenset(
    {"sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400"}
)
#: What fails with the tools of the suite as well, and why.
NOT_OURS = {
    "resources-subscribe": "FastMCP has no subscriptions to resources, and declares none",
    "resources-unsubscribe": "FastMCP has no subscriptions to resources, and declares none",
}
REVISIONS = ("2025-06-18", "2025-11-25", "2026-07-28")
_FOLDER = re.compile(r"server-(.+)-\d{4}-\d\d-\d\dT")
_SECONDS = 300


@dataclass(frozen=True)
class Scenario:
    """What became of one: its checks by identifier and message."""

    name: str
    passed: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    warned: tuple[tuple[str, str], ...]
    skipped: tuple[str, ...]

    @property
    def for_all(self) -> bool:
        """Whether it wants nothing that only a server made for the suite has."""
        return self.name not in NEEDS

    @property
    def failed_by_any(self) -> tuple[tuple[str, str], ...]:
        """Failed checks that want nothing of that kind either."""
        return tuple(found for found in self.failed if self.for_all and found[0] not in CHECKS_WITH_A_TOOL)


def run_suite(suite: Sequence[str], url: str, revision: str, folder: Path) -> list[Scenario]:
    """Every scenario of the revision, by name; ``folder`` gets the reports of the suite.

    Raises:
        RuntimeError: the suite reports nothing.
    """
    folder.mkdir(parents=True)
    options = ["--url", url, "--suite", "all", "--spec-version", revision, "-o", str(folder)]
    done = subprocess.run(
        [*suite, "server", *options], capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    (folder / "report.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    found = []
    for report in sorted(folder.glob("server-*/checks.json")):
        name = _FOLDER.match(report.parent.name)
        assert name is not None, report
        found.append(_scenario(name[1], json.loads(report.read_text(encoding="utf-8"))))
    if not found:
        raise RuntimeError(f"the suite reports nothing:\n{(done.stdout + done.stderr)[-2_000:]}")
    return found


def _scenario(name: str, checks: list[dict[str, Any]]) -> Scenario:
    def those(status: str) -> tuple[tuple[str, str], ...]:
        return tuple(
            (check["id"], check.get("errorMessage") or check["description"])
            for check in checks
            if check["status"] == status
        )

    return Scenario(
        name,
        passed=tuple(check for check, _ in those("SUCCESS")),
        failed=those("FAILURE"),
        warned=those("WARNING"),
        skipped=tuple(check for check, _ in those("SKIPPED")),
    )
