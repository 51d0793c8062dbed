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
from benchmarks.conformance_scenarios import REVISIONS, Scenario, run_suite
from benchmarks.conformance_score import Score, scored
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from jesse_mcp.settings import Settings
from mcp_desk import http_server, wait_until
from nginx_site import free_ports

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
        task = bar.add_task("conformance", total=1 + len(MODES) * len(REVISIONS) + 2)

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
        scores = {}
        for where, audit in ((PLAIN, plain_audit), (SECURE, secure_audit)):
            told(f"mcpscore, {where}")
            scores[where] = audit(programs, Path(scratch), reports)
    console = Console(highlight=False)
    console.print(suite_table(scenarios))
    console.print(score_table(scores))
    for where, score in scores.items():
        for _, worth, message in score.failed:
            console.print(f"{where}, points lost {worth}: {message}", soft_wrap=True)
    unkept = [f"{', '.join(where)}: {line}" for where, found in scenarios.items() for line in failures(found)]
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
    command = [sys.executable, "-m", "uvicorn", "jesse_mcp.server:app", "--port", str(port), *files]
    log = home / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=variables(home, JESSE_MCP_TOKENS=f"all:admin:{_TOKEN}"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def serves() -> bool:
        assert process.poll() is None, log.read_text()
        return "Uvicorn running" in log.read_text()

    try:
        wait_until(serves, "uvicorn serving")
        yield f"https://localhost:{port}/mcp", home / "ca.pem"
    finally:
        process.kill()
        process.wait()


def failures(scenarios: list[Scenario]) -> list[str]:
    """Failed checks of what any server must pass."""
    return [
        f"{scenario.name}: {check}: {message}"
        for scenario in scenarios
        if scenario.needs is None
        for check, message in scenario.failed
    ]


def suite_table(results: dict[tuple[str, str], list[Scenario]]) -> Table:
    table = Table(title="MCP conformance suite: scenarios that need nothing made for the suite")
    for column in ("revision", "mode", "passed", "checks", "failed", "warned", "skipped", "others"):
        table.add_column(column, no_wrap=True)
    for (mode, revision), scenarios in results.items():
        general = [scenario for scenario in scenarios if scenario.needs is None]
        passed = sum(not scenario.failed for scenario in general)
        checks = (
            sum(len(scenario.passed) for scenario in general),
            sum(len(scenario.failed) for scenario in general),
            sum(len(scenario.warned) for scenario in general),
            sum(len(scenario.skipped) for scenario in general),
            len(scenarios) - len(general),
        )
        table.add_row(revision, mode, f"{passed} of {len(general)}", *map(str, checks))
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
