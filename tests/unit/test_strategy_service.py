"""The strategy service over a real folder."""

from pathlib import Path
from typing import Any

import pytest

from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.adapters.strategies.folder_store import FolderStrategyStore
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services import strategies as strategies_module
from jesse_mcp.services.strategies import StrategyService
from jesse_mcp.services.validation import validate_source

CODE = '''
from jesse.strategies import Strategy


class Mine(Strategy):
    """Buys above ten.

    More text.
    """

    def should_long(self):
        return self.price > self.hp["level"]

    def go_long(self):
        self.buy = 1, self.price

    def hyperparameters(self):
        return [{"name": "level", "type": int, "min": 1, "max": 20, "default": 10}]
'''


@pytest.fixture
def service(tmp_path: Path) -> StrategyService:
    return StrategyService(FolderStrategyStore(tmp_path), load_catalog())


async def test_a_written_strategy_is_listed_and_read(service: StrategyService) -> None:
    written = await service.write("Mine", CODE)
    assert written.created
    assert written.warnings == ()
    view = await service.read("Mine")
    assert view.code == CODE
    assert view.info.origin == "user"
    assert view.info.description == "Buys above ten."
    assert view.info.code_hash == written.code_hash
    assert view.validation.valid
    assert [entry.name for entry in view.info.hyperparameters or ()] == ["level"]
    (line,) = (await service.listing("TEN")).strategies
    assert (line.name, line.hyperparameters, line.problem) == ("Mine", ("level",), None)


async def test_bundled_strategies_are_without_findings(service: StrategyService) -> None:
    listed = await service.listing()
    assert listed.total == len(listed.strategies) == 3
    for line in listed.strategies:
        assert line.origin == "bundled"
        assert line.description
        assert line.hyperparameters
        assert line.problem is None
        assert (await service.read(line.name)).validation.findings == ()


async def test_a_search_without_a_match_says_how_many_there_are(service: StrategyService) -> None:
    listed = await service.listing("no such thing")
    assert (listed.strategies, listed.total) == ((), 3)


async def test_invalid_code_is_refused_with_every_finding(service: StrategyService) -> None:
    code = CODE.replace("self.price >", "self.prise >").replace("go_long", "go_lonk")
    with pytest.raises(ResearchError) as caught:
        await service.write("Mine", code)
    error = caught.value
    assert error.code is ErrorCode.STRATEGY_INVALID
    findings = error.details["findings"]
    assert isinstance(findings, list)
    assert {"missing-method", "unknown-member"} <= {finding["rule"] for finding in findings}
    assert all(set(finding) == {"severity", "rule", "message", "line", "suggestion"} for finding in findings)
    assert [line.name for line in (await service.listing()).strategies if line.origin == "user"] == []


async def test_warnings_do_not_stop_a_write(service: StrategyService) -> None:
    written = await service.write("Mine", CODE + "\n    def before(self):\n        open('x')\n")
    assert [finding.rule for finding in written.warnings] == ["file-access"]


