"""The command line of conformance.py."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme
from benchmarks.conformance_programs import NotInstalledError, Programs, installed
from benchmarks.conformance_scenarios import NOT_OURS, REVISIONS, Scenario, run_suite
from benchmarks.conformance_score import Score, scored
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from jesse_mcp.settings import Settings
from mcp_desk import http_server, wait_until
from nginx_site import free_ports

ROOT = Path(__file__).resolve().parents[1]
#: By name, with what the setting says.
MODES = {"sessions": "false", "stateless": "true"}
PLAIN, SECURE = "HTTP on this machine", "HTTPS with a token"
LEAST_PERCENT = 95
_TOKEN = "conformance-0123456789abcdefghijklmnop"  # noqa: S105
Told = Callable[[str], None]


def main(description: str | None) -> int:
    """Exit status: 0 when everything is kept to."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--reports", type=Path, help="new folder that keeps the reports of both programs")
    kept: Path | None = options.parse_args().reports
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="jesse-mcp-conformance-") as scratch,
        Progress(*columns, console=Console(stderr=True), transient=True) as bar,
    ):
        task = bar.add_task("conformance", total=1 + (len(MODES) + 1) * len(REVISIONS) + 2)

        def told(step: str) -> None:
            bar.update(task, description=step, advance=1)

        try:
            told("download")
            programs = installed(Settings().cache)
        except NotInstalledError as error:
            bar.stop()
            print(f"not run: {error}", file=sys.stderr)
            return 2
        reports = kept or Path(scratch) / "reports"
        reports.mkdir(parents=True)
        scenarios = suite_results(programs, Path(scratch), reports, told)
        with_tools = results_with_tools(programs, Path(scratch), reports, told)
        scores = {}
        for where, audit in ((PLAIN, plain_audit), (SECURE, secure_audit)):
            told(f"mcpscore, {where}")
            scores[where] = audit(programs, Path(scratch), reports)
    console = Console(highlight=False)
    console.print(suite_table(scenarios))
    console.print(tools_table(with_tools))
    console.print(score_table(scores))
    for where, score in scores.items():
        for _, worth, message in score.failed:
            console.print(f"{where}, points lost {worth}: {message}", soft_wrap=True)
    unkept = [f"{', '.join(where)}: {line}" for where, found in scenarios.items() for line in failures(found)]
    unkept += [
        f"{revision}, with the suite's tools: {line}"
        for revision, found in with_tools.items()
        for line in failures_with_tools(found)
    ]
    unkept += [
        f"{where}: {score.percent:.1f} %" for where, score in scores.items() if score.percent < LEAST_PERCENT
    ]
    for line in unkept:
        console.print(line, style="bold red", soft_wrap=True)
    return int(bool(unkept))


def suite_results(
    programs: Programs,
    scratch: Path,
    reports: Path,
    told: Told,
    modes: Sequence[str] = tuple(MODES),
    revisions: Sequence[str] = REVISIONS,
) -> dict[tuple[str, str], list[Scenario]]:
    """Every scenario, by mode and revision."""
    results = {}
    for mode in modes:
        home = scratch / mode
        home.mkdir()
        surroundings = variables(home, JESSE_MCP_STATELESS=MODES[mode])
        with http_server(surroundings, home / "log") as (_, url):
            for revision in revisions:
                told(f"{revision}, {mode}")
                results[mode, revision] = run_suite(
                    programs.suite, url, revision, reports / f"{revision} {mode}"
                )
    return results


def results_with_tools(
    programs: Programs, scratch: Path, reports: Path, told: Told, revisions: Sequence[str] = REVISIONS
) -> dict[str, list[Scenario]]:
    """Every scenario with what it wants, by revision."""
    results = {}
    with server_with_tools(scratch / "tools") as url:
        for revision in revisions:
            told(f"{revision}, with the suite's tools")
            results[revision] = run_suite(programs.suite, url, revision, reports / f"{revision} with tools")
    return results


def plain_audit(programs: Programs, scratch: Path, reports: Path) -> Score:
    """Of a server as it is on a machine of one's own."""
    home = scratch / "plain"
    home.mkdir()
    with http_server(variables(home), home / "log") as (_, url):
        return scored(programs.mcpscore, url, reports / "mcpscore-http.json")


def secure_audit(programs: Programs, scratch: Path, reports: Path) -> Score:
    """Of one as others reach it."""
    report = reports / "mcpscore-https.json"
    with secure_server(scratch / "secure") as (url, authority):
        return scored(programs.mcpscore, url, report, authority=authority, token=_TOKEN)


