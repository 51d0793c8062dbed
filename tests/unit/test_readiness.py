"""Ready or not, and why; nothing that is asked often may cost much or tell much."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.ports.engine import BacktestEngine
from jesse_mcp.services import readiness
from jesse_mcp.services.readiness import ReadinessService

SECRET_PATH = "/somewhere/private"  # noqa: S105
REFUSED = ResearchError(ErrorCode.STORAGE_FAILED, f"{SECRET_PATH} cannot be written")


class Engine:
    def __init__(self, answer: Any = None) -> None:
        self.answer = {} if answer is None else answer
        self.asked = 0

    async def status(self) -> dict[str, Any]:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer == "never":
            await asyncio.Event().wait()
        return cast(dict[str, Any], self.answer)


def service(
    folder: Path, engine: Engine, *, store: Exception | None = None, free: int = 0
) -> ReadinessService:
    def check() -> None:
        if store is not None:
            raise store

    return ReadinessService(cast(BacktestEngine, engine), folder, folder / "not there yet", check, free)


async def test_ready(tmp_path: Path) -> None:
    assert await service(tmp_path, Engine({"installed": True, "problem": None})).problems() == ()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"engine": Engine({"installed": False, "problem": f"nothing in {SECRET_PATH}"})},
            "engine: not usable",
        ),
        ({"engine": Engine(REFUSED)}, "engine: not usable"),
        ({"engine": Engine("never")}, "engine: no answer"),
        ({"store": REFUSED}, "store: not usable"),
        ({"free": 10**9}, "disk: less than 1000000000 MiB free"),
    ],
)
async def test_not_ready(
    tmp_path: Path,
    options: dict[str, Any],
    problem: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    problems = await service(tmp_path, **{"engine": Engine(), **options}).problems()
    assert problems == (problem,)
    if problem.endswith("not usable"):
        assert SECRET_PATH in caplog.text, "the log has what the answer leaves out"


async def test_a_home_that_is_gone(tmp_path: Path) -> None:
    assert await service(tmp_path / "gone", Engine()).problems() == ("disk: not usable",)


async def test_everything_at_once_is_told(tmp_path: Path) -> None:
    whole = service(tmp_path, Engine(REFUSED), store=REFUSED, free=10**9)
    assert [problem.split(":")[0] for problem in await whole.problems()] == ["engine", "store", "disk"]


async def test_asking_often_costs_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    asked = service(tmp_path, engine)
    await asyncio.gather(*(asked.problems() for _ in range(50)))
    assert engine.asked == 1
    monkeypatch.setattr(readiness, "_FRESH", -1.0)
    await asked.problems()
    assert engine.asked == 2