async def test_stored_code_is_checked_once_until_it_changes(
    service: StrategyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def counted(code: str, *more: Any) -> Any:
        checked.append(code)
        return validate_source(code, *more)

    await service.write("Mine", CODE)
    monkeypatch.setattr(strategies_module, "validate_source", counted)
    for _ in range(2):
        assert (await service.read("Mine")).validation.findings == ()
        assert (await service.listing("Mine")).total == 4
    assert checked.count(CODE) == 1
    changed = CODE.replace("Buys", "Sells") + "\n    def before(self):\n        open('x')\n"
    await service.write("Mine", changed, overwrite=True)
    view = await service.read("Mine")
    assert view.info.description == "Sells above ten."
    assert [finding.rule for finding in view.validation.findings] == ["file-access"]
    assert await service.validate(name="Mine") == view.validation


async def test_a_class_of_another_name_is_refused(service: StrategyService) -> None:
    with pytest.raises(ResearchError) as caught:
        await service.write("Other", CODE)
    assert caught.value.code is ErrorCode.STRATEGY_INVALID
    assert caught.value.hint == "rename the class to Other"


async def test_replacing_needs_overwrite_and_is_told_from_creating(service: StrategyService) -> None:
    await service.write("Mine", CODE)
    with pytest.raises(ResearchError) as caught:
        await service.write("Mine", CODE)
    assert caught.value.code is ErrorCode.STRATEGY_EXISTS
    assert not (await service.write("Mine", CODE, overwrite=True)).created


async def test_a_bundled_name_is_read_only(service: StrategyService) -> None:
    code = (await service.read("MeanReversion")).code
    with pytest.raises(ResearchError) as caught:
        await service.write("MeanReversion", code, overwrite=True)
    assert caught.value.code is ErrorCode.STRATEGY_READ_ONLY


async def test_a_bundled_strategy_can_be_copied_under_another_name(service: StrategyService) -> None:
    code = (await service.read("MeanReversion")).code
    assert (await service.write("Mine", code.replace("class MeanReversion", "class Mine"))).warnings == ()


async def test_deleting(service: StrategyService) -> None:
    await service.write("Mine", CODE)
    assert (await service.delete("Mine")).name == "Mine"
    with pytest.raises(ResearchError) as caught:
        await service.read("Mine")
    assert caught.value.code is ErrorCode.STRATEGY_NOT_FOUND


async def test_validating_code_a_stored_strategy_or_both(service: StrategyService) -> None:
    await service.write("Mine", CODE)
    assert (await service.validate(code=CODE)).valid
    assert (await service.validate(name="Mine")).valid
    assert not (await service.validate(code=CODE, name="Other")).valid
    with pytest.raises(ResearchError) as nothing:
        await service.validate()
    assert nothing.value.code is ErrorCode.INVALID_ARGUMENT
    with pytest.raises(ResearchError) as missing:
        await service.validate(name="Nowhere")
    assert missing.value.code is ErrorCode.STRATEGY_NOT_FOUND


async def test_a_file_that_cannot_be_read_hides_no_other(service: StrategyService, tmp_path: Path) -> None:
    await service.write("Mine", CODE)
    broken = tmp_path / "strategies" / "Broken"
    broken.mkdir()
    (broken / "__init__.py").write_bytes(b"\xff")
    lines = {line.name: line for line in (await service.listing()).strategies}
    assert "UTF-8" in (lines["Broken"].problem or "")
    assert lines["Mine"].problem is None


async def test_code_that_a_run_cannot_take_along_is_shown_with_the_reason(
    service: StrategyService, tmp_path: Path
) -> None:
    await service.write("Mine", CODE + "\n    def before(self):\n        self.ml_predict()\n")
    (tmp_path / "strategies" / "Mine" / "model.pkl").write_bytes(b"\0")
    view = await service.read("Mine")
    assert not view.validation.valid
    assert view.validation.findings[0].rule == "capability_missing"


@pytest.mark.parametrize("name", ["", "../x", "a b"])
async def test_names_that_are_none(service: StrategyService, name: str) -> None:
    for attempt in (
        service.read(name),
        service.write(name, CODE),
        service.delete(name),
        service.validate(name=name),
    ):
        with pytest.raises(ResearchError) as caught:
            await attempt
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT


async def test_indicators_by_name(service: StrategyService) -> None:
    (macd,) = (await service.indicators(name="macd")).indicators
    assert macd.returns == ("macd", "signal", "hist")
    with pytest.raises(ResearchError) as caught:
        await service.indicators(name="maccd")
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert "macd" in (caught.value.hint or "")


async def test_indicators_by_words(service: StrategyService) -> None:
    found = await service.indicators(search="moving average", limit=5)
    assert len(found.indicators) == 5 < found.total
    assert (await service.indicators(search="bollinger")).indicators[0].name == "bollinger_bands"
    assert (await service.indicators(search="upperband lowerband")).total >= 3
    assert (await service.indicators(search="xyzzy")).total == 0
    assert (await service.indicators(limit=200)).total == len(load_catalog().indicators)


@pytest.mark.parametrize("limit", [0, -1, 201])
async def test_a_limit_out_of_range(service: StrategyService, limit: int) -> None:
    with pytest.raises(ResearchError) as caught:
        await service.indicators(limit=limit)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("given", [{"search": "a " * 1_500_000}, {"name": "ema" * 1_000_000}])
async def test_a_search_of_many_words_is_refused(service: StrategyService, given: dict[str, str]) -> None:
    with pytest.raises(ResearchError) as caught:
        await service.indicators(**given)  # type: ignore[arg-type]
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert len(caught.value.message) < 100