def variables(home: Path, **more: str) -> dict[str, str]:
    """Of a server without Jesse, which no scenario needs, and without the limit that an audit would hit."""
    return {
        **os.environ,
        "JESSE_MCP_HOME": str(home),
        "JESSE_MCP_PREWARM": "false",
        "JESSE_MCP_LOG_LEVEL": "WARNING",
        "JESSE_MCP_RATE_LIMIT_ENABLED": "false",
        **more,
    }


@contextmanager
def secure_server(home: Path) -> Iterator[tuple[str, Path]]:
    """Served by uvicorn with a certificate; its address, and the certificate of who signed that."""
    home.mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    for name, blob in (
        ("ca.pem", authority.cert_pem),
        ("cert.pem", certificate.cert_chain_pems[0]),
        ("key.pem", certificate.private_key_pem),
    ):
        blob.write_to_path(home / name)
    port, _ = free_ports()
    files = ["--ssl-certfile", str(home / "cert.pem"), "--ssl-keyfile", str(home / "key.pem")]
    command = ["uvicorn", "jesse_mcp.server:app", "--port", str(port), *files]
    with started(command, variables(home, JESSE_MCP_TOKENS=f"all:admin:{_TOKEN}"), home / "log"):
        yield f"https://localhost:{port}/mcp", home / "ca.pem"


@contextmanager
def server_with_tools(home: Path) -> Iterator[str]:
    """With what the suite wants beside what it has; its address."""
    home.mkdir()
    port, _ = free_ports()
    found = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    surroundings = variables(home, PYTHONPATH=found, JESSE_MCP_LOG_LEVEL="INFO")
    with started(["benchmarks.conformance_fixtures", str(port)], surroundings, home / "log"):
        yield f"http://127.0.0.1:{port}/mcp"


@contextmanager
def started(module: list[str], surroundings: dict[str, str], log: Path) -> Iterator[None]:
    """A Python process, from when it serves until it is ended."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module], env=surroundings, stdout=output, stderr=subprocess.STDOUT
        )

    def serves() -> bool:
        assert process.poll() is None, log.read_text()
        return "Application startup complete" in log.read_text()

    try:
        wait_until(serves, "the server serving")
        yield
    finally:
        process.kill()
        process.wait()


def failures(scenarios: list[Scenario]) -> list[str]:
    """Failed checks of what any server must pass."""
    return [
        f"{scenario.name}: {check}: {message}"
        for scenario in scenarios
        for check, message in scenario.failed_by_any
    ]


def failures_with_tools(scenarios: list[Scenario]) -> list[str]:
    """Failed checks of every scenario, run with what it wants, but for those that are not ours."""
    return [
        f"{scenario.name}: {check}: {message}"
        for scenario in scenarios
        if scenario.name not in NOT_OURS
        for check, message in scenario.failed
    ]


def suite_table(results: dict[tuple[str, str], list[Scenario]]) -> Table:
    table = Table(title="MCP conformance suite: scenarios that need nothing made for the suite")
    for column in ("revision", "mode", "passed", "checks", "failed", "warned", "skipped", "others"):
        table.add_column(column, no_wrap=True)
    for (mode, revision), scenarios in results.items():
        general = [scenario for scenario in scenarios if scenario.for_all]
        passed = sum(not scenario.failed_by_any for scenario in general)
        checks = (
            sum(len(scenario.passed) for scenario in general),
            sum(len(scenario.failed_by_any) for scenario in general),
            sum(len(scenario.warned) for scenario in general),
            sum(len(scenario.skipped) for scenario in general),
            len(scenarios) - len(general),
        )
        table.add_row(revision, mode, f"{passed} of {len(general)}", *map(str, checks))
    return table


def tools_table(results: dict[str, list[Scenario]]) -> Table:
    table = Table(title="All scenarios, with the tools, prompts and resources of the suite added")
    for column in ("revision", "passed", "checks", "failed", "warned", "skipped"):
        table.add_column(column, no_wrap=True)
    for revision, scenarios in results.items():
        passed = sum(not scenario.failed for scenario in scenarios)
        checks = (
            sum(len(scenario.passed) for scenario in scenarios),
            sum(len(scenario.failed) for scenario in scenarios),
            sum(len(scenario.warned) for scenario in scenarios),
            sum(len(scenario.skipped) for scenario in scenarios),
        )
        table.add_row(revision, f"{passed} of {len(scenarios)}", *map(str, checks))
    return table


def score_table(scores: dict[str, Score]) -> Table:
    """By the first word of a rule's name."""
    table = Table("rules", *scores, title="mcpscore")
    for group in dict.fromkeys(name for score in scores.values() for name in score.groups):
        cells = (score.groups.get(group) for score in scores.values())
        table.add_row(group, *("" if cell is None else f"{cell[0]} of {cell[1]}" for cell in cells))
    table.add_section()
    table.add_row("all", *(f"{s.points} of {s.most}, {s.percent:.1f} %" for s in scores.values()))
    return table
