"""The command line as a user has it: a process, arguments, text on two streams and an exit status."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from jesse_mcp.adapters.embedded import provision
from jesse_mcp.cli import main as cli
from jesse_mcp.cli.client_config import configuration
from jesse_mcp.composition import Application
from jesse_mcp.domain.jobs import Job, JobState
from jesse_mcp.settings import Settings
from mcp_desk import EXCHANGE, SERIES, candle_file, environment, held, stdio_desk, strategy, wait_until

SERIES_OPTIONS = ["--exchange", EXCHANGE, "--symbol", SERIES["symbol"]]
RUN_OPTIONS = [*SERIES_OPTIONS, "--timeframe", "1h", "--start", "2024-01-03", "--warm-up-candles", "24"]
COMMAND = [sys.executable, "-m", "jesse_mcp"]


class Shell:
    """Commands over one home folder."""

    def __init__(self, folder: Path, engine_python: Path) -> None:
        self.folder = folder
        self.variables = environment(folder, engine_python, COLUMNS="160", JESSE_MCP_PREWARM="false")

    def run(self, *arguments: str, status: int = 0, **variables: str) -> "subprocess.CompletedProcess[str]":
        ended = subprocess.run(
            [*COMMAND, *arguments],
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert ended.returncode == status, f"{arguments}\n{ended.stdout}\n{ended.stderr}"
        assert "Traceback" not in ended.stderr
        return ended

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments).stdout)

    def refused(self, *arguments: str, **variables: str) -> list[str]:
        """The two lines of an expected error: what is wrong, and what to do."""
        ended = self.run(*arguments, status=1, **variables)
        lines = ended.stderr.splitlines()
        assert len(lines) == 2, ended.stderr
        assert ended.stdout == ""
        return lines

    def write(self, name: str, code: str) -> None:
        path = self.folder / "home" / "strategies" / name / "__init__.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)


@pytest.fixture(scope="module")
def shell(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    folder = tmp_path_factory.mktemp("shell")
    shell = Shell(folder, engine_python)
    path = candle_file(folder / "btc.csv")
    imported = shell.json("candles", "import", str(path), *SERIES_OPTIONS, "--json")
    assert imported["added"] == 8 * 1440
    shell.write("Mine", strategy("Mine"))
    return shell


def test_a_run_and_what_luck_did_to_it(shell: Shell) -> None:
    run_id = shell.json("backtest", "Mine", *RUN_OPTIONS, "--json")["run_id"]
    shown = shell.run("monte-carlo", run_id, "--simulations", "200", "--seed", "3").stdout
    assert "max_drawdown" in shown
    assert "the order of trades does not change what they earn" in shown
    found = shell.json("monte-carlo", run_id, "--simulations", "200", "--seed", "3", "--json")
    assert (found["simulations"], found["request"]["seed"]) == (200, 3)
    (job, *_) = shell.json("jobs", "list", "--json")["jobs"]
    assert job["kind"] == "monte_carlo"
    assert shell.json("jobs", "restart", job["job_id"])["result"] == found
    scenarios = ["--method", "candles", "--simulations", "2", "--json"]
    assert shell.json("monte-carlo", run_id, *scenarios)["sample_size"] == 2
    wrong, hint = shell.refused("monte-carlo", run_id, "--block-length", "3")
    assert "block_length is 3" in wrong
    assert "returns_block" in hint


def test_the_risk_of_a_run_in_three_forms(shell: Shell) -> None:
    run_id = shell.json("backtest", "Mine", *RUN_OPTIONS, "--json")["run_id"]
    found = shell.json("report", run_id, "--format", "json")
    shown = shell.run("report", run_id).stdout
    assert shown.startswith("# Risk report: Mine on BTC-USDT\n")
    assert f"\n- {found['findings'][0]}\n" in shown
    path = Path(shell.run("report", run_id, "--format", "html").stdout.strip())
    assert path.parent == shell.folder / "home" / "reports"
    assert path.read_text().startswith("<!DOCTYPE html>")
    wrong, hint = shell.refused("report", "run_none")
    assert "run_none" in wrong
    assert hint


def test_a_search_and_a_walk(shell: Shell) -> None:
    searched = [*RUN_OPTIONS, "--trials", "7", "--min-trades", "0", "--seed", "4", "--fee", "0.0005"]
    found = shell.json("optimize", "Mine", *searched, "--test-start", "2024-01-07", "--json")
    assert found["counts"]["trials"] == 7
    assert found["periods"]["test"] == "2024-01-07 to 2024-01-09"
    shown = shell.run("optimize", "Mine", *searched, "--test-start", "2024-01-07").stdout
    assert f"every={found['best'][0]['parameters']['every']}" in shown
    assert "".join(found["verdict"].split()) in "".join(shown.split())
    assert "all 7 trials were used" in shown
    (job, *_) = shell.json("jobs", "list", "--json")["jobs"]
    assert (job["kind"], job["state"]) == ("optimize", "done")
    narrow = ["--space", "every=4:6:2", "--metric", "net_profit", "--test-fraction", "0", "--json"]
    narrowed = shell.json("optimize", "Mine", *searched, *narrow)
    assert {line["parameters"]["every"] for line in narrowed["top"]} == {4, 6}
    assert narrowed["metrics"] == {"net_profit": "max"}

    windows = ["--train-days", "2", "--test-days", "2"]
    walked = shell.json("walk-forward", "Mine", *searched, *windows, "--json")
    assert [line["test"] for line in walked["windows"]] == [
        "2024-01-05 to 2024-01-07",
        "2024-01-07 to 2024-01-09",
    ]
    assert walked["counts"]["trials"] == 14
    shown = shell.run("walk-forward", "Mine", *searched, *windows).stdout
    assert "2024-01-05 to 2024-01-07" in shown
    assert "verdict: undecided" in shown
    fixed = [*RUN_OPTIONS, *windows, "--trials", "0", "--anchored", "--drop-partial", "--json"]
    assert shell.json("walk-forward", "Mine", *fixed)["counts"]["trials"] == 0


@pytest.mark.parametrize(
    "text", ["every", "every=4", "every=4:x", "every=1:2:3:4", "every=[1,", "every=nan:4"]
)
def test_a_space_that_cannot_be_read_is_refused(shell: Shell, text: str) -> None:
    message, hint = shell.refused("optimize", "Mine", *RUN_OPTIONS, "--space", text)
    assert message == f"invalid_argument: --space is {text!r}"
    assert "NAME=MIN:MAX" in hint


def test_what_would_be_ignored_is_refused(shell: Shell) -> None:
    twice = ["--space", "every=2:4", "--space", "every=[6, 8]"]
    assert "twice" in shell.refused("optimize", "Mine", *RUN_OPTIONS, *twice)[0]
    unused = ["--train-days", "2", "--test-days", "2", "--trials", "0", "--seed", "3"]
    assert "seed is given" in shell.refused("walk-forward", "Mine", *RUN_OPTIONS, *unused)[0]


def test_a_backtest_and_its_jobs(shell: Shell) -> None:
    options = ["--hp", "every=4", "--data", "BTC-USDT:2h", "--title", "from a terminal", "--json"]
    run = shell.json("backtest", "Mine", *RUN_OPTIONS, *options)
    assert (run["title"], run["hyperparameters"]) == ("from a terminal", {"every": 4})
    assert run["request"]["data_routes"] == [{"symbol": "BTC-USDT", "timeframe": "2h"}]
    listed = shell.json("jobs", "list", "--state", "done", "--json")
    (job,) = (job for job in listed["jobs"] if job["run_id"] == run["run_id"])
    assert shell.json("jobs", "get", job["job_id"])["progress"] == 1.0
    refused = shell.refused("jobs", "cancel", job["job_id"])
    assert refused[0].startswith(f"job_not_active: the job '{job['job_id']}'")


def test_a_job_that_failed_is_run_again_when_it_is_put_right(shell: Shell) -> None:
    shell.write("Broken", strategy("Broken", "raise ValueError('[/bold] no')"))
    message, hint = shell.refused("backtest", "Broken", *RUN_OPTIONS, "--benchmark")
    assert message == "strategy_raised: the strategy raised ValueError: [/bold] no"
    assert hint
    table = shell.run("jobs", "list", "--state", "failed").stdout
    assert "[/bold] no" in table
    job_id = re.search(r"job_[a-z2-7]{12}", table)
    assert job_id is not None
    shell.write("Broken", strategy("Broken"))
    table = shell.run("jobs", "restart", job_id[0]).stdout
    for shown in (
        "Broken on BTC-USDT 1h",
        "2024-01-03 to 2024-01-09",
        "trades",
        "Sharpe ratio",
        "buy and hold",
    ):
        assert shown in table


def test_a_search_that_was_cancelled_goes_on_from_a_terminal(shell: Shell) -> None:
    gate = shell.folder / "gate"
    shell.write("Held", strategy("Held", held(gate)))
    asked = {**SERIES, "strategy": "Held", "timeframe": "1h", "start_date": "2024-01-03"}
    with stdio_desk(shell.variables, shell.folder / "log") as desk:
        job_id = desk.call(
            "optimize", **asked, settings={"warm_up_candles": 24}, min_trades=0, trials=8, wait_seconds=0
        )["job_id"]
        desk.call("job_cancel", job_id=job_id)
    gate.touch()
    answer = shell.json("jobs", "restart", job_id)
    assert (answer["state"], answer["result"]["counts"]["trials"]) == ("done", 8)
    assert shell.json("jobs", "restart", answer["job_id"])["result"] == answer["result"]


@contextmanager
def endless(shell: Shell) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A backtest in another process that has begun and will not end, and its job."""
    shell.write("Endless", strategy("Endless", "while True: pass"))
    process = subprocess.Popen(
        [*COMMAND, "backtest", "Endless", *RUN_OPTIONS],
        env=shell.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    application = Application(Settings(home=shell.folder / "home", prewarm=False))

    def running() -> list[Job]:
        assert process.poll() is None, process.communicate()
        jobs, _ = asyncio.run(application.jobs.page(state=JobState.RUNNING))
        return [job for job in jobs if job.request["strategy"] == "Endless"]

    try:
        yield process, wait_until(running, "the job running")[0].job_id
    finally:
        asyncio.run(application.close())
        process.kill()
        process.communicate()


def test_a_job_of_another_process_is_cancelled(shell: Shell) -> None:
    with endless(shell) as (process, job_id):
        refused = shell.refused("jobs", "restart", job_id)
        assert refused[0] == f"invalid_argument: {job_id} is a backtest that is running"
        assert shell.run("jobs", "cancel", job_id).stdout.strip() == f"{job_id} is cancelled"
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert errors.startswith("job_cancelled: ")


def test_an_interrupted_backtest_is_lost_and_says_so(shell: Shell) -> None:
    with endless(shell) as (process, job_id):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    job = shell.json("jobs", "get", job_id)
    assert (job["state"], job["error"]["code"]) == ("lost", "job_lost")


def test_candles_from_a_terminal(shell: Shell) -> None:
    other = ["--exchange", EXCHANGE, "--symbol", "OTHER-USDT"]
    path = str(shell.folder / "btc.csv")
    assert "11,520" in shell.run("candles", "import", path, *other).stdout
    listed = shell.json("candles", "list", "--symbol", "OTHER-USDT", "--json")
    assert [series["rows"] for series in listed["series"]] == [8 * 1440]
    assert "gaps" in shell.run("candles", "check", *other).stdout
    deleted = shell.json("candles", "delete", *other, "--yes", "--json")
    assert (deleted["deleted"], deleted["remaining"]) == (8 * 1440, 0)
    assert shell.refused("candles", "check", *other)[0].startswith("series_not_found: ")


def test_the_demo_on_synthetic_candles(shell: Shell) -> None:
    shown = shell.run("demo").stdout
    assert "connected to the MCP server: 38 tools" in shown
    assert "TrendFollowing on SYNTH-USDT 1h" in shown
    assert "says nothing about any market" in " ".join(shown.split())
    assert int(re.search(r"trades +│ +(\d+)", shown)[1]) > 0  # type: ignore[index]


def test_the_demo_on_a_file_that_tells_its_symbol(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "[bold]odd[" / "]"
    folder.mkdir(parents=True)
    path = candle_file(folder / "ETHUSDT-1m-2024-01.csv", seed=9, days=13)
    ended = shell.run("demo", "--candles", str(path), "--strategy", "DonchianBreakout")
    assert "DonchianBreakout on ETH-USDT 1h" in ended.stdout
    assert "2024-01-11 to 2024-01-14" in ended.stdout
    assert "says nothing" not in ended.stdout
    assert "INFO" not in ended.stderr, "the log of the server is not for the spectator"


def test_the_demo_explains_what_it_cannot_use(shell: Shell, tmp_path: Path) -> None:
    short = candle_file(tmp_path / "BTCUSDT.csv", days=2)
    ended = shell.run("demo", "--candles", str(short), status=1)
    *_, message, hint = ended.stderr.splitlines()
    assert message.startswith("candles_missing: the file holds 2024-01-01T00:00Z to 2024-01-02T23:59Z")
    assert "--timeframe" in hint


def test_doctor_finds_nothing_and_shows_the_settings(shell: Shell) -> None:
    shown = shell.run("doctor", JESSE_MCP_RUN_TIMEOUT="77").stdout
    assert "problem" not in shown
    assert shown.count("│ ok") == 6
    assert re.search(r"JESSE_MCP_RUN_TIMEOUT +│ 77.0 +│ environment", shown)
    assert re.search(r"JESSE_MCP_RUN_MEMORY_MB +│ 4096 +│ default", shown)


def test_doctor_says_what_is_wrong_with_the_engine(shell: Shell, tmp_path: Path) -> None:
    shown = shell.run("doctor", status=1, JESSE_PYTHON="/bin/true").stdout
    assert re.search(r"engine +│ problem │ /bin/true does not run as a Python", shown)
    assert "jesse-mcp engine install" in shown
    assert "Jesse starts" not in shown, "pointless without an engine"
    missing = shell.run("doctor", status=1, JESSE_PYTHON="", JESSE_MCP_CACHE=str(tmp_path)).stdout
    assert "is not installed" in missing


def test_the_configuration_for_a_client_starts_a_server(shell: Shell, tmp_path: Path) -> None:
    printed = shell.run("client-config", "generic", JESSE_MCP_WORKERS="1")
    assert "put this into" in printed.stderr
    entry = json.loads(printed.stdout)["mcpServers"]["jesse"]
    (tmp_path / "logging.py").write_text("raise SystemExit('a file of the project was taken for a module')")
    server = StdioServerParameters(**entry, cwd=tmp_path)

    async def ask() -> dict[str, Any]:
        async with Client(server) as client:
            return (await client.call_tool("system_status", {})).structured_content or {}

    status = asyncio.run(ask())
    assert status["store"]["home"] == shell.variables["JESSE_MCP_HOME"]
    assert status["engine"]["workers"]["capacity"] == 1


def test_errors_of_settings_name_the_variable(shell: Shell) -> None:
    ended = shell.run("jobs", "list", status=1, JESSE_MCP_WORKERS="many", JESSE_MCP_LOG_LEVEL="loud")
    first, second, hint = ended.stderr.splitlines()
    assert first.startswith("invalid setting JESSE_MCP_WORKERS: ")
    assert first.endswith("received 'many'")
    assert second.startswith("invalid setting JESSE_MCP_LOG_LEVEL: ")
    assert "unset" in hint
    home = shell.refused("doctor", JESSE_MCP_RUN_TIMEOUT="0")
    assert home[0].startswith("invalid setting JESSE_MCP_RUN_TIMEOUT: ")


class Terminal:
    """The same command line in this process, for what is quick."""

    def __init__(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("JESSE_MCP_HOME", str(home))
        monkeypatch.setenv("COLUMNS", "160")

    def run(self, *arguments: str) -> tuple[int | str | None, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["jesse-mcp", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = self._capsys.readouterr()
        return ended.value.code, said.out, said.err


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path / "home", monkeypatch, capsys)


COMMANDS = [
    "",
    "demo",
    "doctor",
    "serve",
    "backtest",
    "report",
    "client-config",
    *(f"engine {name}".strip() for name in ("", "install", "status", "remove")),
    *(f"candles {name}".strip() for name in ("", "import", "list", "check", "delete")),
    *(f"jobs {name}".strip() for name in ("", "list", "get", "cancel", "restart")),
    *(f"token {name}".strip() for name in ("", "create", "list", "revoke")),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(terminal: Terminal, command: str) -> None:
    status, shown, errors = terminal.run(*command.split(), "--help")
    assert (status, errors) == (0, "")
    usage, *rest = shown.splitlines()
    assert usage.startswith(f"Usage: jesse-mcp {command}".rstrip())
    assert any(line.strip() for line in rest), "and says what it does"
    assert "Parameters\n" not in shown, "the docstring was understood"


BACKTEST = ["backtest", "TrendFollowing", *RUN_OPTIONS]
NOWHERE = ["Nowhere" if part == EXCHANGE else part for part in BACKTEST]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (NOWHERE, "invalid_argument: exchange is 'Nowhere'"),
        (BACKTEST, "candles_missing: no candles of BTC-USDT"),
        ([*BACKTEST, "--data", "BTC-USDT"], "invalid_argument: --data is 'BTC-USDT'"),
        ([*BACKTEST, "--hp", "every"], "invalid_argument: --hp is 'every'"),
        ([*BACKTEST, "--hp", "every=NaN"], "invalid_argument: --hp every is 'NaN'"),
        ([*BACKTEST, "--hp", "every=[1]"], "invalid_argument: --hp every is '[1]'"),
        (["jobs", "get", "job_none"], "job_not_found: "),
        (["jobs", "cancel", "job_none"], "job_not_found: "),
        (["jobs", "restart", "job_none"], "job_not_found: "),
        (["demo", "--candles", "candles.csv"], "invalid_argument: candles.csv does not tell which symbol"),
        (["demo", "--symbol", "BTC-USDT"], "invalid_argument: --symbol was given without candles"),
        (["serve", "--port", "1"], "invalid_argument: --port means nothing on stdio"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_expected_errors_are_two_lines(terminal: Terminal, arguments: list[str], message: str) -> None:
    status, shown, errors = terminal.run(*arguments)
    assert (status, shown) == (1, "")
    first, hint = errors.splitlines()
    assert first.startswith(message)
    assert hint


@pytest.mark.parametrize(
    "arguments",
    [["nope"], ["backtest", "Mine"], ["jobs", "list", "--state", "asleep"], ["jobs", "list", "--limit", "0"]],
    ids=" ".join,
)
def test_what_is_no_command_is_explained(terminal: Terminal, arguments: list[str]) -> None:
    status, shown, errors = terminal.run(*arguments)
    assert (status, "Error" in shown + errors, "Traceback" in errors) == (2, True, False)


def test_the_state_of_the_engine(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, engine_python: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("JESSE_PYTHON", str(engine_python))
    status, shown, _ = terminal.run("engine", "status", "--json")
    assert (status, json.loads(shown)["installed"]) == (0, True)
    monkeypatch.setenv("JESSE_PYTHON", "")
    monkeypatch.setenv("JESSE_MCP_CACHE", str(tmp_path / "cache"))
    status, shown, _ = terminal.run("engine", "status", "--json")
    assert (status, json.loads(shown)["error"]["code"]) == (1, "engine_not_installed")


@pytest.mark.parametrize("client", ["claude-desktop", "claude-code", "cursor", "vscode", "generic"])
def test_the_configuration_of_every_client(
    terminal: Terminal, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JESSE_MCP_PREWARM", "no")
    monkeypatch.setenv("SOME_API_KEY", "sentinel")
    status, shown, errors = terminal.run("client-config", client)
    assert (status, bool(errors)) == (0, True)
    printed = json.loads(shown)
    (servers,) = printed.values()
    entry = servers["jesse"]
    assert list(printed) == ["servers" if client == "vscode" else "mcpServers"]
    assert (entry["command"], entry["args"][-1]) == (sys.executable, "serve")
    assert entry["env"]["JESSE_MCP_PREWARM"] == "False"
    assert "JESSE_MCP_WORKERS" not in entry["env"], "a default stays one"
    assert "sentinel" not in shown


def test_a_configuration_without_settings_carries_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("JESSE_")]:
        monkeypatch.delenv(name)
    assert "env" not in configuration("generic", Settings())["mcpServers"]["jesse"]


def test_the_demo_looks_at_its_arguments_before_it_installs_a_gigabyte(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(*_: object) -> None:
        raise AssertionError("installed first")

    monkeypatch.setattr(provision, "install", install)
    assert terminal.run("demo", "--candles", "x.csv")[0] == 1
