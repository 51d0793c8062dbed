"""The benchmarks are not run here: that they start, and that their tables say what was measured."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import report as module

    return module


def test_help_names_every_benchmark(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    for part in ("--only", "--json", "--write", "warm-call", "bare-call"):
        assert part in shown.stdout


def test_help_of_the_load(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "load.py"), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    for part in ("--clients", "--minutes", "--rate-limit", "--json"):
        assert part in shown.stdout


def test_growth_is_the_slope_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.load_watch import Sample, growth

    samples = [Sample(at, 100 + at / 30, 5.0 * at, 9, 1, None) for at in (0.0, 10.0, 60.0, 90.0)]
    assert growth(samples) == pytest.approx(2.0), "of the server alone, in MiB a minute"
    with pytest.raises(ValueError, match="two samples"):
        growth(samples[:1])


def test_tables_of_a_part_are_not_written(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--write", "--only", "memory"]
    refused = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert refused.returncode == 2
    assert "whole campaign" in refused.stdout


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.000 ms"),
        (0.0125, "0.013 ms"),
        (0.9999, "1.000 ms"),
        (1.0, "1.00 ms"),
        (-33.84, "-33.8 ms"),
        (122.4, "122 ms"),
        (12345.6, "12,346 ms"),
    ],
)
def test_numbers_have_three_digits_and_no_exponent(report: ModuleType, value: float, shown: str) -> None:
    assert report.number(value, "ms") == shown


def test_a_sample_is_its_median_and_quartiles(report: ModuleType) -> None:
    figure = report.sampled("f", [5.0, 1.0, 4.0, 2.0, 3.0], "s")
    assert (figure.low, figure.value, figure.high) == (2.0, 3.0, 4.0)
    once = report.sampled("f", [7.0], "s")
    assert (once.low, once.value, once.high) == (None, 7.0, None)
    with pytest.raises(ValueError, match="f was not measured"):
        report.sampled("f", [], "s")


def test_a_percentile_is_interpolated(report: ModuleType) -> None:
    assert report.percentile([float(n) for n in range(101)], 99) == pytest.approx(99.0)


def test_a_goal_is_met_or_not(report: ModuleType) -> None:
    ceiling, floor = report.Goal("at most", 30.0), report.Goal("at least", 1.8)
    assert [ceiling.met(value) for value in (29.9, 30.0, 30.1)] == [True, True, False]
    assert [floor.met(value) for value in (1.79, 1.8, 1.81)] == [False, True, True]


def results(report: ModuleType) -> list[object]:
    figures = (
        report.Figure("with a | in it", 1.5, "s"),
        report.sampled("kept", [10.0, 20.0, 30.0], "ms", report.Goal("at most", 25.0)),
        report.Figure("missed", 1.5, "x", goal=report.Goal("at least", 1.8)),
    )
    return [report.Result("sample", "under these conditions", figures)]


def test_markdown_holds_facts_values_spread_goals_and_verdicts(report: ModuleType) -> None:
    assert report.markdown(results(report), {"machine": "one core"}) == (
        "- machine: one core\n"
        "\n"
        "### sample\n"
        "\n"
        "under these conditions\n"
        "\n"
        "| figure | value | quartiles | goal | verdict |\n"
        "|---|--:|--:|--:|---|\n"
        "| with a \\| in it | 1.50 s |  |  |  |\n"
        "| kept | 20.0 ms | 15.0 to 25.0 | at most 25.0 ms | met |\n"
        "| missed | 1.50 x |  | at least 1.80 x | not met |\n"
    )


def test_json_is_unrounded_and_says_what_was_met(report: ModuleType) -> None:
    found = json.loads(report.as_json(results(report), {"machine": "one core"}))
    assert found["facts"] == {"machine": "one core"}
    assert [figure["met"] for figure in found["results"][0]["figures"]] == [None, True, False]
    assert found["results"][0]["figures"][1]["goal"] == {"kind": "at most", "limit": 25.0}


def test_figures_are_put_between_the_marks_and_nowhere_else(report: ModuleType) -> None:
    document = f"before\n{report.START}\n\nold\n{report.END}\nafter\n"
    once = report.replaced(document, "new\n")
    assert once == f"before\n{report.START}\n\nnew\n\n{report.END}\nafter\n"
    assert report.replaced(once, "new\n") == once
    with pytest.raises(ValueError, match="once each"):
        report.replaced("no marks", "new")
    with pytest.raises(ValueError, match="once each"):
        report.replaced(document + document, "new")


def test_the_readme_has_a_place_for_the_figures(report: ModuleType) -> None:
    document = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert "new" in report.replaced(document, "new")


def test_failed_checks_count_unless_they_need_what_only_the_suite_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.conformance_command import failures
    from benchmarks.conformance_scenarios import run_suite

    def check(name: str, status: str) -> dict[str, str]:
        return {"id": name, "status": status, "description": f"{name} happens"}

    excused = "sep-2575-missing-capability-http-400"
    reports = {
        "ping": [check("answers", "SUCCESS"), check("valid", "FAILURE"), check("slow", "WARNING")],
        "server-stateless": [check(excused, "FAILURE"), check("listens", "SKIPPED")],
        "tools-call-image": [check("image", "FAILURE")],
    }
    script = tmp_path / "suite.py"
    script.write_text(
        "import json, pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[sys.argv.index('-o') + 1])\n"
        f"for name, checks in json.loads({json.dumps(reports)!r}).items():\n"
        "    report = folder / f'server-{name}-2026-11-21T20-28-07-374Z' / 'checks.json'\n"
        "    report.parent.mkdir()\n"
        "    report.write_text(json.dumps(checks))\n"
    )
    found = run_suite([sys.executable, str(script)], "http://x", "2025-11-25", tmp_path / "reports")
    assert {scenario.name for scenario in found} == set(reports)
    assert failures(found) == ["ping: valid: valid happens"]
    ping = next(scenario for scenario in found if scenario.name == "ping")
    assert (ping.passed, ping.warned) == (("answers",), (("slow", "slow happens"),))
    script.write_text("print('no server')")
    with pytest.raises(RuntimeError, match="no server"):
        run_suite([sys.executable, str(script)], "http://x", "2025-11-25", tmp_path / "none")


def test_without_npm_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.conformance_programs import NotInstalledError, installed

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalledError, match="npm"):
        installed(tmp_path / "cache")
    npm = tmp_path / "npm"
    npm.write_text(f"#!{sys.executable}\nraise SystemExit('registry does not answer')\n")
    npm.chmod(0o755)
    with pytest.raises(NotInstalledError, match="registry does not answer"):
        installed(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache" / "conformance").iterdir()] == [".lock"]
