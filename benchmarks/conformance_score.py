"""What mcpscore says of a server."""

import json
import os
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 300


@dataclass(frozen=True)
class Score:
    """Points.

    Attributes:
        groups: points and the most there are, by the first word of a rule's name.
        failed: rules, with their points and what was found.
    """

    points: int
    most: int
    groups: dict[str, tuple[int, int]]
    failed: tuple[tuple[str, int, str], ...]

    @property
    def percent(self) -> float:
        return 100 * self.points / self.most


def scored(
    mcpscore: Path, url: str, report: Path, *, authority: Path | None = None, token: str | None = None
) -> Score:
    """An audit; no tool is called.

    Args:
        mcpscore: the program.
        url: of the server.
        report: gets the whole report.
        authority: certificate of who signed that of the server, in PEM.
        token: to show.

    Raises:
        RuntimeError: there was no whole audit.
    """
    variables = dict(os.environ)
    if authority is not None:
        variables["SSL_CERT_FILE"] = str(authority)
    if token is not None:
        variables["MCPSCORE_TOKEN"] = token
    done = subprocess.run(
        [str(mcpscore), url, "--no-config", "--json"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"mcpscore ended with {done.returncode}:\n{done.stderr[-2_000:]}")
    report.write_text(done.stdout, encoding="utf-8")
    whole = json.loads(done.stdout)
    if whole["partial"]:
        raise RuntimeError(f"mcpscore saw a part only: {whole['partial_reason']}")
    rules = whole["results"] + whole["readiness"]["results"]
    groups: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for rule in rules:
        group, worth = rule["rule_id"].partition("_")[0], rule["severity_value"]
        points, most = groups[group]
        groups[group] = points + worth * rule["passed"], most + worth
    failed = tuple(
        (rule["rule_id"], rule["severity_value"], rule["message"]) for rule in rules if not rule["passed"]
    )
    return Score(whole["score"], whole["max_score"], dict(groups), failed)
