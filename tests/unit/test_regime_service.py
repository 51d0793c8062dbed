"""The regime detector over real stores: what is asked, refused and said."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.analytics.regime_hmm import fit_hmm
from jesse_mcp.analytics.return_series import compounded
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.services import regimes as module
from jesse_mcp.services.analysis_source import AnalysisSources, SourceArguments
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.market_bars import MarketReader
from jesse_mcp.services.regime_evidence import gathered
from jesse_mcp.services.regime_report import RegimeResult
from jesse_mcp.services.regime_request import RegimeArguments
from jesse_mcp.services.regimes import RegimeAnswer, RegimeService
from stored_runs import run_with_balances

START = 1_704_067_200_000
DAY = 86_400_000
N = 400
QUICK: dict[str, Any] = {"training_periods": 200, "refit_every": 100}

Floats = NDArray[np.float64]


def planted(n: int = N, seed: int = 1) -> Floats:
    """Volatility 1 % and 4 % in turns of 50."""
    random = np.random.default_rng(seed)
    return random.normal(0.0005, np.where(np.arange(n) // 50 % 2, 0.04, 0.01))


def points(returns: Floats, start: int = START) -> tuple[tuple[int, float], ...]:
    values = compounded(returns, 10_000.0).tolist()
    return tuple((start + n * DAY, value) for n, value in enumerate(values))


class Desk:
    def __init__(self, service: RegimeService, jobs: JobService, runs: SqlRunStore) -> None:
        self.service, self.jobs, self.runs = service, jobs, runs

    def run(self, returns: Floats, start: int = START) -> str:
        end_ms = start + len(returns) * DAY
        record = run_with_balances(points(returns, start), start_ms=start, end_ms=end_ms, warnings=())
        self.runs.add(record)
        return record.run_id

    async def ask(self, returns: Floats | None = None, wait_seconds: float = 60, **more: Any) -> RegimeAnswer:
        if "source" not in more:
            more["source"] = SourceArguments(balances=points(planted() if returns is None else returns))
        return await self.service.detect(RegimeArguments(**more), wait_seconds=wait_seconds)

    async def result(self, returns: Floats | None = None, **more: Any) -> RegimeResult:
        answer = await self.ask(returns, **more)
        job = await self.jobs.get(answer.job_id)
        assert answer.state is JobState.DONE, job
        assert answer.result is not None
        text = json.dumps(answer.result, allow_nan=False)
        assert len(text) < 12_000
        found = RegimeResult.model_validate(answer.result)
        check_reasons(found)
        return found

    async def refused(self, returns: Floats | None = None, **more: Any) -> ResearchError:
        with pytest.raises(ResearchError) as caught:
            await self.ask(returns, **more)
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT
        assert caught.value.hint
        assert (await self.jobs.page(kind="regime_detector"))[1] == 0
        return caught.value


def check_reasons(found: RegimeResult) -> None:
    """Whatever is null has a reason."""
    rows = {f"table[{row['regime']}]": row for row in found.table}
    rows |= {f"{path}.next_period": row["next_period"] for path, row in rows.items()}
    rows |= {f"performance.regimes[{row['regime']}]": row for row in found.performance.get("regimes", ())}
    for path, row in rows.items():
        for name, value in row.items():
            assert value is not None or f"{path}.{name}" in found.undefined, (path, name)
    assert found.current["probability"] is not None or "current.probability" in found.undefined
    assert found.forecast or "forecast" in found.undefined


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.at(tmp_path / "research.sqlite")
    runs = SqlRunStore(database)
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    reader = MarketReader(ParquetCandleStore(tmp_path / "candles"))
    yield Desk(RegimeService(AnalysisSources(runs, reader, lambda name: name), jobs), jobs, runs)
    await jobs.close()
    database.close()


async def test_the_answer_is_that_of_the_fits(desk: Desk) -> None:
    returns = planted()
    found = await desk.result(returns, **QUICK, forecast_periods=7, limit=2)
    measured = np.diff(compounded(returns, 10_000.0)) / compounded(returns, 10_000.0)[:-1]
    first = fit_hmm(measured[:200].copy(), 2)
    assert not isinstance(first, str)
    fit = fit_hmm(measured[:300].copy(), 2, before=first)
    assert not isinstance(fit, str)
    labels = np.concatenate(
        [first.classify(measured[:300].copy()).labels[200:], fit.classify(measured).labels[300:]]
    )
    seen = fit.classify(measured).probabilities
    assert seen is not None
    assert (found.regimes, found.causal, found.method) == (2, True, "hmm")
    assert found.regimes_chosen_by == "lowest BIC in the first 200 periods"
    assert [row["regimes"] for row in found.bic] == [1, 2, 3, 4, 5]
    assert found.current["probability"] == pytest.approx(seen[-1].max())
    assert found.current["regime"] == labels[-1]
    np.testing.assert_allclose(np.array(found.transition_matrix, dtype=np.float64), fit.transition)
    ahead = {row["periods_ahead"]: row["probabilities"] for row in found.forecast}
    assert list(ahead) == [1, 2, 3, 5, 7]
    assert ahead[7] == pytest.approx(seen[-1] @ np.linalg.matrix_power(fit.transition, 7))
    high = found.table[1]
    own = measured[200:][labels == 1]
    assert high["periods"] == len(own)
    assert high["share"] == pytest.approx(len(own) / 200)
    assert high["volatility_annual"] == pytest.approx(own.std(ddof=1) * found.periods_per_year**0.5)
    assert high["sharpe"] == pytest.approx(
        own.mean() / own.std(ddof=1) * found.periods_per_year**0.5, rel=1e-6
    )
    after = measured[201:][labels[:-1] == 1]
    assert high["next_period"]["mean_annual"] == pytest.approx(after.mean() * found.periods_per_year)
    assert high["expected_duration"] == pytest.approx(1 / (1 - fit.transition[1, 1]))
    assert sum(row["share"] for row in found.table) == pytest.approx(1)
    assert len(found.spells) == 2
    assert found.spells[0]["to"] == START + N * DAY
    assert found.spells[0]["from"] == found.current["since"]
    assert found.spells[1]["to"] == found.spells[0]["from"] - DAY
    assert found.spells_total == 1 + int((np.diff(labels) != 0).sum())
    assert found.schedule["fits"] == 2
    assert found.schedule["first_label"] == START + 201 * DAY
    assert found.last_fit["in_sample"] is True
    assert found.last_fit["periods"] == 300
    every = await desk.result(returns, **QUICK, limit=500)
    assert every.spells[:2] == found.spells
    assert len(every.spells) == every.spells_total


@pytest.mark.parametrize("method", ["markov_switching", "jump_model", "volatility"])
async def test_every_method_answers(desk: Desk, method: str) -> None:
    found = await desk.result(method=method, regimes=2, **QUICK)
    assert [row["regime"] for row in found.table] == [0, 1]
    assert found.table[0]["volatility_annual"] < found.table[1]["volatility_annual"]
    assert (found.current["probability"] is None) is (method != "markov_switching")
    assert found.findings


async def test_change_points_say_that_they_look_back(desk: Desk) -> None:
    found = await desk.result(method="change_points")
    assert found.causal is False
    assert found.regimes == found.spells_total == pytest.approx(8, abs=1)
    assert (found.table, found.transition_matrix, found.forecast) == ((), None, ())
    assert {"transition_matrix", "forecast", "current.probability"} <= set(found.undefined)
    assert any("nothing may be traded" in finding for finding in found.findings)
    assert "Offline" in found.conventions
    assert found.spells[-1]["volatility_annual"] < found.spells[-2]["volatility_annual"]


async def test_noise_has_no_regimes(desk: Desk) -> None:
    found = await desk.result(np.random.default_rng(1).normal(0, 0.01, 300), **QUICK)
    assert found.regimes == 1
    assert found.findings[0].startswith("no regimes found")
    assert found.transition_matrix == [[1.0]]
    assert "never left" in found.undefined["table[0].expected_duration"]


async def test_fat_tails_are_told_from_regimes(desk: Desk) -> None:
    tails = 0.01 * np.random.default_rng(0).standard_t(3, 420)
    found = await desk.result(tails, regimes=2, **QUICK)
    assert found.last_fit["persistence"] < 0.5
    assert any("fat tails of independent returns" in finding for finding in found.findings)
    found = await desk.result(planted(), regimes=2, **QUICK)
    assert found.last_fit["persistence"] > 0.9
    assert not any("fat tails" in finding for finding in found.findings)


async def test_a_run_is_seen_by_the_regime_known_when_its_days_began(desk: Desk) -> None:
    returns = planted()
    earned = np.random.default_rng(9).normal(0.001, 0.01, 250)
    start = START + 150 * DAY
    run_id = desk.run(earned, start)
    found = await desk.result(returns, method="volatility", regimes=2, performance_of=run_id, **QUICK)
    rows = found.performance["regimes"]
    # The first day whose beginning has a label begins 201 days after the first balance of the market.
    assert found.performance["days_without_label"] == 51
    assert sum(row["days"] for row in rows) == found.performance["days"] - 51 == 199
    spells = (await desk.result(returns, method="volatility", regimes=2, limit=500, **QUICK)).spells
    label = {
        moment: spell["regime"] for spell in spells for moment in range(spell["from"], spell["to"] + DAY, DAY)
    }
    own = [r for n, r in enumerate(earned) if label.get(start + n * DAY) == 1]
    assert rows[1]["days"] == len(own)
    assert rows[1]["total_return"] == pytest.approx(np.prod(1 + np.array(own)) - 1)
    path = np.cumprod(np.concatenate([[1.0], 1 + np.array(own)]))
    assert rows[1]["max_drawdown"] == pytest.approx((1 - path / np.maximum.accumulate(path)).max())
    assert any("51 of 250 days" in finding for finding in found.findings)
    elsewhere = await desk.result(
        returns, method="volatility", performance_of=desk.run(earned, START + 4_000 * DAY), **QUICK
    )
    assert elsewhere.performance["days_without_label"] == 250
    assert "performance.regimes[0].sharpe" in elsewhere.undefined


async def test_uncertain_and_rare_regimes_are_named(desk: Desk) -> None:
    returns = np.random.default_rng(4).normal(0.0, 0.01, 330)
    returns[:200] *= np.where(np.arange(200) // 25 % 2, 4, 1)
    found = await desk.result(returns, regimes=2, **QUICK)
    assert any("fewer than 30 periods in regime 1" in finding for finding in found.findings)
    assert "table[1].sharpe" in found.undefined


async def test_returns_without_times_are_numbered(desk: Desk) -> None:
    source = SourceArguments(returns=tuple(planted().tolist()))
    found = await desk.result(source=source, method="volatility", **QUICK)
    assert found.schedule["first_label"] == 200
    assert found.spells[0]["to"] == N - 1
    error = await refused_later(desk, source=source, performance_of=desk.run(planted(60)), **QUICK)
    assert "no times" in error.message


async def refused_later(desk: Desk, **more: Any) -> ResearchError:
    with pytest.raises(ResearchError) as caught:
        await desk.ask(**more)
    return caught.value


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"regimes": 1}, "regimes is 1"),
        ({"regimes": 6}, "regimes is 6"),
        ({"training_periods": 99}, "training_periods is 99"),
        ({"refit_every": 5}, "refit_every is 5"),
        ({"forecast_periods": 0}, "forecast_periods is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"limit": 0}, "limit is 0"),
        ({"jump_penalty": 2.0}, "hmm makes no use of"),
        ({"method": "jump_model", "jump_penalty": -1.0}, "jump_penalty is -1"),
        ({"method": "jump_model", "features": "return"}, "features is return"),
        ({"method": "volatility", "seed": 1}, "seed is 1"),
        ({"method": "change_points", "regimes": 2}, "regimes is 2"),
        ({"method": "change_points", "performance_of": "run_1"}, "performance_of is run_1"),
        ({"features": "return_and_volatility"}, "regimes is not given"),
        ({"training_periods": 400}, "none would have a regime"),
        ({"performance_of": ""}, "performance_of"),
    ],
)
async def test_bad_arguments_are_refused_before_anything_runs(
    desk: Desk, more: dict[str, Any], said: str
) -> None:
    assert said in (await desk.refused(**more)).message


async def test_more_than_can_be_computed_is_refused(desk: Desk) -> None:
    many = np.random.default_rng(0).normal(0, 0.001, 20_001)
    assert "takes 20,000" in (await desk.refused(many, method="jump_model")).message
    error = await desk.refused(many[:10_000], refit_every=20)
    assert "475 fits, 200 at most" in error.message
    assert "48 or more" in (error.hint or "")
    few = await desk.refused(np.array([0.01]))
    assert "1 periods" in few.message


@pytest.mark.parametrize("method", ["hmm", "markov_switching", "jump_model", "volatility", "change_points"])
async def test_returns_that_do_not_vary_end_with_the_reason(desk: Desk, method: str) -> None:
    more = {} if method == "change_points" else QUICK
    with pytest.raises(ResearchError, match="do not vary") as caught:
        await desk.ask(np.zeros(300), method=method, **more)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.hint


async def test_a_cancelled_job_stops_its_thread(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = threading.Event(), threading.Event()
    original = gathered

    def watched(arguments: Any, sample: Any, run: Any, told: Any) -> Any:
        def slower(share: float, message: str) -> None:
            begun.set()
            told(share, message)

        try:
            while True:
                original(arguments, sample, run, slower)
        finally:
            ended.set()

    monkeypatch.setattr(module, "gathered", watched)
    answer = await desk.ask(**QUICK, wait_seconds=0)
    assert await asyncio.to_thread(begun.wait, 60)
    await desk.jobs.cancel(answer.job_id)
    assert await asyncio.to_thread(ended.wait, 60)
